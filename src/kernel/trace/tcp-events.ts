// The trace events netops judges by, typed: resets sent and received, retransmissions, changes of state, dropped packets. Pure.
// None of them says its network namespace: a socket's cookie (inet_diag) or its tuple does.
// Source: include/trace/events/tcp.h, sock.h and skb.h.

import type { Micros } from '../../base/clock.ts';
import { parseAddress, renderAddress } from '../../model/address.ts';
import type { TraceEvent } from './trace-line.ts';
import type { TraceRequest } from './trace-session.ts';

export interface TraceEnd {
  readonly ip: string;
  readonly port: number;
}

interface Base {
  readonly at: Micros;
  readonly comm: string;
  readonly pid: number;
  /** Only then `pid` is who caused it. */
  readonly inTask: boolean;
}

/** `source` is the sender of the RST. */
export interface ResetSent extends Base {
  readonly kind: 'reset-sent';
  /** Undefined where this kernel does not say (before 6.9 without a socket). */
  readonly source?: TraceEnd;
  readonly destination?: TraceEnd;
  /** It belongs to a socket; the same text for the same socket, in `state-change` too. */
  readonly socket?: string;
  /** `ESTABLISHED`; undefined without a socket. */
  readonly state?: string;
  /** enum sk_rst_reason, without SK_RST_REASON_; undefined on kernels before 6.10. */
  readonly reason?: string;
}

/** `source` is this machine's end, which received it. */
export interface ResetReceived extends Base {
  readonly kind: 'reset-received';
  readonly source: TraceEnd;
  readonly destination: TraceEnd;
  readonly socket?: string;
  /** As inet_diag has it: decimal. */
  readonly cookie?: string;
}

export interface Retransmission extends Base {
  readonly kind: 'retransmission';
  readonly source: TraceEnd;
  readonly destination: TraceEnd;
  readonly socket?: string;
  readonly state: string;
}

/** `source` is this machine's end. From CLOSE to SYN_SENT the port is not chosen yet: 0. */
export interface StateChange extends Base {
  readonly kind: 'state-change';
  readonly source: TraceEnd;
  readonly destination: TraceEnd;
  readonly socket?: string;
  readonly from: string;
  readonly to: string;
}

export interface PacketDrop extends Base {
  readonly kind: 'drop';
  /** enum skb_drop_reason, without SKB_DROP_REASON_; undefined on kernels before 5.17. */
  readonly reason?: string;
  /** Function of the kernel, without the offset. */
  readonly location: string;
  /** EtherType. */
  readonly protocol: number;
}

export type TcpTraceEvent = ResetSent | ResetReceived | Retransmission | StateChange | PacketDrop;

/** What `readTcpTraceEvent` understands; all optional, for kernels that lack one. */
export const tcpTraceRequests: readonly TraceRequest[] = [
  { event: 'tcp:tcp_send_reset', optional: true },
  { event: 'tcp:tcp_receive_reset', optional: true },
  { event: 'tcp:tcp_retransmit_skb', optional: true },
  { event: 'sock:inet_sock_set_state', optional: true },
];

/** Drops of IPv4 and IPv6 alone. */
export const dropTraceRequest: TraceRequest = {
  event: 'skb:kfree_skb',
  filter: 'protocol == 0x0800 || protocol == 0x86dd',
  optional: true,
};

const withoutPrefix = (state: string | undefined): string => (state ?? '').replace(/^TCP_/, '');
const pointer = (text: string | undefined): string | undefined =>
  text === undefined || /^(0x)?0*$/.test(text) || text === '(null)' ? undefined : text;

/** `10.0.0.1:80`, `[::1]:80`: IPv4 inside IPv6 becomes IPv4. */
function parseEnd(text: string | undefined): TraceEnd | undefined {
  const match = /^\[?(.+?)\]?:(\d+)$/.exec(text ?? '');
  const address = match ? parseAddress(match[1]) : undefined;
  return match && address ? { ip: renderAddress(address), port: Number(match[2]) } : undefined;
}

function endOf(fields: TraceEvent['fields'], side: 's' | 'd'): TraceEnd {
  const four = fields[`${side}addr`] ?? '0.0.0.0';
  const six = fields[`${side}addrv6`];
  // The IPv6 field of an IPv4 socket holds its mapped address, and is what an IPv6 socket alone fills.
  const address = parseAddress(fields.family === 'AF_INET6' && six !== undefined ? six : four);
  return { ip: address ? renderAddress(address) : four, port: Number(fields[`${side}port`] ?? 0) };
}

/** Undefined for any other event. */
export function readTcpTraceEvent({ name, at, comm, pid, inTask, fields }: TraceEvent): TcpTraceEvent | undefined {
  const base = { at, comm, pid, inTask };
  const socket = pointer(fields.skaddr);
  const owner = socket === undefined ? {} : { socket };
  switch (name) {
    case 'tcp_send_reset': {
      const ends =
        fields.src === undefined ? withPorts(fields) : { source: parseEnd(fields.src), destination: parseEnd(fields.dest) };
      return {
        ...base,
        kind: 'reset-sent',
        ...(ends.source && ends.destination ? { source: ends.source, destination: ends.destination } : {}),
        ...owner,
        ...(fields.state === undefined || fields.state === 'UNKNOWN' ? {} : { state: withoutPrefix(fields.state) }),
        ...(fields.reason === undefined ? {} : { reason: fields.reason }),
      };
    }
    case 'tcp_receive_reset': {
      // Printed in hexadecimal; everybody else writes cookies in decimal.
      const cookie = fields.sock_cookie === undefined ? {} : { cookie: BigInt(`0x${fields.sock_cookie}`).toString() };
      return {
        ...base,
        kind: 'reset-received',
        source: endOf(fields, 's'),
        destination: endOf(fields, 'd'),
        ...owner,
        ...cookie,
      };
    }
    case 'tcp_retransmit_skb':
      return {
        ...base,
        kind: 'retransmission',
        source: endOf(fields, 's'),
        destination: endOf(fields, 'd'),
        ...owner,
        state: withoutPrefix(fields.state),
      };
    case 'inet_sock_set_state':
      return {
        ...base,
        kind: 'state-change',
        source: endOf(fields, 's'),
        destination: endOf(fields, 'd'),
        ...owner,
        from: withoutPrefix(fields.oldstate),
        to: withoutPrefix(fields.newstate),
      };
    case 'kfree_skb':
      return {
        ...base,
        kind: 'drop',
        ...(fields.reason === undefined ? {} : { reason: fields.reason }),
        location: (fields.location ?? '').replace(/\+0x.*$/, ''),
        protocol: Number(fields.protocol ?? 0),
      };
    default:
      return undefined;
  }
}

/** Kernels before 6.9 print ports and addresses one by one. */
const withPorts = (fields: TraceEvent['fields']): { source?: TraceEnd; destination?: TraceEnd } =>
  fields.sport === undefined ? {} : { source: endOf(fields, 's'), destination: endOf(fields, 'd') };
