// What gateway and netd say about sockets for dialling, over run/handover.sock: how many the gateway wants for which service,
// and those netd made. JSON bodies, every field checked; the descriptors travel in the order of the entries.

import { WeirError } from '../base/errors.ts';
import type { Family } from '../model/address.ts';
import type { Transport } from '../model/session.ts';

/** Frame kinds, beside those of handover.ts: gateway -> netd, netd -> gateway. One request is under way at a time. */
export const frameWanted = 4;
export const frameDialSockets = 5;

export interface WantedSockets {
  readonly service: string;
  readonly transport: Transport;
  readonly family: Family;
  readonly count: number;
}

/** `place` tells one namespace and mark from another: sockets of an earlier one lead nowhere. */
export interface MadeSockets extends WantedSockets {
  readonly place: string;
}

/** Kinds of sockets in one request, and sockets of all of them together. */
export const maxWantedKinds = 256;
export const maxWantedSockets = 4096;

/** Throws `bad-request`. */
export function parseWantedSockets(body: Uint8Array): WantedSockets[] {
  const wanted = parseEntries(body).map(readWanted);
  if (wanted.length > maxWantedKinds || wanted.reduce((sum, { count }) => sum + count, 0) > maxWantedSockets)
    throw new WeirError('bad-request', 'more sockets than may be asked for at a time');
  return wanted;
}

/** Throws `bad-request`. */
export const parseMadeSockets = (body: Uint8Array): MadeSockets[] =>
  parseEntries(body).map((entry) => {
    const { place } = entry;
    if (typeof place !== 'string') throw new WeirError('bad-request', 'sockets come from nowhere');
    return { ...readWanted(entry), place };
  });

export const renderSockets = (entries: readonly WantedSockets[]): Uint8Array => Buffer.from(JSON.stringify(entries));

function parseEntries(body: Uint8Array): Record<string, unknown>[] {
  let value: unknown;
  try {
    value = JSON.parse(Buffer.from(body).toString('utf8'));
  } catch (error) {
    throw new WeirError('bad-request', 'a list of sockets does not parse', {}, error);
  }
  if (!Array.isArray(value)) throw new WeirError('bad-request', 'a list of sockets is no list');
  return value.map((entry: unknown) => (typeof entry === 'object' && entry !== null ? entry : {}) as Record<string, unknown>);
}

function readWanted({ service, transport, family, count }: Record<string, unknown>): WantedSockets {
  const whole = typeof count === 'number' && Number.isSafeInteger(count) && count >= 0 && count <= maxWantedSockets;
  if (typeof service !== 'string' || service.length > 256 || (transport !== 'tcp' && transport !== 'udp') || !whole)
    throw new WeirError('bad-request', 'an entry of a list of sockets is none');
  if (family !== 4 && family !== 6) throw new WeirError('bad-request', 'a socket is of IPv4 or IPv6');
  return { service, transport, family, count };
}
