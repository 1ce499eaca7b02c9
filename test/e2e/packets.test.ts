// Packets with a whole Weir beside them: a capture of a decoy names the sessions its packets are of, a recorded session becomes a capture, a
// connection is killed and the record says so.

import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { readFileSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { withWeirLab } from '../../src/programs/weir-lab.ts';
import { lacksKernelTests, lacksProgram, until } from '../support/namespace.ts';

const configuration = `
diversions:
  - { name: dmz, kind: host, interface: eth0, decoys: [{ addresses: 10.64.0.0/24, persona: all-open }] }
`;
const program = resolve(fileURLToPath(import.meta.url), '../../../src/programs/weir.js');
const decoy = '10.64.0.9';

/** Says something, waits for the decoy, stays. */
const talker = `
const s = require('node:net').connect(8088, '${decoy}', () => s.write('GET / HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n'));
s.on('data', () => console.log('answered'));
s.on('error', (e) => console.log(e.code));
setInterval(() => s.writable && s.write('x'), 200);
`;

interface Heard {
  said(): string;
  out(): string;
  readonly ended: Promise<number | null>;
}

function heardOf(child: ChildProcess): Heard {
  let [said, out] = ['', ''];
  child.stderr?.on('data', (bytes) => {
    said += String(bytes);
  });
  child.stdout?.on('data', (bytes) => {
    out += String(bytes);
  });
  return { said: () => said, out: () => out, ended: new Promise((resolve) => child.once('close', resolve)) };
}

test(
  'a capture of a decoy, of a session, a kill; packets are read as nobody',
  { skip: lacksKernelTests() || lacksProgram('tcpdump', 'tcpdump'), timeout: 120_000 },
  () =>
    withWeirLab({ configuration }, async (lab) => {
      await lab.attacker.ip('route add 10.64.0.0/24 dev eth0\n');
      await lab.up();
      const file = join(lab.directory, 'decoy.pcapng');
      const argv = ['capture', '-c', lab.file, '--decoy', decoy, '--if', 'eth0', '-w', file, '--json'];
      const child = lab.sensor.spawn([process.execPath, program, ...argv], { cwd: '/' });
      const capturing = heardOf(child);
      await until('it listens', () => capturing.said().includes('listening on'));
      assert.match(readFileSync(`/proc/${child.pid}/status`, 'utf8'), /^Uid:\t65534\t65534\t65534\t65534$/m);
      let heard = '';
      lab.attacker.spawn([process.execPath, '-e', talker]).stdout?.on('data', (bytes) => {
        heard += String(bytes);
      });
      const [session] = await lab.recorded(['sessions', '--port', '8088'], 1);
      const { id } = session.event as { id: string };
      const comment = `weir session ${id}`;
      await until('a packet of it says which session it is of', () => readFileSync(file).includes(comment));
      child.kill('SIGINT');
      assert.equal(await capturing.ended, 0, capturing.said());
      const { summary } = JSON.parse(capturing.out());
      assert.ok(summary.matched > 4 && summary.complete, JSON.stringify(summary));

      const ends = `${session.source.ip}:${session.source.port}-${decoy}:8088`;
      const dry = await lab.weir(['kill', ends, '--json'], { anyCode: true });
      assert.equal(dry.code, 10, dry.stdout + dry.stderr);
      const killed = await lab.weir(['kill', ends, 'local=10.64.0.9', '--yes', '--json'], { anyCode: true });
      const report = JSON.parse(killed.stdout);
      assert.deepEqual([killed.code, report.matched, report.killed], [0, 1, 1], killed.stdout);
      await until('the attacker was told', () => /ECONN/.test(heard));
      await until('the session is over', async () => {
        const [ended] = await lab.records(['sessions', '--port', '8088']);
        return (ended.event as { end?: string }).end !== undefined;
      });
      const rebuilt = join(lab.directory, 'session.pcapng');
      await lab.weir(['capture', '--session', id, '-w', rebuilt]);
      assert.ok(readFileSync(rebuilt).includes(comment) && readFileSync(rebuilt).includes('GET / HTTP/1.1'));
      const resets = await lab.weir(['rst', '-r', file, '--json']);
      assert.equal(resets.code, 0);
      const part = join(lab.directory, 'part.pcapng');
      await lab.weir(['capture', '-r', file, '-w', part, 'tcp', 'port', '8088']);
      assert.deepEqual([statSync(part).uid, statSync(part).mode & 0o777], [0, 0o600]);
    }),
);
