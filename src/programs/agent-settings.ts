// What an agent was told on its command line and keeps: later runs need nothing but the data directory. The command line itself is
// agent-arguments.ts.

import { join } from 'node:path';
import { readWhole, writeDurably } from '../base/durable-file.ts';
import { WeirError } from '../base/errors.ts';
import { parseSize } from '../config/forms.ts';
import { type AgentOptions, dataDirectoryOf } from './agent-arguments.ts';

export interface HostPort {
  readonly host: string;
  readonly port: number;
}

/** An HTTP proxy that takes CONNECT. */
export interface AgentProxy extends HostPort {
  /** The whole value of Proxy-Authorization. */
  readonly authorization?: string;
}

export interface AgentSettings {
  readonly data: string;
  readonly gateway: HostPort;
  readonly proxy?: AgentProxy;
  readonly spoolBytes: number;
}

const defaultSpoolBytes = 2 ** 30;
const leastSpoolBytes = 4 * 2 ** 20;

/** `gw.example.org:7443`, `192.0.2.1:7443`, `[2001:db8::1]:7443`. Throws `bad-request`. */
export function parseHostPort(text: string, what: string): HostPort {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^\s:/@[\]]{1,253})):(\d{1,5})$/.exec(text.trim());
  const port = Number(match?.[3]);
  if (!match || port < 1 || port > 65_535)
    throw new WeirError('bad-request', `${what}: \`${text}\` is not HOST:PORT`, {
      next: 'write gateway.example.org:7443, 192.0.2.1:7443 or [2001:db8::1]:7443',
    });
  return { host: match[1] ?? match[2], port };
}

export function parseProxy(text: string): AgentProxy {
  let url: URL | undefined;
  try {
    url = new URL(text);
  } catch {
    // Said below.
  }
  if (url?.protocol !== 'http:' || url.hostname === '' || (url.pathname !== '/' && url.pathname !== ''))
    throw new WeirError('bad-request', '--proxy: this is not the address of an HTTP proxy', {
      next: 'write http://proxy.example.org:3128',
    });
  const { username, password, hostname, port } = url;
  const secret = `${decodeURIComponent(username)}:${decodeURIComponent(password)}`;
  return {
    host: hostname.replace(/^\[|\]$/g, ''),
    port: Number(port || 80),
    ...(username === '' ? {} : { authorization: `Basic ${Buffer.from(secret).toString('base64')}` }),
  };
}

interface KeptSettings {
  readonly gateway?: string;
  readonly proxy?: string;
  readonly spool?: string;
}

const pathOf = (data: string): string => join(data, 'settings.json');

function parseKept(text: string | undefined): KeptSettings {
  try {
    const value: unknown = JSON.parse(text ?? '{}');
    const { gateway, proxy, spool } = (value ?? {}) as Record<string, unknown>;
    const kept = (one: unknown): string | undefined => (typeof one === 'string' ? one : undefined);
    return { gateway: kept(gateway), proxy: kept(proxy), spool: kept(spool) };
  } catch {
    return {};
  }
}

/** What was given, else what was kept; kept from now on. The data directory exists. Throws `bad-request` and what files do. */
export async function readAgentSettings(options: AgentOptions): Promise<AgentSettings> {
  const data = dataDirectoryOf(options);
  const before = await readWhole(pathOf(data));
  const kept = parseKept(before);
  const gateway = options.gateway ?? kept.gateway;
  if (gateway === undefined)
    throw new WeirError('bad-request', 'which gateway? None was given, and none is kept', {
      next: 'weir agent --gateway HOST:PORT --token TOKEN, as `weir agents add NAME` printed it on the gateway',
    });
  const proxy = options.proxy === 'none' ? undefined : (options.proxy ?? kept.proxy);
  const spool = options.spool ?? kept.spool;
  const spoolBytes = spool === undefined ? defaultSpoolBytes : (parseSize(spool) ?? 0);
  if (spoolBytes < leastSpoolBytes)
    throw new WeirError('bad-request', `--spool: \`${spool}\` is not a size of at least 4MiB`, { next: 'write 512MiB or 4GiB' });
  const settings: AgentSettings = {
    data,
    gateway: parseHostPort(gateway, '--gateway'),
    ...(proxy === undefined ? {} : { proxy: parseProxy(proxy) }),
    spoolBytes,
  };
  const text = `${JSON.stringify({ gateway, proxy, spool })}\n`;
  if (text !== before) await writeDurably(pathOf(data), text);
  return settings;
}
