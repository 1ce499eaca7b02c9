// `weir kill` beside a real Docker engine: a connection to a published port is found by what the client connected to, by the container's
// name and by its process, ended in the container's namespace, and proven gone.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { readConnections } from '../../src/kernel/machine/socket-diag.ts';
import { exitCodeOfKill, killConnections } from '../../src/netops/kill/kill-connections.ts';
import { parseSelector } from '../../src/netops/kill/select-connections.ts';
import { lacksKernelTests, lacksProgram, until, withLab } from '../support/namespace.ts';
import { startDockerEngine } from '../support/real-engine.ts';

const skip = lacksKernelTests() || lacksProgram('dockerd', 'docker.io') || lacksProgram('busybox', 'busybox-static');

const clientText = `
const s = require('node:net').connect(8080, '10.234.0.2', () => { console.log('connected ' + s.localPort + '.'); s.write('x'); });
s.on('data', () => console.log('answered'));
s.on('error', (e) => console.log(e.code));
s.on('close', () => console.log('over'));
setInterval(() => {}, 1000);
`;

test('connections of a container of a real engine: by wire tuple, by name, by process', { skip, timeout: 60_000 }, () =>
  withLab(async (lab) => {
    const [client, host] = [await lab.namespace('c'), await lab.namespace('h')];
    await lab.join(
      { namespace: client, link: 'c0', addresses: ['10.234.0.1/24'] },
      { namespace: host, link: 'eth0', addresses: ['10.234.0.2/24'] },
    );
    const room = mkdtempSync(join(tmpdir(), 'weir-kill-'));
    const engine = await startDockerEngine(host, room);
    try {
      const command = ['/bin/busybox', 'nc', '-ll', '-p', '80', '-e', '/bin/busybox', 'cat'];
      const id = await engine.docker('run', '-d', '--name', 'web', '-p', '8080:80', 'box', ...command);
      const pid = await engine.docker('inspect', '-f', '{{.State.Pid}}', id);
      const servers = () =>
        readConnections(`/proc/${pid}/ns/net`, { transports: ['tcp'], states: ['LISTEN'] }).sockets.map(({ cookie }) => cookie);
      const listening = await until('it listens', () => servers().length > 0 && servers());
      const selectors: ((port: number) => string)[] = [
        (port) => `10.234.0.1:${port}-10.234.0.2:8080 lport=8080`,
        () => 'container=web',
        () => `container=${id.slice(0, 12)} peer=10.234.0.0/24 comm=busybox`,
      ];
      for (const selector of selectors) {
        let heard = '';
        client.spawn([process.execPath, '-e', clientText]).stdout?.on('data', (bytes) => {
          heard += String(bytes);
        });
        const port = Number(
          await until('it is answered', () => heard.includes('answered') && /connected (\d+)\./.exec(heard)?.[1]),
        );
        const words = selector(port);
        const report = await killConnections({
          selector: parseSelector(words.split(' ')),
          yes: true,
          max: 3,
          method: 'auto',
          dockerSocket: join(room, 'docker.sock'),
        });
        assert.deepEqual(
          [report.matched, report.killed, exitCodeOfKill(report)],
          [1, 1, 0],
          `${words}\n${JSON.stringify(report)}`,
        );
        const [{ method, verified, container, also, comm }] = report.results;
        assert.deepEqual([method, verified, container, comm], ['sock-destroy', true, 'web', 'busybox']);
        assert.equal(also, `10.234.0.2:8080-10.234.0.1:${port}`);
        await until('the client was told', () => /ECONNRESET|over/.test(heard));
      }
      assert.deepEqual(servers(), listening, 'the same server still listens');
    } finally {
      await engine.docker('rm', '-f', 'web').catch(() => {});
      await engine.stop();
      rmSync(room, { recursive: true, force: true });
    }
  }),
);
