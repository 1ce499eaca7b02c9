// Runs the system's own programs (nft, ip) without a shell, bounded in time and output, in one network
// namespace. Decides nothing; what to run is nft-*.ts and ip-*.ts.

import { execFile } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { WeirError } from '../base/errors.ts';
import { printable } from '../base/printable.ts';
import { insideNetns } from './libc.ts';

export interface CommandOutput {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface CommandOptions {
  /** Written to standard input. */
  readonly input?: string;
  /** Default 30 s; the command is killed and `timeout` thrown. */
  readonly timeoutMs?: number;
  /** Return any exit code instead of throwing. */
  readonly anyCode?: boolean;
}

/** Everything this room does to the kernel by command or by /proc passes here; bound to one network namespace. */
export interface CommandRunner {
  /** Path of the namespace, or undefined for the one this process is in. */
  readonly netns: string | undefined;
  /** Throws `tool-missing`, `timeout`, or `kernel-refused` with the program's own message. */
  run(program: string, args: readonly string[], options?: CommandOptions): Promise<CommandOutput>;
  /**
   * A file below /proc as seen from the namespace; undefined when it does not exist or cannot be read. With `refusalThrows` one
   * that this process may not read throws `not-permitted`: where "there is none" is an answer.
   */
  readProc(path: string, options?: { readonly refusalThrows?: boolean }): Promise<string | undefined>;
  writeProc(path: string, text: string): Promise<void>;
}

const packages: Record<string, string> = {
  nft: 'nftables',
  ip: 'iproute2',
  iptables: 'iptables',
  'iptables-nft-save': 'iptables',
  'ip6tables-nft-save': 'iptables',
  'iptables-legacy-save': 'iptables',
  'ip6tables-legacy-save': 'iptables',
  'ebtables-nft-save': 'iptables',
  'arptables-nft-save': 'iptables',
  ipset: 'ipset',
};
const maxOutputBytes = 128 << 20;
const environment = { PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C' };

function execute(program: string, args: readonly string[], options: CommandOptions): Promise<CommandOutput> {
  return new Promise((resolve, reject) => {
    const child = execFile(
      program,
      args,
      { timeout: options.timeoutMs ?? 30_000, killSignal: 'SIGKILL', maxBuffer: maxOutputBytes, env: environment },
      (error, stdout, stderr) => {
        const code = error === null ? 0 : typeof error.code === 'number' ? error.code : -1;
        if ((error as NodeJS.ErrnoException | null)?.code === 'ENOENT')
          reject(
            new WeirError(
              'tool-missing',
              `the program ${program} is not installed: install the package ${packages[program] ?? program}`,
              {
                program,
              },
            ),
          );
        else if (error?.killed)
          reject(new WeirError('timeout', `${program} did not finish within ${options.timeoutMs ?? 30_000} ms`, { program }));
        else if (error !== null && !options.anyCode)
          reject(
            new WeirError('kernel-refused', `${program}: ${firstLines(stderr || stdout || error.message)}`, {
              program,
              arguments: args.join(' '),
              exitCode: code,
            }),
          );
        else resolve({ code, stdout, stderr });
      },
    );
    // A program that ends before it has read its input closes the pipe; its exit code tells why.
    child.stdin?.on('error', () => {});
    child.stdin?.end(options.input ?? '');
  });
}

/** What a program says of a failure, made fit for people. */
export const firstLines = (text: string): string => printable(text.trim().split('\n').slice(0, 6).join('; '), 1200);

/**
 * `netns` is a path such as `/run/netns/x` (needs CAP_SYS_ADMIN); without it, this process's own namespace. A child is born
 * in the namespace its parent's thread is in: no further program is needed to bring it there.
 */
export function createCommandRunner(netns?: string): CommandRunner {
  return {
    netns,
    async run(program, args, options = {}) {
      return insideNetns(netns, () => execute(program, args, options));
    },
    async readProc(path, { refusalThrows = false } = {}) {
      return insideNetns(netns, () => {
        try {
          return readFileSync(ofThread(path), 'utf8');
        } catch (error) {
          const { code } = error as NodeJS.ErrnoException;
          if (refusalThrows && (code === 'EACCES' || code === 'EPERM'))
            throw new WeirError('not-permitted', `may not read ${path}`, { path, next: 'run it as root' }, error);
          return undefined;
        }
      });
    },
    async writeProc(path, text) {
      insideNetns(netns, () => {
        try {
          writeFileSync(ofThread(path), text);
        } catch (error) {
          throw new WeirError('kernel-refused', `cannot write ${path}`, { path }, error);
        }
      });
    },
  };
}

/** /proc/net is that of the process's first thread; see proc(5). */
const ofThread = (path: string): string => path.replace(/^\/proc\/net\//, '/proc/thread-self/net/');
