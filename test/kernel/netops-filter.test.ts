// Our filter machine against tcpdump, packet by packet: many expressions over thousands of frames of every kind, made at random from a
// seed that is printed, cut frames and tags among them.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { compileFilter, hashOf } from '../../src/kernel/capture/filter-program.ts';
import { runFilter } from '../../src/kernel/capture/run-filter.ts';
import { createCommandRunner } from '../../src/kernel/command.ts';
import { CaptureReader } from '../../src/record/importers/capture-reader.ts';
import { frameOf, ipPacket, pcapFile, tcpPacket, udpPacket } from '../support/capture-file.ts';
import { lacksProgram } from '../support/namespace.ts';

const expressions = [
  '',
  'tcp',
  'udp port 53',
  'port 80',
  'not port 80',
  'port 80 or 443 or 8080',
  'portrange 20-1024',
  'tcp portrange 1-1000 and not (host 10.0.0.3 or ip6)',
  'host 10.0.0.1',
  'src host 10.0.0.1 and dst net 10.0.0.0/30',
  'net 10.0.0.0/29',
  'ip6',
  'ip6 host fd00::1',
  'ip6 net fd00::/126 and tcp',
  'icmp',
  'icmp6',
  'icmp[icmptype] = icmp-echo',
  'tcp[13] & 2 != 0',
  'tcp[tcpflags] & (tcp-syn|tcp-ack) = tcp-syn',
  'tcp[2:2] = tcp[0:2]',
  'tcp[4:4] > 1000 and tcp[8:4] / 3 < 500',
  'ip[6:2] & 0x1fff != 0',
  'ip[2:2] - ((ip[0] & 15) << 2) > 40',
  '(ip[6:2] & 0x1fff != 0) or (ip6[6] = 44)',
  'ip[8] * 2 = 128',
  'ip[8] % 7 = 1',
  'len > 100',
  'greater 80 and less 200',
  'vlan',
  'vlan 5',
  'vlan and port 80',
  'port 80 or (vlan and port 80)',
  'vlan 5 and vlan 7',
  'ether host 02:00:00:00:00:02',
  'ether[0] & 1 = 0 and ether[12:2] = 0x800',
  'ether broadcast or ether multicast',
  'arp',
  'ip proto 47',
  'ip6 proto 17',
  'udp[8] = 0x61',
  'tcp[((tcp[12] & 0xf0) >> 2)] = 0x47',
  'ip[40:4] = 1',
  'ip6[40] > 0',
];

/** Numerical Recipes' generator: the same seed, the same frames. */
function numbers(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

function randomFrame(pick: (below: number) => number): Buffer {
  const four = pick(3) > 0;
  const address = (): string => (four ? `10.0.0.${1 + pick(6)}` : `fd00::${1 + pick(6)}`);
  const ports = [80, 443, 8080, 53, 22, 1024, 40_000];
  const ends = { from: address(), to: address(), fromPort: ports[pick(7)], toPort: ports[pick(7)] };
  const data = Buffer.from(Array.from({ length: pick(120) }, () => pick(256)));
  let packet: Buffer;
  switch (pick(6)) {
    case 0:
      packet = udpPacket(ends, data);
      break;
    case 1:
      packet = ipPacket(ends, [1, 47, 58, 132, 44][pick(5)], data);
      break;
    case 2:
      packet = ipPacket(ends, 6, data, { fragment: pick(0x4000), ttl: 1 + pick(255) });
      break;
    default:
      packet = tcpPacket({
        ...ends,
        flags: pick(64),
        sequence: pick(5000),
        acknowledged: pick(5000),
        data: data.toString('latin1'),
      });
  }
  // IPv4 options, as far as a header says it has them.
  if (four && pick(8) === 0) packet[0] = 0x40 | pick(16);
  const tags = [[], [], [], [5], [5, 7], [80]][pick(6)];
  let frame = frameOf(packet, 1, tags);
  if (pick(10) === 0) frame = frame.subarray(0, 14 + pick(Math.max(1, frame.length - 14)));
  if (pick(15) === 0) frame = Buffer.concat([Buffer.alloc(12, 0xff), Buffer.from([8, 6]), data]);
  if (pick(40) === 0) frame = Buffer.from(Array.from({ length: 14 + pick(80) }, () => pick(256)));
  return frame;
}

function framesOf(file: Buffer): Buffer[] {
  const frames: Buffer[] = [];
  const reader = new CaptureReader(
    {
      frame: ({ bytes, start, end }) => void frames.push(Buffer.from(bytes.subarray(start, end))),
      bad: (why) => assert.fail(why),
    },
    0,
  );
  reader.push(file);
  reader.finish();
  return frames;
}

test('every packet of every expression: the same answer as tcpdump', {
  skip: lacksProgram('tcpdump', 'tcpdump'),
  timeout: 60_000,
}, async (context) => {
  const seed = Number(process.env.WEIR_SEED ?? Date.now() % 1e9);
  context.diagnostic(`seed ${seed}`);
  const pick = numbers(seed);
  const frames = Array.from({ length: 4000 }, () => randomFrame(pick));
  const directory = mkdtempSync(path.join(tmpdir(), 'weir-filter-'));
  try {
    const file = path.join(directory, 'all.pcap');
    writeFileSync(file, pcapFile(frames));
    let matched = 0;
    for (const expression of expressions) {
      const out = path.join(directory, 'out.pcap');
      execFileSync('tcpdump', ['-r', file, '-w', out, '-Z', 'root', '--', expression], { stdio: ['ignore', 'ignore', 'ignore'] });
      const theirs = framesOf(readFileSync(out));
      const { instructions, hash } = await compileFilter(createCommandRunner(), expression, 1);
      assert.equal(hash, hashOf(instructions));
      const ours = frames.filter((frame) => runFilter(instructions, frame, 0, frame.length, frame.length) > 0);
      assert.equal(ours.length, theirs.length, `${expression} (seed ${seed})`);
      assert.ok(
        ours.every((frame, index) => frame.equals(theirs[index])),
        `${expression} (seed ${seed})`,
      );
      matched += ours.length;
    }
    assert.ok(matched > 4000 * 5, `the expressions say something about these frames: ${matched}`);
  } finally {
    rmSync(directory, { recursive: true });
  }
});
