// The written forms of single values of agents, proxies and services that are dialled (address and port, PROXY versions, host
// names), as forms.ts is for the rest: text in, value or a message with its next step out.

import { type Address, parseAddress } from '../model/address.ts';
import type { Transport } from '../model/session.ts';
import { form, quoted, Wrong, whyUnusable } from './forms.ts';
import { oneOrMore, readHost } from './network-forms.ts';

export interface AddressWithPort {
  readonly address: Address;
  readonly port: number;
}

const isLoopback = ({ family, value }: Address): boolean => (family === 4 ? value >> 24n === 127n : value === 1n);

/** `10.1.0.9:22`, `[2001:db8::9]:22`; without a port `10.1.0.9`, `2001:db8::9`. Undefined when it is none of these. */
export function parseAddressAndPort(text: string): { readonly address: Address; readonly port?: number } | undefined {
  const bare = parseAddress(text);
  if (bare) return { address: bare };
  const [, six, four, digits] = /^(?:\[([^\]]+)\]|([^:[\]]+)):(\d{1,5})$/.exec(text) ?? [];
  const address = parseAddress(six ?? four ?? '');
  const port = Number(digits);
  if (!address || (six !== undefined && !six.includes(':')) || port < 1 || port > 65535) return undefined;
  return { address, port };
}

/** Where we listen ourselves: also all addresses, and loopback. */
export const listenAddress = form((value): AddressWithPort | Wrong => {
  const next = 'write an address of this machine and a port, such as 0.0.0.0:7000 or "[::]:7000"';
  const read = typeof value === 'string' ? parseAddressAndPort(value.trim()) : undefined;
  if (!read) return new Wrong(`${quoted(value)} is not an address with a port`, next);
  if (read.port === undefined) return new Wrong(`${quoted(value)} has no port`, next);
  const { family, value: number } = read.address;
  if (number === 0n || isLoopback(read.address)) return { address: read.address, port: read.port };
  const why = whyUnusable({ family, first: number, last: number });
  return why === undefined
    ? { address: read.address, port: read.port }
    : new Wrong(`nobody can listen at ${quoted(value)}: ${why}`, next);
});

/** Where somebody else listens, with a port. */
export const farAddress = form((value): AddressWithPort | Wrong => {
  const next = 'write one address and a port, such as 10.8.0.2:7000 or "[2001:db8::2]:7000"';
  const read = typeof value === 'string' ? parseAddressAndPort(value.trim()) : undefined;
  if (read?.port === undefined)
    return new Wrong(`${quoted(value)} ${read ? 'has no port' : 'is not an address with a port'}`, next);
  const { family, value: number } = read.address;
  const why = whyUnusable({ family, first: number, last: number });
  return why === undefined
    ? { address: read.address, port: read.port }
    : new Wrong(`${quoted(value)} leads nowhere: ${why}`, next);
});

/** A service: with a port, or without one for the port of the decoy. This machine's own loopback is a place as good as any. */
export const serviceAddress = form((value): { readonly address: Address; readonly port?: number } | Wrong => {
  const next = 'write one address with or without a port, such as 10.1.0.9:2222, 10.1.0.9 or "[2001:db8::9]:22"';
  const read = typeof value === 'string' ? parseAddressAndPort(value.trim()) : undefined;
  if (!read) return new Wrong(`${quoted(value)} is not the address of a service`, next);
  const { family, value: number } = read.address;
  const why = isLoopback(read.address) ? undefined : whyUnusable({ family, first: number, last: number });
  return why === undefined ? read : new Wrong(`${quoted(value)} cannot be the address of a service: ${why}`, next);
});

export const proxyProtocol = form((value): false | 1 | 2 | Wrong => {
  if (value === false) return false;
  if (value === true || value === 'v2') return 2;
  return value === 'v1' ? 1 : new Wrong(`${quoted(value)} is no PROXY protocol`, 'write true (which is v2), v1, v2, or false');
});

export const transport = form((value) =>
  value === 'tcp' || value === 'udp'
    ? (value as Transport)
    : new Wrong(`${quoted(value)} is neither tcp nor udp`, 'write one of them, or leave it out for both'),
);

/** RFC 1123, section 2.1; an address is a name as well. */
const isHostName = (text: string): boolean =>
  text.length <= 253 && /^(?=.*[a-zA-Z0-9])[a-zA-Z0-9-]{1,63}(\.[a-zA-Z0-9-]{1,63})*$/.test(text);

export const publicNames = oneOrMore(16, 'names', (value): string | Wrong =>
  typeof value === 'string' && (parseAddress(value) !== undefined || isHostName(value))
    ? value
    : new Wrong(`${quoted(value)} is not a host name`, 'write a name or an address under which agents reach this machine'),
);

export const hostAddresses = oneOrMore(256, 'addresses', (value) => readHost(value, "an address of the agent's machine"));
