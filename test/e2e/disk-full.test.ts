// The data directory fills up: decoys go on answering, the loss is counted and shown, and everything goes on by itself once
// there is room again.

import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { type WeirLab, withWeirLab } from '../../src/programs/weir-lab.ts';
import { lacksKernelTests, runCommand, until } from '../support/namespace.ts';

const configuration = `
diversions:
  - { name: dmz, kind: host, interface: eth0, decoys: [{ addresses: 10.64.0.0/24, persona: all-open }] }
`;

/** Sends `count` payloads of just under a mebibyte each; the answer is not waited for. */
const bulk = (count: number): string[] => [
  process.execPath,
  '-e',
  `const net = require('node:net'); const bytes = Buffer.alloc(1000000, 'x');
   (async () => { for (let n = 0; n < ${count}; n++) await new Promise((resolve) => {
     const socket = net.connect({ host: '10.64.0.20', port: 9000 + n }, () => socket.end(bytes));
     socket.on('error', resolve); socket.on('close', resolve); socket.resume(); }); })();`,
];

const answers = async (lab: WeirLab, port: number): Promise<boolean> =>
  (await lab.attack(['curl', '-s', '-m', '5', '-o', '/dev/null', `http://10.64.0.9:${port}/`])).code === 0;

test('a full disk costs counted records, nothing else', { skip: lacksKernelTests() }, () =>
  withWeirLab({ configuration }, async (lab) => {
    mkdirSync(lab.data);
    // The lab unmounts what is mounted below its directory.
    await runCommand(['mount', '-t', 'tmpfs', '-o', 'size=96m', 'weir-disk', lab.data]);
    await lab.up();
    assert.ok(await answers(lab, 8001));
    await lab.recorded(['sessions', '--port', '8001'], 1);
    const ballast = join(lab.data, 'ballast');
    await writeFile(ballast, Buffer.alloc(0));
    await runCommand(['dd', 'if=/dev/zero', `of=${ballast}`, 'bs=64k'], { anyCode: true });
    // More than the journal may keep in memory.
    await lab.attack(bulk(60), { timeoutMs: 60_000 });
    assert.ok(await answers(lab, 8002), 'decoys answer while the disk is full');
    const { journal } = await lab.gateway();
    assert.equal(journal?.diskFull, true);
    const lost = await until('losses are counted', async () => {
      const counted = (await lab.gateway()).journal;
      return (counted?.droppedRecords ?? 0) + (counted?.strippedRecords ?? 0) || undefined;
    });
    const status = await lab.weir(['status'], { anyCode: true });
    assert.match(status.stdout, /journal cannot be written|free space/, status.stdout);
    assert.match(status.stdout, /journal records dropped|recorded without their bytes/, status.stdout);
    const gateway = lab.processes().get('gateway');

    await rm(ballast);
    await until('the journal is written again', async () => (await lab.gateway()).journal?.diskFull === false, 20_000);
    assert.ok(await answers(lab, 8003));
    await lab.recorded(['sessions', '--port', '8003'], 1, 30_000);
    // What was kept in memory meanwhile is on record too.
    await lab.recorded(['sessions', '--port', '8002'], 1, 30_000);
    assert.equal(lab.processes().get('gateway'), gateway, 'nothing was restarted');
    const alerts = await until('the loss is an alert', async () => {
      const { stdout } = await lab.weir(['alerts', '--json']);
      return stdout.includes('records-lost') ? stdout : undefined;
    });
    console.log(
      `records dropped while the disk was full: ${lost}; alert: ${alerts
        .split('\n')
        .find((line) => line.includes('records-lost'))
        ?.slice(0, 400)}`,
    );
  }),
);
