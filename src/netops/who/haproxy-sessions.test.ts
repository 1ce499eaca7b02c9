// Both descriptors of a session as HAProxy 2.6 wrote them, and in the words of older versions.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { askHaproxies, parseHaproxySessions } from './haproxy-sessions.ts';

test('sessions name both of their descriptors, and what has only one is left out', () => {
  const legs = parseHaproxySessions(
    [
      '0x55f9d3b36bd0: proto=tcpv4 src=10.1.0.1:45990 fe=front be=front srv=app ts=00 epoch=0 age=0s calls=2 rate=1 cpu=0 lat=0 rq[f=848000h,i=0,an=00h,rx=29s,wx=,ax=] rp[f=80048202h,i=0,an=00h,rx=29s,wx=,ax=] scf=[8,0h,fd=11] scb=[8,1h,fd=12] exp=4s rc=0 c_exp=',
      '0x55f9d3c50e00: proto=unix_stream src=unix:1 fe=GLOBAL be=<NONE> srv=<none> ts=00 age=0s calls=2 rq[f=c0c020h,i=0,an=00h,rx=,wx=,ax=] rp[f=80008002h,i=0,an=00h,rx=,wx=,ax=] scf=[8,0h,fd=13] scb=[8,1h,fd=-1] exp=9s rc=0 c_exp=',
      '0x1: proto=tcpv6 src=::1:5 fe=a be=a srv=s ts=02 age=1s calls=3 rq[] rp[] s0=[8,200008h,fd=20,ex=] s1=[8,200018h,fd=21,ex=] exp=29s',
      'fd=7 and more that no session says',
    ].join('\n'),
  );
  assert.deepEqual(
    [...legs].sort((a, b) => a[0] - b[0]),
    [
      [11, 12],
      [12, 11],
      [20, 21],
      [21, 20],
    ],
  );
});

test('many that say they are HAProxy and never answer cost one time together', async () => {
  const asked: string[] = [];
  const faults: string[] = [];
  const processes = Array.from({ length: 50 }, (_, pid) => ({
    pid,
    listeners: () => Array.from({ length: 1000 }, (__, index) => `/run/${pid}-${index}`),
  }));
  const silent = (path: string, timeoutMs: number): Promise<string> => {
    asked.push(path);
    return new Promise((_, reject) => setTimeout(() => reject(new Error('timeout')), timeoutMs));
  };
  const begun = performance.now();
  assert.equal((await askHaproxies(processes, silent, (what) => faults.push(what), 50)).size, 0);
  assert.ok(performance.now() - begun < 2000 && asked.length <= 2, String(asked.length));
  assert.ok(faults.length > 0);
  asked.length = 0;
  const legs = 'scf=[8,0h,fd=11] scb=[8,1h,fd=12]';
  const quick = async (path: string): Promise<string> => {
    asked.push(path);
    return legs;
  };
  const answers = await askHaproxies(processes, quick, (what) => faults.push(what));
  assert.deepEqual([answers.size, asked.length, faults.at(-1)], [16, 32, 'sessions of further haproxies']);
});
