// What was read against what was met: each way they agree or do not, and how sure the answer then may be.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ConnectOutcome } from '../../kernel/connect-probe.ts';
import type { CauseId } from '../../model/diagnosis.ts';
import type { MachineListener, MachineNamespace } from '../../model/machine.ts';
import { type FaultWords, hopOf, type WalkHop } from './hop.ts';
import { judge } from './judgement.ts';
import type { PathWalk } from './path-walk.ts';
import type { ProbeRun } from './probe-run.ts';

const namespace = { inode: '1', name: 'server' } as unknown as MachineNamespace;
const where = { namespace, way: 'there' } as const;
const fine = hopOf(where, { layer: 'route', state: 'pass', detail: 'fine' });
const wrong = (id: CauseId, more: Partial<FaultWords> = {}): WalkHop =>
  hopOf(where, { layer: 'filter', state: 'fail', detail: id, fault: { id, detail: id, effect: 'silence', ...more } });
const socketFault = {
  fault: { id: 'service-not-listening', detail: 'nobody', effect: 'refused' },
} as const;
const whole = {
  there: 'delivered',
  back: 'delivered',
  listener: {} as MachineListener,
  hops: [],
  through: [],
  legs: [],
  cameBy: new Map(),
} as PathWalk;
const met = (result: ConnectOutcome['result'], more: Partial<ProbeRun> & Partial<ConnectOutcome> = {}): ProbeRun => ({
  transport: 'tcp',
  attempts: [{ result, sourcePort: 5, ms: 1, receivedBytes: 0, ...(more.ending && { ending: more.ending }) }],
  growth: new Map([['1', {}]]),
  rulePackets: new Map(),
  endings: [],
  after: new Map(),
  drops: [],
  resets: [],
  notMeasured: [],
  ...more,
});
const words = (hops: WalkHop[], run?: ProbeRun, walk = whole): string => {
  const { verdict, confidence, cause, disagreement } = judge(walk, hops, run);
  return [verdict, confidence, cause?.fault?.id ?? '-', ...(disagreement ? ['both said'] : [])].join(' ');
};

test('without a probe everything is a prediction, and what was not seen is no proof', () => {
  assert.equal(words([fine]), 'reachable predicted -');
  assert.equal(words([fine, wrong('fw-rule-drop'), wrong('no-return-route')]), 'unreachable predicted fw-rule-drop');
  assert.equal(words([wrong('pmtu-blackhole')]), 'degraded predicted pmtu-blackhole');
  assert.equal(words([wrong('reply-lost-off-host')]), 'inconclusive predicted reply-lost-off-host');
  assert.equal(words([wrong('fw-rate-limit', { certain: false })]), 'inconclusive predicted fw-rate-limit');
  assert.equal(
    words([wrong('fw-rate-limit', { certain: false }), wrong('no-return-route')]),
    'unreachable predicted no-return-route',
  );
  assert.equal(words([fine], undefined, { ...whole, back: 'left' }), 'inconclusive predicted -');
  for (const layer of ['filter', 'cgroup', 'xfrm', 'socket']) {
    const unread = hopOf(where, { layer, state: 'not-measured', detail: 'it could not be read' });
    assert.equal(words([fine, unread]), 'inconclusive unknown -', layer);
  }
  assert.equal(words([hopOf(where, { layer: 'filter', state: 'unknown', detail: 'undecided' })]), 'inconclusive unknown -');
});

test('a probe proves what the kernel counted, and only observes what fits', () => {
  const growth = (name: string) => ({ growth: new Map([['1', { [name]: 2 }]]) });
  assert.equal(words([fine], met('connected')), 'reachable proven -');
  const counted = growth('TcpExt.IPReversePathFilter');
  const filtered = wrong('rpfilter');
  assert.equal(words([filtered], met('timeout', counted)), 'unreachable observed rpfilter', 'others may have moved it');
  const { suspect } = judge(whole, [filtered], met('timeout', counted));
  assert.deepEqual(suspect, { hop: filtered, meter: { kind: 'counter', name: 'TcpExt.IPReversePathFilter' } });
  const repeated = (exact: boolean) => ({ ...counted, repeated: { hop: filtered, exact, text: 'again' } });
  assert.equal(words([filtered], met('timeout', repeated(true))), 'unreachable proven rpfilter');
  assert.equal(words([filtered], met('timeout', repeated(false))), 'unreachable observed rpfilter');
  const sent = { resets: [{ kind: 'reset-sent', reason: 'NO_SOCKET' }] } as unknown as Partial<ProbeRun>;
  const nobody = wrong('service-not-listening', { effect: 'refused' });
  assert.equal(words([nobody], met('refused', growth('Tcp.OutRsts'))), 'unreachable observed service-not-listening');
  assert.equal(
    words([nobody], met('refused', { ...growth('Tcp.OutRsts'), ...sent })),
    'unreachable proven service-not-listening',
  );
  const lostOutside = wrong('reply-lost-off-host');
  assert.equal(words([lostOutside], met('timeout', growth('TcpExt.TCPSynRetrans'))), 'inconclusive observed reply-lost-off-host');
  const refusing = wrong('fw-reject-rst', { effect: 'refused' });
  assert.equal(words([refusing], met('refused')), 'unreachable observed fw-reject-rst');
  const lost: WalkHop = { ...wrong('no-return-route'), way: 'back' };
  assert.equal(
    words([refusing, lost], met('timeout')),
    'unreachable observed fw-reject-rst',
    'its reset is lost on the way back',
  );
  const injected = { injected: { by: 'eth0', answeredBy: 'eth0' } };
  assert.equal(words([fine], met('connected', injected)), 'reachable observed -');
});

test('a cause whose own counter was read and stood still is foretold and no more, and that is said', () => {
  const still = (hop: WalkHop, run: ProbeRun): string =>
    (judge(whole, [hop], run).evidence.get(hop) ?? []).map(({ text }) => text).join('; ');
  const filtered = wrong('rpfilter');
  assert.equal(words([filtered], met('timeout')), 'unreachable predicted rpfilter');
  assert.match(still(filtered, met('timeout')), /no answer.*IPReversePathFilter: \+0/);
  assert.equal(words([filtered], met('timeout', { growth: new Map() })), 'unreachable observed rpfilter', 'it was not read');
  assert.equal(words([wrong('reply-lost-off-host')], met('timeout')), 'inconclusive predicted reply-lost-off-host');
  const refusing = wrong('fw-reject-rst', { effect: 'refused' });
  const resets = met('refused', { growth: new Map([['1', { 'Tcp.OutRsts': 1 }]]) });
  assert.equal(words([refusing], resets), 'unreachable predicted fw-reject-rst', 'a socket may have sent it');
  assert.match(still(refusing, resets), /Tcp.OutRsts \+1/);
  const seenHere = { repeated: { hop: filtered, exact: true, text: 'again' } };
  assert.equal(words([filtered], met('timeout', seenHere)), 'unreachable observed rpfilter', 'seen of this flow');
});

test('what a rule refuses by ICMP comes as more than one error', () => {
  for (const result of ['refused', 'unreachable', 'denied', 'failed'] as const) {
    const counted = { growth: new Map([['1', { Icmp6OutDestUnreachs: 1 }]]) };
    const rejected = wrong('fw-reject-icmp', { effect: 'refused' });
    assert.equal(words([rejected], met(result, counted)), 'unreachable observed fw-reject-icmp', result);
  }
  for (const result of ['denied', 'failed'] as const) {
    assert.equal(
      words([wrong('fw-reject-rst', { effect: 'refused' })], met(result)),
      'inconclusive unknown fw-reject-rst both said',
    );
    const nobody = hopOf(where, { ...socketFault, layer: 'socket', state: 'fail', detail: 'nobody' });
    assert.equal(words([nobody], met(result)), 'inconclusive unknown service-not-listening both said');
  }
});

test('what is dropped where it is made may come back as an error', () => {
  const elsewhere = { ...namespace, inode: '2' };
  const begin = hopOf({ namespace: elsewhere, way: 'there' }, { layer: 'route', state: 'pass', detail: 'fine' });
  const dropped = (layer: string, parts: FaultWords['parts'] = {}): WalkHop => ({ ...wrong('fw-rule-drop', { parts }), layer });
  const out = dropped('filter', { hook: 'output' });
  const udp = { transport: 'udp' } as const;
  assert.equal(words([fine, out], met('denied', udp)), 'unreachable observed fw-rule-drop', 'EPERM');
  assert.equal(
    words([fine, dropped('filter', { hook: 'postrouting' })], met('denied', udp)),
    'unreachable observed fw-rule-drop',
  );
  assert.equal(words([fine, dropped('qdisc')], met('failed', udp)), 'unreachable observed fw-rule-drop', 'ENOBUFS');
  assert.equal(words([fine, dropped('xfrm')], met('denied')), 'unreachable observed fw-rule-drop', 'of TCP too');
  const both = 'inconclusive unknown fw-rule-drop both said';
  assert.equal(words([fine, out], met('denied')), both, 'TCP keeps that to itself');
  assert.equal(words([fine, dropped('filter', { hook: 'input' })], met('denied', udp)), both);
  assert.equal(words([begin, out], met('denied', udp)), both, 'in another namespace than the source');
  assert.equal(words([fine, { ...out, way: 'back' }], met('denied', udp)), both);
});

test('where not all of the way was seen, it is not said that it must work', () => {
  const said = (walk: PathWalk, run: ProbeRun): string => judge(walk, [fine], run).disagreement ?? '';
  for (const transport of ['tcp', 'udp'] as const) {
    assert.match(
      said({ ...whole, there: 'left' }, met('timeout', { transport })),
      /^nothing that was read stops it, but not all/,
    );
    assert.doesNotMatch(said({ ...whole, back: 'left' }, met('timeout', { transport })), /must work/);
  }
  assert.match(said(whole, met('timeout')), /^by what was read it must work/);
});

test('where the two disagree nothing is decided and both are said', () => {
  assert.equal(words([wrong('fw-rule-drop')], met('connected')), 'inconclusive unknown fw-rule-drop both said');
  assert.equal(words([wrong('fw-rule-drop')], met('refused')), 'inconclusive unknown fw-rule-drop both said');
  assert.equal(words([fine], met('timeout')), 'inconclusive unknown - both said');
  const refusing = wrong('service-not-listening', { effect: 'refused' });
  assert.equal(
    words([refusing], met('timeout')),
    'inconclusive unknown service-not-listening both said',
    'nothing loses its reset',
  );
  assert.equal(words([wrong('fw-rule-drop')], met('unreachable')), 'inconclusive unknown fw-rule-drop both said');
  const silent = wrong('next-hop-unreachable', { effect: 'unreachable' });
  assert.equal(words([silent], met('timeout')), 'unreachable observed next-hop-unreachable', 'who says so takes his time');
  const elsewhere = { injected: { by: 'eth0', answeredBy: 'eth1' } };
  assert.equal(words([fine], met('connected', elsewhere)), 'inconclusive unknown - both said');
  const bridged = { injected: { by: 'eth0', master: 'br0', answeredBy: 'br0' } };
  assert.equal(words([fine], met('connected', bridged)), 'reachable observed -');
});

test('behind a place where the kernel contradicts the tables nothing is concluded from them', () => {
  const disputed: WalkHop = { ...hopOf(where, { layer: 'route', state: 'unknown', detail: 'two words' }), disputed: true };
  assert.equal(words([disputed, wrong('no-return-route')]), 'inconclusive unknown - both said');
  assert.equal(words([disputed, fine]), 'inconclusive unknown - both said');
  assert.equal(words([wrong('fw-rule-drop'), disputed]), 'unreachable predicted fw-rule-drop', 'what comes before stands');
  assert.equal(words([disputed, wrong('no-return-route')], met('timeout')), 'inconclusive unknown - both said');
  assert.equal(words([disputed, fine], met('connected')), 'reachable proven -', 'seen happening');
  const { at, disagreement } = judge(whole, [disputed, wrong('no-return-route')], undefined);
  assert.equal(at, disputed);
  assert.match(disagreement ?? '', /two words.*no-return-route/);
});

test('what may strike is the cause only where it was seen to', () => {
  const queue = wrong('qdisc-drop', { certain: false });
  assert.equal(words([queue], met('timeout')), 'inconclusive unknown - both said', 'an old count of drops explains no silence');
  const dropped = {
    drops: [{ kind: 'drop', reason: 'QDISC_DROP', location: '__dev_queue_xmit' }],
  } as unknown as Partial<ProbeRun>;
  assert.equal(words([queue], met('timeout', dropped)), 'inconclusive unknown - both said', 'of whatever flow');
  const qdisc = { device: 'eth0', kind: 'htb', drops: 3, overlimits: 0, text: '' };
  const now = { ...namespace, neighbours: [], listeners: [], qdiscs: [{ ...qdisc, drops: 5 }] } as unknown as MachineNamespace;
  const counting = wrong('qdisc-drop', { certain: false, parts: { qdisc } });
  const after = { after: new Map([['1', now]]) };
  assert.equal(words([counting], met('timeout', after)), 'inconclusive unknown - both said', 'others send by it too');
  const again = { ...after, repeated: { hop: counting, exact: true, text: 'again' } };
  assert.equal(words([counting], met('timeout', again)), 'unreachable proven qdisc-drop');
  const told = { ...wrong('fw-rule-drop', { certain: false }), evidence: [{ rung: 'trace', text: 'it ended there' }] };
  assert.equal(words([told], met('timeout')), 'unreachable observed fw-rule-drop');
});

test('what leaves a connection possible: limits, resets, sizes, two backends', () => {
  const limit = wrong('fw-rate-limit', { certain: false });
  const second: ConnectOutcome = { result: 'timeout', sourcePort: 6, ms: 500, receivedBytes: 0 };
  const twice = met('connected');
  assert.equal(words([limit], { ...twice, attempts: [...twice.attempts, second] }), 'degraded proven fw-rate-limit');
  assert.equal(words([limit], met('connected')), 'reachable proven -', 'a limit that was not met is no finding');
  assert.equal(words([wrong('nat-backend-conflict')], met('connected')), 'degraded predicted nat-backend-conflict');
  assert.equal(words([wrong('pmtu-blackhole', { effect: 'stall' })], met('connected')), 'degraded predicted pmtu-blackhole');
  const maybe = wrong('pmtu-blackhole', { effect: 'stall', certain: false });
  assert.equal(words([maybe], met('connected')), 'inconclusive predicted pmtu-blackhole');
  const again = { growth: new Map([['2', { 'Tcp.RetransSegs': 1 }]]) };
  assert.equal(
    words([wrong('pmtu-blackhole', { effect: 'stall' })], met('connected', again)),
    'degraded observed pmtu-blackhole',
  );
  assert.equal(words([fine], met('connected', { ending: 'reset' })), 'degraded observed - both said', 'nobody told why');
  assert.equal(words([fine], met('connected', { ending: 'closed' })), 'reachable proven -');
  const counted = { growth: new Map([['1', { 'TcpExt.TCPAbortOnClose': 1 }]]) };
  assert.equal(
    words([wrong('app-abort', { effect: 'stall' })], met('connected', { ...counted, ending: 'reset' })),
    'degraded observed app-abort',
  );
  const told = { resets: [{ kind: 'reset-sent', reason: 'TCP_ABORT_ON_CLOSE' }] } as unknown as Partial<ProbeRun>;
  assert.equal(
    words([wrong('app-abort', { effect: 'stall' })], met('connected', { ...counted, ...told, ending: 'reset' })),
    'degraded proven app-abort',
  );
});

test('a datagram: an answer and a refusal say something, silence nothing', () => {
  const udp = { transport: 'udp' } as const;
  const socket = hopOf(where, { layer: 'socket', state: 'pass', detail: 'a program' });
  const server = { ...whole, server: namespace };
  assert.equal(words([socket], met('connected', udp), server), 'reachable proven -');
  assert.equal(words([socket], met('refused', udp), server), 'inconclusive unknown - both said');
  assert.equal(words([socket], met('timeout', udp), server), 'inconclusive unknown - both said', 'open, or filtered');
  const read = { ...udp, growth: new Map([['1', { 'Udp.InDatagrams': 1 }]]) };
  const { suspect, verdict, disagreement } = judge(server, [socket], met('timeout', read));
  assert.deepEqual([verdict, suspect], ['inconclusive', { hop: socket, meter: { kind: 'counter', name: 'Udp.InDatagrams' } }]);
  assert.match(disagreement ?? '', /open, or filtered/);
  const again = (exact: boolean) => ({ ...read, repeated: { hop: socket, exact, text: 'again' } });
  assert.equal(words([socket], met('timeout', again(true)), server), 'reachable observed -', 'a program took it');
  assert.equal(words([socket], met('timeout', again(false)), server), 'inconclusive unknown - both said');
  assert.equal(words([wrong('fw-rule-drop'), socket], met('timeout', udp), server), 'unreachable predicted fw-rule-drop');
  const nobody = wrong('service-not-listening', { effect: 'refused' });
  const resets = { ...udp, growth: new Map([['1', { 'Tcp.OutRsts': 1 }]]) };
  assert.equal(judge(server, [nobody], met('refused', resets)).suspect, undefined, 'resets are no word of datagrams');
  const ports = { ...udp, growth: new Map([['1', { 'Udp.NoPorts': 1 }]]) };
  assert.deepEqual(judge(server, [nobody], met('refused', ports)).suspect?.meter, { kind: 'counter', name: 'Udp.NoPorts' });
});
