// Lines of trace_pipe as kernels print them, hostile process names among them, and what the TCP events say.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { mountPointsOf } from './mount-tracefs.ts';
import { readTcpTraceEvent } from './tcp-events.ts';
import { lostOfLine, parseTraceFormat, parseTraceLine } from './trace-line.ts';
import { clockOffset } from './trace-session.ts';

const typed = (line: string) => {
  const event = parseTraceLine(line);
  assert.ok(event, line);
  return readTcpTraceEvent(event);
};

test('events as kernel 6.18 prints them', () => {
  const base = { comm: 'node', pid: 7767 };
  assert.deepEqual(
    typed(
      '            node-7767    [001] ..s1. 47569.472636: tcp_send_reset: skbaddr=000000006f8e1878 skaddr=0000000000000000 src=127.0.0.1:1 dest=127.0.0.1:41202 state=UNKNOWN reason=NO_SOCKET',
    ),
    {
      ...base,
      at: 47569472636,
      inTask: false,
      kind: 'reset-sent',
      source: { ip: '127.0.0.1', port: 1 },
      destination: { ip: '127.0.0.1', port: 41202 },
      reason: 'NO_SOCKET',
    },
  );
  assert.deepEqual(
    typed(
      '            node-7767    [001] ..... 1.000001: tcp_send_reset: skbaddr=0000000000000000 skaddr=000000006f8e1878 src=[fd99::2]:80 dest=[fd99::1]:41202 state=TCP_ESTABLISHED reason=TCP_STATE',
    ),
    {
      ...base,
      at: 1_000_001,
      inTask: true,
      kind: 'reset-sent',
      source: { ip: 'fd99::2', port: 80 },
      destination: { ip: 'fd99::1', port: 41202 },
      socket: '000000006f8e1878',
      state: 'ESTABLISHED',
      reason: 'TCP_STATE',
    },
  );
  assert.deepEqual(
    typed(
      '            node-7767    [001] ..... 47569.472566: inet_sock_set_state: family=AF_INET protocol=IPPROTO_TCP sport=0 dport=1 saddr=127.0.0.1 daddr=127.0.0.1 saddrv6=::ffff:127.0.0.1 daddrv6=::ffff:127.0.0.1 oldstate=TCP_CLOSE newstate=TCP_SYN_SENT',
    ),
    {
      ...base,
      at: 47569472566,
      inTask: true,
      kind: 'state-change',
      source: { ip: '127.0.0.1', port: 0 },
      destination: { ip: '127.0.0.1', port: 1 },
      from: 'CLOSE',
      to: 'SYN_SENT',
    },
  );
  assert.deepEqual(
    typed(
      '            node-7767    [001] ..s1. 47569.472644: kfree_skb: skbaddr=000000006f8e1878 rx_sk=0000000000000000 protocol=2048 location=tcp_v4_rcv+0x91/0x13f0 reason: NO_SOCKET',
    ),
    { ...base, at: 47569472644, inTask: false, kind: 'drop', reason: 'NO_SOCKET', location: 'tcp_v4_rcv', protocol: 2048 },
  );
  assert.deepEqual(
    typed(
      '          <idle>-0       [000] ..s2.    12.000100: tcp_receive_reset: family=AF_INET6 sport=5000 dport=80 saddr=0.0.0.0 daddr=0.0.0.0 saddrv6=fd99::1 daddrv6=fd99::2 sock_cookie=1f',
    ),
    {
      comm: '<idle>',
      pid: 0,
      at: 12_000_100,
      inTask: false,
      kind: 'reset-received',
      source: { ip: 'fd99::1', port: 5000 },
      destination: { ip: 'fd99::2', port: 80 },
      cookie: '31',
    },
  );
});

test('a process may call itself anything: its event is still read, or counted, never another', () => {
  const forged = parseTraceLine(
    'x-1 [000] ..: y-4242    [001] ..... 5.000000: tcp_send_reset: src=1.1.1.1:1 dest=2.2.2.2:2 reason=R',
  );
  assert.equal(forged?.pid, 4242);
  assert.equal(forged?.comm, 'x-1 [000] ..: y');
  assert.equal(parseTraceLine('        a name of two'), undefined);
  assert.equal(parseTraceLine(' lines-77      [000] ..... 5.000000: kfree_skb: reason: NO_SOCKET')?.pid, 77);
  assert.equal(lostOfLine('CPU:1 [LOST 42 EVENTS]'), 42);
  assert.equal(lostOfLine('CPU:0 [LOST EVENTS]'), 1);
  assert.equal(lostOfLine(' lines-77      [000] ..... 5.000000: kfree_skb: x'), 0);
});

test('what an event has is in its format file; where tracefs is, in the mounts', () => {
  const format =
    'name: kfree_skb\nformat:\n\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;\n\n\tfield:void * skbaddr;\toffset:8;\tsize:8;\tsigned:0;\n\tfield:__u8 saddr[4];\toffset:22;\tsize:4;\tsigned:0;\n\nprint fmt: "field:x;"\n';
  assert.deepEqual(parseTraceFormat(format), ['skbaddr', 'saddr']);
  assert.deepEqual(mountPointsOf('a /x\\040y tracefs rw 0 0\ntracefs /proc proc rw 0 0\n', 'tracefs'), ['/x y']);
});

test('kernels of before: no reason, addresses one by one, or nothing but pointers', () => {
  const old = typed(
    '            sshd-9       [001] ..s1. 5.000000: tcp_send_reset: sport=22 dport=4000 saddr=10.0.0.1 daddr=10.0.0.2 saddrv6=::ffff:10.0.0.1 daddrv6=::ffff:10.0.0.2 state=TCP_CLOSE',
  );
  assert.deepEqual(old?.kind === 'reset-sent' && [old.source, old.destination, old.state, old.reason], [
    { ip: '10.0.0.1', port: 22 },
    { ip: '10.0.0.2', port: 4000 },
    'CLOSE',
    undefined,
  ]);
  const bare = typed('            sshd-9       [001] ..s1. 5.000000: tcp_send_reset: skbaddr=(null) skaddr=(null)');
  assert.deepEqual(bare, { at: 5e6, comm: 'sshd', pid: 9, inTask: false, kind: 'reset-sent' });
});

test('the clocks are compared when nothing came in between', () => {
  // Put aside for 90 ms between the clocks at the first two looks.
  const aside = [90_000, 90_000, 7];
  let now = 1_000_000;
  let looks = 0;
  const offset = clockOffset(
    () => {
      now += aside[Math.min(looks, 2)];
      looks += 1;
      return now + 5_000_000;
    },
    () => BigInt(now) * 1000n,
  );
  assert.ok(Math.abs(offset - 5_000_000) <= 7, String(offset));
  assert.equal(looks, 3);
});
