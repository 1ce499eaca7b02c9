// A flow as two endpoints, without a direction: the same from either end and on every device it passes unchanged. Pure.

import { type Address, parseAddress, renderAddress } from '../../model/address.ts';

export interface Endpoint {
  readonly address: Address;
  readonly port: number;
}

export interface Flow {
  /** IP protocol number. */
  readonly protocol: number;
  readonly a: Endpoint;
  readonly b: Endpoint;
}

/** The word or the number of a protocol. */
const protocolNames: Readonly<Record<number, string>> = {
  1: 'icmp',
  2: 'igmp',
  4: 'ipip',
  6: 'tcp',
  17: 'udp',
  47: 'gre',
  50: 'esp',
  58: 'icmpv6',
  132: 'sctp',
};

export const protocolName = (protocol: number): string => protocolNames[protocol] ?? `protocol ${protocol}`;

const keys = new WeakMap<Address, string>();

/** Short and equal for equal addresses; made once for each object, for it is asked for many times in a reading. */
export function addressKey(address: Address): string {
  let key = keys.get(address);
  if (key === undefined) {
    key = address.family === 4 ? Number(address.value).toString(36) : `6${address.value.toString(36)}`;
    keys.set(address, key);
  }
  return key;
}

export const endpointKey = ({ address, port }: Endpoint): string => `${addressKey(address)}.${port}`;

/** From one end to the other: as a socket there has it. */
export const directedKey = (protocol: number, from: Endpoint, to: Endpoint): string =>
  `${protocol}/${endpointKey(from)}/${endpointKey(to)}`;

/** The same for both directions. */
export function flowKey({ protocol, a, b }: Flow): string {
  const one = endpointKey(a);
  const two = endpointKey(b);
  return one < two ? `${protocol}/${one}/${two}` : `${protocol}/${two}/${one}`;
}

export const sameAddress = (a: Address, b: Address): boolean => a.family === b.family && a.value === b.value;
export const sameEndpoint = (a: Endpoint, b: Endpoint): boolean => a.port === b.port && sameAddress(a.address, b.address);

/** `192.0.2.1:22`, `[2001:db8::1]:22`; without a port where there is none. */
export function renderFlowEndpoint({ address, port }: Endpoint): string {
  const text = renderAddress(address);
  if (port === 0) return text;
  return address.family === 6 ? `[${text}]:${port}` : `${text}:${port}`;
}

export const renderFlow = ({ protocol, a, b }: Flow): string =>
  `${protocolName(protocol)} ${renderFlowEndpoint(a)} - ${renderFlowEndpoint(b)}`;

/** What is typed after `--flow`: both ends, or one; a protocol if it matters. */
export interface FlowSelector {
  readonly protocol?: number;
  readonly ends: readonly { readonly address?: Address; readonly port?: number }[];
}

/** `tcp 10.0.0.1:80 192.0.2.7:5000`, `10.0.0.1`, `:443`, ends apart by blanks, commas, `-` or `->`. Undefined: no such thing. */
export function parseFlowSelector(text: string): FlowSelector | undefined {
  const words = text
    .trim()
    .split(/[\s,]+|<?->?(?![^[]*\])/)
    .filter((word) => word !== '');
  let protocol: number | undefined;
  const ends: { address?: Address; port?: number }[] = [];
  for (const word of words) {
    const number = Object.entries(protocolNames).find(([, name]) => name === word.toLowerCase())?.[0];
    if (number !== undefined && protocol === undefined) {
      protocol = Number(number);
      continue;
    }
    const end = parseEnd(word);
    if (!end) return undefined;
    ends.push(end);
  }
  if (ends.length === 0 || ends.length > 2) return undefined;
  return { ...(protocol === undefined ? {} : { protocol }), ends };
}

function parseEnd(word: string): { address?: Address; port?: number } | undefined {
  const bare = parseAddress(word);
  if (bare) return { address: bare };
  const match = /^(?:\[([^\]]+)\]|([^:[\]]*))(?::(\d{1,5}))?$/.exec(word);
  if (!match) return undefined;
  const host = match[1] ?? match[2] ?? '';
  const address = host === '' ? undefined : parseAddress(host);
  const port = match[3] === undefined ? undefined : Number(match[3]);
  if ((host !== '' && !address) || (port !== undefined && (port === 0 || port > 65_535))) return undefined;
  if (!address && port === undefined) return undefined;
  return { ...(address ? { address } : {}), ...(port === undefined ? {} : { port }) };
}

export function matchesFlow({ protocol, ends }: FlowSelector, flow: Flow): boolean {
  if (protocol !== undefined && protocol !== flow.protocol) return false;
  const fits = (end: FlowSelector['ends'][number], endpoint: Endpoint): boolean =>
    (end.address === undefined || sameAddress(end.address, endpoint.address)) &&
    (end.port === undefined || end.port === endpoint.port);
  const [one, two] = ends;
  if (!two) return fits(one, flow.a) || fits(one, flow.b);
  return (fits(one, flow.a) && fits(two, flow.b)) || (fits(one, flow.b) && fits(two, flow.a));
}
