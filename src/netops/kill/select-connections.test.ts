// Selectors: what words mean, which connections they choose, what is refused; the guard before every kill, and the exit codes.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseAddress } from '../../model/address.ts';
import { parseSshConnection } from '../../plan/guard.ts';
import { exitCodeOfKill, type KillReport, presenceOf } from './kill-connections.ts';
import { refusalOf } from './kill-guard.ts';
import { type Candidate, describeSelector, isSelected, parseSelector, renderEnds } from './select-connections.ts';

const address = (text: string) => {
  const found = parseAddress(text);
  assert.ok(found);
  return found;
};

const one: Candidate = {
  transport: 'tcp',
  state: 'ESTABLISHED',
  local: address('172.17.0.2'),
  localPort: 80,
  remote: address('203.0.113.9'),
  remotePort: 5000,
  translated: [{ local: address('10.0.0.1'), localPort: 8080, remote: address('203.0.113.9'), remotePort: 5000 }],
  cookie: '17',
  uid: 33,
  processes: [{ pid: 42, comm: 'nginx', container: { id: 'abcdef0123456789', name: 'web' } }],
};
const selects = (text: string, candidate = one): boolean => isSelected(parseSelector(text.split(' ')), candidate);

test('what is selected', () => {
  for (const text of [
    '172.17.0.2:80-203.0.113.9:5000',
    '203.0.113.9:5000-172.17.0.2:80',
    '203.0.113.9:5000-10.0.0.1:8080',
    'peer=203.0.113.0/24',
    'peer=203.0.113.0/24 port=80',
    'local=10.0.0.1:8080',
    ':5000',
    'lport=80 pport=5000',
    'pid=42',
    'comm=nginx uid=33 proto=tcp',
    'container=web',
    'container=abcdef01',
    'cookie=17 state=established',
    'cookie=sk:11',
    'cookie=0x11',
  ])
    assert.equal(selects(text), true, text);
  for (const text of [
    '172.17.0.2:80-203.0.113.9:5001',
    'local=203.0.113.9',
    'peer=203.0.113.0/24 port=81',
    'local=10.0.0.1:80',
    'lport=5000',
    'pid=4',
    'comm=ngin',
    'container=abc',
    'cookie=1',
    'cookie=sk:17',
    'state=close-wait',
    'proto=udp',
    'peer=::/0',
  ])
    assert.equal(selects(text), false, text);
  const six = { ...one, local: address('fd00::1'), localPort: 22, remote: address('fd00::2'), remotePort: 9, translated: [] };
  for (const text of ['[fd00::1]:22-[fd00::2]:9', 'peer=fd00::2', 'peer=[fd00::2]:9', 'fd00::/64'])
    assert.equal(selects(text, six), true, text);
  assert.equal(renderEnds(six.local, 22, six.remote, 9), '[fd00::1]:22-[fd00::2]:9');
  assert.equal(
    describeSelector(parseSelector(['peer=10.0.0.0/8', 'port=22'])),
    'with any address port 22 at either end, with 10.0.0.0/8 there',
  );
});

test('what is no selector is refused, nothing at all most of all', () => {
  for (const text of [
    '',
    'everything',
    'port=0x16',
    'port=70000',
    'peer=10.0.0.0/33',
    'pid=-1',
    'a=b',
    'state=OPEN',
    'port=1 10.0.0.1',
    '1.1.1.1-2.2.2.2-3.3.3.3',
    '*',
    ':',
    'cookie=x',
    'cookie=1a',
    'cookie=sk:',
    'cookie=sk:11223344556677889',
    'proto=sctp',
  ])
    assert.throws(() => parseSelector(text.split(' ')), { code: 'bad-request' }, text);
});

test('servers and what carries the operator are refused', () => {
  const facts = { ancestors: new Set([1000, 900]), certain: true, exact: false };
  assert.equal(refusalOf(one, facts), undefined);
  assert.match(refusalOf({ ...one, state: 'LISTEN' }, facts) ?? '', /server/);
  assert.match(refusalOf({ ...one, transport: 'udp', state: 'CLOSE', remotePort: 0 }, facts) ?? '', /server/);
  assert.match(refusalOf({ ...one, processes: [{ pid: 900, comm: 'sshd' }] }, facts) ?? '', /your own session: sshd \(pid 900\)/);
  const other = { ...one, processes: [{ pid: 77, comm: 'sshd-session' }] };
  assert.equal(refusalOf(other, facts), undefined);
  assert.match(refusalOf(other, { ...facts, certain: false }) ?? '', /which one is yours cannot be told here: cookie=17/);
  assert.equal(refusalOf(other, { ...facts, certain: false, exact: true }), undefined);
  const operator = parseSshConnection('203.0.113.9 5000 10.0.0.1 8080');
  assert.ok(operator);
  assert.match(refusalOf(one, { ...facts, operator, operatorPort: 5000 }) ?? '', /SSH session, from 203\.0\.113\.9/);
  assert.equal(refusalOf(one, { ...facts, operator, operatorPort: 5001 }), undefined);
  assert.match(refusalOf(one, { ...facts, operator }) ?? '', /SSH session/);
  const { local, localPort, remote, remotePort } = one;
  const passing: Candidate = {
    transport: 'tcp',
    state: 'ESTABLISHED',
    local: remote,
    localPort: remotePort,
    remote: local,
    remotePort: localPort,
    processes: [],
  };
  const view = { local: remote, localPort: remotePort, remote: address('10.0.0.1'), remotePort: 8080 };
  assert.match(
    refusalOf({ ...passing, translated: [view] }, { ...facts, operator, operatorPort: 5000 }) ?? '',
    /SSH session, from 203\.0\.113\.9/,
    'it passes through: the client is the first end',
  );
  assert.equal(refusalOf(passing, { ...facts, operator, operatorPort: 5000 }), undefined);
});

test('a connection whose holder cannot be seen may be your own session', () => {
  const facts = { ancestors: new Set([1000]), certain: false, exact: false };
  const unseen: Candidate = { ...one, processes: [], holderUnseen: true };
  assert.match(refusalOf(unseen, facts) ?? '', /cannot be seen.*cookie=17/);
  assert.equal(refusalOf(unseen, { ...facts, exact: true }), undefined);
  assert.equal(refusalOf(unseen, { ...facts, certain: true }), undefined);
  assert.equal(refusalOf({ ...one, processes: [] }, facts), undefined, 'nobody holds it');
});

test('exit codes', () => {
  const item = { tuple: 'a-b', netns: '', state: 'ESTABLISHED', transport: 'tcp' };
  const done = { ...item, method: 'sock-destroy', verified: true, ms: 1 } as const;
  const report: KillReport = {
    selector: 'x',
    matched: 1,
    killed: 1,
    refused: [],
    results: [done],
    would: [],
    dry_run: false,
    not_measured: [],
  };
  const server = { ...item, state: 'LISTEN', why: 'it listens' };
  const cases: readonly [Partial<KillReport>, number][] = [
    [{}, 0],
    [{ refused: [server] }, 0],
    [{ refused: [{ ...item, why: 'yours' }] }, 5],
    [{ results: [done, { ...done, verified: false }] }, 5],
    [{ results: [] }, 5],
    [{ matched: 0, results: [], refused: [server] }, 4],
    [{ dry_run: true, results: [], would: [item] }, 10],
    [{ dry_run: true, results: [], refused: [{ ...item, why: 'too many' }] }, 5],
  ];
  for (const [more, code] of cases) assert.equal(exitCodeOfKill({ ...report, ...more }), code, JSON.stringify(more));
});

test('that a socket is gone is proven by all of them alone', () => {
  const peer = (text: string, remotePort = 9) => ({ remote: address(text), remotePort });
  const sockets = [{ cookie: '17', ...peer('10.0.0.1') }];
  assert.equal(presenceOf({ sockets, complete: false }, { cookie: '17', ...peer('10.0.0.1') }), 'alive');
  // UDP: the socket stays, its connection does not.
  const cut = [{ cookie: '17', ...peer('0.0.0.0', 0) }];
  assert.equal(presenceOf({ sockets: cut, complete: false }, { cookie: '17', ...peer('10.0.0.1') }), 'gone');
  assert.equal(presenceOf({ sockets, complete: true }, { cookie: '18', ...peer('10.0.0.1') }), 'gone');
  assert.equal(presenceOf({ sockets, complete: false }, { cookie: '18', ...peer('10.0.0.1') }), 'unknown');
});
