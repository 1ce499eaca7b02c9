// Which connections a selector means. Pure: words to a selector, a selector to yes or no. What may not be killed is kill-guard.ts.

import { WeirError } from '../../base/errors.ts';
import { printable } from '../../base/printable.ts';
import { type TcpState, tcpStates } from '../../kernel/machine/socket-diag.ts';
import { type Address, type AddressRange, parseRange, rangeHolds, renderAddress, renderRange } from '../../model/address.ts';
import type { Transport } from '../../model/session.ts';

export interface Endpoint {
  readonly range?: AddressRange;
  readonly port?: number;
}

/** All that is given has to hold. */
export interface KillSelector {
  /** As typed. */
  readonly text: string;
  /** Two ends, in either direction. */
  readonly ends?: readonly [Endpoint, Endpoint];
  /** Either end. */
  readonly either?: Endpoint;
  readonly local?: Endpoint;
  readonly peer?: Endpoint;
  readonly transport?: Transport;
  readonly state?: TcpState;
  readonly pid?: number;
  readonly comm?: string;
  readonly uid?: number;
  readonly container?: string;
  readonly cookie?: string;
}

/** What is asked of a connection. */
export interface Candidate {
  readonly transport: Transport;
  readonly state: TcpState;
  readonly local: Address;
  readonly localPort: number;
  readonly remote: Address;
  readonly remotePort: number;
  /** The same connection's ends elsewhere, where addresses are translated. */
  readonly translated?: readonly {
    readonly local: Address;
    readonly localPort: number;
    readonly remote: Address;
    readonly remotePort: number;
  }[];
  readonly cookie?: string;
  readonly uid?: number;
  /** A process has it open, and which one cannot be seen. */
  readonly holderUnseen?: boolean;
  readonly processes: readonly {
    readonly pid: number;
    readonly comm: string;
    readonly container?: { readonly id: string; readonly name?: string };
  }[];
}

const next =
  'such as: 10.0.0.9:5000-10.0.0.1:22, peer=10.0.0.0/8 port=22, pid=123, comm=nginx, container=web, cookie=17, state=CLOSE_WAIT';
const wrong = (message: string): WeirError => new WeirError('bad-request', message, { next });

/** `10.0.0.1`, `10.0.0.0/8`, `10.0.0.1:22`, `[fd00::1]:22`, `:22`; undefined when it is none. */
export function parseEndpoint(text: string): Endpoint | undefined {
  const bracketed = /^\[([^\]]+)\](?::(\d{1,5}))?$/.exec(text);
  const plain = /^([^:]*)(?::(\d{1,5}))?$/.exec(text);
  const [, host, port] = bracketed ?? plain ?? [undefined, text];
  const number = port === undefined ? undefined : Number(port);
  if (number !== undefined && (number < 1 || number > 65_535)) return undefined;
  const range = host === undefined || host === '' || host === '*' ? undefined : parseRange(host);
  if (host !== undefined && host !== '' && host !== '*' && !range) return undefined;
  if (range === undefined && number === undefined) return undefined;
  return { ...(range ? { range } : {}), ...(number === undefined ? {} : { port: number }) };
}

function endpoint(text: string): Endpoint {
  const found = parseEndpoint(text);
  if (!found) throw wrong(`'${printable(text, 60)}' is not an address, a network or a port`);
  return found;
}

function whole(text: string, what: string, most = Number.MAX_SAFE_INTEGER): number {
  if (!/^\d{1,16}$/.test(text) || Number(text) > most) throw wrong(`${what}: '${printable(text, 40)}' is not a number`);
  return Number(text);
}

/** Decimal, as `weir kill --json` has it; `sk:` and 0x are hexadecimal, the first as ss(8) prints it. */
function cookieOf(value: string): string {
  const [, hex] = /^(?:sk:|0x)([0-9a-f]{1,16})$/i.exec(value) ?? [];
  if (hex !== undefined) return BigInt(`0x${hex}`).toString();
  if (!/^\d{1,20}$/.test(value))
    throw wrong('cookie is the number `weir kill --json` prints, or sk: and hexadecimal digits as `ss -e` prints it');
  return BigInt(value).toString();
}

/** Throws `bad-request`; also for no word at all: nobody means every connection. */
export function parseSelector(words: readonly string[]): KillSelector {
  const text = words.join(' ').trim();
  let selector: KillSelector = { text };
  const add = (more: Partial<KillSelector>): void => {
    const [key] = Object.keys(more);
    if (key in selector) throw wrong(`${key} is said twice`);
    selector = { ...selector, ...more };
  };
  for (const word of text.split(/\s+/).filter((one) => one !== '')) {
    const [, key, value] = /^([a-z]+)=(.+)$/.exec(word) ?? [];
    switch (key) {
      case undefined: {
        const [one, other, ...rest] = word.split(/-(?![^[]*\])/);
        if (rest.length > 0) throw wrong(`'${printable(word, 80)}' has more than two ends`);
        // A range of addresses is written with a dash too: two whole ends have ports or are told apart by them.
        if (other === undefined) add({ either: endpoint(one) });
        else add({ ends: [endpoint(one), endpoint(other)] });
        break;
      }
      case 'local':
      case 'peer':
        add({ [key]: endpoint(value) });
        break;
      case 'port':
        add({ either: { port: whole(value, 'port', 65_535) } });
        break;
      case 'lport':
        add({ local: { port: whole(value, 'lport', 65_535) } });
        break;
      case 'pport':
        add({ peer: { port: whole(value, 'pport', 65_535) } });
        break;
      case 'proto':
        if (value !== 'tcp' && value !== 'udp') throw wrong(`proto is tcp or udp, not '${printable(value, 20)}'`);
        add({ transport: value });
        break;
      case 'state': {
        const state = tcpStates.find((one) => one !== '' && one === value.toUpperCase().replaceAll('-', '_'));
        if (!state) throw wrong(`'${printable(value, 40)}' is no state of TCP`);
        add({ state });
        break;
      }
      case 'pid':
      case 'uid':
        add({ [key]: whole(value, key) });
        break;
      case 'comm':
      case 'container':
        add({ [key]: value });
        break;
      case 'cookie':
        add({ cookie: cookieOf(value) });
        break;
      default:
        throw wrong(`'${printable(key ?? word, 40)}' is nothing a connection is selected by`);
    }
  }
  if (Object.keys(selector).length === 1) throw wrong('which connections?');
  return selector;
}

const holds = ({ range, port }: Endpoint, address: Address, number: number): boolean =>
  (port === undefined || port === number) &&
  (range === undefined || (range.family === address.family && rangeHolds(range, address)));

export function isSelected(selector: KillSelector, one: Candidate): boolean {
  const { ends, either, local, peer, transport, state, pid, comm, uid, container, cookie } = selector;
  if (transport !== undefined && transport !== one.transport) return false;
  if (state !== undefined && state !== one.state) return false;
  if (cookie !== undefined && cookie !== one.cookie) return false;
  if (uid !== undefined && uid !== one.uid) return false;
  if (pid !== undefined && !one.processes.some((process) => process.pid === pid)) return false;
  if (comm !== undefined && !one.processes.some((process) => process.comm === comm)) return false;
  if (
    container !== undefined &&
    !one.processes.some(
      ({ container: held }) => held && (held.name === container || (container.length >= 6 && held.id.startsWith(container))),
    )
  )
    return false;
  const views = [one, ...(one.translated ?? [])];
  return views.some((view) => {
    if (local && !holds(local, view.local, view.localPort)) return false;
    if (peer && !holds(peer, view.remote, view.remotePort)) return false;
    if (either && !holds(either, view.local, view.localPort) && !holds(either, view.remote, view.remotePort)) return false;
    if (!ends) return true;
    const [a, b] = ends;
    return (
      (holds(a, view.local, view.localPort) && holds(b, view.remote, view.remotePort)) ||
      (holds(b, view.local, view.localPort) && holds(a, view.remote, view.remotePort))
    );
  });
}

const withPort = (address: string, port: number): string =>
  address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;

/** `10.0.0.1:22-10.0.0.9:5000`, local end first; a selector too. */
export const renderEnds = (local: Address, localPort: number, remote: Address, remotePort: number): string =>
  `${withPort(renderAddress(local), localPort)}-${withPort(renderAddress(remote), remotePort)}`;

/** For people: what was understood. */
export function describeSelector(selector: KillSelector): string {
  const end = ({ range, port }: Endpoint): string =>
    `${range ? renderRange(range) : 'any address'}${port === undefined ? '' : ` port ${port}`}`;
  const parts: string[] = [];
  if (selector.ends) parts.push(`between ${end(selector.ends[0])} and ${end(selector.ends[1])}`);
  if (selector.either) parts.push(`with ${end(selector.either)} at either end`);
  if (selector.local) parts.push(`with ${end(selector.local)} here`);
  if (selector.peer) parts.push(`with ${end(selector.peer)} there`);
  for (const key of ['transport', 'state', 'pid', 'comm', 'uid', 'container', 'cookie'] as const)
    if (selector[key] !== undefined) parts.push(`${key} ${printable(String(selector[key]), 60)}`);
  return parts.join(', ');
}
