// A netlink socket (NETLINK_ROUTE unless told otherwise) in one network namespace: changes in batches, each acknowledged, and dumps. Owns the descriptor;
// what links, routes and addresses mean is segment-link.ts and ip-route.ts. No process is started for any of it, which is
// what lets a hundred namespaces change in milliseconds.

import { WeirError } from '../base/errors.ts';
import { printable } from '../base/printable.ts';
import {
  AF_NETLINK,
  closeDescriptor,
  EAGAIN,
  EINTR,
  errnoName,
  insideNetns,
  openSocket,
  receive,
  SO_RCVBUFFORCE,
  SOCK_RAW,
  SOL_SOCKET,
  sendTo,
  setSocketOption,
  trySocketOption,
} from './libc.ts';
import {
  joinBytes,
  type NetlinkMessage,
  type NetlinkParts,
  parseAttributes,
  parseMessages,
  renderMessage,
  textIn,
} from './netlink-message.ts';

const NETLINK_ROUTE = 0;
const SOL_NETLINK = 270;
const NETLINK_CAP_ACK = 10;
const NETLINK_EXT_ACK = 11;
const NETLINK_GET_STRICT_CHK = 12;
const NLMSG_ERROR = 2;
const NLMSG_DONE = 3;
const NLM_F_REQUEST = 1;
const NLM_F_ACK = 4;
const NLM_F_DUMP_INTR = 0x10;
const NLM_F_DUMP = 0x300;
const NLM_F_ACK_TLVS = 0x200;
const NLMSGERR_ATTR_MSG = 1;

export const NLM_F_REPLACE = 0x100;
export const NLM_F_EXCL = 0x200;
export const NLM_F_CREATE = 0x400;
export const NLM_F_APPEND = 0x800;

/** So many acknowledgements fit into the receive buffer with ease. */
const batchSize = 100;
/** A dump that something changed while it ran is asked for again. */
const dumpAttempts = 4;

export interface RouteRequest {
  readonly type: number;
  readonly flags?: number;
  readonly body: NetlinkParts;
  /** Said in the error: `address 10.0.0.1/24`. */
  readonly what: string;
  /** Outcomes that are as good as success: `EEXIST` for something that is there already. */
  readonly ignore?: readonly string[];
}

/** Shared: every call takes what it needs out of it before it returns. */
const buffer = new Uint8Array(1 << 16);

/** Synchronous: the kernel answers before the call returns. Needs CAP_NET_ADMIN for changes. */
export class RouteSocket {
  readonly #fd: number;
  #sequence = 0;

  /** `netns` is a path. Throws `not-found` when there is no such namespace. `protocol` as netlink(7) numbers them. */
  constructor(netns?: string, protocol = NETLINK_ROUTE) {
    this.#fd = insideNetns(netns, () => openSocket(AF_NETLINK, SOCK_RAW, protocol));
    setSocketOption(this.#fd, SOL_NETLINK, NETLINK_EXT_ACK, 1);
    setSocketOption(this.#fd, SOL_NETLINK, NETLINK_CAP_ACK, 1);
    trySocketOption(this.#fd, SOL_NETLINK, NETLINK_GET_STRICT_CHK, 1);
    trySocketOption(this.#fd, SOL_SOCKET, SO_RCVBUFFORCE, 1 << 20);
  }

  /** In order. The first refusal throws `kernel-refused` with the kernel's own words; requests behind it in its batch were tried too. */
  change(requests: readonly RouteRequest[]): void {
    for (let at = 0; at < requests.length; at += batchSize) this.#changeSome(requests.slice(at, at + batchSize));
  }

  #changeSome(requests: readonly RouteRequest[]): void {
    const first = this.#sequence + 1;
    const messages = requests.map(({ type, flags = 0, body }) => {
      this.#sequence += 1;
      return renderMessage(type, NLM_F_REQUEST | NLM_F_ACK | flags, this.#sequence, body);
    });
    this.#send(joinBytes(messages));
    let refused: WeirError | undefined;
    for (let answers = 0; answers < requests.length; )
      for (const message of this.#receive()) {
        const request = requests[message.sequence - first];
        if (message.type !== NLMSG_ERROR || !request) continue;
        answers += 1;
        const { errno, words } = parseError(message);
        if (errno === 0 || request.ignore?.includes(errnoName(errno))) continue;
        refused ??= refusal(request.what, errno, words);
      }
    if (refused) throw refused;
  }

  /** One object, or undefined where the kernel has none. */
  get(type: number, body: NetlinkParts, what: string): NetlinkMessage | undefined {
    this.#sequence += 1;
    this.#send(renderMessage(type, NLM_F_REQUEST, this.#sequence, body));
    for (const message of this.#receive()) {
      if (message.sequence !== this.#sequence) continue;
      if (message.type !== NLMSG_ERROR) return { ...message, body: message.body.slice() };
      const { errno, words } = parseError(message);
      if (['ENODEV', 'ENOENT', 'ESRCH'].includes(errnoName(errno))) return undefined;
      throw refusal(what, errno, words);
    }
    return undefined;
  }

  /** Every object of a kind. A routing table that does not exist is empty. */
  dump(type: number, body: NetlinkParts, what: string): NetlinkMessage[] {
    for (let attempt = 1; ; attempt += 1) {
      const found: NetlinkMessage[] = [];
      const keep = (message: NetlinkMessage): boolean => found.push({ ...message, body: message.body.slice() }) > 0;
      // A table that is not there has nothing in it.
      const { steady } = this.#walk(type, body, what, keep, ['ENOENT']);
      if (steady || attempt === dumpAttempts) return found;
    }
  }

  /**
   * Every object of a kind, one after the other and once, for tables too large to hold. A message's body is good only while
   * `visit` runs, which must not use another socket of this kind; when it returns false the rest is not asked for and the socket
   * is good only to be closed. `steady`: nothing changed meanwhile.
   */
  each(
    type: number,
    body: NetlinkParts,
    what: string,
    visit: (message: NetlinkMessage) => boolean,
  ): { readonly steady: boolean; readonly complete: boolean } {
    return this.#walk(type, body, what, visit, []);
  }

  /** `empty`: errors that say that there is nothing. */
  #walk(
    type: number,
    body: NetlinkParts,
    what: string,
    visit: (message: NetlinkMessage) => boolean,
    empty: readonly string[],
  ): { readonly steady: boolean; readonly complete: boolean } {
    this.#sequence += 1;
    this.#send(renderMessage(type, NLM_F_REQUEST | NLM_F_DUMP, this.#sequence, body));
    let steady = true;
    for (;;)
      for (const message of this.#receive()) {
        if (message.sequence !== this.#sequence) continue;
        if ((message.flags & NLM_F_DUMP_INTR) !== 0) steady = false;
        if (message.type === NLMSG_DONE || message.type === NLMSG_ERROR) {
          const { errno, words } = parseError(message);
          if (errno !== 0 && !empty.includes(errnoName(errno))) throw refusal(what, errno, words);
          return { steady, complete: true };
        }
        if (visit(message) === false) return { steady, complete: false };
      }
  }

  #send(bytes: Uint8Array): void {
    for (;;) {
      const sent = sendTo(this.#fd, bytes, null);
      if (sent === -EINTR) continue;
      if (sent < 0) throw refusal('asking the kernel', -sent, '');
      return;
    }
  }

  #receive(): NetlinkMessage[] {
    for (;;) {
      const got = receive(this.#fd, buffer);
      if (got === -EINTR) continue;
      if (got === -EAGAIN) throw new WeirError('system-call', 'the kernel left a netlink request without an answer');
      if (got < 0) throw refusal('hearing the kernel', -got, '');
      return parseMessages(buffer.subarray(0, got));
    }
  }

  /** Idempotent use is the caller's matter: once. */
  close(): void {
    closeDescriptor(this.#fd);
  }
}

/** Opens, hands over, closes whatever happens. */
export function withRouteSocket<T>(netns: string | undefined, body: (socket: RouteSocket) => T, protocol = NETLINK_ROUTE): T {
  const socket = new RouteSocket(netns, protocol);
  try {
    return body(socket);
  } finally {
    socket.close();
  }
}

/** struct nlmsgerr: the negated errno; with NETLINK_CAP_ACK the request's header alone stands between it and the kernel's words. */
function parseError({ type, flags, body }: NetlinkMessage): { errno: number; words: string } {
  const errno = body.length < 4 ? 0 : -new DataView(body.buffer, body.byteOffset).getInt32(0, true);
  if ((flags & NLM_F_ACK_TLVS) === 0) return { errno, words: '' };
  const attributes = parseAttributes(body.subarray(type === NLMSG_DONE ? 4 : 20));
  return { errno, words: printable(textIn(attributes.get(NLMSGERR_ATTR_MSG)), 200) };
}

const refusal = (what: string, errno: number, words: string): WeirError =>
  new WeirError(errnoName(errno) === 'EPERM' ? 'not-permitted' : 'kernel-refused', `${what}: ${words || errnoName(errno)}`, {
    errno: errnoName(errno),
  });
