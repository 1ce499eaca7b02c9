// `weir bench proxy-fuzz`: mutated PROXY headers through our reader, whole and in pieces, and every different one it takes to a
// real HAProxy, which must take it too and understand the same. What it refuses and HAProxy takes is counted by fault.

import { tmpdir } from 'node:os';
import type { BenchSettings } from '../../cli/actions.ts';
import { ProxyHeaderReader, type ProxyReading } from '../../model/proxy-header-reader.ts';
import { type ProxyHeader, renderProxyV1, renderProxyV2, tlvType } from '../../model/proxy-protocol.ts';
import type { BenchReport, Say } from './bench.ts';
import { FingerprintCache } from './fingerprint-cache.ts';
import { HaproxyJudge, type Judgement, request } from './haproxy-judge.ts';
import { ProxyMutator } from './proxy-mutator.ts';

export interface ProxyFuzzOptions {
  readonly headers: number;
  readonly seed: number;
  /** Of the headers we refuse, at most so many are shown to HAProxy as well. */
  readonly refusedAsked: number;
}

export interface ProxyFuzzResult {
  readonly headers: number;
  readonly seed: number;
  readonly seconds: number;
  /** Of the reader by itself: what it answered, by state or fault. */
  readonly answers: Readonly<Record<string, number>>;
  /** What the slowest header took, in milliseconds: read whole, in pieces and, where it was taken, once more as we write it. */
  readonly slowestMs: number;
  /** Resident memory after a tenth of the headers and at the end. */
  readonly memoryBytes: readonly [number, number];
  /** Different headers that we take, all of them shown to HAProxy, and those of them it refuses or understands otherwise. */
  readonly acceptedAsked: number;
  readonly refusedByHaproxy: number;
  readonly understoodOtherwise: number;
  readonly refusedAsked: number;
  /** Of those: what HAProxy takes, by our fault, each with an example. */
  readonly stricter: Readonly<Record<string, { readonly count: number; readonly example: string }>>;
  /** What must not be: at most 20, with the header in hexadecimal. */
  readonly violations: readonly string[];
}

export async function runProxyFuzz(options: ProxyFuzzOptions, say: Say = () => {}): Promise<ProxyFuzzResult> {
  const judge = await HaproxyJudge.open(tmpdir());
  try {
    return await new ProxyFuzz(options, judge).run(say);
  } finally {
    await judge.close();
  }
}

class ProxyFuzz {
  readonly #options: ProxyFuzzOptions;
  readonly #judge: HaproxyJudge;
  readonly #mutator: ProxyMutator;
  readonly #known = new FingerprintCache(22);
  readonly #answers: Record<string, number> = {};
  readonly #stricter: Record<string, { count: number; example: string }> = {};
  readonly #violations: string[] = [];
  #failure: Error | undefined;
  #acceptedAsked = 0;
  #refusedByHaproxy = 0;
  #understoodOtherwise = 0;
  #refusedAsked = 0;

  constructor(options: ProxyFuzzOptions, judge: HaproxyJudge) {
    this.#options = options;
    this.#judge = judge;
    this.#mutator = new ProxyMutator(options.seed);
  }

  async run(say: Say): Promise<ProxyFuzzResult> {
    const { headers, seed } = this.#options;
    const began = performance.now();
    const memory: [number, number] = [0, 0];
    let slowestMs = 0;
    for (let done = 1, tenths = 0; done <= headers; done += 1) {
      const header = this.#mutator.next();
      const started = performance.now();
      const toAsk = this.#read(header);
      slowestMs = Math.max(slowestMs, performance.now() - started);
      if (toAsk) {
        await this.#judge.room();
        toAsk();
      }
      if (this.#failure) throw this.#failure;
      if (Math.floor((done * 10) / headers) <= tenths) continue;
      tenths = Math.floor((done * 10) / headers);
      memory[memory[0] === 0 ? 0 : 1] = process.memoryUsage.rss();
      say(`${done} headers, ${this.#acceptedAsked} accepted ones shown to HAProxy, ${this.#violations.length} violations`);
    }
    await this.#judge.idle();
    if (this.#failure) throw this.#failure;
    return {
      headers,
      seed,
      seconds: (performance.now() - began) / 1000,
      answers: this.#answers,
      slowestMs,
      memoryBytes: memory,
      acceptedAsked: this.#acceptedAsked,
      refusedByHaproxy: this.#refusedByHaproxy,
      understoodOtherwise: this.#understoodOtherwise,
      refusedAsked: this.#refusedAsked,
      stricter: this.#stricter,
      violations: this.#violations,
    };
  }

  /** Both ways through the reader; what is left to do is to ask HAProxy, unless it was asked that before. */
  #read(header: Uint8Array): (() => void) | undefined {
    const reading = new ProxyHeaderReader().push(header);
    const answer = reading.state === 'bad' ? reading.fault : reading.state;
    this.#answers[answer] = (this.#answers[answer] ?? 0) + 1;
    const difference = this.#readInPieces(header, reading);
    if (difference) this.#violate(difference, header);
    if (reading.state === 'done') {
      const own = header.subarray(0, header.length - reading.rest.length);
      const again = renderedAgain(reading.header, own);
      if (again) this.#violate(again, own);
      if (this.#known.add(own)) return;
      const copy = Uint8Array.from(own);
      return () => this.#askAccepted(copy, reading.header);
    }
    // Evenly over the run, not the first ones alone.
    const every = Math.max(1, Math.floor(this.#options.headers / (2 * this.#options.refusedAsked)));
    if (this.#mutator.random(every) !== 0 || this.#refusedAsked >= this.#options.refusedAsked || this.#known.add(header)) return;
    // HAProxy sees the request behind it, so that is what has to be refused.
    const withRequest = new ProxyHeaderReader().push(Buffer.concat([header, request]));
    if (withRequest.state === 'done') return;
    const copy = Uint8Array.from(header);
    return () => this.#askRefused(copy, withRequest.state === 'bad' ? withRequest.fault : 'incomplete');
  }

  /** Says what differs when the same bytes come in pieces, out of a buffer that is written over after each. */
  #readInPieces(header: Uint8Array, whole: ProxyReading): string | undefined {
    const reader = new ProxyHeaderReader();
    // Byte by byte where that is not thousands of times.
    const most = (header.length > 200 ? [40, 100, 400, 2000, 6000] : [1, 2, 7, 40, 200])[this.#mutator.random(5)];
    let reading: ProxyReading = { state: 'more' };
    let used = 0;
    let kept = 0;
    while (used < header.length && reading.state === 'more') {
      const piece = header.slice(used, used + 1 + this.#mutator.random(most));
      reading = reader.push(piece);
      used += piece.length;
      if (reading.state === 'done') used -= reading.rest.length;
      piece.fill(0xee);
      kept = Math.max(kept, reader.heldBytes);
    }
    if (kept > 4096) return `${kept} bytes held`;
    if (reading.state !== whole.state) return `in pieces ${reading.state}, whole ${whole.state}`;
    if (reading.state === 'bad' && whole.state === 'bad' && reading.fault !== whole.fault)
      return `in pieces ${reading.fault}, whole ${whole.fault}`;
    if (reading.state !== 'done' || whole.state !== 'done') return undefined;
    if (used !== header.length - whole.rest.length) return `in pieces ${used} bytes, whole ${header.length - whole.rest.length}`;
    return sameHeader(reading.header, whole.header) ? undefined : 'in pieces another header';
  }

  #askAccepted(header: Uint8Array, ours: ProxyHeader): void {
    this.#acceptedAsked += 1;
    this.#ask(header, (judgement) => {
      if (!judgement.accepted) {
        this.#refusedByHaproxy += 1;
        this.#violate('HAProxy refuses it', header);
        return;
      }
      const theirs = judgement.seen && sightText(judgement.seen);
      const expected = sightOf(ours);
      if (theirs === expected) return;
      this.#understoodOtherwise += 1;
      this.#violate(`HAProxy: ${theirs ?? judgement.status}, Weir: ${expected}`, header);
    });
  }

  #askRefused(header: Uint8Array, fault: string): void {
    this.#refusedAsked += 1;
    this.#ask(header, (judgement) => {
      if (!judgement.accepted) return;
      this.#stricter[fault] ??= { count: 0, example: JSON.stringify(Buffer.from(header.subarray(0, 120)).toString('latin1')) };
      this.#stricter[fault].count += 1;
    });
  }

  #ask(header: Uint8Array, then: (judgement: Judgement) => void): void {
    this.#judge.ask(header).then(then, (error: Error) => {
      this.#failure ??= error;
    });
  }

  #violate(what: string, header: Uint8Array): void {
    if (this.#violations.length < 20) this.#violations.push(`${what}: ${Buffer.from(header).toString('hex')}`);
  }
}

function sameHeader(a: ProxyHeader, b: ProxyHeader): boolean {
  if (a.version !== b.version || a.command !== b.command || a.tlvs.length !== b.tlvs.length) return false;
  if (flowText(a) !== flowText(b)) return false;
  return a.tlvs.every(
    ({ type, value }, index) => type === b.tlvs[index].type && Buffer.compare(value, b.tlvs[index].value) === 0,
  );
}

const flowText = ({ flow }: ProxyHeader): string =>
  flow === undefined
    ? ''
    : `${flow.transport} ${flow.source.ip} ${flow.source.port} ${flow.destination.ip} ${flow.destination.port}`;

/** Says what differs when a header that was read is written and read again. */
function renderedAgain(header: ProxyHeader, bytes: Uint8Array): string | undefined {
  const tlvs = header.tlvs.filter(({ type }) => type !== tlvType.crc32c);
  const again =
    header.version === 1
      ? renderProxyV1(header.flow)
      : renderProxyV2(header.flow, tlvs, { local: header.command === 'local', checksum: tlvs.length < header.tlvs.length });
  // Written anew it may be longer by the addresses of a mixed pair, so the bound is not the one that held before.
  const reading = new ProxyHeaderReader({ maxBytes: bytes.length + 64 }).push(again);
  if (reading.state !== 'done' || reading.rest.length > 0) return 'written again it is not read';
  return flowText(reading.header) === flowText(header) && reading.header.tlvs.length === header.tlvs.length
    ? undefined
    : 'written again it is another';
}

/** What HAProxy must have understood. Of several authorities or ids it keeps the last. */
function sightOf({ flow, tlvs }: ProxyHeader): string {
  if (flow === undefined) return '|||||';
  const last = (type: number): string => Buffer.from(tlvs.findLast((tlv) => tlv.type === type)?.value ?? []).toString('hex');
  const { source, destination } = flow;
  return [
    ...[source.ip, source.port, destination.ip, destination.port],
    ...[last(tlvType.authority), last(tlvType.uniqueId)],
  ].join('|');
}

function sightText({
  source,
  sourcePort,
  destination,
  destinationPort,
  authority,
  uniqueId,
}: NonNullable<Judgement['seen']>): string {
  // HAProxy writes a port of 0 as nothing.
  const port = (address: string, text: string): string => (address !== '' && text === '' ? '0' : text);
  return [
    ...[usualText(source), port(source, sourcePort), usualText(destination), port(destination, destinationPort)],
    ...[authority.toLowerCase(), uniqueId.toLowerCase()],
  ].join('|');
}

/** By the platform's own rules (WHATWG URL), not ours: RFC 5952 text, and an IPv4-mapped address as IPv4. */
function usualText(address: string): string {
  if (!address.includes(':')) return address;
  if (address.startsWith('::ffff:') && address.includes('.')) return address.slice(7);
  return address.includes('.') ? new URL(`http://[${address}]/`).hostname.slice(1, -1) : address;
}

export async function benchProxyFuzz(say: Say, settings: BenchSettings): Promise<BenchReport> {
  const headers = settings.headers ?? 10_000_000;
  const result = await runProxyFuzz({ headers, seed: settings.seed ?? 1, refusedAsked: Math.min(headers, 300_000) }, say);
  const rows = (list: readonly (readonly [string, number])[]): string[] =>
    [...list].sort((a, b) => b[1] - a[1]).map(([name, count]) => `    ${name.padEnd(16)} ${count}`);
  const text = [
    `${result.headers} mutated PROXY headers (seed ${result.seed}) in ${result.seconds.toFixed(0)} s, each read whole and in pieces:`,
    ...rows(Object.entries(result.answers)),
    `  slowest header ${result.slowestMs.toFixed(1)} ms, resident memory ${result.memoryBytes.map((bytes) => `${(bytes / 1048576).toFixed(0)} MiB`).join(' after a tenth, at the end ')}`,
    `  ${result.acceptedAsked} different accepted headers, all shown to HAProxy: ${result.refusedByHaproxy} refused, ${result.understoodOtherwise} understood otherwise`,
    `  ${result.refusedAsked} refused ones shown to HAProxy; taken by it:`,
    ...rows(Object.entries(result.stricter).map(([fault, { count }]) => [fault, count])),
    `  violations: ${result.violations.length}`,
    ...result.violations.map((violation) => `    ${violation}`),
  ].join('\n');
  return { text, json: { ...result }, exitCode: result.violations.length === 0 ? 0 : 1 };
}
