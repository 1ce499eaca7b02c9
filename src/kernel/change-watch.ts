// Tells that somebody, maybe we ourselves, changed links, addresses, routes, rules or our tables in one network
// namespace. Only that and of which kind: what is true now is read by whoever asks. Links, addresses, routes and rules are
// told by netlink at once, nft rulesets by generation-watch.ts. Sources: rtnetlink(7), include/uapi/linux/{rtnetlink,neighbour}.h.

import { GenerationWatch } from './generation-watch.ts';
import {
  AF_NETLINK,
  bindSocket,
  closeDescriptor,
  EAGAIN,
  EINTR,
  ENOBUFS,
  insideNetns,
  openSocket,
  receive,
  SOCK_RAW,
} from './libc.ts';
import { attachFilter, type FilterInstruction } from './packet-socket.ts';
import { Readiness } from './readiness.ts';
import { orClose, setReceiveBuffer } from './tproxy-socket.ts';

/**
 * `table`: somebody changed the nft ruleset, not necessarily our tables. `unknown`: the kernel had more to tell than fitted, or
 * told something that does not parse: anything may have changed.
 */
export type ChangeKind = 'link' | 'address' | 'route' | 'rule' | 'neighbour' | 'sysctl' | 'table' | 'unknown';

export interface ChangeWatchOptions {
  /** Path of the network namespace; absent: this process's own. Needs CAP_SYS_ADMIN when given. */
  readonly netns?: string;
  /** At most once for each turn of the event loop in which something changed. */
  readonly onChange: (kinds: ReadonlySet<ChangeKind>) => void;
}

const NETLINK_ROUTE = 0;
// Groups as bits: RTNLGRP_LINK 1, NEIGH 3, IPV4_IFADDR 5, IPV4_ROUTE 7, IPV4_RULE 8, IPV6_IFADDR 9, IPV6_ROUTE 11, IPV6_RULE 19,
// IPV4_NETCONF 24, IPV6_NETCONF 25. The last two tell of forwarding and reverse path filters, not of every sysctl.
const routeGroups = [1, 3, 5, 7, 8, 9, 11, 19, 24, 25].reduce((bits, group) => bits | (1 << (group - 1)), 0);

const RTM_NEWROUTE = 24;
const RTM_NEWNEIGH = 28;
const routeKinds = new Map<number, ChangeKind>(
  (['link', 'address', 'route', 'neighbour', 'rule', 'sysctl'] as const).flatMap((kind, index) => {
    const type = [16, 20, RTM_NEWROUTE, RTM_NEWNEIGH, 32, 80][index];
    return [
      [type, kind],
      [type + 1, kind],
    ] as const;
  }),
);

/**
 * Classic BPF over the netlink message, in the kernel: routes of ours (protocol 87), of table local, and default routes;
 * of neighbours only permanent bridge or VXLAN forwarding entries. A full routing table of somebody else or busy
 * neighbours wake nobody.
 */
const filter: readonly FilterInstruction[] = [
  [0x30, 0, 0, 4], // low byte of the type
  [0x15, 3, 0, RTM_NEWROUTE],
  [0x15, 2, 0, RTM_NEWROUTE + 1],
  [0x15, 7, 0, RTM_NEWNEIGH],
  [0x15, 6, 10, RTM_NEWNEIGH + 1],
  [0x30, 0, 0, 21], // rtm_protocol
  [0x15, 8, 0, 87],
  [0x30, 0, 0, 20], // rtm_table
  [0x15, 6, 0, 255],
  [0x30, 0, 0, 17], // rtm_dst_len
  [0x15, 4, 5, 0],
  [0x30, 0, 0, 16], // ndm_family
  [0x15, 0, 3, 7], // AF_BRIDGE
  [0x30, 0, 0, 24], // low byte of ndm_state
  [0x45, 0, 1, 0x80], // NUD_PERMANENT
  [0x06, 0, 0, 0x40000],
  [0x06, 0, 0, 0],
];

/** One turn of the loop reads this many datagrams at most; the rest comes in the next. */
const maxDatagrams = 64;
const bufferBytes = 64 << 10;
const queueBytes = 1 << 20;

export class ChangeWatch {
  readonly #fd: number;
  readonly #watch: Readiness;
  readonly #rules: GenerationWatch;
  readonly #buffer = new Uint8Array(bufferBytes);
  readonly #view = new DataView(this.#buffer.buffer);
  readonly #onChange: ChangeWatchOptions['onChange'];
  #open = true;
  /** Times the kernel had to leave something out; each counted as a change of kind `unknown`. */
  overruns = 0;

  /** Throws `not-found` (no such namespace), `not-permitted`, or `system-call`. It does not keep the process running. */
  constructor(options: ChangeWatchOptions) {
    this.#onChange = options.onChange;
    this.#fd = insideNetns(options.netns, openRouteGroups);
    const told: ReadonlySet<ChangeKind> = new Set(['table']);
    this.#rules = orClose(this.#fd, () => new GenerationWatch(options.netns, () => this.#onChange(told)));
    this.#watch = new Readiness(this.#fd, { readable: true }, () => this.#read());
    this.#watch.unref();
  }

  /** Idempotent. */
  close(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#rules.close();
    this.#watch.close();
    closeDescriptor(this.#fd);
  }

  #read(): void {
    const kinds = new Set<ChangeKind>();
    for (let count = 0; this.#open && count < maxDatagrams; count += 1) {
      const got = receive(this.#fd, this.#buffer);
      if (got === -EAGAIN || got === -EINTR) break;
      if (got < 0) {
        if (got === -ENOBUFS) this.overruns += 1;
        kinds.add('unknown');
        if (got !== -ENOBUFS) break;
        continue;
      }
      this.#walk(got, kinds);
    }
    if (kinds.size > 0 && this.#open) this.#onChange(kinds);
  }

  #walk(length: number, kinds: Set<ChangeKind>): void {
    for (let at = 0; at + 16 <= length; ) {
      const size = this.#view.getUint32(at, true);
      if (size < 16 || at + size > length) {
        kinds.add('unknown');
        return;
      }
      const kind = routeKinds.get(this.#view.getUint16(at + 4, true));
      if (kind) kinds.add(kind);
      at += (size + 3) & ~3;
    }
  }
}

function openRouteGroups(): number {
  const fd = openSocket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
  return orClose(fd, () => {
    attachFilter(fd, filter);
    setReceiveBuffer(fd, queueBytes);
    const address = new Uint8Array(12);
    new DataView(address.buffer).setUint16(0, AF_NETLINK, true);
    new DataView(address.buffer).setUint32(8, routeGroups, true);
    bindSocket(fd, address);
    return fd;
  });
}
