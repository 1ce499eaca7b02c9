// `weir bench proxy-read`: nanoseconds per PROXY header, whole in one piece as almost all come and cut in two, against the
// shortest code that reads a right one and checks nothing. In this process alone.

import { ProxyHeaderReader } from '../../model/proxy-header-reader.ts';
import { type ProxyFlow, renderProxyV1, renderProxyV2, tlvType, v2HeadBytes } from '../../model/proxy-protocol.ts';
import type { BenchReport, Say } from './bench.ts';
import { median } from './figures.ts';

const rounds = 7;
const headersARound = 100_000;

const four: ProxyFlow = {
  transport: 'tcp',
  source: { ip: '203.0.113.9', port: 40_404 },
  destination: { ip: '10.64.3.77', port: 445 },
};
const six: ProxyFlow = {
  transport: 'tcp',
  source: { ip: '2001:db8:77::1:9', port: 40_404 },
  destination: { ip: '2001:db8:64::9', port: 445 },
};
const tlvs = [
  { type: tlvType.uniqueId, value: Buffer.from('0198c0de-0000-7000-8000-000000000001') },
  { type: tlvType.agent, value: Buffer.from('branch-1') },
];

const kinds: Readonly<Record<string, Uint8Array>> = {
  'v1, IPv4': renderProxyV1(four),
  'v1, IPv6': renderProxyV1(six),
  'v2, IPv4': renderProxyV2(four),
  'v2, IPv6': renderProxyV2(six),
  'v2, IPv4, TLVs, checksum': renderProxyV2(four, tlvs, { checksum: true }),
};

/** What one would write first: everything by the language's own means, nothing refused, TLVs and checksum left alone. */
function readNaively(chunks: readonly Buffer[]): { ends: (string | number)[]; rest: Buffer } {
  const all = Buffer.concat(chunks);
  if (all[0] === 0x50) {
    const end = all.indexOf('\r\n');
    const [, , source, destination, from, to] = all.toString('latin1', 0, end).split(' ');
    return { ends: [source, destination, Number(from), Number(to)], rest: all.subarray(end + 2) };
  }
  const size = all[13] >> 4 === 1 ? 4 : 16;
  const address = (at: number): string => {
    const bytes = [...all.subarray(at, at + size)];
    if (size === 4) return bytes.join('.');
    return Array.from({ length: 8 }, (_, index) => all.readUInt16BE(at + 2 * index).toString(16)).join(':');
  };
  const ports = v2HeadBytes + 2 * size;
  return {
    ends: [address(v2HeadBytes), address(v2HeadBytes + size), all.readUInt16BE(ports), all.readUInt16BE(ports + 2)],
    rest: all.subarray(v2HeadBytes + all.readUInt16BE(14)),
  };
}

/** The sum of the ports, so that nothing can be left out by a clever compiler. */
function readOurs(chunks: readonly Buffer[]): number {
  const reader = new ProxyHeaderReader();
  for (const chunk of chunks) {
    const reading = reader.push(chunk);
    if (reading.state === 'done') return (reading.header.flow?.source.port ?? 0) + reading.rest.length;
  }
  throw new Error('a right header is not read');
}

const nanoseconds = (chunks: readonly Buffer[], read: (chunks: readonly Buffer[]) => number): number => {
  let sum = 0;
  const began = performance.now();
  for (let index = 0; index < headersARound; index += 1) sum += read(chunks);
  const took = performance.now() - began;
  if (sum <= 0) throw new Error('nothing was read');
  return (took * 1e6) / headersARound;
};

const naively = (chunks: readonly Buffer[]): number => {
  const { ends, rest } = readNaively(chunks);
  return Number(ends[2]) + rest.length;
};

export async function benchProxyRead(say: Say): Promise<BenchReport> {
  const results: Record<string, { ours: number; naive: number; oursInTwo: number }> = {};
  for (const [name, header] of Object.entries(kinds)) {
    const all = Buffer.concat([header, Buffer.from('GET / HTTP/1.1\r\n')]);
    const inTwo = [all.subarray(0, 20), all.subarray(20)];
    const ours: number[] = [];
    const naive: number[] = [];
    const oursInTwo: number[] = [];
    for (let round = 0; round < rounds; round += 1) {
      ours.push(nanoseconds([all], readOurs));
      naive.push(nanoseconds([all], naively));
      oursInTwo.push(nanoseconds(inTwo, readOurs));
    }
    // The first rounds are those of a compiler at work; a median of seven leaves them out.
    results[name] = { ours: median(ours), naive: median(naive), oursInTwo: median(oursInTwo) };
    say(`${name}: ${results[name].ours.toFixed(0)} ns`);
  }
  const text = [
    `nanoseconds per PROXY header, ${rounds} rounds of ${headersARound} interleaved, median:`,
    '                             Weir   naive   ratio   Weir, in two pieces',
    ...Object.entries(results).map(
      ([name, { ours, naive, oursInTwo }]) =>
        `  ${name.padEnd(24)} ${ours.toFixed(0).padStart(6)} ${naive.toFixed(0).padStart(7)} ${(ours / naive).toFixed(2).padStart(7)} ${oursInTwo.toFixed(0).padStart(8)}`,
    ),
  ].join('\n');
  return { text, json: { results } };
}
