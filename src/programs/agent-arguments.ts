// The command line of `weir-agent`. Needs nothing of the agent itself, so that its keeper stays small.

import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { WeirError } from '../base/errors.ts';

/** As given; what is absent is as it was. */
export interface AgentOptions {
  readonly gateway?: string;
  readonly token?: string;
  readonly data?: string;
  /** `none` forgets the one there was. */
  readonly proxy?: string;
  readonly spool?: string;
}

export const optionTexts = {
  gateway: 'HOST:PORT of the gateway; kept for later runs',
  token: 'what `weir agents add NAME` printed on the gateway; the first run only',
  data: 'where identity, rules and spool are (default: /var/lib/weir-agent as root, else ~/.local/share/weir-agent)',
  proxy: 'an HTTP proxy that leads to the gateway: http://[USER:PASSWORD@]HOST:PORT; `none` for none; kept',
  alone: 'one process: not started again when it dies, and not upgraded by its gateway',
  spool: 'disk that records may take while the gateway is away, such as 512MiB (default 1GiB); kept',
} as const;

/** The options of `weir-agent` from its arguments, and what it is to do. Throws `bad-request`. */
export function parseAgentArguments(argv: readonly string[]): {
  readonly verb: 'run' | 'status' | 'help' | 'version';
  readonly json: boolean;
  /** Without a keeper. */
  readonly alone: boolean;
  readonly options: AgentOptions;
} {
  const text = { type: 'string' } as const;
  const flag = { type: 'boolean' } as const;
  try {
    const { values, positionals } = parseArgs({
      args: [...argv],
      allowPositionals: true,
      options: {
        gateway: text,
        token: text,
        data: text,
        proxy: text,
        spool: text,
        json: flag,
        alone: flag,
        help: { ...flag, short: 'h' },
        version: { ...flag, short: 'V' },
      },
    });
    const { json = false, alone = false, help, version, ...options } = values;
    const [verb = 'run', ...more] = positionals;
    if (more.length > 0 || (verb !== 'run' && verb !== 'status')) throw new Error(`there is no ${[verb, ...more].join(' ')}`);
    return { verb: help ? 'help' : version ? 'version' : verb, json, alone, options };
  } catch (error) {
    throw new WeirError(
      'bad-request',
      error instanceof Error ? error.message : String(error),
      { next: 'weir-agent --help' },
      error,
    );
  }
}

export function defaultDataDirectory(): string {
  if (process.getuid?.() === 0) return '/var/lib/weir-agent';
  if (process.platform === 'win32') return join(process.env.LOCALAPPDATA ?? join(homedir(), 'AppData/Local'), 'weir-agent');
  // systemd's StateDirectory= says where a service may write.
  return process.env.STATE_DIRECTORY ?? join(process.env.XDG_DATA_HOME ?? join(homedir(), '.local/share'), 'weir-agent');
}

export const dataDirectoryOf = (options: AgentOptions): string =>
  options.data === undefined ? defaultDataDirectory() : resolve(options.data);
