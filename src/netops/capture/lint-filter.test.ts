// What is said of expressions, that what is offered instead compiles and sees what was missed, and the words for a program.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { frameOf, ipPacket, tcpBits, tcpPacket } from '../../../test/support/capture-file.ts';
import { lacksProgram } from '../../../test/support/namespace.ts';
import { checkInstructions, compileFilter, parseInstructions } from '../../kernel/capture/filter-program.ts';
import { runFilter } from '../../kernel/capture/run-filter.ts';
import { createCommandRunner } from '../../kernel/command.ts';
import { explainFilter } from './explain-filter.ts';
import { lintFilter } from './lint-filter.ts';

const codes = (expression: string, any = false): string[] => lintFilter(expression, { any }).map(({ code }) => code);

test('what each expression is told', () => {
  assert.deepEqual(codes(''), []);
  assert.deepEqual(codes('vlan and arp'), []);
  assert.deepEqual(codes('tcp[13] & 2 != 0'), ['ipv4-only', 'no-vlan']);
  assert.deepEqual(codes('tcp[tcpflags] = tcp-syn'), ['ipv4-only', 'exact-flags', 'no-vlan']);
  assert.deepEqual(codes('(tcp[13] & 2 != 0) or (ip6[6] = 6 and ip6[53] & 2 != 0)').includes('ipv4-only'), false);
  assert.deepEqual(codes('tcp[tcpflags] = 0'), ['ipv4-only', 'no-vlan']);
  assert.deepEqual(codes('icmp[icmptype] = 8'), ['ipv4-only', 'no-vlan']);
  assert.deepEqual(codes('port 80'), ['no-vlan', 'first-fragment']);
  assert.deepEqual(codes('(host 10.0.0.1) or (vlan and (host 10.0.0.1))'), []);
  assert.deepEqual(codes('vlan 5 or host 10.0.0.1'), ['vlan-shifts']);
  assert.deepEqual(codes('host 10.0.0.1 or host 10.0.0.2 and tcp'), ['no-vlan', 'precedence']);
  assert.deepEqual(codes('tcp and host 10.0.0.1 or host 10.0.0.2'), ['no-vlan']);
  assert.deepEqual(codes('not host 10.0.0.1 and 10.0.0.2'), ['no-vlan', 'not-binds']);
  assert.deepEqual(codes('not host 10.0.0.1 and host 10.0.0.2'), ['no-vlan']);
  assert.deepEqual(codes('ip6 and tcp'), ['no-vlan', 'extension-headers']);
  assert.deepEqual(codes('ether[12:2] = 0x800', true), ['link-offsets']);
  assert.deepEqual(codes('ether[12:2] = 0x800'), []);
  assert.deepEqual(codes('host www.example.com'), ['no-vlan', 'name']);
});

test('what is offered instead compiles, and sees what the expression misses', {
  skip: lacksProgram('tcpdump', 'tcpdump'),
}, async () => {
  const ends = { from: '10.0.0.1', to: '10.0.0.2', fromPort: 4000, toPort: 80 };
  const six = { ...ends, from: 'fd00::1', to: 'fd00::2' };
  const syn = { flags: tcpBits.syn, sequence: 1 };
  const missed: readonly [expression: string, code: string, frame: Buffer][] = [
    ['tcp[13] & 2 != 0', 'ipv4-only', frameOf(tcpPacket({ ...six, ...syn }), 1)],
    ['tcp[tcpflags] & (tcp-syn|tcp-ack) = tcp-syn', 'ipv4-only', frameOf(tcpPacket({ ...six, ...syn }), 1)],
    ['tcp[2:2] = 80', 'ipv4-only', frameOf(tcpPacket({ ...six, ...syn }), 1)],
    ['port 80', 'no-vlan', frameOf(tcpPacket({ ...ends, ...syn }), 1, [5])],
    ['tcp[13] = 2', 'exact-flags', frameOf(tcpPacket({ ...ends, flags: tcpBits.syn | 0xc0, sequence: 1 }), 1)],
    ...['tcp-syn|tcp-ack', '(tcp-ack | tcp-syn)', '18', '0x12', '(tcp-syn|16)'].map((flags): [string, string, Buffer] => [
      `tcp[tcpflags] = ${flags}`,
      'exact-flags',
      frameOf(tcpPacket({ ...ends, flags: tcpBits.syn | tcpBits.ack | 0xc0, sequence: 1 }), 1),
    ]),
    ['tcp[13] = tcp-push|tcp-ack', 'exact-flags', frameOf(tcpPacket({ ...ends, flags: 8 | 16 | 0x40, sequence: 1 }), 1)],
    ['port 80', 'first-fragment', frameOf(ipPacket(ends, 6, Buffer.alloc(40), { fragment: 5 }), 1)],
    ['ip6 and tcp port 80', 'extension-headers', frameOf(ipPacket(six, 44, Buffer.alloc(40)), 1)],
    ['not host 10.0.0.9 and 10.0.0.8', 'not-binds', frameOf(tcpPacket({ ...ends, ...syn }), 1)],
  ];
  const runner = createCommandRunner();
  const matches = async (expression: string, frame: Buffer): Promise<boolean> =>
    runFilter((await compileFilter(runner, expression, 1)).instructions, frame, 0, frame.length, frame.length) > 0;
  for (const [expression, code, frame] of missed) {
    const remark = lintFilter(expression).find((one) => one.code === code);
    assert.ok(remark, `${expression}: ${code}`);
    assert.equal(await matches(expression, frame), false, `${expression} misses it`);
    assert.equal(await matches(remark.instead, frame), true, `${expression}: ${remark.instead}`);
  }
  await assert.rejects(compileFilter(runner, 'tcp prot 80', 1), { code: 'bad-request' });
  await assert.rejects(compileFilter(runner, 'ip6 protochain 6', 1), { code: 'bad-request' });
});

test('a program in words', { skip: lacksProgram('tcpdump', 'tcpdump') }, async () => {
  const program = await compileFilter(createCommandRunner(), 'ip and tcp port 80', 1);
  const words = explainFilter(program).join('\n');
  assert.match(words, /^ {3}0 {2}A = 2 bytes at 12 \(EtherType\)$/m);
  assert.match(words, /if A = 2048 \(IPv4\) go to 2/);
  assert.match(words, /A = 1 byte at 23 \(IPv4 protocol\)/);
  assert.match(words, /if A = 6 \(TCP\)/);
  assert.match(words, /X = length of the IPv4 header at 14/);
  assert.match(words, /\(destination port over IPv4\)/);
  assert.match(words, /match: keep up to 262144 bytes/);
});

test('a program the kernel would refuse is refused', () => {
  const refused: readonly [string, RegExp][] = [
    ['1\n21 0 5 1', /jumps out/],
    ['2\n5 0 0 4294967295\n6 0 0 0', /jumps out/],
    ['1\n0 0 0 0', /does not end/],
    ['2\n52 0 0 0\n6 0 0 0', /divides by zero/],
    ['2\n96 0 0 16\n6 0 0 0', /memory/],
    ['3\n6 0 0 0', /cut short/],
    ['1\n6 0 0 x', /does not parse/],
  ];
  for (const [text, why] of refused) assert.throws(() => parseInstructions(text), why);
  assert.throws(() => checkInstructions([]), /1 to 4096/);
  checkInstructions([[6, 0, 0, 0]]);
});

test('instructions no expression makes: registers, memory, arithmetic, ends of the frame', () => {
  const run = (...program: (readonly [number, number, number, number])[]): number =>
    runFilter(program, Uint8Array.from([0x45, 2, 3, 4, 5]), 0, 5, 99);
  assert.equal(run([0x00, 0, 0, 7], [0x02, 0, 0, 3], [0x00, 0, 0, 1], [0x61, 0, 0, 3], [0x0c, 0, 0, 0], [0x16, 0, 0, 0]), 8);
  assert.equal(run([0x00, 0, 0, 5], [0x14, 0, 0, 6], [0x16, 0, 0, 0]), 0xffffffff);
  assert.equal(run([0x00, 0, 0, 0x80000000], [0x24, 0, 0, 2], [0x04, 0, 0, 9], [0x16, 0, 0, 0]), 9);
  assert.equal(run([0x00, 0, 0, 1], [0x64, 0, 0, 32], [0x04, 0, 0, 3], [0x16, 0, 0, 0]), 3);
  assert.equal(run([0x00, 0, 0, 1], [0x84, 0, 0, 0], [0x16, 0, 0, 0]), 0xffffffff);
  assert.equal(run([0x80, 0, 0, 0], [0x16, 0, 0, 0]), 99);
  assert.equal(run([0x01, 0, 0, 0], [0x00, 0, 0, 8], [0x3c, 0, 0, 0], [0x06, 0, 0, 1]), 0);
  assert.equal(run([0x20, 0, 0, 2], [0x06, 0, 0, 1]), 0);
  assert.equal(run([0x20, 0, 0, 1], [0x16, 0, 0, 0]), 0x02030405);
  assert.equal(run([0x30, 0, 0, 0xffffffff], [0x06, 0, 0, 1]), 0);
  assert.equal(run([0xb1, 0, 0, 0], [0x87, 0, 0, 0], [0x16, 0, 0, 0]), 20);
});
