// Causes by what the kernel says and by what packets look like, on kernels old and new; what is no evidence changes nothing.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { frameOf, tcpBits, tcpPacket } from '../../../test/support/capture-file.ts';
import type { ResetSent } from '../../kernel/trace/tcp-events.ts';
import { viewPacket } from '../capture/packet-view.ts';
import { judgeReset, judgeSent, type ResetContext, type ResetVerdict, tellsEveryReset } from './judge-reset.ts';
import { ResetTable } from './reset-table.ts';
import type { SeenReset } from './tcp-flow.ts';

const { syn, ack, psh, fin, rst } = tcpBits;
const ends = { from: '10.0.0.1', to: '10.0.0.2', fromPort: 4000, toPort: 80 };
const back = { from: ends.to, to: ends.from, fromPort: 80, toPort: 4000 };
const handshake = [
  tcpPacket({ ...ends, flags: syn, sequence: 100 }),
  tcpPacket({ ...back, flags: syn | ack, sequence: 900, acknowledged: 101 }),
  tcpPacket({ ...ends, flags: ack, sequence: 101, acknowledged: 901 }),
];
const request = tcpPacket({ ...ends, flags: psh | ack, sequence: 101, acknowledged: 901, data: 'hello' });

/** The RST at the end of these packets, `gapMs` apart. */
function resetOf(packets: readonly Buffer[], gapMs = 1): SeenReset {
  const seen: SeenReset[] = [];
  const table = new ResetTable((one) => seen.push(one));
  for (const [index, packet] of packets.entries()) {
    const frame = frameOf(packet, 1);
    table.packet(viewPacket(frame, 0, frame.length, 1), index * gapMs * 1000, {});
  }
  assert.equal(seen.length, 1);
  return seen[0];
}

const bare = (parts: Parameters<typeof tcpPacket>[0]): Buffer => {
  const packet = tcpPacket({ id: 0, ...parts });
  packet.writeUInt16BE(0, 34);
  return packet;
};

const judge = (packets: readonly Buffer[], context: Partial<ResetContext> = {}, gapMs = 1): ResetVerdict =>
  judgeReset(resetOf(packets, gapMs), { traced: false, senderHere: false, ...context });
const short = ({ kind, cause, confidence }: ResetVerdict): string => `${kind} ${cause} ${confidence}`;

test('by bytes alone, with what looks the same', () => {
  const refused = judge([handshake[0], bare({ ...back, flags: rst | ack, sequence: 0, acknowledged: 101 })]);
  assert.deepEqual([short(refused), refused.alternatives], ['passive closed-port observed', ['firewall-reject']]);
  const lost = judge([...handshake, request, bare({ ...back, flags: rst, sequence: 901 })]);
  assert.equal(short(lost), 'passive unknown-connection observed');
  const closed = tcpPacket({ ...back, flags: fin | ack, sequence: 901, acknowledged: 101 });
  assert.equal(
    short(judge([...handshake, closed, request, bare({ ...back, flags: rst, sequence: 902 })])),
    'passive data-after-close observed',
  );
  const aborted = judge([...handshake, request, tcpPacket({ ...back, flags: rst | ack, sequence: 901, acknowledged: 106 })]);
  assert.equal(short(aborted), 'active aborted observed');
  assert.ok(aborted.alternatives.includes('linger-zero') && aborted.alternatives.includes('unread-data'));
  const probe = tcpPacket({ ...back, flags: ack, sequence: 900, acknowledged: 101 });
  const silent = [...handshake, probe, probe, tcpPacket({ ...back, flags: rst | ack, sequence: 901, acknowledged: 101 })];
  assert.equal(short(judge(silent, {}, 1000)), 'active keepalive observed');
  assert.equal(short(judge([bare({ ...back, flags: rst, sequence: 901 })])), 'unknown unexplained unknown');
});

test('forged ones by what is off, real ones not', () => {
  const off: readonly [Parameters<typeof tcpPacket>[0], RegExp][] = [
    [{ ...back, flags: rst, sequence: 901, ttl: 200 }, /TTL 200, this end's packets have 64/],
    [{ ...back, flags: rst, sequence: 5_000_000 }, /sequence 5000000 is 4999099 bytes off/],
    [{ ...back, flags: rst, sequence: 901, ttl: 63, id: 77 }, /TTL 63[\s\S]*identification 77/],
  ];
  for (const [parts, words] of off) {
    const verdict = judge([...handshake, request, bare(parts)]);
    assert.equal(short(verdict), 'forged forged observed');
    assert.match(verdict.evidence.map(({ text }) => text).join('\n'), words);
  }
  // One hop more or less alone is a route that changed.
  assert.equal(
    short(judge([...handshake, request, bare({ ...back, flags: rst, sequence: 901, ttl: 63 })])),
    'passive unknown-connection observed',
  );
});

test('of an address of this machine: no event is evidence only where events were seen', () => {
  const packets = [...handshake, request, bare({ ...back, flags: rst, sequence: 901 })];
  const rule = {
    backend: 'nft',
    family: 'ip',
    table: 't',
    chain: 'c',
    handle: 4,
    text: 'reject with tcp reset',
    netns: '',
    near: true,
  } as const;
  assert.equal(short(judge(packets, { traced: true, senderHere: true, rejectRules: [rule] })), 'firewall firewall-reject proven');
  const far = { ...rule, near: false };
  assert.equal(
    short(judge(packets, { traced: true, senderHere: true, rejectRules: [far] })),
    'firewall firewall-reject observed',
  );
  assert.equal(short(judge(packets, { traced: true, senderHere: true, rejectRules: [] })), 'forged forged proven');
  assert.equal(short(judge(packets, { traced: true, senderHere: true })), 'firewall firewall-reject observed');
  const unmeasured = judge(packets, { traced: false, senderHere: true, rejectRules: [] });
  assert.equal(short(unmeasured), 'passive unknown-connection observed');
  assert.match(unmeasured.evidence.at(-1)?.text ?? '', /not measured/);
  // Some namespace has the address, this packet need not be its.
  const elsewhere: ResetContext = { traced: true, rejectRules: [] };
  assert.equal(short(judgeReset(resetOf(packets), elsewhere)), 'passive unknown-connection observed');
  const off = [...handshake, request, bare({ ...back, flags: rst, sequence: 901, ttl: 9 })];
  assert.equal(short(judge(off, { traced: true, senderHere: true, rejectRules: [rule] })), 'forged forged proven');
});

test('a SYN into an established connection is told, one on ports that are used again is not', () => {
  const challenges = (packets: readonly Buffer[]): number[] => {
    const table = new ResetTable(() => {});
    for (const [index, packet] of packets.entries()) {
      const frame = frameOf(packet, 1);
      table.packet(viewPacket(frame, 0, frame.length, 1), index * 1000, {});
    }
    return table.takeChallenges(Number.POSITIVE_INFINITY).map(({ tally }) => tally.answers);
  };
  const again = tcpPacket({ ...ends, flags: syn, sequence: 70_000 });
  const answer = tcpPacket({ ...back, flags: syn | ack, sequence: 8000, acknowledged: 70_001 });
  const closes = [
    tcpPacket({ ...ends, flags: fin | ack, sequence: 106, acknowledged: 901 }),
    tcpPacket({ ...back, flags: fin | ack, sequence: 901, acknowledged: 107 }),
    tcpPacket({ ...ends, flags: ack, sequence: 107, acknowledged: 902 }),
  ];
  const challenge = tcpPacket({ ...back, flags: ack, sequence: 901, acknowledged: 106 });
  assert.deepEqual(challenges([...handshake, request, again, challenge]), [1]);
  assert.deepEqual(challenges([...handshake, request, again, again]), [0]);
  assert.deepEqual(challenges([...handshake, request, ...closes, again, answer]), []);
  assert.deepEqual(
    challenges([
      ...handshake,
      request,
      tcpPacket({ ...back, flags: rst | ack, sequence: 901, acknowledged: 106 }),
      again,
      answer,
    ]),
    [],
  );
  assert.deepEqual(challenges([...handshake, request, again, answer]), [], 'its end was not seen');
  assert.deepEqual(challenges([handshake[0], handshake[0], ...handshake.slice(1), handshake[0]]), [], 'sent again');
});

test('what kernels say', () => {
  const base: ResetSent = { kind: 'reset-sent', at: 0, comm: 'x\u001b[2J', pid: 7, inTask: true };
  const cases: readonly [Partial<ResetSent>, string][] = [
    [{ reason: 'NO_SOCKET' }, 'passive closed-port proven'],
    [{ reason: 'TCP_STATE', state: 'CLOSE', socket: 's' }, 'active linger-zero proven'],
    [{ reason: 'TCP_STATE', state: 'ESTABLISHED', socket: 's' }, 'active destroyed proven'],
    [{ reason: 'TCP_TIMEWAIT_SOCKET' }, 'passive data-after-close proven'],
    [{ reason: 'TCP_RFC7323_PAWS' }, 'passive bad-segment proven'],
    [{}, 'passive closed-port observed'],
    [{ state: 'CLOSE', socket: 's' }, 'active linger-zero observed'],
    [{ state: 'ESTABLISHED', socket: 's' }, 'active aborted observed'],
  ];
  for (const [more, expected] of cases) assert.equal(short(judgeSent({ ...base, ...more })), expected);
  const named = judgeSent({ ...base, reason: 'TCP_ABORT_ON_CLOSE', socket: 's' });
  assert.deepEqual([named.comm, named.pid], ['x\\x1b[2J', 7]);
  assert.equal(judgeSent({ ...base, inTask: false, reason: 'TCP_KEEPALIVE_TIMEOUT' }).comm, undefined);
});

test('only a kernel that gives reasons tells of every RST', () => {
  assert.equal(tellsEveryReset(['skbaddr', 'skaddr', 'state', 'reason', 'saddr', 'daddr']), true);
  assert.equal(tellsEveryReset(['skbaddr', 'skaddr', 'state', 'sport', 'dport', 'saddr', 'daddr']), false);
});
