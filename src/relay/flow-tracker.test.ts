import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { EndedConnection } from '../kernel/conntrack-events.ts';
import type { CapturedPacket } from '../kernel/flow-capture.ts';
import { parseSyn } from '../kernel/packet-header.ts';
import { tcpFlag } from './flow.ts';
import type { FlowLimits } from './flow-sink.ts';
import { FlowTracker } from './flow-tracker.ts';

/** An IPv4 packet of 10.0.0.1:1000 to 10.0.0.9:80, or back. */
function segment(
  direction: CapturedPacket['direction'],
  flags: number,
  sequence: number,
  acknowledged: number,
  text = '',
  port = 1000,
): CapturedPacket {
  const bytes = new Uint8Array(40 + text.length);
  const view = new DataView(bytes.buffer);
  const out = direction === 'out';
  bytes.set([0x45, 0, 0, bytes.length, 0, 0, 0, 0, 63, 6, 0, 0, 10, 0, 0, out ? 9 : 1, 10, 0, 0, out ? 1 : 9]);
  view.setUint16(20, out ? 80 : port);
  view.setUint16(22, out ? port : 80);
  view.setUint32(24, sequence);
  view.setUint32(28, acknowledged);
  bytes[32] = 0x50;
  bytes[33] = flags;
  bytes.set(Buffer.from(text), 40);
  return { direction, mark: 7, routed: true, at: 0, bytes, start: 0, end: bytes.length, macAt: -1 };
}

const { syn, ack, fin, rst, psh } = tcpFlag;

function stage(limits: Partial<FlowLimits> = {}) {
  let now = 1_000_000_000;
  const log: string[] = [];
  const tracker = new FlowTracker(
    () => now,
    {
      open: (flow, { source, destination, service }, tags) =>
        log.push(
          `open ${flow} ${source.ip}:${source.port}>${destination.ip}:${destination.port} ${service}${tags.length ? ` ${tags}` : ''}`,
        ),
      chunk: (flow, direction, bytes) => log.push(`${direction} ${flow} ${Buffer.from(bytes)}`),
      skip: (flow, direction, count) => log.push(`skip ${flow} ${direction} ${count}`),
      close: (flow, outcome) => log.push(`close ${flow} ${outcome}`),
      probe: (kind, place, packet) => log.push(`probe ${kind} ${place.diversion} ttl ${packet[8]}`),
    },
    (mark, ip) => (mark === 7 && ip === '10.0.0.9' ? { network: 'n', diversion: 'd', service: 'web' } : undefined),
    limits,
  );
  return {
    log,
    tracker,
    pass(ms: number) {
      now += ms * 1000;
      tracker.tick();
    },
    feed(...packets: CapturedPacket[]) {
      for (const one of packets) tracker.packet({ ...one, at: now });
    },
  };
}

const handshake = (port = 1000): CapturedPacket[] => [
  segment('in', syn, 100, 0, '', port),
  segment('out', syn | ack, 500, 101, '', port),
  segment('in', ack, 101, 501, '', port),
];

function ending(more: Partial<EndedConnection> = {}): EndedConnection {
  return {
    mark: 7,
    protocol: 6,
    addressBytes: 4,
    bytes: Uint8Array.of(10, 0, 0, 1, 10, 0, 0, 9),
    sourceAt: 0,
    destinationAt: 4,
    sourcePort: 1000,
    destinationPort: 80,
    answered: true,
    assured: true,
    packetsIn: 5,
    packetsOut: 4,
    bytesIn: 300,
    bytesOut: 400,
    start: 1_000_000_000,
    end: 1_000_500_000,
    ...more,
  };
}

test('a connection is a session from its handshake on, and ends with its second FIN', () => {
  const { log, feed, tracker } = stage();
  feed(
    ...handshake(),
    segment('in', psh | ack, 101, 501, 'hello'),
    segment('out', psh | ack, 501, 106, 'world'),
    segment('out', fin | ack, 506, 106),
    segment('in', fin | ack, 106, 507),
  );
  assert.deepEqual(log, ['open 1 10.0.0.1:1000>10.0.0.9:80 web', 'in 1 hello', 'out 1 world', 'close 1 server-closed']);
  // The kernel tells the end of it later: no news.
  tracker.ended(ending());
  assert.equal(log.length, 4);
  assert.equal(tracker.counters.open, 0);
});

test('what overtakes the end of its connection is still of it', () => {
  const { log, feed, pass } = stage();
  feed(
    ...handshake(),
    segment('in', fin | ack, 106, 501),
    segment('out', fin | ack, 501, 107),
    segment('in', psh | ack, 101, 501, 'hello'),
  );
  pass(1000);
  assert.deepEqual(log.slice(1), ['in 1 hello', 'close 1 client-closed']);
});

test('who ended it, and with what, is the outcome', () => {
  for (const [packet, outcome] of [
    [segment('in', rst, 101, 0), 'client-reset'],
    [segment('out', rst | ack, 501, 101), 'server-closed'],
  ] as const) {
    const { log, feed } = stage();
    feed(...handshake(), packet);
    assert.deepEqual(log.slice(1), [`close 1 ${outcome}`]);
  }
});

test('no completed handshake, no session', () => {
  const { log, feed, pass, tracker } = stage();
  feed(segment('in', syn, 1, 0), segment('out', rst | ack, 0, 2));
  feed(segment('in', syn, 1, 0, '', 1001), segment('out', syn | ack, 9, 2, '', 1001), segment('in', rst, 2, 0, '', 1001));
  feed(segment('in', syn, 1, 0, '', 1002));
  feed(segment('in', syn, 1, 0, '', 1003), segment('out', syn | ack, 9, 2, '', 1003));
  feed(segment('odd', 0, 1, 0), segment('odd', fin | psh | tcpFlag.urg, 1, 0), segment('in', ack, 5, 5, '', 1004));
  pass(5000);
  assert.deepEqual(
    log.map((line) => line.split(' ')[1]),
    ['closed', 'half-open', 'null', 'xmas', 'ack', 'filtered', 'half-open'],
  );
  // The hop limit as it arrived, before the hop the capture sits behind.
  assert.ok(log.every((line) => line.endsWith('ttl 64')));
  assert.equal(tracker.counters.opened, 0);
  tracker.ended(ending({ sourcePort: 1002, answered: false, assured: false }));
  assert.equal(tracker.counters.uncaptured, 0);
});

test('what the capture lost is counted, and a connection it lost wholly is known from the kernel', () => {
  const { log, feed, tracker } = stage();
  feed(
    ...handshake(),
    segment('in', psh | ack, 111, 501, 'later'),
    segment('in', fin | ack, 116, 501),
    segment('out', fin | ack, 531, 117),
  );
  tracker.flush();
  assert.deepEqual(log.slice(1), ['in 1 later', 'skip 1 in 10', 'skip 1 out 30', 'close 1 client-closed']);
  tracker.ended(ending({ sourcePort: 2000 }));
  assert.deepEqual(log.slice(5), [
    'open 2 10.0.0.1:2000>10.0.0.9:80 web uncaptured',
    'skip 2 in 100',
    'skip 2 out 240',
    'close 2 idle',
  ]);
});

test('a FIN, SYN or RST that the service does not take hides nothing and ends nothing', () => {
  const lies = {
    fin: segment('in', fin | ack, 101, 501),
    syn: segment('in', syn, 50_000, 0),
    rst: segment('in', rst, 150, 0),
  };
  for (const [name, lie] of Object.entries(lies)) {
    const { log, feed, tracker, pass } = stage();
    feed(...handshake(), lie, segment('out', ack, 501, 101), segment('in', psh | ack, 101, 501, 'attack'));
    feed(segment('out', fin | ack, 501, 107), segment('in', fin | ack, 107, 502), segment('in', ack, 108, 502));
    pass(1000);
    assert.deepEqual(
      log.slice(1),
      ['in 1 attack', 'close 1 server-closed', ...(name === 'syn' ? ['probe half-open d ttl 64'] : [])],
      name,
    );
    assert.equal(tracker.counters.missingBytes, 0);
  }
});

test('a SYN behind extension headers is a probe with all it says; other ICMP is counted', () => {
  const { tracker, log } = stage();
  const options = 144;
  const bytes = new Uint8Array(40 + options + 24);
  bytes.set([0x60, 0, 0, 0, 0, 0, 60, 63]);
  bytes.set([6, options / 8 - 1], 40);
  bytes.set([3, 232, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0x60, syn, 0x20, 0, 0, 0, 0, 0, 2, 4, 5, 180], 40 + options);
  const seen: (number | undefined)[] = [];
  const six = new FlowTracker(
    () => 1_000_000_000,
    { open() {}, chunk() {}, skip() {}, close() {}, probe: (_kind, _place, packet) => seen.push(parseSyn(packet)?.mss) },
    () => ({ network: 'n', diversion: 'd', service: 'web' }),
  );
  six.packet({ direction: 'in', mark: 7, routed: true, at: 0, bytes, start: 0, end: bytes.length, macAt: -1 });
  six.flush();
  assert.deepEqual(seen, [1460]);
  const icmp = segment('in', 0, 0, 0);
  icmp.bytes[9] = 1;
  icmp.bytes[20] = 13;
  tracker.packet(icmp);
  assert.deepEqual([tracker.counters.strange, log.length], [1, 0]);
});

test('which SYN the service took is what its answer says', () => {
  const { log, feed } = stage();
  feed(segment('in', syn, 100, 0), segment('in', syn, 50_000, 0));
  feed(segment('out', syn | ack, 500, 101), segment('in', psh | ack, 101, 501, 'attack'));
  assert.deepEqual(log.slice(1), ['open 2 10.0.0.1:1000>10.0.0.9:80 web', 'in 2 attack']);
  // The same ports again, and the service agrees.
  feed(segment('in', syn, 9000, 0), segment('out', syn | ack, 7000, 9001), segment('in', psh | ack, 9001, 7001, 'new'));
  assert.deepEqual(log.slice(3), ['close 2 idle', 'open 3 10.0.0.1:1000>10.0.0.9:80 web', 'in 3 new']);
});

test('a reset out of place counts when the kernel ends the connection', () => {
  const { log, feed, tracker } = stage();
  feed(...handshake(), segment('in', rst, 150, 0));
  tracker.ended(ending());
  assert.deepEqual(log.slice(1), ['close 1 client-reset']);
});

test('where news of endings was lost, silence ends a connection; elsewhere it does not', () => {
  const { log, feed, pass, tracker } = stage({ unheardMs: 300_000 });
  feed(...handshake());
  for (let minute = 0; minute < 10; minute += 1) pass(61_000);
  assert.equal(tracker.counters.open, 1);
  tracker.endingsLost();
  feed(segment('in', psh | ack, 101, 501, 'still here'));
  for (let minute = 0; minute < 4; minute += 1) pass(61_000);
  assert.equal(tracker.counters.open, 1);
  for (let minute = 0; minute < 3; minute += 1) pass(61_000);
  assert.deepEqual(log.slice(1), ['in 1 still here', 'close 1 idle']);
});

test('of a long session no more is kept than the bound, and all of it counts', () => {
  const { log, feed, tracker } = stage({ sessionBytes: 8 });
  feed(...handshake(), segment('in', psh | ack, 101, 501, 'hello'), segment('out', psh | ack, 501, 106, 'world'));
  tracker.flush();
  assert.deepEqual(log.slice(1), ['in 1 hello', 'out 1 wor', 'skip 1 out 2', 'close 1 shutdown']);
});

test('what passes after the capture has enough is counted by the kernel, and once', () => {
  for (const last of [[], [segment('in', rst, 106, 0)], [segment('in', rst, 99_106, 0)]]) {
    const { log, feed, tracker } = stage({ capturedBytes: 1000 });
    feed(...handshake(), segment('in', psh | ack, 101, 501, 'hello'), segment('out', psh | ack, 501, 106, 'world'), ...last);
    // 99 KiB up in a hundred packets, four packets down.
    tracker.ended(ending({ packetsIn: 100, bytesIn: 4000 + 99_005, packetsOut: 4, bytesOut: 165 }));
    const exact = last[0]?.bytes[27] === 106;
    assert.deepEqual(
      log.slice(3),
      exact ? ['close 1 client-reset'] : ['skip 1 in 99000', `close 1 ${last[0] ? 'client-reset' : 'idle'}`],
    );
  }
});

test('too many connections: the one longest silent makes room, and it is said', () => {
  const { log, feed, tracker } = stage({ flows: 2 });
  feed(...handshake(1), ...handshake(2), ...handshake(3));
  assert.ok(log.includes('close 1 shed'));
  assert.equal(tracker.counters.shed, 1);
  assert.equal(tracker.counters.open, 2);
});

test('a flood of datagrams sheds sessions that were opened, and closes each', () => {
  const { log, tracker } = stage({ flows: 3 });
  for (let port = 1; port <= 10; port += 1) {
    const packet = segment('in', 0, 0, 0, '', port);
    packet.bytes[9] = 17;
    tracker.packet(packet);
  }
  assert.deepEqual([tracker.counters.opened, tracker.counters.closed, tracker.counters.shed], [7, 7, 7]);
  tracker.flush();
  assert.deepEqual([tracker.counters.opened, tracker.counters.closed, tracker.counters.open], [10, 10, 0]);
  assert.equal(log.filter((line) => line.startsWith('close')).length, 10);
});

test('the five hundred thousandth SYN costs what the first did', () => {
  const { tracker } = stage({ flows: 1000 });
  const packet = segment('in', syn, 1, 0);
  const view = new DataView(packet.bytes.buffer);
  const round = (from: number): number => {
    const before = process.cpuUsage();
    for (let index = from; index < from + 50_000; index += 1) {
      view.setUint32(12, 0x0b000000 + index);
      tracker.packet(packet);
    }
    return process.cpuUsage(before).user / 1000;
  };
  const first = round(0);
  const later = Array.from({ length: 8 }, (_, index) => round((index + 1) * 50_000));
  // Of the processor, and of the best of the last: what grows with every SYN has no good round, a busy machine has.
  const last = Math.min(...later.slice(-4));
  assert.ok(last < 5 * first + 200, `${first} ms of the processor, then ${last} ms`);
});

test('any bytes in any order: nothing is thrown, every session that opened closes, tables keep their bounds', () => {
  const anyPacket = fc.oneof(
    fc
      .record({
        direction: fc.constantFrom('in' as const, 'out' as const, 'odd' as const),
        flags: fc.nat(63),
        sequence: fc.constantFrom(0, 1, 100, 101, 500, 501, 0xffffffff),
        acknowledged: fc.constantFrom(0, 101, 501, 0xffffffff),
        text: fc.string({ maxLength: 20 }),
        port: fc.nat(5),
      })
      .map((one) => segment(one.direction, one.flags, one.sequence, one.acknowledged, one.text, one.port)),
    fc
      .record({
        bytes: fc.uint8Array({ maxLength: 90 }),
        direction: fc.constantFrom('in' as const, 'out' as const, 'odd' as const),
      })
      .map(
        ({ bytes, direction }): CapturedPacket => ({
          direction,
          mark: 7,
          routed: true,
          at: 0,
          bytes,
          start: 0,
          end: bytes.length,
          macAt: -1,
        }),
      ),
  );
  fc.assert(
    fc.property(fc.array(fc.tuple(anyPacket, fc.nat(2000)), { maxLength: 60 }), (steps) => {
      const { log, feed, pass, tracker } = stage({ flows: 4, ended: 4, waitingBytes: 64 });
      for (const [packet, ms] of steps) {
        feed(packet);
        if (ms > 1500) pass(ms);
        if (ms < 100) tracker.ended(ending({ sourcePort: ms % 6 }));
        assert.ok(tracker.counters.open <= 4);
      }
      tracker.flush();
      const opened = log.filter((line) => line.startsWith('open')).length;
      const closed = log.filter((line) => line.startsWith('close')).length;
      assert.equal(opened, closed);
      assert.equal(tracker.counters.opened, opened);
      assert.equal(tracker.counters.open, 0);
    }),
    { numRuns: 500 },
  );
});
