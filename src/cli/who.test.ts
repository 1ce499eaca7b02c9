// `weir who` as typed: what is watched, what is printed for people and as JSON lines, and that hostile names move no cursor.

import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, it } from 'node:test';
import { CommandBed } from '../../test/support/command-bed.ts';
import { WeirError } from '../base/errors.ts';
import { parseAddress } from '../model/address.ts';
import type { Flow } from '../netops/who/flow.ts';
import type { WhoReading } from '../netops/who/traffic-watch.ts';
import { renderChain, renderRate } from './who.ts';

const address = (text: string) => parseAddress(text) ?? assert.fail(text);
const flow = (a: string, aPort: number, b: string, bPort: number): Flow => ({
  protocol: 17,
  a: { address: address(a), port: aPort },
  b: { address: address(b), port: bPort },
});
const outer = flow('192.0.2.2', 1194, '198.51.100.7', 1194);
const reading: WhoReading = {
  seconds: 2,
  measure: 'wire',
  devices: [{ netnsName: '', device: 'eth0' }],
  rows: [
    {
      netns: '1',
      netnsName: '',
      device: 'eth0',
      flow: outer,
      inBps: 90e6,
      outBps: 1.2e6,
      attributed: true,
      path: [
        { kind: 'wire', netns: '1', netnsName: '', flow: outer, device: 'eth0', join: 'seen on the device', score: 1 },
        {
          kind: 'process',
          netns: '2',
          netnsName: 'vpn',
          flow: outer,
          pid: 812,
          comm: 'open\u001b[2Jvpn',
          uid: 65_534,
          user: 'nobody',
          fd: 4,
          join: 'socket',
          score: 1,
        },
        {
          kind: 'tunnel',
          netns: '2',
          netnsName: 'vpn',
          flow: outer,
          device: 'tun0',
          join: '97 % of what went through',
          score: 0.97,
        },
      ],
    },
  ],
  rest: { flows: 3, bps: 1000 },
  totals: { flows: 4, bytes: 25_000_000, attributedBytes: 24_000_000 },
  unattributed: [{ reason: 'ICMP: answered or sent by the kernel', flows: 2, bytes: 1_000_000 }],
  unseen: [{ what: 'sockets of 3 processes', why: 'needs root' }],
};

describe('weir who', () => {
  const bed = new CommandBed();
  before(() => bed.reset());
  beforeEach(() => bed.reset());
  after(() => bed.close());

  it('shows the way of each flow with its evidence, what has no owner, and what was not seen', async () => {
    bed.readings = [reading, reading];
    const { out, err, code } = await bed.run('who --if eth0 --top 5');
    assert.equal(code, 0);
    assert.match(out, /eth0: 100 Mb\/s in 4 flows, every packet counted for 2\.0 s; 96\.0 % of the bytes have an owner/);
    assert.match(out, /91 Mb\/s {2}udp 192\.0\.2\.2:1194 - 198\.51\.100\.7:1194/);
    assert.match(out, /process in vpn .*vpn\[812\] fd 4 user nobody: udp .*\[socket; certain\]/);
    assert.match(out, /tunnel tun0 in vpn.*score 0\.97/);
    assert.match(out, /and 3 flows more/);
    assert.match(out, /no owner: 4\.0 Mb\/s in 2 flows: ICMP/);
    assert.ok(!out.includes('\u001b'), 'a name is not obeyed');
    assert.equal(out.split('eth0: 100').length, 2, 'one reading, for nobody watches');
    assert.match(err, /not seen: sockets of 3 processes: needs root/);
    const [[name, [wish]]] = bed.called;
    assert.equal(name, 'who');
    assert.deepEqual(wish, { device: 'eth0', rows: { top: 5 }, intervalMs: 2000 });
  });

  it('is JSON lines as the contract has them', async () => {
    bed.readings = [reading];
    const { out, code } = await bed.run([
      'who',
      '--json',
      '--flow',
      'udp 198.51.100.7:1194',
      '--netns',
      'all',
      '--interval',
      '1',
    ]);
    assert.equal(code, 0);
    const lines = out
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    assert.deepEqual(
      [lines[0].rate_bps, lines[0].flow.proto, lines[0].flow.dport, lines[0].exposure],
      [91_200_000, 'udp', 1194, null],
    );
    const [, process] = lines[0].path;
    assert.deepEqual(
      [process.kind, process.netns, process.tuple.src, process.pid, process.fd, process.join, process.score],
      ['process', 'vpn', '192.0.2.2', 812, 4, 'socket', 1],
    );
    assert.deepEqual(
      [lines[1].flow, lines[1].reason, lines[1].rate_bps],
      [null, 'ICMP: answered or sent by the kernel', 4_000_000],
    );
    assert.deepEqual([lines[2].summary.bytes, lines[2].summary.attributed_bytes], [25_000_000, 24_000_000]);
    const wish = bed.called[0][1][0] as { netns: string; rows: { flow: { protocol: number; ends: { port: number }[] } } };
    assert.deepEqual([wish.netns, wish.rows.flow.protocol, wish.rows.flow.ends[0].port], ['all', 17, 1194]);
  });

  it('draws anew on a terminal until there are no more readings', async () => {
    bed.readings = [reading, reading, reading];
    const { out } = await bed.run('who', { terminal: true });
    assert.equal(out.split('\u001b[H\u001b[2J').length, 4);
    for (const title of ['RATE', 'IN', 'OUT', 'FLOW', 'WHO']) assert.ok(out.includes(`\u001b[2m${title}\u001b[22m`), title);
  });

  it('refuses what is no flow and numbers out of range, and passes faults on', async () => {
    const bad = await bed.run(['who', '--flow', 'eth0']);
    assert.equal(bad.code, 2);
    assert.match(bad.err, /--flow eth0 is no flow[\s\S]*next: write one or both ends/);
    for (const line of ['who --top 0', 'who --top 1001', 'who --interval 61', 'who --top x'])
      assert.equal((await bed.run(line)).code, 2, line);
    bed.thrown.set('who', new WeirError('not-found', 'there is no device eth9 there'));
    assert.equal((await bed.run('who --if eth9')).code, 1);
  });
});

it('a chain is short and says how sure it is; rates are in bits', () => {
  assert.equal(renderChain(reading.rows[0].path), 'open\\x1b[2Jvpn[812]@vpn > tun0 97 %');
  assert.deepEqual([0, 999, 1500, 91.2e6, 2.5e12].map(renderRate), ['0 b/s', '999 b/s', '1.5 kb/s', '91 Mb/s', '2500 Gb/s']);
});
