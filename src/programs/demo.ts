// `weir demo`: a lab in network namespaces (attackers, a sensor with a million decoys, and the other ways in: demo/ways.ts), real
// scans and attacks, what was seen, and a console to look at it. Nothing of this machine's own network is touched; all is
// removed at the end, and on Ctrl-C at any moment.

import { once } from 'node:events';
import net from 'node:net';
import { join } from 'node:path';
import { systemClock } from '../base/clock.ts';
import { WeirError } from '../base/errors.ts';
import { printable } from '../base/printable.ts';
import type { ActionContext, DemoOptions } from '../cli/actions.ts';
import { type TestNamespace, until } from '../kernel/namespace-lab.ts';
import {
  attacks,
  buildWays,
  diversionsOfWays,
  has,
  lineOf,
  type Scene,
  settingsOfWays,
  type Way,
  type Ways,
} from './demo/ways.ts';
import { ownInstallation } from './installation.ts';
import { WeirLab } from './weir-lab.ts';

const sources = ['10.1.0.10', '10.1.0.11', '10.1.0.12', '10.1.0.13', '10.1.0.14'];
const sources6 = ['fd99::10', 'fd99::11'];

const configuration = `
probing: { claim-rate: 1000000 }
diversions:
  - name: million
    kind: host
    interface: eth0
    decoys:
      - addresses: 10.64.0.0/12
        population: mixed-office
        alive: 40%
        seed: 7
      - addresses: "fd99:0:0:64::/64"
        population: mixed-office
        alive: 40%
        seed: 7
      - addresses: 10.32.0.0/24
        persona: all-open
${diversionsOfWays}${settingsOfWays('million')}`;

const million: Way = { title: 'the decoys of this host', filter: { diversion: 'million' } };

const first = attacks(sources, '10.32.0.0/24', 6);

/** The exit code of a demo that was ended before it had told anything: 128 + SIGINT, as a shell gives it. */
const interrupted = 130;

/** In keep mode the attackers go on, slowly, for at most this long. */
const keepMs = 60 * 60_000;

export async function runDemo(options: DemoOptions, context: ActionContext): Promise<number> {
  if (process.getuid?.() !== 0)
    throw new WeirError('not-permitted', 'weir demo makes network namespaces and needs root: run it with sudo');
  const { environment } = context;
  const say = (text: string): Promise<void> => environment.stderr.write(`${text}\n`);
  const stop = new AbortController();
  // For good: a second Ctrl-C must not end this before the lab is removed.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => stop.abort());
  const { signal } = stop;
  const began = performance.now();
  const since = (): string => `${((performance.now() - began) / 1000).toFixed(1).padStart(5)} s`;
  let lab: WeirLab | undefined;
  let ways: Ways | undefined;
  let door: Door | undefined;
  let told = false;
  try {
    await say(`${since()}  building a lab: attackers, a sensor, a branch, a floor and a shop, in namespaces of their own`);
    lab = await WeirLab.open({ configuration });
    const { attacker } = lab;
    const addresses = [...sources.map((ip) => `${ip}/8`), ...sources6.map((ip) => `${ip}/48 nodad`)];
    await attacker.ip(
      addresses
        .map((address) => `addr add ${address.replace(' ', ' dev eth0 ')}${address.includes(' ') ? '' : ' dev eth0'}\n`)
        .join(''),
    );
    ways = await buildWays(lab);
    signal.throwIfAborted();
    await say(`${since()}  weir up: 1,048,576 IPv4 addresses and an IPv6 /64, of which 40% live, and the other ways in`);
    await unlessStopped(lab.up(), signal);
    door = await Door.open(lab);
    const console = await door.link(lab);
    await say(`${since()}  the decoys answer. Console: ${console}`);
    const seen = firstSession(lab, signal).then(async (found) => {
      if (found) await say(`${since()}  the first session is on record`);
    });
    const enrolled = ways.enrol(lab, { signal });
    const play = (scenes: readonly Scene[]): Promise<void> => wave(scenes, say, since, signal);
    await Promise.all([play([{ what: 'botnets and crawlers touch the open machines', from: attacker, argv: first }]), enrolled]);
    await say(`${since()}  a token was made, and the branch's agent has enrolled with it`);
    await Promise.all(ways.all.map(({ scene }) => play(scene ? [scene] : [])));
    await play(scenesOnTheWire(attacker));
    await seen;
    await unlessStopped(
      lab.settled(15_000).catch(() => {}),
      signal,
    );
    await summary(lab, [million, ...ways.all], environment.stdout.write, signal);
    told = true;
    if (options.keep || (environment.stdout.isTerminal && environment.stderr.isTerminal)) {
      await say(`\nThe console: ${await door.link(lab)}\nAttackers go on slowly. Ctrl-C ends and removes everything.`);
      await linger(lab, signal);
    }
  } catch (error) {
    // What a lab that is being ended says of it is no fault.
    if (!signal.aborted) throw error;
  } finally {
    door?.close();
    // What does not end by itself is killed, and told, by the lab.
    await ways?.end().catch(() => {});
    await lab?.end().catch((error) => {
      // Ctrl-C of a terminal reaches the tools that remove the lab as well: once more, then.
      if (!signal.aborted) throw error;
      return lab?.end();
    });
    await say(`${since()}  the lab is removed`);
  }
  return told ? 0 : interrupted;
}

/** Throws as soon as `signal` fires; what is waited for then ends with the lab. */
async function unlessStopped<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  work.catch(() => {});
  signal.throwIfAborted();
  let stopped: () => void = () => {};
  const never = new Promise<never>((_, reject) => {
    stopped = () => reject(signal.reason);
    signal.addEventListener('abort', stopped, { once: true });
  });
  try {
    return await Promise.race([work, never]);
  } finally {
    signal.removeEventListener('abort', stopped);
  }
}

/** The console of the sensor on a port of this machine's loopback, for the browser of whoever watches. */
class Door {
  readonly #server: net.Server;
  readonly #end: () => void;

  private constructor(server: net.Server, end: () => void) {
    this.#server = server;
    this.#end = end;
  }

  static async open(lab: WeirLab): Promise<Door> {
    const { node, root } = ownInstallation();
    const path = join(lab.directory, 'door.sock');
    const port = new URL((await lab.reader.createSignInLink()).url).port;
    const child = lab.sensor.spawn([
      node,
      join(root, 'dist/src/programs/demo/console-door.js'),
      '--socket',
      path,
      '--port',
      port,
    ]);
    await until('the door to the console is open', () => canConnect(path));
    const server = net.createServer({ allowHalfOpen: true }, (browser) => {
      const inside = net.connect({ path, allowHalfOpen: true });
      browser.on('error', () => inside.destroy());
      inside.on('error', () => browser.destroy());
      browser.pipe(inside);
      inside.pipe(browser);
    });
    server.maxConnections = 64;
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return new Door(server, () => child.kill('SIGTERM'));
  }

  /** A fresh sign-in link that works from this machine. */
  async link(lab: WeirLab): Promise<string> {
    const url = new URL((await lab.reader.createSignInLink()).url);
    url.port = String((this.#server.address() as net.AddressInfo).port);
    return url.href;
  }

  close(): void {
    this.#server.close();
    this.#server.unref();
    this.#end();
  }
}

function canConnect(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = net.connect({ path });
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}

async function firstSession(lab: WeirLab, signal: AbortSignal): Promise<boolean> {
  while (!signal.aborted) {
    const { sessions } = await lab.reader.counts({});
    if (sessions > 0) return true;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return false;
}

/** One scene after the other, each bounded in time. */
async function wave(
  scenes: readonly Scene[],
  say: (text: string) => Promise<void>,
  since: () => string,
  signal: AbortSignal,
): Promise<void> {
  for (const { what, from, argv } of scenes) {
    signal.throwIfAborted();
    await say(`${since()}  ${what}`);
    await from.run(argv, { anyCode: true, timeoutMs: 60_000, signal });
  }
}

function scenesOnTheWire(from: TestNamespace): Scene[] {
  const scenes: Omit<Scene, 'from'>[] = [
    { what: 'the same over the million', argv: attacks(sources, '10.64.0.0/12', 5) },
    { what: 'the same over IPv6', argv: attacks(sources6, 'fd99:0:0:64::/64', 2) },
  ];
  if (has('nmap')) {
    scenes.push(
      { what: 'nmap finds who lives in 10.64.3.0/24', argv: ['nmap', '-sn', '-n', '--max-retries', '1', '10.64.3.0/24'] },
      {
        what: 'nmap scans 64 machines (connect)',
        argv: [
          'nmap',
          '-sT',
          '-n',
          '-Pn',
          '-T4',
          '--top-ports',
          '50',
          '--max-retries',
          '1',
          '--host-timeout',
          '20s',
          '10.64.3.0/26',
        ],
      },
      {
        what: 'nmap scans 64 machines (half-open)',
        argv: [
          'nmap',
          '-sS',
          '-n',
          '-Pn',
          '-T4',
          '--top-ports',
          '50',
          '--max-retries',
          '1',
          '--host-timeout',
          '20s',
          '10.64.3.64/26',
        ],
      },
    );
  }
  if (has('masscan'))
    scenes.push({
      what: 'masscan sweeps 16,384 addresses for two ports',
      argv: [
        'masscan',
        '10.64.64.0/18',
        '-p23,445',
        '--rate',
        '5000',
        '--wait',
        '2',
        '-e',
        'eth0',
        '--router-mac',
        '02-00-00-00-00-02',
        '--source-ip',
        '10.0.0.1',
      ],
    });
  return scenes.map((scene) => ({ ...scene, from }));
}

async function linger(lab: WeirLab, signal: AbortSignal): Promise<void> {
  const child = lab.attacker.spawn(attacks(sources, '10.32.0.0/24', 3000, 300));
  const end = systemClock() + keepMs * 1000;
  while (!signal.aborted && systemClock() < end) await new Promise((resolve) => setTimeout(resolve, 200));
  child.kill('SIGTERM');
}

/** What a person would ask first, each with the command that answers it. */
async function summary(
  lab: WeirLab,
  ways: readonly Way[],
  write: (text: string) => Promise<void>,
  signal: AbortSignal,
): Promise<void> {
  const { reader } = lab;
  const counts = await reader.counts({});
  await write(
    `\n${counts.sessions} sessions and ${counts.probes} probe packets from ${counts.sources} sources, ${counts.bytesIn} bytes of payload. By the way they came:\n`,
  );
  for (const way of ways) await write(`  ${await lineOf(way, reader)}`);
  for (const argv of [
    ['top', 'ports', '--limit', '8'],
    ['top', 'sources', '--limit', '6'],
    ['sessions', '--limit', '12'],
    ['agents'],
    ['status'],
  ]) {
    signal.throwIfAborted();
    const { stdout, stderr } = await lab.weir(argv, { signal });
    await write(`\n$ weir ${argv.join(' ')}\n${stdout}${stderr ? printable(stderr) : ''}`);
  }
}
