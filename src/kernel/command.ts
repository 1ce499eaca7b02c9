// Runs the system's own programs (nft, ip) without a shell, bounded in time and output, in one network
// namespace. Decides nothing; what to run is nft-*.ts and ip-*.ts.

import { execFile } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import { WeirError } from '../base/errors.ts';
import { printable } from '../base/printable.ts';

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
  /** A file below /proc as seen from the namespace; undefined when it does not exist. */
  readProc(path: string): Promise<string | undefined>;
  writeProc(path: string, text: string): Promise<void>;
}

const packages: Record<string, string> = {
  nft: 'nftables',
  ip: 'iproute2',
  nsenter: 'util-linux',
  cat: 'coreutils',
  tee: 'coreutils',
};
const maxOutputBytes = 128 << 20;
const environment = { PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C' };

function execute(argv: readonly string[], options: CommandOptions): Promise<CommandOutput> {
  const program = argv[0] === 'nsenter' ? argv[3] : argv[0];
  return new Promise((resolve, reject) => {
    const child = execFile(
      argv[0],
      argv.slice(1),
      { timeout: options.timeoutMs ?? 30_000, killSignal: 'SIGKILL', maxBuffer: maxOutputBytes, env: environment },
      (error, stdout, stderr) => {
        const code = error === null ? 0 : typeof error.code === 'number' ? error.code : -1;
        const missing = (error as NodeJS.ErrnoException | null)?.code === 'ENOENT' || (code === 127 && argv[0] === 'nsenter');
        if (missing)
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
              arguments: argv.slice(argv.indexOf(program) + 1).join(' '),
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

const firstLines = (text: string): string => printable(text.trim().split('\n').slice(0, 6).join('; '), 1200);

/** `netns` is a path such as `/run/netns/x` (needs CAP_SYS_ADMIN); without it, this process's own namespace. */
export function createCommandRunner(netns?: string): CommandRunner {
  const inside = (argv: readonly string[]): readonly string[] =>
    netns === undefined ? argv : ['nsenter', `--net=${netns}`, '--', ...argv];
  return {
    netns,
    run: (program, args, options = {}) => execute(inside([program, ...args]), options),
    async readProc(path) {
      if (netns === undefined) {
        try {
          return await readFile(path, 'utf8');
        } catch {
          return undefined;
        }
      }
      const { code, stdout } = await execute(inside(['cat', path]), { anyCode: true });
      return code === 0 ? stdout : undefined;
    },
    async writeProc(path, text) {
      if (netns === undefined) {
        try {
          await writeFile(path, text);
        } catch (error) {
          throw new WeirError('kernel-refused', `cannot write ${path}`, { path }, error);
        }
      } else await execute(inside(['tee', path]), { input: text });
    },
  };
}
