// Captures to sessions and probes: every file kind and link layer gives the same, streams are put together, handshakes that were
// not made are probes, and no bytes whatever end the import.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import {
  captureStart,
  frameOf,
  ipPacket,
  pcapFile,
  pcapngFile,
  tcpBits,
  tcpDialogue,
  tcpPacket,
  tcpSegment,
  udpDatagram,
  udpPacket,
} from '../../../test/support/capture-file.ts';
import { type ImportRun, runImport, sampleOf } from '../../../test/support/import-bed.ts';
import { importSamples } from '../../../test/support/import-samples.ts';
import { assertAdded, importInputs, KeptRecords } from './import-contract.ts';
import type { ImportedSession } from './importer.ts';
import { pcapFormat } from './pcap.ts';

const { fin, syn, rst, psh, ack, urg } = tcpBits;
const ends = { from: '192.0.2.1', to: '198.51.100.1', fromPort: 40_000, toPort: 80 };
const six = { from: '2001:db8::1', to: '2001:db8:1::1', fromPort: 40_000, toPort: 80 };
const back = { from: ends.to, to: ends.from, fromPort: 80, toPort: 40_000 };
const request = 'GET /x HTTP/1.1\r\nHost: a\r\n\r\n';

const ethernet = (packets: readonly Buffer[]): Buffer[] => packets.map((packet) => frameOf(packet, 1));
const run = (packets: readonly Buffer[]): ImportRun => runImport(pcapFormat, [pcapFile(ethernet(packets))]);
const said = (session: ImportedSession, direction: 'in' | 'out'): string =>
  Buffer.concat(session.chunks.filter((chunk) => chunk.direction === direction).map(({ bytes }) => bytes)).toString('latin1');

function check({ sessions, counts }: ImportRun, timed = true): void {
  assert.deepEqual(counts, { lines: 8, sessions: 1, merged: 7, rejected: 0 });
  const [session] = sessions;
  assert.deepEqual([said(session, 'in'), said(session, 'out')], [request, 'HTTP/1.1 200 OK\r\n\r\n']);
  assert.deepEqual([session.protocol, session.outcome, session.bytesIn], ['http', 'client-closed', request.length]);
  assert.equal(session.source.port, 40_000);
  if (timed) assert.deepEqual([session.start, session.end], [captureStart, captureStart + 7000]);
}

describe('capture files', () => {
  const dialogue = tcpDialogue(ends, request, 'HTTP/1.1 200 OK\r\n\r\n');
  for (const little of [true, false])
    for (const nano of [true, false])
      test(`pcap, ${little ? 'little' : 'big'}-endian, ${nano ? 'nano' : 'micro'}seconds`, () =>
        check(runImport(pcapFormat, [pcapFile(ethernet(dialogue), { little, nano })])));

  for (const little of [true, false])
    for (const resolution of [6, 9, 0x80 | 30])
      test(`pcapng, ${little ? 'little' : 'big'}-endian, resolution ${resolution}`, () => {
        const result = runImport(pcapFormat, [pcapngFile(ethernet(dialogue), { little, resolution })]);
        check(result, resolution < 0x80);
        assert.ok(Math.abs(result.sessions[0].start - captureStart) <= 1);
      });

  test('pcapng: sections of either byte order behind each other, packets without time', () => {
    const file = Buffer.concat([
      pcapngFile(ethernet(dialogue.slice(0, 3)), { little: true }),
      pcapngFile(ethernet(dialogue.slice(3)), { little: false, simple: true }),
    ]);
    check(runImport(pcapFormat, [file]), false);
  });

  for (const linkType of [0, 1, 12, 101, 108, 113, 228, 276])
    test(`link type ${linkType}`, () => {
      const frames = dialogue.map((packet) => frameOf(packet, linkType));
      const result = runImport(pcapFormat, [pcapFile(frames, { linkType })]);
      check(result);
      const hardware = [1, 113, 276].includes(linkType) ? '02:00:00:00:00:0a' : undefined;
      assert.equal(result.sessions[0].sourceMac, hardware);
    });

  test('tagged once and twice, IPv6, and IPv6 behind extension headers', () => {
    check(runImport(pcapFormat, [pcapFile(dialogue.map((packet) => frameOf(packet, 1, [100])))]));
    check(runImport(pcapFormat, [pcapFile(dialogue.map((packet) => frameOf(packet, 1, [100, 200])))]));
    const packets = tcpDialogue(six, request, 'HTTP/1.1 200 OK\r\n\r\n');
    check(run(packets));
    const extended = packets.map((packet) => {
      const hop = Buffer.from([60, 0, 1, 4, 0, 0, 0, 0, 6, 0, 1, 4, 0, 0, 0, 0]);
      const outer = ipPacket(six, 0, Buffer.concat([hop, packet.subarray(40)]));
      packet.copy(outer, 8, 8, 40);
      return outer;
    });
    check(run(extended));
  });

  test('a cooked capture with a tag', () => {
    const frames = dialogue.map((packet) => {
      const frame = frameOf(packet, 276);
      frame.writeUInt16BE(0x8100, 0);
      return Buffer.concat([frame.subarray(0, 20), Buffer.from([0, 100, 8, 0]), packet]);
    });
    check(runImport(pcapFormat, [pcapFile(frames, { linkType: 276 })]));
  });

  test('over a DSL line', () => {
    const frames = dialogue.map((packet) => {
      const header = Buffer.from('02000000000202000000000a886411000001', 'hex');
      return Buffer.concat([header, Buffer.from([0, packet.length + 2, 0, 0x21]), packet]);
    });
    check(runImport(pcapFormat, [pcapFile(frames)]));
  });

  const type = (packet: Buffer): string => (packet[0] >> 4 === 4 ? '0800' : '86dd');
  const carried = (packet: Buffer): string => (packet[0] >> 4 === 4 ? '0021' : '0057');
  const macs = '02000000000202000000000a';
  const framings: readonly [name: string, linkType: number, before: (packet: Buffer) => string][] = [
    ['PPP', 9, (packet) => `ff03${carried(packet)}`],
    ['PPP without address and control', 9, carried],
    ['PPP with a short number', 9, (packet) => carried(packet).slice(2)],
    ['PPP in HDLC', 50, (packet) => `ff03${carried(packet)}`],
    ['Cisco HDLC under the number of PPP', 50, (packet) => `0f00${type(packet)}`],
    ['PPPoE alone', 51, (packet) => `110000010000${carried(packet)}`],
    ['Cisco HDLC', 104, (packet) => `8f00${type(packet)}`],
    ['PPP as pppd has it', 166, (packet) => `0003${carried(packet)}`],
    ['PPP with its direction', 204, (packet) => `01ff03${carried(packet)}`],
    ['NFLOG, little-endian', 239, () => '02000000080001000800000005000a006100000004000900'],
    ['NFLOG, big-endian', 239, () => '0200000000080001080000000005000a6100000000040009'],
    ['NFLOG, a nested attribute before it', 239, () => '020000000c001380080001000000000004000900'],
    ['MPLS', 1, () => `${macs}88470006404000065140`],
    ['802.2 with SNAP', 1, (packet) => `${macs}0100aaaa03000000${type(packet)}`],
  ];
  for (const [name, linkType, before] of framings)
    test(`framed as ${name}`, () => {
      const framed = (packets: readonly Buffer[]): Buffer[] =>
        packets.map((packet) => Buffer.concat([Buffer.from(before(packet), 'hex'), packet]));
      check(runImport(pcapFormat, [pcapFile(framed(dialogue), { linkType })]));
      check(runImport(pcapFormat, [pcapFile(framed(tcpDialogue(six, request, 'HTTP/1.1 200 OK\r\n\r\n')), { linkType })]));
    });

  test('what was cut off counts: data makes a connection, and its end is behind all of it', () => {
    const long = tcpDialogue(six, 'GET /'.padEnd(900, 'x'), 'HTTP/1.1 200 OK\r\n\r\n');
    // In the midst of it: the request, its answer, and a FIN that brings the last bytes.
    const last = tcpPacket({ ...six, flags: fin | ack, sequence: 1901, acknowledged: 9020, data: 'y'.repeat(300) });
    const frames = ethernet([long[3], long[4], last]);
    const { sessions, probes } = runImport(pcapFormat, [pcapFile(frames, { snap: 68 })]);
    assert.equal(probes.length, 0);
    const [{ destination, bytesIn, truncated, outcome }] = sessions;
    assert.deepEqual([destination.port, bytesIn, truncated, outcome], [80, 1200, true, 'client-closed']);
  });

  test('a packet whose header claims what was on no wire, sent first, hides nothing', () => {
    const lie = tcpPacket({ ...six, flags: ack, sequence: 101_000, acknowledged: 9001 });
    lie.writeUInt16BE(lie.readUInt16BE(4) + 100, 4);
    const { sessions } = runImport(pcapFormat, [pcapFile(ethernet([lie, ...tcpDialogue(six, request, 'ok')]))]);
    assert.deepEqual(
      sessions.map(({ chunks }) =>
        Buffer.concat(chunks.filter(({ direction }) => direction === 'in').map(({ bytes }) => bytes)).toString(),
      ),
      [request],
    );
    // Cut where its options end: nothing of its data is known but where it was.
    const far = tcpPacket({ ...six, flags: ack, sequence: 101_000, acknowledged: 9001, data: 'z'.repeat(400) });
    const cut = pcapFile(ethernet([far, ...tcpDialogue(six, 'GET /', 'ok')]), { snap: 14 + 40 + 20 + 5 });
    const cutToo = pcapFile(ethernet([far, ...tcpDialogue(six, 'GET /', 'ok')]), { snap: 14 + 40 + 20 });
    for (const file of [cut, cutToo]) assert.ok(runImport(pcapFormat, [file]).sessions.length > 0);
    const inputs = runImport(pcapFormat, [cut]).sessions.flatMap(({ chunks }) =>
      chunks.map(({ bytes }) => Buffer.from(bytes).toString()),
    );
    assert.ok(inputs.includes('GET /'), inputs.join('|'));
  });

  test('pieces of any size, and a connection that goes on in the next file', () => {
    const file = pcapFile(ethernet(dialogue));
    for (const size of [1, 7, 100, 4096]) {
      const pieces = Array.from({ length: Math.ceil(file.length / size) }, (_, index) =>
        file.subarray(index * size, (index + 1) * size),
      );
      check(runImport(pcapFormat, pieces));
    }
    const parts = [pcapFile(ethernet(dialogue.slice(0, 4))), pcapFile(ethernet(dialogue.slice(4)))];
    check(runImport(pcapFormat, [parts[0]], [parts[1]]), false);
  });

  test('captures are recognised, other files are not', () => {
    const sample = (bytes: Buffer): number => pcapFormat.detect({ bytes, lines: [], objects: [] });
    assert.ok(sample(pcapFile([])) > 0.9 && sample(pcapngFile([], { little: false })) > 0.9);
    for (const lines of Object.values(importSamples)) assert.equal(pcapFormat.detect(sampleOf(lines)), 0);
  });
});

test('through the engine, compressed too: the records are the same, and again changes nothing', async () => {
  const packets = [...tcpDialogue(ends, request, 'ok'), udpPacket({ ...ends, toPort: 53 }, 'x'), Buffer.alloc(30)];
  const file = pcapFile(ethernet(packets));
  const kept = new KeptRecords();
  const first = await importInputs([file], {}, kept);
  assertAdded(first);
  const { format, lines, sessions, merged, rejected } = first.files[0];
  assert.deepEqual(
    { format, lines, sessions, merged, rejected },
    { format: 'pcap', lines: 10, sessions: 2, merged: 7, rejected: 1 },
  );
  const again = await importInputs([gzipSync(file)], {}, kept);
  assertAdded(again, first.events.length);
  assert.deepEqual([again.files[0].sessions, again.files[0].merged], [0, 9]);
  const cut = await importInputs([gzipSync(file.subarray(0, file.length - 50))], {}, kept);
  assert.equal(cut.files[0].rejected, 1);
  assert.equal(cut.rejects[0].reason, 'the file ends within a packet');
});

describe('connections', () => {
  test('segments doubled, out of order and overlapping give each byte once', () => {
    const at = (sequence: number, data: string): Buffer =>
      tcpPacket({ ...ends, flags: psh | ack, sequence, acknowledged: 9001, data });
    const [open, answer, shake] = tcpDialogue(ends, '', '');
    const { sessions, counts } = run([
      open,
      open,
      answer,
      shake,
      at(1006, 'world'),
      at(1001, 'hello'),
      at(1001, 'hello'),
      at(1009, 'ld!'),
    ]);
    assert.equal(said(sessions[0], 'in'), 'helloworld!');
    assert.deepEqual(counts, { lines: 8, sessions: 1, merged: 7, rejected: 0 });
  });

  test('a gap that never closes is told, and what lies behind it is kept', () => {
    const [open, answer, shake] = tcpDialogue(ends, '', '');
    const late = tcpPacket({ ...ends, flags: psh | ack, sequence: 1101, acknowledged: 9001, data: 'tail' });
    const [session] = run([open, answer, shake, late]).sessions;
    assert.deepEqual([said(session, 'in'), session.truncated, session.bytesIn], ['tail', true, 104]);
  });

  test('the end tells who ended it', () => {
    const [open, answer, shake] = tcpDialogue(ends, '', '');
    const outcome = (...last: Buffer[]): string => run([open, answer, shake, ...last]).sessions[0].outcome;
    const finIn = tcpPacket({ ...ends, flags: fin | ack, sequence: 1001, acknowledged: 9001 });
    const finOut = tcpPacket({ ...back, flags: fin | ack, sequence: 9001, acknowledged: 1001 });
    assert.equal(outcome(), 'unknown');
    assert.equal(outcome(finIn, finOut), 'client-closed');
    assert.equal(outcome(finOut, finIn), 'server-closed');
    assert.equal(outcome(tcpPacket({ ...ends, flags: rst, sequence: 1001 })), 'client-reset');
    assert.equal(outcome(tcpPacket({ ...back, flags: rst, sequence: 9001 })), 'server-closed');
  });

  test('the same ports again are another connection', () => {
    const { sessions } = run([...tcpDialogue(ends, 'one', 'x', 1000), ...tcpDialogue(ends, 'two', 'y', 70_000)]);
    assert.deepEqual(
      sessions.map((session) => said(session, 'in')),
      ['one', 'two'],
    );
    assert.notEqual(sessions[0].key, sessions[1].key);
  });

  test('begun before the capture: the lower port is the server, and the session says that its beginning is missing', () => {
    const answer = tcpPacket({ ...back, flags: psh | ack, sequence: 5, acknowledged: 9, data: 'welcome' });
    const [session] = run([answer]).sessions;
    assert.deepEqual([session.source.port, said(session, 'out'), session.tags], [40_000, 'welcome', ['beginning-missing']]);
  });

  test('a TLS client is fingerprinted', () => {
    const hello = Buffer.from(`160301002d010000290303${'00'.repeat(32)}00000213010100`, 'hex').toString('latin1');
    const [open, answer, shake] = tcpDialogue(ends, '', '');
    const data = Buffer.from(hello, 'latin1');
    const [session] = run([
      open,
      answer,
      shake,
      tcpPacket({ ...ends, flags: psh | ack, sequence: 1001, acknowledged: 9001, data }),
    ]).sessions;
    assert.equal(session.protocol, 'tls');
    assert.match(session.tls?.ja4 ?? '', /^t12i01/);
  });
});

describe('probes', () => {
  const kindOf = (...packets: Buffer[]): string => {
    const { probes, sessions } = run(packets);
    assert.equal(sessions.length, 0);
    const [{ kind, count, port, transport }] = probes[0].targets;
    return `${kind} ${count} ${transport}/${port} ${probes[0].source}`;
  };
  const open = tcpPacket({ ...ends, flags: syn, sequence: 1 });

  test('SYNs without a handshake', () => {
    assert.equal(kindOf(open, open), 'filtered 2 tcp/80 192.0.2.1');
    const refusal = tcpPacket({ ...back, flags: rst | ack, sequence: 0, acknowledged: 2 });
    assert.equal(kindOf(open, refusal), 'closed 1 tcp/80 192.0.2.1');
    const answer = tcpPacket({ ...back, flags: syn | ack, sequence: 70, acknowledged: 2 });
    assert.equal(kindOf(open, answer), 'half-open 1 tcp/80 192.0.2.1');
    assert.equal(kindOf(open, answer, tcpPacket({ ...ends, flags: rst, sequence: 2 })), 'half-open 2 tcp/80 192.0.2.1');
  });

  test('strays by their flags; an answer nobody asked for is its sender’s', () => {
    const stray = (flags: number): string => kindOf(tcpPacket({ ...ends, flags, sequence: 1 }));
    assert.equal(stray(0), 'null 1 tcp/80 192.0.2.1');
    assert.equal(stray(fin), 'fin 1 tcp/80 192.0.2.1');
    assert.equal(stray(fin | psh | urg), 'xmas 1 tcp/80 192.0.2.1');
    assert.equal(stray(ack), 'ack 1 tcp/80 192.0.2.1');
    assert.equal(kindOf(tcpPacket({ ...back, flags: syn | ack, sequence: 1 })), 'ack 1 tcp/40000 198.51.100.1');
  });

  test('a SYN tells which tool sent it', () => {
    const zmap = tcpPacket({ ...ends, flags: syn, sequence: 9, id: 54_321, ttl: 240 });
    const { syn: details } = run([zmap]).probes[0];
    assert.deepEqual([details?.system, details?.ttl, details?.ipId, details?.options], ['ZMap', 240, 54_321, '']);
    const mirai = tcpPacket({ ...ends, flags: syn, sequence: 0xc6336401 });
    assert.equal(run([mirai]).probes[0].syn?.system, 'Mirai');
  });

  test('pings, and datagrams nobody takes', () => {
    const ping = ipPacket(ends, 1, Buffer.from([8, 0, 0, 0, 0, 1, 0, 1]));
    assert.equal(kindOf(ping, ping), 'echo 2 icmp/0 192.0.2.1');
    const later = pcapFile(ethernet([ping]));
    later.writeUInt32LE(later.readUInt32LE(24) + 100, 24);
    assert.equal(runImport(pcapFormat, [pcapFile(ethernet([ping]))], [later]).probes.length, 2);
    const asked = udpPacket({ ...ends, toPort: 161 }, 'x');
    const unreachable = ipPacket(back, 1, Buffer.concat([Buffer.from([3, 3, 0, 0, 0, 0, 0, 0]), asked]));
    assert.equal(kindOf(asked, unreachable), 'closed 1 udp/161 192.0.2.1');
  });
});

describe('datagrams', () => {
  test('a flow is a session from whoever spoke first, with the answers', () => {
    const ask = udpPacket({ ...ends, toPort: 53 }, 'question');
    const answer = udpPacket({ from: ends.to, to: ends.from, fromPort: 53, toPort: 40_000 }, 'answer');
    const [session] = run([ask, answer, ask]).sessions;
    assert.deepEqual([said(session, 'in'), said(session, 'out')], ['questionquestion', 'answer']);
    assert.deepEqual([session.transport, session.outcome, session.bytesIn], ['udp', 'idle', 16]);
  });

  for (const [name, whole] of [
    ['IPv4', udpDatagram({ ...ends, toPort: 53 }, 'abcdefgh'.repeat(100))],
    ['IPv6', udpDatagram({ ...six, toPort: 53 }, 'abcdefgh'.repeat(100))],
  ] as const) {
    const four = name === 'IPv4';
    const piece = (from: number, to: number, id = 5): Buffer => {
      const more = to < whole.length ? 1 : 0;
      const content = whole.subarray(from, to);
      if (four) return ipPacket(ends, 17, content, { id, fragment: (more << 13) | (from / 8) });
      const header = Buffer.alloc(8);
      header[0] = 17;
      header.writeUInt16BE(from | more, 2);
      header.writeUInt32BE(id, 4);
      return ipPacket(six, 44, Buffer.concat([header, content]));
    };

    test(`${name} fragments in any order make one datagram`, () => {
      const { sessions, counts } = run([piece(400, 640), piece(640, whole.length), piece(0, 400)]);
      assert.equal(said(sessions[0], 'in'), 'abcdefgh'.repeat(100));
      assert.deepEqual(counts, { lines: 3, sessions: 1, merged: 2, rejected: 0 });
    });

    test(`${name} fragments without the rest, and too many of them, are refused and counted`, () => {
      const lone = Array.from({ length: 600 }, (_, index) => piece(0, 400, index));
      const { counts, rejections } = run(lone);
      assert.deepEqual(counts, { lines: 600, sessions: 0, merged: 0, rejected: 600 });
      assert.deepEqual([...new Set(rejections)], ['a fragment of a datagram that never was whole']);
      // The first was given up to make room for the others: its rest comes too late.
      assert.equal(run([...lone.slice(0, 300), piece(400, whole.length, 0)]).counts.sessions, 0);
      assert.equal(run([...lone.slice(0, 200), piece(400, whole.length, 0)]).counts.sessions, 1);
    });
  }

  test('fragments of a TCP segment belong to its connection', () => {
    const [open, answer, shake] = tcpDialogue(ends, '', '');
    const segment = tcpSegment({ ...ends, flags: psh | ack, sequence: 1001, acknowledged: 9001, data: 'y'.repeat(100) });
    const pieces = [0, 64].map((from) =>
      ipPacket(ends, 6, segment.subarray(from, from + 64), { id: 9, fragment: ((from === 0 ? 1 : 0) << 13) | (from / 8) }),
    );
    const { sessions, counts } = run([open, answer, shake, ...pieces]);
    assert.equal(said(sessions[0], 'in'), 'y'.repeat(100));
    assert.deepEqual(counts, { lines: 5, sessions: 1, merged: 4, rejected: 0 });
  });
});

describe('hostile captures', () => {
  const file = pcapFile(ethernet(tcpDialogue(ends, request, 'ok')));

  test('an impossible length ends the file, a file that ends too early says so; what came before stays', () => {
    const long = Buffer.from(file);
    long.writeUInt32LE(0x7fffffff, 24 + 16 + 54 + 8);
    const ended = runImport(pcapFormat, [long]);
    assert.deepEqual(ended.counts, { lines: 2, sessions: 1, merged: 0, rejected: 1 });
    assert.deepEqual(ended.rejections, ['a packet of 2147483647 bytes: the rest of the file is not read']);
    const cut = runImport(pcapFormat, [file.subarray(0, file.length - 3)]);
    assert.deepEqual(cut.counts, { lines: 8, sessions: 1, merged: 6, rejected: 1 });
    assert.deepEqual(cut.rejections, ['the file ends within a packet']);
    const ng = pcapngFile(ethernet(tcpDialogue(ends, request, 'ok')));
    ng.writeUInt32LE(13, 32);
    assert.match(runImport(pcapFormat, [ng]).rejections[0], /a block of 13 bytes: the rest of the file is not read/);
  });

  test('68 bytes of a packet, as captures long were, are enough over IPv6 too', () => {
    const frames = ethernet(tcpDialogue(six, request, 'HTTP/1.1 200 OK\r\n\r\n'));
    const { counts, sessions } = runImport(pcapFormat, [pcapFile(frames, { snap: 68 })]);
    assert.deepEqual(counts, { lines: 8, sessions: 1, merged: 7, rejected: 0 });
    assert.deepEqual([sessions[0].destination.port, sessions[0].truncated, sessions[0].chunks], [80, true, []]);
    const short = runImport(pcapFormat, [pcapFile(frames, { snap: 67 })]);
    assert.deepEqual([short.counts.rejected, short.rejections[0]], [8, 'cut within its ports or flags']);
  });

  test('packets cut by the capture are sessions that say so', () => {
    const short = pcapFile(ethernet(tcpDialogue(ends, 'z'.repeat(500), 'ok')), { snap: 100 });
    const [session] = runImport(pcapFormat, [short]).sessions;
    assert.deepEqual([session.truncated, session.bytesIn], [true, 500]);
    assert.equal(said(session, 'in'), 'z'.repeat(46));
    const last = pcapFile(ethernet(tcpDialogue(ends, 'z'.repeat(500), '').slice(0, 4)), { snap: 100 });
    assert.equal(runImport(pcapFormat, [last]).sessions[0].truncated, true);
  });

  test('a link type nobody reads, frames of other protocols, headers that lie', () => {
    assert.deepEqual(runImport(pcapFormat, [pcapFile([Buffer.alloc(60)], { linkType: 105 })]).rejections, [
      'link type 105 is not read',
    ]);
    const arp = frameOf(ipPacket(ends, 6, Buffer.alloc(0)), 1);
    arp.writeUInt16BE(0x0806, 12);
    assert.equal(runImport(pcapFormat, [pcapFile([arp])]).counts.merged, 1);
    const lying = tcpPacket({ ...ends, flags: syn, sequence: 1 });
    lying[32] = 0x20;
    assert.deepEqual(run([lying]).rejections, ['a TCP header shorter than one']);
  });

  test('twenty thousand SYNs of different sources are as many probes within bounds', () => {
    const template = frameOf(tcpPacket({ ...ends, flags: syn, sequence: 1 }), 1);
    const frames = Array.from({ length: 20_000 }, (_, index) => {
      const frame = Buffer.from(template);
      frame.writeUInt32BE(0x0a000000 + index, 26);
      return frame;
    });
    const { counts, probes } = runImport(pcapFormat, [pcapFile(frames)]);
    assert.equal(counts.sessions, 20_000);
    assert.equal(new Set(probes.map(({ source }) => source)).size, 20_000);
  });

  const files: readonly Buffer[] = [
    file,
    pcapngFile(ethernet(tcpDialogue(six, request, 'ok'))),
    pcapFile(
      [...tcpDialogue(ends, 'a', 'b'), udpPacket(ends, 'c')].map((packet) => frameOf(packet, 113)),
      { linkType: 113, little: false },
    ),
  ];

  test('any bytes changed, anywhere, cut anywhere: every packet is told once, nothing throws', () => {
    const change = fc.record({ at: fc.nat(), value: fc.oneof(fc.nat({ max: 255 }), fc.constantFrom(0, 255, 128)) });
    fc.assert(
      fc.property(fc.constantFrom(...files), fc.array(change, { maxLength: 12 }), fc.nat(), (original, changes, cut) => {
        const bytes = Buffer.from(original);
        for (const { at, value } of changes) bytes[at % bytes.length] = value;
        const { counts } = runImport(pcapFormat, [bytes.subarray(0, bytes.length - (cut % 40))]);
        assert.equal(counts.lines, counts.sessions + counts.merged + counts.rejected);
      }),
      { numRuns: 500 },
    );
  });
});
