// What connection tracking of one network namespace knows at this moment, both tuples of each connection and its counters, visited one
// by one. What happens meanwhile is conntrack-events.ts. Numbers come from the kernel, addresses from whoever sends packets.
// Source: include/uapi/linux/netfilter/nfnetlink_conntrack.h, nf_conntrack_common.h.

import { type Address, addressBytes, addressFromBytes } from '../../model/address.ts';
import { attribute, byteOf, nested, netWordOf } from '../netlink-message.ts';
import { RouteSocket } from '../route-socket.ts';

export interface ConntrackTuple {
  readonly source: Address;
  readonly destination: Address;
  /** 0 for protocols without ports. */
  readonly sourcePort: number;
  readonly destinationPort: number;
}

export interface ConntrackEntry {
  /** IP protocol number. */
  readonly protocol: number;
  /** As the first packet came. */
  readonly original: ConntrackTuple;
  /** As answers come: not the reverse of the first where addresses are translated. */
  readonly reply: ConntrackTuple;
  /** IPS_*: see the constants of this file. */
  readonly status: number;
  readonly mark: number;
  readonly zone: number;
  /** Seconds until it is forgotten. */
  readonly timeoutSeconds: number;
  /** struct nf_ct_tcp_state, as enum tcp_conntrack; absent for other protocols. */
  readonly tcpState?: string;
  /** IP packets with their headers; absent where accounting is off (net.netfilter.nf_conntrack_acct). */
  readonly counters?: {
    readonly packetsOriginal: number;
    readonly bytesOriginal: number;
    readonly packetsReply: number;
    readonly bytesReply: number;
  };
  /** Microseconds since the epoch, where timestamps are on. */
  readonly start?: number;
}

/** Answers have been seen. */
export const IPS_SEEN_REPLY = 1 << 1;
export const IPS_ASSURED = 1 << 2;
export const IPS_SRC_NAT = 1 << 4;
export const IPS_DST_NAT = 1 << 5;
export const IPS_OFFLOAD = 1 << 14;

const NETLINK_NETFILTER = 12;
const IPCTNL_MSG_CT_GET = (1 << 8) | 1;
/** enum tcp_conntrack. */
const tcpConntrackStates = [
  'NONE',
  'SYN_SENT',
  'SYN_RECV',
  'ESTABLISHED',
  'FIN_WAIT',
  'CLOSE_WAIT',
  'LAST_ACK',
  'TIME_WAIT',
  'CLOSE',
  'SYN_SENT2',
];

interface Draft {
  source?: Address;
  destination?: Address;
  sourcePort: number;
  destinationPort: number;
  protocol: number;
}

/** Calls `visit` with type, place and end of each attribute between `from` and `end`. */
function eachAttribute(view: DataView, from: number, end: number, visit: (type: number, at: number, stop: number) => void): void {
  for (let at = from; at + 4 <= end; ) {
    const size = view.getUint16(at, true);
    if (size < 4 || at + size > end) return;
    visit(view.getUint16(at + 2, true) & 0x3fff, at + 4, at + size);
    at += (size + 3) & ~3;
  }
}

function parseTuple(body: Uint8Array, view: DataView, from: number, end: number): Draft {
  const draft: Draft = { sourcePort: 0, destinationPort: 0, protocol: 0 };
  eachAttribute(view, from, end, (type, start, stop) =>
    eachAttribute(view, start, stop, (field, at, fieldEnd) => {
      const size = fieldEnd - at;
      if (type === 1 && (size === 4 || size === 16)) {
        const address = addressFromBytes(body.subarray(at, fieldEnd));
        if (field === 1 || field === 3) draft.source = address;
        else if (field === 2 || field === 4) draft.destination = address;
      } else if (type === 2) {
        if (field === 1 && size >= 1) draft.protocol = body[at];
        else if (field === 2 && size >= 2) draft.sourcePort = view.getUint16(at);
        else if (field === 3 && size >= 2) draft.destinationPort = view.getUint16(at);
      }
    }),
  );
  return draft;
}

const tupleOf = ({ source, destination, sourcePort, destinationPort }: Draft): ConntrackTuple | undefined =>
  source && destination ? { source, destination, sourcePort, destinationPort } : undefined;

/** A message's body, struct nfgenmsg first; undefined for what is no connection. */
export function parseConntrackMessage(body: Uint8Array): ConntrackEntry | undefined {
  if (body.length < 4) return undefined;
  const view = new DataView(body.buffer, body.byteOffset, body.length);
  let original: Draft | undefined;
  let reply: Draft | undefined;
  let status = 0;
  let mark = 0;
  let zone = 0;
  let timeoutSeconds = 0;
  let tcpState: string | undefined;
  let start: number | undefined;
  let outward: [number, number] | undefined;
  let inward: [number, number] | undefined;
  const counters = (from: number, end: number): [number, number] => {
    const found: [number, number] = [0, 0];
    eachAttribute(view, from, end, (type, at, stop) => {
      if ((type === 1 || type === 2) && stop - at >= 8) found[type - 1] = Number(view.getBigUint64(at));
    });
    return found;
  };
  eachAttribute(view, 4, body.length, (type, at, stop) => {
    const size = stop - at;
    if (type === 1) original = parseTuple(body, view, at, stop);
    else if (type === 2) reply = parseTuple(body, view, at, stop);
    else if (type === 9) outward = counters(at, stop);
    else if (type === 10) inward = counters(at, stop);
    else if (type === 3 && size >= 4) status = view.getUint32(at);
    else if (type === 7 && size >= 4) timeoutSeconds = view.getUint32(at);
    else if (type === 8 && size >= 4) mark = view.getUint32(at);
    else if (type === 18 && size >= 2) zone = view.getUint16(at);
    else if (type === 4)
      eachAttribute(view, at, stop, (protocol, from, end) => {
        if (protocol !== 1) return;
        eachAttribute(view, from, end, (field, value) => {
          if (field === 1) tcpState = tcpConntrackStates[body[value]];
        });
      });
    else if (type === 20)
      eachAttribute(view, at, stop, (which, value, end) => {
        if (which === 1 && end - value >= 8) start = Number(view.getBigUint64(value) / 1000n);
      });
  });
  const first = original && tupleOf(original);
  const second = reply && tupleOf(reply);
  if (!original || !first || !second) return undefined;
  return {
    protocol: original.protocol,
    original: first,
    reply: second,
    status,
    mark,
    zone,
    timeoutSeconds,
    ...(tcpState === undefined ? {} : { tcpState }),
    ...(outward && inward
      ? { counters: { packetsOriginal: outward[0], bytesOriginal: outward[1], packetsReply: inward[0], bytesReply: inward[1] } }
      : {}),
    ...(start === undefined ? {} : { start }),
  };
}

/**
 * Every connection the namespace (a path; undefined: this one) tracks, at most `limit`; false when there are more. Entries may
 * be the caller's to keep. Needs CAP_NET_ADMIN there: throws `not-permitted`.
 */
export function readConntrack(netns: string | undefined, visit: (entry: ConntrackEntry) => void, limit = 300_000): boolean {
  const socket = new RouteSocket(netns, NETLINK_NETFILTER);
  let count = 0;
  try {
    return socket.each(IPCTNL_MSG_CT_GET, [new Uint8Array(4)], 'reading tracked connections', ({ body }) => {
      count += 1;
      if (count > limit) return false;
      const entry = parseConntrackMessage(body);
      if (entry) visit(entry);
      return true;
    }).complete;
  } finally {
    socket.close();
  }
}

/** Asks for single connections of one namespace: cheaper than a dump where few of many are wanted. */
export class ConntrackLookup {
  readonly #socket: RouteSocket;

  /** Needs CAP_NET_ADMIN in the namespace (a path; undefined: this one) to be answered. Throws `not-found`, `not-permitted`. */
  constructor(netns: string | undefined) {
    this.#socket = new RouteSocket(netns, NETLINK_NETFILTER);
  }

  /**
   * The connection of which this is a packet as connection tracking meets it: before translation, either way; of zone 0. Undefined: none.
   * Throws `not-permitted`.
   */
  find(protocol: number, { source, destination, sourcePort, destinationPort }: ConntrackTuple): ConntrackEntry | undefined {
    const four = source.family === 4;
    const tuple = nested(1, [
      nested(1, [attribute(four ? 1 : 3, addressBytes(source)), attribute(four ? 2 : 4, addressBytes(destination))]),
      nested(2, [attribute(1, byteOf(protocol)), attribute(2, netWordOf(sourcePort)), attribute(3, netWordOf(destinationPort))]),
    ]);
    const message = this.#socket.get(
      IPCTNL_MSG_CT_GET,
      [Uint8Array.of(four ? 2 : 10, 0, 0, 0), tuple],
      'asking for a connection',
    );
    return message && parseConntrackMessage(message.body);
  }

  /** Once. */
  close(): void {
    this.#socket.close();
  }
}
