// A machine with Debian's kernel for what the kernel below the tests lacks (802.1Q, VLAN-filtering bridges): qemu without
// hardware help and without a network, this machine's files read-only under a memory overlay. Boots in seconds, runs commands,
// ends by itself when its owner is gone. The kernel's files are guest-kernel.ts.

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import type { CommandResult, RunOptions } from '../../src/kernel/namespace-lab.ts';
import { exchangePlace } from './guest-initramfs.ts';
import { prepareGuestKernel } from './guest-kernel.ts';

const home = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../../..');
const bootBoundMs = 90_000;
const endBoundMs = 15_000;
/** Of the console's output, kept for messages. */
const consoleBytes = 64 << 10;

export interface GuestOptions {
  /** 2048 unless told. Taken from the host as it is touched. */
  readonly memoryMiB?: number;
}

export interface GuestRunOptions extends RunOptions {
  readonly environment?: Readonly<Record<string, string>>;
}

/** What init does in the guest once the host's files are its root: then busybox's init reaps and keeps the agent. */
const startScript = `mount --bind "$(cat ${exchangePlace}/modules)" /lib/modules 2>/dev/null || {
  mkdir -p /lib/modules && mount --bind "$(cat ${exchangePlace}/modules)" /lib/modules; }
printf '%s\\n' ::once:'/bin/sh ${exchangePlace}/agent.sh' >/etc/inittab
hostname guest
ip link set lo up
exec /bin/busybox init
`;

/**
 * Reads `run ID` and `kill ID` from the host, writes `done ID CODE`. Input, output and the command itself are files of the
 * exchange. When the host closes its end the read ends, and so does the machine.
 */
const agentScript = `cd ${exchangePlace}
exec 3<>"$(echo /dev/vport*p1)"
echo ready >&3
while read -r verb id <&3; do
  case $verb in
    run) (
        setsid /bin/sh ./$id.sh <./$id.in >./$id.out 2>./$id.err 3>&- & echo $! >./$id.pid
        wait $!
        echo "done $id $?" >&3
      ) & ;;
    kill) kill -s KILL -- -"$(cat ./$id.pid)" ;;
  esac
done
exec /bin/busybox reboot -f
`;

const quoted = (word: string): string => `'${word.replaceAll("'", `'\\''`)}'`;

/** Opens with `bootGuest`; the owner ends it. */
export class Guest {
  readonly kernelVersion: string;
  readonly bootMs: number;
  readonly #directory: string;
  readonly #qemu: ChildProcess;
  readonly #server: Server;
  readonly #agent: Socket;
  readonly #console: () => string;
  readonly #waiting = new Map<number, (code: number | Error) => void>();
  #last = 0;

  constructor(parts: {
    kernelVersion: string;
    bootMs: number;
    directory: string;
    qemu: ChildProcess;
    server: Server;
    agent: Socket;
    console: () => string;
  }) {
    this.kernelVersion = parts.kernelVersion;
    this.bootMs = parts.bootMs;
    this.#directory = parts.directory;
    this.#qemu = parts.qemu;
    this.#server = parts.server;
    this.#agent = parts.agent;
    this.#console = parts.console;
    onLines(parts.agent, (line) => {
      const [, id, code] = /^done (\d+) (\d+)$/.exec(line) ?? [];
      this.#waiting.get(Number(id))?.(Number(code));
    });
    parts.qemu.once('exit', () => {
      const fault = new Error(`the guest ended; its console:\n${this.#console()}`);
      for (const settle of this.#waiting.values()) settle(fault);
    });
  }

  /** Runs a program in the guest to its end; as runCommand of the kernel room, over there. Several may run at once. */
  async run(argv: readonly string[], options: GuestRunOptions = {}): Promise<CommandResult> {
    this.#last += 1;
    const id = this.#last;
    const file = (kind: string): string => path.join(this.#directory, 'exchange', `${id}.${kind}`);
    const exports = Object.entries(options.environment ?? {}).map(([key, value]) => `export ${key}=${quoted(value)}\n`);
    await writeFile(file('in'), options.input ?? '');
    await writeFile(file('sh'), `cd ${quoted(options.cwd ?? home)}\n${exports.join('')}exec ${argv.map(quoted).join(' ')}\n`);
    const boundMs = options.timeoutMs ?? 30_000;
    let timer: NodeJS.Timeout | undefined;
    const ended = new Promise<number>((resolve, reject) => {
      this.#waiting.set(id, (code) => (code instanceof Error ? reject(code) : resolve(code)));
      timer = setTimeout(() => {
        this.#agent.write(`kill ${id}\n`);
        timer = setTimeout(() => reject(new Error(`${argv.join(' ')}: does not end in the guest`)), endBoundMs);
      }, boundMs);
    });
    this.#agent.write(`run ${id}\n`);
    try {
      const code = await ended;
      const [stdout, stderr] = [await readFile(file('out'), 'utf8'), await readFile(file('err'), 'utf8')];
      // 128 + SIGKILL, as the shell says it.
      if (code !== 0 && !options.anyCode)
        throw new Error(
          `${argv.join(' ')}: ${code === 137 ? `killed after ${boundMs} ms` : `exit ${code}`}: ${stderr || stdout}`,
        );
      return { code: code === 137 ? -1 : code, stdout, stderr };
    } finally {
      clearTimeout(timer);
      this.#waiting.delete(id);
      for (const kind of ['in', 'sh', 'out', 'err', 'pid']) await rm(file(kind), { force: true });
    }
  }

  /** Powers off; kills the machine where that takes too long, which is an error. Removes what it needed on this one. */
  async end(): Promise<void> {
    const gone = this.#qemu.exitCode !== null || this.#qemu.signalCode !== null ? Promise.resolve() : once(this.#qemu, 'exit');
    this.#agent.end();
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<'late'>((resolve) => {
      timer = setTimeout(() => resolve('late'), endBoundMs);
    });
    const outcome = await Promise.race([gone, late]);
    clearTimeout(timer);
    if (outcome === 'late') {
      this.#qemu.kill('SIGKILL');
      await gone;
    }
    this.#agent.destroy();
    this.#server.close();
    await rm(this.#directory, { recursive: true, force: true });
    if (outcome === 'late') throw new Error(`the guest did not power off within ${endBoundMs} ms:\n${this.#console()}`);
  }
}

/** Calls back with each whole line; a line past 4 KiB is none of ours and is dropped. */
function onLines(socket: Socket, each: (line: string) => void): void {
  let rest = '';
  socket.setEncoding('utf8').on('data', (text: string) => {
    const lines = (rest + text).split('\n');
    rest = (lines.pop() ?? '').slice(0, 4096);
    for (const line of lines) each(line.trim());
  });
  socket.on('error', () => {});
}

function qemuArguments(kernel: { image: string; initramfs: string }, directory: string, memoryMiB: number): string[] {
  const share = (place: string, tag: string, more: string): string[] => [
    '-virtfs',
    `local,path=${place},mount_tag=${tag},security_model=none,multidevs=remap${more}`,
  ];
  return [
    // Hardware virtualisation hangs on some machines that offer it; plain emulation works on all.
    ...['-accel', 'tcg,thread=multi', '-smp', '2', '-m', String(memoryMiB)],
    ...['-nodefaults', '-nic', 'none', '-display', 'none', '-serial', 'stdio', '-no-reboot'],
    ...['-kernel', kernel.image, '-initrd', kernel.initramfs],
    ...['-append', 'console=ttyS0 quiet panic=-1 mitigations=off net.ifnames=0'],
    ...share('/', 'host', ',readonly=on'),
    ...share(path.join(directory, 'exchange'), 'exchange', ''),
    ...['-device', 'virtio-serial-pci', '-chardev', `socket,id=agent,path=${path.join(directory, 'agent')}`],
    ...['-device', 'virtserialport,chardev=agent,name=weir'],
  ];
}

/** Prepares the kernel where it is not kept yet, boots, and waits until commands can be run. */
export async function bootGuest(options: GuestOptions = {}): Promise<Guest> {
  const kernel = await prepareGuestKernel(path.join(home, '.weir-setup/guest'));
  const directory = await mkdtemp(path.join(tmpdir(), 'weir-guest-'));
  const exchange = path.join(directory, 'exchange');
  await mkdir(exchange);
  await writeFile(path.join(exchange, 'start.sh'), startScript);
  await writeFile(path.join(exchange, 'agent.sh'), agentScript);
  await writeFile(path.join(exchange, 'modules'), kernel.modules);
  const server = createServer();
  server.listen(path.join(directory, 'agent'));
  await once(server, 'listening');
  const started = performance.now();
  const qemu = spawn(
    'setpriv',
    ['--pdeathsig', 'KILL', 'qemu-system-x86_64', ...qemuArguments(kernel, directory, options.memoryMiB ?? 2048)],
    { stdio: ['ignore', 'pipe', 'pipe'] },
  );
  let said = '';
  for (const stream of [qemu.stdout, qemu.stderr])
    stream.setEncoding('utf8').on('data', (text: string) => {
      said = (said + text).slice(-consoleBytes);
    });
  let timer: NodeJS.Timeout | undefined;
  try {
    const agent = await new Promise<Socket>((resolve, reject) => {
      const fail = (why: string): void => reject(new Error(`${why}; its console:\n${said}`));
      timer = setTimeout(() => fail(`the guest did not boot within ${bootBoundMs} ms`), bootBoundMs);
      qemu.once('exit', (code) => fail(`the guest ended while booting, exit ${code}`));
      qemu.once('error', reject);
      server.once('connection', (socket) => onLines(socket, (line) => line === 'ready' && resolve(socket)));
    });
    agent.removeAllListeners('data');
    const bootMs = Math.round(performance.now() - started);
    return new Guest({ kernelVersion: kernel.version, bootMs, directory, qemu, server, agent, console: () => said });
  } catch (error) {
    qemu.kill('SIGKILL');
    server.close();
    await rm(directory, { recursive: true, force: true });
    throw error;
  } finally {
    clearTimeout(timer);
  }
}

/** Runs `body` with a guest and ends it whatever happens; the body's own failure is told first. */
export async function withGuest<T>(options: GuestOptions, body: (guest: Guest) => Promise<T>): Promise<T> {
  const guest = await bootGuest(options);
  let result: T;
  try {
    result = await body(guest);
  } catch (error) {
    await guest.end().catch(() => {});
    throw error;
  }
  await guest.end();
  return result;
}
