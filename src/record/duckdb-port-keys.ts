// Filters about ports as conditions on keys of ports, `22/tcp`, which say all that such a filter asks for: so sums by key answer. Pure.

import type { Filter } from './store.ts';

/** What a filter asks for beside ports and transport, and the condition on `key` that these are. */
export interface PortKeys {
  readonly filter: Filter;
  readonly where: string;
}

const transports = ['tcp', 'udp'] as const;

/** Undefined where the filter asks for neither a port nor a transport. */
export function portKeysOf({ ports, transport, ...filter }: Filter): PortKeys | undefined {
  if (ports === undefined && transport === undefined) return undefined;
  const of = transport === undefined ? transports : transports.filter((name) => name === transport);
  // The engine leaves out what a list of whole keys cannot be in.
  const whole = (port: number): string => `key IN (${of.map((name) => `'${port}/${name}'`).join(', ') || 'NULL'})`;
  const number = `try_cast(split_part(key, '/', 1) AS INTEGER)`;
  const ranges = ports?.map(({ first, last }) => (first === last ? whole(first) : `${number} BETWEEN ${first} AND ${last}`));
  const parts = [
    ...(ranges === undefined ? [] : [ranges.length === 0 ? 'false' : `(${ranges.join(' OR ')})`]),
    ...(transport === undefined ? [] : [`(${of.map((name) => `ends_with(key, '/${name}')`).join(' OR ') || 'false'})`]),
  ];
  return { filter, where: parts.join(' AND ') };
}

/** Packets of ICMP are of port 0 and of no transport that can be asked for; they have no key. */
export const canBeIcmp = ({ ports, transport }: Filter): boolean =>
  transport === undefined && (ports === undefined || ports.some(({ first }) => first === 0));
