// A Docker engine and a fail2ban server of a test's own inside one network namespace, with everything they write in one directory.

import { cpSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { runCommand, type TestNamespace, until } from './namespace.ts';

export interface RealEngine {
  docker(...argv: string[]): Promise<string>;
  stop(): Promise<void>;
}

/** With an image `box` of busybox alone. */
export async function startDockerEngine(namespace: TestNamespace, room: string): Promise<RealEngine> {
  mkdirSync(join(room, 'image/bin'), { recursive: true });
  const socket = `unix://${room}/docker.sock`;
  const engine = namespace.spawn([
    'dockerd',
    ...['--data-root', `${room}/data`, '--exec-root', `${room}/exec`, '--pidfile', `${room}/pid`, '-H', socket],
  ]);
  let said = '';
  engine.stderr?.on('data', (chunk: Buffer) => {
    said = (said + chunk.toString()).slice(-4000);
  });
  engine.stdout?.resume();
  const docker = async (...argv: string[]): Promise<string> =>
    (await namespace.run(['docker', '-H', socket, ...argv])).stdout.trim();
  const answers = (): Promise<boolean> =>
    docker('version').then(
      () => true,
      () => false,
    );
  await until('the Docker engine answers', answers, 60_000).catch((error) => {
    throw new Error(`${error}\n${said}`);
  });
  await runCommand(['cp', '/bin/busybox', join(room, 'image/bin/busybox')]);
  await runCommand(['sh', '-c', `tar -C ${room}/image -c . | docker -H ${socket} import - box`]);
  return {
    docker,
    async stop() {
      const gone = new Promise((resolve) => engine.once('exit', resolve));
      engine.kill('SIGTERM');
      await gone;
    },
  };
}

export interface RealBans {
  readonly socket: string;
  ban(address: string): Promise<void>;
  stop(): Promise<void>;
}

/** One jail, `web`, of port 8080, with a ban action of the package's own: `nftables-multiport`, `iptables-multiport`. */
export async function startFail2ban(namespace: TestNamespace, room: string, action: string): Promise<RealBans> {
  const configuration = join(room, 'fail2ban');
  cpSync('/etc/fail2ban', configuration, { recursive: true });
  rmSync(join(configuration, 'jail.d'), { recursive: true, force: true });
  mkdirSync(join(configuration, 'jail.d'));
  writeFileSync(join(room, 'log'), '');
  writeFileSync(join(configuration, 'fail2ban.local'), '[Definition]\ndbfile = None\nlogtarget = STDERR\n');
  writeFileSync(
    join(configuration, 'jail.local'),
    `[DEFAULT]\nbanaction = ${action}\nbantime = 600\n[web]\nenabled = true\nport = 8080\nfilter = sshd\nbackend = polling\nlogpath = ${room}/log\n`,
  );
  const socket = join(room, 'fail2ban.sock');
  const common = ['-c', configuration, '-s', socket];
  const server = namespace.spawn(['fail2ban-server', '-xf', ...common, '-p', join(room, 'fail2ban.pid'), 'start']);
  server.stdout?.resume();
  server.stderr?.resume();
  const client = (...argv: string[]) => namespace.run(['fail2ban-client', ...common, ...argv], { anyCode: true });
  await until('fail2ban has its jail', async () => (await client('status', 'web')).code === 0, 20_000);
  return {
    socket,
    async ban(address) {
      await client('set', 'web', 'banip', address);
      await until('the ban is in the rules', async () =>
        (await namespace.run(['nft', 'list', 'ruleset'])).stdout.includes(address),
      );
    },
    async stop() {
      const gone = new Promise((resolve) => server.once('exit', resolve));
      server.kill('SIGTERM');
      await gone;
    },
  };
}
