import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { SynDetails } from './session.ts';
import { guessSystem, identifySyn } from './syn-fingerprint.ts';

const syn = (overrides: Partial<SynDetails>): SynDetails => ({
  ttl: 52,
  ipId: 4711,
  doNotFragment: true,
  window: 64240,
  sequence: 1,
  options: 'mss,sok,ts,nop,ws',
  mss: 1460,
  windowScale: 7,
  ...overrides,
});
const target = { address: 0x0a638001, port: 80 };

test('systems are told by TTL, options and window', () => {
  for (const [expected, overrides] of [
    ['Linux 4.19+', {}],
    ['Linux 4.19+', { mss: 1440, window: 64800 }],
    ['Linux 3.11+', { window: 29200 }],
    ['Linux 3.x', { window: 14600 }],
    ['Linux', { window: 1 }],
    ['Windows 10+', { ttl: 113, options: 'mss,nop,ws,nop,nop,sok', windowScale: 8 }],
    ['Windows 7 to 8.1', { ttl: 128, options: 'mss,nop,ws,nop,nop,sok', window: 8192 }],
    ['Windows XP', { ttl: 120, options: 'mss,nop,nop,sok', window: 65535 }],
    ['macOS or iOS', { options: 'mss,nop,ws,nop,nop,ts,sok,eol', window: 65535 }],
    ['FreeBSD', { options: 'mss,nop,ws,sok,ts', window: 65535 }],
    [undefined, { ttl: 250 }],
    [undefined, { options: 'ws,mss' }],
  ] as const)
    assert.equal(guessSystem(syn(overrides), target), expected, JSON.stringify(overrides));
});

test('scanners are told by the marks they leave', () => {
  const bare = { doNotFragment: false, options: '', ttl: 245 };
  assert.equal(guessSystem(syn({ sequence: target.address }), target), 'Mirai');
  assert.equal(guessSystem(syn({ ...bare, ipId: 54321 }), target), 'ZMap');
  const sequence = 0xdeadbeef;
  const mark = ((target.address ^ target.port ^ sequence) & 0xffff) >>> 0;
  assert.equal(guessSystem(syn({ ...bare, sequence, ipId: mark }), target), 'masscan');
  assert.equal(guessSystem(syn({ ...bare, sequence, ipId: mark ^ 1 }), target), undefined);
  assert.equal(guessSystem(syn({ doNotFragment: false, options: 'mss', window: 1024 }), target), 'nmap');
  assert.equal(guessSystem(syn({ doNotFragment: false, options: 'mss', window: 1000 }), target), undefined);
  // Over IPv6 there is neither an identification nor a 32-bit destination to compare with.
  assert.equal(guessSystem(syn({ ...bare, ipId: 0, sequence: 0 }), { port: 80 }), undefined);
});

test('a SYN with options hidden from the kernel is told as it was sent', () => {
  const nops = (count: number): string => Array(count).fill('nop').join();
  const everything = ['timestamp', 'sack-permitted', 'window-scale'] as const;
  const ofWindows = { ttl: 128, options: 'mss,nop,ws,nop,nop,sok', windowScale: 8 };
  for (const [sent, arrived, hidden, system] of [
    [{}, `mss,sok,${nops(11)},ws`, ['timestamp'], 'Linux 4.19+'],
    [{}, `mss,${nops(16)}`, everything, 'Linux 4.19+'],
    [ofWindows, 'mss,nop,ws,nop,nop,sok', ['timestamp'], 'Windows 10+'],
    [ofWindows, `mss,${nops(8)}`, everything, 'Windows 10+'],
    [ofWindows, 'mss,nop,ws,nop,nop,nop,nop', ['sack-permitted'], 'Windows 10+'],
  ] as const) {
    const told = identifySyn({ ...syn(sent), options: arrived }, target, hidden);
    assert.deepEqual([told.options, told.system], [syn(sent).options, system]);
  }
  const unknown = identifySyn(syn({ options: `mss,${nops(3)}` }), target, everything);
  assert.deepEqual([unknown.options, unknown.system], [`mss,${nops(3)}`, undefined]);
  assert.equal(identifySyn(syn({ sequence: target.address, options: nops(2) }), target, everything).system, 'Mirai');
  assert.deepEqual(identifySyn(syn({}), target, []), { ...syn({}), system: 'Linux 4.19+' });
});
