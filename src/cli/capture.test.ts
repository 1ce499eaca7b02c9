// `weir capture` as a whole command: what it asks for, what it says of filters, losses and absences, secrets hidden, sessions from the
// store; over files it is the real thing.

import assert from 'node:assert/strict';
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { after, beforeEach, describe, it } from 'node:test';
import { frameOf, pcapFile, tcpDialogue, udpPacket } from '../../test/support/capture-file.ts';
import { CommandBed } from '../../test/support/command-bed.ts';
import { lacksProgram } from '../../test/support/namespace.ts';
import { compileFilter } from '../kernel/capture/filter-program.ts';
import { createCommandRunner } from '../kernel/command.ts';
import { type CaptureOutcome, type CaptureWish, runOfflineCapture } from '../netops/capture/run-capture.ts';
import type { PacketActions } from './packet-actions.ts';

const outcome: CaptureOutcome = {
  packets: 0,
  matched: 0,
  credentials: 0,
  files: [],
  overwritten: 0,
  filters: [{ expression: '', linkType: 1, instructions: [[6, 0, 0, 262144]], hash: 'ab' }],
  account: {
    packets: 0,
    bytes: 0,
    seconds: 30,
    ended: 'time',
    filters: [],
    interfaces: [{ interface: 'eth0', linkType: 1, received: 0, dropped: 0 }],
    left: [],
    down: [],
    complete: true,
  },
  notMeasured: [],
  complete: true,
};

const real: Partial<PacketActions> = {
  compile: (expression) => compileFilter(createCommandRunner(), expression, 1),
  filterFile: (wish, input, screen, comments) =>
    runOfflineCapture(
      wish,
      (async function* () {
        yield typeof input === 'string' ? readFileSync(input) : input;
      })(),
      screen,
      comments,
    ),
};

describe('weir capture', () => {
  const bed = new CommandBed();
  let wishes: CaptureWish[] = [];
  const answering = (answer: CaptureOutcome): Partial<PacketActions> => ({
    ...real,
    async capture(wish, screen) {
      wishes.push(wish);
      screen.listening(['eth0'], answer.filters);
      return answer;
    },
  });
  beforeEach(() => {
    wishes = [];
    return bed.reset();
  });
  after(() => bed.close());

  it('is bounded by default, and asks for what was typed', async () => {
    bed.packets = answering(outcome);
    assert.equal((await bed.run('capture port 80')).code, 0);
    assert.deepEqual(wishes[0].limits, { durationMs: 60_000, packets: 100_000, bytes: 100 << 20 });
    assert.deepEqual([wishes[0].expression, wishes[0].interfaces, wishes[0].promiscuous], ['port 80', [], true]);
    await bed.run(
      'capture --if eth0,lo --netns x --for 2s --packets 5 --size 1MiB --snap 96 --no-promiscuous -w f --ring 3x1MiB arp',
    );
    const { limits, ring, ...rest } = wishes[1];
    assert.deepEqual(limits, { durationMs: 2000, packets: 5, bytes: 1 << 20 });
    assert.deepEqual(ring, { files: 3, bytes: 1 << 20 });
    assert.deepEqual(
      [rest.interfaces, rest.netns, rest.snap, rest.promiscuous, rest.file],
      [['eth0', 'lo'], 'x', 96, false, 'f'],
    );
    await bed.run('capture --decoy 10.66.3.4 tcp');
    assert.equal(wishes[2].expression, '((host 10.66.3.4) and (tcp)) or (vlan and ((host 10.66.3.4) and (tcp)))');
    for (const mistake of [
      '--for x',
      '--packets 0',
      '--size 5x',
      '--ring 3x1MiB',
      '-w f --ring 3',
      '--reveal',
      '--decoy 10.0.0',
      '--decoy 10.0.0.1 -r f',
      '-r f --for 5s',
      '-r f --if eth0',
      '-r f --netns x',
    ])
      assert.equal((await bed.run(`capture ${mistake}`)).code, 2, mistake);
  });

  it('says that nothing came by only when nothing was lost', async () => {
    bed.packets = answering(outcome);
    const clean = await bed.run('capture arp');
    assert.match(clean.err, /0 packets in 30\.0 s \(the time was over\)\nweir: nothing was lost: no such packet came by\n/);
    const account = {
      ...outcome.account,
      complete: false,
      interfaces: [{ interface: 'eth0', linkType: 1, received: 9, dropped: 7 }],
    };
    bed.packets = answering({ ...outcome, complete: false, account } as CaptureOutcome);
    const lossy = await bed.run('capture arp');
    assert.match(lossy.err, /no room for 7 packets: that something was not seen proves nothing/);
    assert.doesNotMatch(lossy.err, /no such packet came by/);
    const { summary } = JSON.parse((await bed.run('capture arp --json')).out);
    assert.deepEqual([summary.dropped, summary.complete, summary.matched], [7, false, 0]);
    const left = {
      ...outcome.account,
      complete: false,
      left: [{ interface: 'can0', why: 'frames of hardware type 280 are not read' }],
      down: ['tun\u001b0'],
    };
    bed.packets = answering({ ...outcome, complete: false, account: left } as CaptureOutcome);
    assert.match(
      (await bed.run('capture arp')).err,
      /down at some time, when nothing passed: tun\\x1b0\nweir: not listened on: can0[\s\S]*proves nothing/,
    );
  });

  it('says what does not stand beside packets, which is not complete', async () => {
    const what = 'processes from 2026-01-02T03:04:05.000000Z on: the half that keeps root is gone';
    bed.packets = answering({ ...outcome, matched: 3, notMeasured: [what], complete: false });
    assert.ok((await bed.run('capture arp')).err.includes(`weir: not measured: ${what}\n`));
    const { summary } = JSON.parse((await bed.run('capture arp --json')).out);
    assert.deepEqual([summary.complete, summary.not_measured], [false, [what]], 'though no packet was lost');
  });

  it('lints before it captures, and explains without capturing', { skip: lacksProgram('tcpdump', 'tcpdump') }, async () => {
    bed.packets = answering(outcome);
    assert.match((await bed.run('capture tcp[13] = 2')).err, /reads IPv4 only[\s\S]*instead: [\s\S]*listening on/);
    wishes = [];
    const { out } = await bed.run('capture --explain port 80');
    assert.match(out, /^port 80\n24 instructions for Ethernet, sha256 [0-9a-f]{64}\n {3}0 {2}A = 2 bytes at 12 \(EtherType\)/);
    assert.match(out, /instead: \(port 80\) or \(vlan and \(port 80\)\)/);
    assert.deepEqual(wishes, []);
    const json = JSON.parse((await bed.run('capture --explain --json arp')).out);
    assert.equal(json.instructions.length, json.words.length);
    assert.equal((await bed.run('capture --explain prot 80')).code, 2);
  });

  it('filters a file, and finds credentials in it, hidden', { skip: lacksProgram('tcpdump', 'tcpdump') }, async () => {
    bed.packets = real;
    const ends = { from: '10.0.0.1', to: '10.0.0.2', toPort: 21 };
    const talk = tcpDialogue(ends, 'USER bob\r\nPASS \u001bsecret\r\n', '230 in\r\n').map((packet) => frameOf(packet, 1));
    const other = frameOf(udpPacket({ from: '10.0.0.3', to: '10.0.0.2' }, '\u001b[2Jx'), 1);
    const file = path.join(bed.directory, 'in.pcap');
    const out = path.join(bed.directory, 'out.pcapng');
    writeFileSync(file, pcapFile([other, ...talk]));
    const shown = await bed.run(`capture -r ${file} udp`);
    assert.match(shown.out, /^22:13:20\.123456 10\.0\.0\.3:5000 > 10\.0\.0\.2:53 udp len 5 ttl 64\n$/);
    assert.match(shown.err, /1 packet of 9 packets\n/);
    assert.equal((await bed.run(`capture -r ${file} -w ${out} tcp and port 21`)).code, 0);
    assert.equal(statSync(out).mode & 0o777, 0o600);
    assert.match((await bed.run(`capture -r ${out} --json`)).out, /"matched":8/);
    const few = await bed.run(`capture -r ${file} --packets 2`);
    assert.equal(few.out.trim().split('\n').length, 2);
    assert.match(few.err, /2 packets of 2 packets \(as many packets as asked for; the rest was not read\)/);
    assert.equal((await bed.run(`capture -r ${file} --size 1`)).out.trim().split('\n').length, 1);
    const short = path.join(bed.directory, 'short.pcapng');
    await bed.run(`capture -r ${file} --snap 60 -w ${short} tcp`);
    assert.ok(readFileSync(out).includes('USER bob') && !readFileSync(short).includes('USER bob'));
    const hidden = await bed.run(`capture -r ${out} --credentials`);
    assert.match(hidden.out, /ftp password user bob secret \(7 characters\)\n$/);
    assert.match((await bed.run(`capture -r ${out} --credentials --reveal`)).out, /secret \\x1bsecret\n$/);
    assert.equal(JSON.parse((await bed.run(`capture -r ${out} --credentials --json`)).out.split('\n')[0]).secret_length, 7);
    writeFileSync(file, 'no capture at all');
    const none = await bed.run(`capture -r ${file} -w ${path.join(bed.directory, 'none')}`);
    assert.match(none.err, /neither pcap nor pcapng[\s\S]*proves nothing/);
    assert.equal(existsSync(path.join(bed.directory, 'none')), false);
  });

  it('makes a capture of a recorded session, with what it is of', { skip: lacksProgram('tcpdump', 'tcpdump') }, async () => {
    bed.packets = answering(outcome);
    const all = (await bed.run('sessions --json')).out
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    const first = all.find(({ event }) => event.end !== undefined);
    const open = all.find(({ event }) => event.end === undefined);
    await bed.run(['capture', '--session', open.event.id, 'greater', '100']);
    const expected = `host ${open.source.ip} and port ${open.source.port} and host ${open.destination.ip} and port ${open.destination.port}`;
    assert.ok(wishes[0].expression.includes(expected) && wishes[0].expression.includes('(greater 100)'), wishes[0].expression);
    const out = path.join(bed.directory, 'session.pcapng');
    const made = await bed.run(['capture', '--session', first.event.id, '-w', out]);
    assert.equal(made.code, 0, made.err);
    assert.ok(readFileSync(out).includes(`weir session ${first.event.id}: from ${first.source.ip}`));
    assert.equal((await bed.run('capture --session 0190c2a4-7e55-7000-8000-00000000dead')).code, 1);
  });
});
