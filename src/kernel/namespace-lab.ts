// Network namespaces for the demo, the benchmarks and kernel tests: made, joined by veth, used and removed by whoever made
// them. Touches nothing in the machine's own namespace; links are born inside the new ones.

import assert from 'node:assert/strict';
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { performance } from 'node:perf_hooks';

export interface CommandResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  /** Sent to standard input, then closed. */
  readonly input?: string;
  /** Killed after this; default 30 s. A killed command has code -1. */
  readonly timeoutMs?: number;
  /** Accept any exit code; without it a code other than 0 throws with the command's own words. */
  readonly anyCode?: boolean;
  readonly cwd?: string;
  /** Kills it, as the time limit does. */
  readonly signal?: AbortSignal;
}

/** Runs a program to its end without a shell; standard output and error are bounded at 64 MiB. */
export function runCommand(argv: readonly string[], options: RunOptions = {}): Promise<CommandResult> {
  return new Promise((resolve, reject) => {
    const child = execFile(
      argv[0],
      argv.slice(1),
      {
        timeout: options.timeoutMs ?? 30_000,
        killSignal: 'SIGKILL',
        maxBuffer: 64 << 20,
        cwd: options.cwd,
        signal: options.signal,
      },
      (error, stdout, stderr) => {
        const code = error === null ? 0 : typeof error.code === 'number' ? error.code : -1;
        if (error !== null && !options.anyCode)
          reject(new Error(`${argv.join(' ')}: exit ${code} ${error.signal ?? ''}: ${stderr || stdout || error.message}`));
        else resolve({ code, stdout, stderr });
      },
    );
    child.stdin?.on('error', () => {});
    child.stdin?.end(options.input ?? '');
  });
}

/** Waits for `probe` to return something other than undefined or false, asking again every 20 ms; throws after the bound. */
export async function until<T>(what: string, probe: () => T | Promise<T>, boundMs = 10_000): Promise<NonNullable<T>> {
  const end = performance.now() + boundMs;
  for (;;) {
    const value = await probe();
    if (value !== undefined && value !== null && value !== false) return value;
    if (performance.now() > end) throw new Error(`not within ${boundMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** One network namespace of a lab. */
export class TestNamespace {
  readonly name: string;
  /** For `nsenter --net=` and for Weir's own `netns` arguments. */
  readonly path: string;
  readonly #children = new Set<ChildProcess>();

  constructor(name: string) {
    this.name = name;
    this.path = `/run/netns/${name}`;
  }

  /** The command line that runs `argv` inside. nsenter, not `ip netns exec`: /sys stays as it is and it is cheaper. */
  inside(argv: readonly string[]): string[] {
    return ['nsenter', `--net=${this.path}`, '--', ...argv];
  }

  run(argv: readonly string[], options?: RunOptions): Promise<CommandResult> {
    return runCommand(this.inside(argv), options);
  }

  /** Several `ip` commands in one batch, one per line. */
  async ip(batch: string): Promise<void> {
    await this.run(['ip', '-batch', '-'], { input: batch });
  }

  async nft(text: string): Promise<void> {
    await this.run(['nft', '-f', '-'], { input: text });
  }

  /** Writes a sysctl of this namespace: `net/ipv4/ip_forward`. */
  async setSysctl(key: string, value: string): Promise<void> {
    await this.run(['tee', `/proc/sys/${key}`], { input: value });
  }

  /** A long-lived program inside; the lab kills it at its end. Its output is the caller's to read. */
  spawn(argv: readonly string[], options: { env?: NodeJS.ProcessEnv; cwd?: string } = {}): ChildProcess {
    const [command, ...rest] = this.inside(argv);
    const child = spawn(command, rest, {
      stdio: ['pipe', 'pipe', 'pipe'],
      ...(options.env ? { env: options.env } : {}),
      cwd: options.cwd,
    });
    child.on('error', () => {});
    this.#children.add(child);
    child.once('close', () => this.#children.delete(child));
    return child;
  }

  /** Everything a `weir down` has to leave as it was: rules, links, addresses, routes, rules and our sysctls, as text. */
  async snapshot(): Promise<string> {
    const parts: string[] = [];
    for (const argv of [
      ['nft', '-s', 'list', 'ruleset'],
      ['ip', '-details', 'link'],
      ['ip', 'addr'],
      ['ip', '-4', 'route', 'show', 'table', 'all'],
      ['ip', '-6', 'route', 'show', 'table', 'all'],
      ['ip', '-4', 'rule'],
      ['ip', '-6', 'rule'],
      ['iptables-save'],
      ['grep', '-rs', '', '/proc/sys/net/ipv4/conf', '/proc/sys/net/ipv6/conf', '/proc/sys/net/ipv4/ip_forward'],
    ]) {
      const { stdout } = await this.run(argv, { anyCode: true });
      const steady = stdout
        .replace(/ (valid_lft|preferred_lft|expires|\w+_timer) +\S+/g, ' $1 -')
        .split('\n')
        .filter((line) => !/^# (Generated|Completed)|mc_forwarding|stable_secret/.test(line))
        .join('\n');
      parts.push(`# ${argv.join(' ')}\n${steady}`);
    }
    return parts.join('\n');
  }

  /** Kills what was spawned here and waits for it. */
  async stopChildren(): Promise<void> {
    const gone = [...this.#children].map(
      (child) =>
        new Promise<void>((resolve) => {
          if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) resolve();
          else child.once('exit', () => resolve());
          child.stdout?.resume();
          child.stderr?.resume();
          child.kill('SIGKILL');
        }),
    );
    await Promise.all(gone);
    this.#children.clear();
  }
}

let made = 0;

function killIfThere(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It ended by itself.
  }
}

/** Namespaces and links of one test; `end` removes them all and fails when anything is left. */
export class NamespaceLab {
  /** Of this process, from the first namespace to `end`. */
  static readonly #standing = new Set<NamespaceLab>();
  readonly prefix: string;
  readonly #namespaces: TestNamespace[] = [];

  constructor() {
    made += 1;
    this.prefix = `weirt-${process.pid.toString(36)}-${made}`;
    NamespaceLab.#standing.add(this);
  }

  /** For a program that is told to end at once: removes every lab of this process, as far as each lets itself be removed. */
  static async endAll(): Promise<void> {
    await Promise.allSettled([...NamespaceLab.#standing].map((lab) => lab.end()));
  }

  /** A new namespace with `lo` up and duplicate address detection off, so that addresses work at once. */
  async namespace(label: string): Promise<TestNamespace> {
    const namespace = new TestNamespace(`${this.prefix}-${label}`);
    // Before it is there: a tool that is interrupted half-way leaves something to remove.
    this.#namespaces.push(namespace);
    await runCommand(['ip', 'netns', 'add', namespace.name]);
    await namespace.ip('link set lo up\n');
    await namespace.setSysctl('net/ipv6/conf/default/accept_dad', '0');
    return namespace;
  }

  /**
   * A veth pair between two namespaces, both ends up, each with its addresses (`10.0.0.1/24`, `fd00::1/64`).
   * Link names are at most 15 characters.
   */
  async join(
    left: { namespace: TestNamespace; link: string; addresses?: readonly string[]; mac?: string },
    right: { namespace: TestNamespace; link: string; addresses?: readonly string[]; mac?: string },
  ): Promise<void> {
    const mac = (end: { mac?: string }): string => (end.mac ? ` address ${end.mac}` : '');
    await left.namespace.ip(
      `link add ${left.link}${mac(left)} type veth peer name ${right.link}${mac(right)} netns ${right.namespace.name}\n`,
    );
    for (const end of [left, right]) {
      const addresses = (end.addresses ?? []).map((address) => {
        const nodad = address.includes(':') ? ' nodad' : '';
        return `addr add ${address} dev ${end.link}${nodad}\n`;
      });
      await end.namespace.ip(`link set ${end.link} up\n${addresses.join('')}`);
    }
    for (const end of [left, right])
      await until(`${end.link} has its carrier`, async () => {
        const { stdout } = await end.namespace.run(['ip', '-o', 'link', 'show', end.link]);
        return /LOWER_UP/.test(stdout) && /state UP/.test(stdout);
      });
  }

  /**
   * Kills what the test started inside, deletes the namespaces, and asserts that nothing of this lab is left. What looks at every namespace of the
   * machine may be inside for a moment: it is another's, and is waited for.
   */
  async end(): Promise<void> {
    NamespaceLab.#standing.delete(this);
    for (const namespace of this.#namespaces) await namespace.stopChildren();
    const strays = await staying(() => processesIn(this.#namespaces));
    for (const pid of strays) killIfThere(pid);
    await until('processes inside are gone', () => processesIn(this.#namespaces).length === 0);
    // What cannot be removed is found by the look that follows.
    for (const namespace of this.#namespaces) await runCommand(['ip', 'netns', 'delete', namespace.name], { anyCode: true });
    const { stdout: left } = await runCommand(['ip', 'netns', 'list']);
    assert.ok(!left.includes(`${this.prefix}-`), `namespaces left: ${left}`);
    assert.deepEqual(strays, [], 'processes were left running in the namespaces of the test');
  }
}

/** Runs `body` with a lab and ends it whatever happens. */
export async function withLab<T>(body: (lab: NamespaceLab) => Promise<T>): Promise<T> {
  const lab = new NamespaceLab();
  let failed: unknown;
  try {
    return await body(lab);
  } catch (error) {
    failed = error;
    throw error;
  } finally {
    if (failed === undefined) await lab.end();
    else await lab.end().catch(() => {});
  }
}

/** Attacker and sensor on one wire: `av` 10.99.0.1/16 + fd99::1/64 in `attacker`, `sv` 10.99.0.2/16 + fd99::2/64 in `sensor`. */
export async function createSegment(lab: NamespaceLab, number = ''): Promise<{ attacker: TestNamespace; sensor: TestNamespace }> {
  const attacker = await lab.namespace(`a${number}`);
  const sensor = await lab.namespace(`s${number}`);
  await lab.join(
    { namespace: attacker, link: 'av', addresses: ['10.99.0.1/16', 'fd99::1/64'], mac: '02:00:00:00:99:01' },
    { namespace: sensor, link: 'sv', addresses: ['10.99.0.2/16', 'fd99::2/64'], mac: '02:00:00:00:99:02' },
  );
  return { attacker, sensor };
}

const passingMs = 2000;

/** Those of the first look that are there to the last. */
async function staying(look: () => readonly number[]): Promise<readonly number[]> {
  const end = performance.now() + passingMs;
  let left = look();
  while (left.length > 0 && performance.now() < end) {
    await new Promise((resolve) => setTimeout(resolve, 20));
    const now = new Set(look());
    left = left.filter((pid) => now.has(pid));
  }
  return left;
}

function processesIn(namespaces: readonly TestNamespace[]): number[] {
  const wanted = new Set<string>();
  for (const namespace of namespaces) {
    const inode = inodeOf(namespace.path);
    if (inode) wanted.add(`net:[${inode}]`);
  }
  const found: number[] = [];
  for (const entry of readdirSync('/proc')) {
    if (!/^\d+$/.test(entry)) continue;
    try {
      if (wanted.has(readlinkSync(`/proc/${entry}/ns/net`)) && !isZombie(entry)) found.push(Number(entry));
    } catch {
      // The process ended while we looked.
    }
  }
  return found;
}

const isZombie = (pid: string): boolean => /\) Z /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));

function inodeOf(path: string): string | undefined {
  for (const line of readFileSync('/proc/self/mountinfo', 'utf8').split('\n')) {
    const match = / net:\[(\d+)\] (\S+) /.exec(line);
    if (match && (match[2] === path || match[2].endsWith(path.replace('/run', '')))) return match[1];
  }
  return undefined;
}
