// A lab for whole programs, for the demo, the benchmarks and end-to-end tests: attacker, sensor and, on request, a router
// and live hosts, each in a namespace of its own; `weir up` runs in the sensor's with a data directory of the lab.
// Everything is bounded, stopped by pid and removed, and what is left behind is a fault. Bare namespaces are
// kernel/namespace-lab.ts.

import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { callControl } from '../api/control.ts';
import { RecorderReader } from '../cli/reader.ts';
import {
  type CommandResult,
  NamespaceLab,
  type RunOptions,
  runCommand,
  type TestNamespace,
  until,
} from '../kernel/namespace-lab.ts';
import { segmentTag } from '../plan/desired-segment.ts';
import type { GatewayStatus } from './recorder-status.ts';

const home = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../../..');
const program = path.join(home, 'dist/src/programs/weir.js');

/** Addresses of every lab. The segment is wide, so that a /12 of decoys is on the wire. */
export const labAddresses = {
  attacker: '10.0.0.1',
  attacker6: 'fd99::1',
  sensor: '10.0.0.2',
  sensor6: 'fd99::2',
  router: '10.0.0.254',
  router6: 'fd99::fe',
  /** An attacker beyond the router. */
  far: '198.51.100.7',
  far6: '2001:db8:f::7',
  prefix: 8,
  prefix6: 48,
} as const;

/** Text kept of what `weir up` says, from its beginning. */
const maxOutput = 4 << 20;

export interface WeirLabOptions {
  /** weir.yaml without `version` and `data`; absent: the defaults hold, all free ports of the own addresses. */
  readonly configuration?: string;
  /** `bridge` puts everyone on a switch, so that `addHost` works; `veth` is one wire, for measuring. */
  readonly wire?: 'veth' | 'bridge';
  /** A second attacker behind a router that is the sensor's default gateway. Needs `bridge`. */
  readonly router?: boolean;
  /** Runs the `weir` launcher instead of the built program. */
  readonly launcher?: string;
  /** How long `weir up` may take to stop at the lab's end; default 20 s. With a great many connections behind it it takes longer. */
  readonly stopBoundMs?: number;
}

export interface Recorded {
  readonly weir: Record<string, unknown>;
  readonly source: { readonly ip: string; readonly port: number };
  readonly destination: { readonly ip: string; readonly port: number };
  readonly [key: string]: unknown;
}

/** One started `weir up`. */
export class RunningWeir {
  readonly child: ChildProcess;
  /** The one-time sign-in link, once ready. */
  url = '';
  #output = '';
  #exit: Promise<number>;

  constructor(child: ChildProcess) {
    this.child = child;
    for (const stream of [child.stdout, child.stderr])
      stream?.setEncoding('utf8').on('data', (text: string) => {
        if (this.#output.length < maxOutput) this.#output += text;
      });
    this.#exit = new Promise((resolve) => {
      child.once('close', (code, signal) => resolve(code ?? (signal ? 128 : -1)));
    });
  }

  /** Everything it said on both streams so far. */
  get output(): string {
    return this.#output;
  }

  get running(): boolean {
    return this.child.exitCode === null && this.child.signalCode === null;
  }

  /** Waits until the decoys answer. Throws with what it said when it ends or takes too long. */
  async ready(boundMs = 60_000): Promise<this> {
    await until(
      `weir up is ready; so far:\n${this.#output}`,
      () => /Watch at \S+/.test(this.#output) || !this.running,
      boundMs,
    ).catch((error) => {
      throw new Error(`${error instanceof Error ? error.message : error}\n${this.#output}`);
    });
    const match = /Watch at (\S+)/.exec(this.#output);
    if (!match) throw new Error(`weir up ended before it was ready:\n${this.#output}`);
    this.url = match[1];
    return this;
  }

  /** The exit code, whenever it comes. */
  exited(): Promise<number> {
    return this.#exit;
  }

  /** SIGTERM, and the exit code. A program that does not end within the bound is killed, and that is an error. */
  async stop(boundMs = 20_000): Promise<number> {
    // Its streams may live on in a successor that netd started: only the process counts then.
    if (!this.running) return this.child.exitCode ?? -1;
    this.child.kill('SIGTERM');
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<'late'>((resolve) => {
      timer = setTimeout(() => resolve('late'), boundMs);
    });
    const result = await Promise.race([this.#exit, late]);
    clearTimeout(timer);
    if (result !== 'late') return result;
    this.child.kill('SIGKILL');
    throw new Error(`weir up did not stop within ${boundMs} ms:\n${this.#output}`);
  }
}

/** Opens with `WeirLab.open`, ends with `end`; `withWeirLab` does both. */
export class WeirLab {
  static readonly #standing = new Set<WeirLab>();
  readonly namespaces = new NamespaceLab();
  readonly directory: string;
  readonly data: string;
  /** weir.yaml of the lab. */
  readonly file: string;
  attacker!: TestNamespace;
  sensor!: TestNamespace;
  /** Only with `router`. */
  far: TestNamespace | undefined;
  readonly #command: readonly string[];
  readonly #running: RunningWeir[] = [];
  readonly #stopBoundMs: number | undefined;
  #wire: TestNamespace | undefined;
  #ports = 0;

  private constructor(options: WeirLabOptions) {
    this.directory = mkdtempSync(path.join(tmpdir(), 'weir-lab-'));
    // The unprivileged account must reach the data directory.
    chmodSync(this.directory, 0o755);
    this.data = path.join(this.directory, 'data');
    this.#command = options.launcher === undefined ? [process.execPath, program] : [options.launcher];
    this.file = path.join(this.directory, 'weir.yaml');
    this.#stopBoundMs = options.stopBoundMs;
    this.configure(options.configuration ?? '');
    WeirLab.#standing.add(this);
  }

  /** For a program that is told to end at once: removes every lab of this process, and namespaces without a Weir. */
  static async endAll(): Promise<void> {
    await Promise.allSettled([...WeirLab.#standing].map((lab) => lab.end()));
    await NamespaceLab.endAll();
  }

  static async open(options: WeirLabOptions = {}): Promise<WeirLab> {
    const lab = new WeirLab(options);
    try {
      if ((options.wire ?? 'veth') === 'bridge' || options.router) await lab.#buildSwitch(options.router === true);
      else await lab.#buildWire();
    } catch (error) {
      await lab.end().catch(() => {});
      throw error;
    }
    return lab;
  }

  /** Replaces weir.yaml; `weir apply` makes a running one read it. */
  configure(text: string): void {
    writeFileSync(this.file, `version: 1\ndata: ${this.data}\n${text}`);
  }

  async #buildWire(): Promise<void> {
    const { attacker, attacker6, sensor, sensor6, prefix, prefix6 } = labAddresses;
    this.attacker = await this.namespaces.namespace('a');
    this.sensor = await this.namespaces.namespace('s');
    await this.namespaces.join(
      {
        namespace: this.attacker,
        link: 'eth0',
        addresses: [`${attacker}/${prefix}`, `${attacker6}/${prefix6}`],
        mac: '02:00:00:00:00:01',
      },
      {
        namespace: this.sensor,
        link: 'eth0',
        addresses: [`${sensor}/${prefix}`, `${sensor6}/${prefix6}`],
        mac: '02:00:00:00:00:02',
      },
    );
  }

  async #buildSwitch(router: boolean): Promise<void> {
    const { attacker, attacker6, sensor, sensor6, far, far6, router: gateway, router6, prefix, prefix6 } = labAddresses;
    this.#wire = await this.namespaces.namespace('w');
    await this.#wire.ip('link add br0 type bridge\nlink set br0 up\n');
    this.attacker = await this.addHost('a', [`${attacker}/${prefix}`, `${attacker6}/${prefix6}`], '02:00:00:00:00:01');
    this.sensor = await this.addHost('s', [`${sensor}/${prefix}`, `${sensor6}/${prefix6}`], '02:00:00:00:00:02');
    if (!router) return;
    const between = await this.addHost('r', [`${gateway}/${prefix}`, `${router6}/${prefix6}`], '02:00:00:00:00:fe');
    await between.setSysctl('net/ipv4/ip_forward', '1');
    await between.setSysctl('net/ipv6/conf/all/forwarding', '1');
    this.far = await this.namespaces.namespace('f');
    await this.namespaces.join(
      { namespace: this.far, link: 'eth0', addresses: [`${far}/24`, `${far6}/64`] },
      { namespace: between, link: 'far0', addresses: ['198.51.100.1/24', '2001:db8:f::1/64'] },
    );
    await this.far.ip('route add default via 198.51.100.1\nroute add default via 2001:db8:f::1\n');
    await this.sensor.ip(`route add default via ${gateway}\nroute add default via ${router6}\n`);
  }

  /** A real machine on the switch (`wire: 'bridge'`), with its addresses as `a/len`. */
  async addHost(label: string, addresses: readonly string[], mac?: string): Promise<TestNamespace> {
    if (!this.#wire) throw new Error('addHost needs a lab with wire: bridge');
    const host = await this.namespaces.namespace(label);
    this.#ports += 1;
    const port = `p${this.#ports}`;
    await this.namespaces.join(
      { namespace: host, link: 'eth0', addresses, ...(mac ? { mac } : {}) },
      { namespace: this.#wire, link: port },
    );
    await this.#wire.ip(`link set ${port} master br0\n`);
    return host;
  }

  /** Starts `weir up` in the sensor's namespace without waiting. The lab stops it at the latest at its end. */
  start(argv: readonly string[] = ['--yes'], environment: NodeJS.ProcessEnv = {}): RunningWeir {
    lendNetworks(this.data);
    const child = this.sensor.spawn([...this.#command, 'up', '-c', this.file, ...argv], {
      env: { ...process.env, SSH_CONNECTION: undefined, ...environment },
      cwd: this.directory,
    });
    const running = new RunningWeir(child);
    this.#running.push(running);
    return running;
  }

  /** Starts `weir up` and waits until the decoys answer. */
  up(argv: readonly string[] = ['--yes'], environment: NodeJS.ProcessEnv = {}): Promise<RunningWeir> {
    return this.start(argv, environment).ready();
  }

  /** The recorder's answers, without a process for each. */
  get reader(): RecorderReader {
    return new RecorderReader(path.join(this.data, 'run/recorder.sock'));
  }

  /** Waits until everything written to the journals is in the store: the recorder runs when nothing else does. */
  async settled(boundMs = 180_000): Promise<void> {
    await until(
      'the recorder has caught up',
      async () => {
        const { journal } = await this.reader.status();
        return journal !== undefined && journal.lagBytes === 0;
      },
      boundMs,
    );
  }

  /** What the gateway counts, as it says it. */
  async gateway(): Promise<GatewayStatus> {
    return (await callControl(path.join(this.data, 'run/gateway.sock'), 'status', null, 10_000)) as GatewayStatus;
  }

  /** Any other `weir` command in the sensor's namespace. */
  weir(argv: readonly string[], options: RunOptions = {}): Promise<CommandResult> {
    const [verb, ...rest] = argv;
    return this.sensor.run([...this.#command, verb, '-c', this.file, ...rest], { cwd: this.directory, ...options });
  }

  /** The same, its JSON lines parsed. */
  async records(argv: readonly string[]): Promise<Recorded[]> {
    const { stdout } = await this.weir([...argv, '--json']);
    return stdout
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as Recorded);
  }

  /** Waits until `weir ARGV --json` gives at least `count` records, and returns them. */
  recorded(argv: readonly string[], count: number, boundMs = 60_000): Promise<Recorded[]> {
    return until<Recorded[] | undefined>(
      `${count} records of weir ${argv.join(' ')}`,
      async () => {
        const found = await this.records(argv);
        return found.length >= count ? found : undefined;
      },
      boundMs,
    );
  }

  /** A tool in the attacker's namespace, bounded: 60 s unless told. A tool's own exit code is the caller's to judge. */
  attack(argv: readonly string[], options: RunOptions = {}): Promise<CommandResult> {
    return this.attacker.run(argv, { timeoutMs: 60_000, anyCode: true, ...options });
  }

  /** Processes whose command line names this lab's data directory: `netd`, `gateway`, `recorder`, with the pid of each. */
  processes(): Map<string, number> {
    const found = new Map<string, number>();
    for (const pid of readdirSync('/proc').filter((entry) => /^\d+$/.test(entry))) {
      try {
        const argv = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
        const script = argv.find((argument) => /\/programs\/(netd|gateway|recorder)\.js$/.test(argument));
        if (script && argv.includes(this.data)) found.set(path.basename(script, '.js'), Number(pid));
      } catch {
        // It ended while we looked.
      }
    }
    return found;
  }

  /** Resident bytes of all of them together, shared pages counted once (Pss). */
  memoryBytes(pids: Iterable<number> = this.processes().values()): number {
    let sum = 0;
    for (const pid of pids)
      sum += Number(/^Pss:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'))?.[1] ?? 0) * 1024;
    return sum;
  }

  /** Stops what runs, removes everything, and fails when a process, a namespace or a file is left. */
  async end(): Promise<void> {
    WeirLab.#standing.delete(this);
    const problems: unknown[] = [];
    for (const running of this.#running) await running.stop(this.#stopBoundMs).catch((error) => problems.push(error));
    for (const pid of this.processes().values()) {
      problems.push(new Error(`a process of Weir was left: ${pid}`));
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // It ended by itself.
      }
    }
    await this.namespaces.end().catch((error) => problems.push(error));
    // Of a Weir that was killed before it could remove its own.
    const { stdout } = await runCommand(['ip', 'netns', 'list'], { anyCode: true });
    const own = new RegExp(`^weir-${segmentTag(this.data)}[.-]`);
    for (const name of stdout.split(/\s+/).filter((word) => own.test(word)))
      await runCommand(['ip', 'netns', 'delete', name], { anyCode: true });
    keepNetworks(this.data);
    // A test may have mounted a small disk there.
    const mounts = readFileSync('/proc/self/mounts', 'utf8')
      .split('\n')
      .map((line) => line.split(' ')[1])
      .filter((mount) => mount?.startsWith(`${this.directory}/`));
    for (const mount of mounts.reverse()) await runCommand(['umount', mount], { anyCode: true });
    rmSync(this.directory, { recursive: true, force: true });
    assert.ok(!existsSync(this.directory));
    if (problems.length > 0) throw new AggregateError(problems, problems.map(String).join('\n'));
  }
}

/** Packing the table of networks takes a second of each lab, and all labs have the same: it is kept beside the build. */
const networks = 'analysis/networks.bin';
const keptNetworks = path.join(home, 'dist/lab-networks.bin');

/** A data directory that is not there yet gets the packed table, where a lab has kept one. */
export function lendNetworks(data: string): void {
  const file = path.join(data, networks);
  if (!existsSync(keptNetworks) || existsSync(data)) return;
  mkdirSync(path.dirname(file), { recursive: true });
  copyFileSync(keptNetworks, file);
  chmodSync(file, 0o644);
}

function keepNetworks(data: string): void {
  const file = path.join(data, networks);
  try {
    // Under a name of its own first: several tests may end at once.
    const fresh = `${keptNetworks}.${process.pid}`;
    if (existsSync(keptNetworks) && statSync(keptNetworks).size === statSync(file).size) return;
    copyFileSync(file, fresh);
    renameSync(fresh, keptNetworks);
  } catch {
    // None was packed, or the build belongs to somebody else: the next lab packs its own.
  }
}

/** Runs `body` in a lab and ends it whatever happens; the body's own failure is told first. */
export async function withWeirLab<T>(options: WeirLabOptions, body: (lab: WeirLab) => Promise<T>): Promise<T> {
  const lab = await WeirLab.open(options);
  let result: T;
  try {
    result = await body(lab);
  } catch (error) {
    await lab.end().catch(() => {});
    throw error;
  }
  await lab.end();
  return result;
}
