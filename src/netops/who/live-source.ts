// The world as it is: what `weir who` asks the kernel, with sockets for asking kept open as long as it watches. Owns those descriptors.
// What is concluded is trace-flow.ts and extend-path.ts.

import { type ConntrackEntry, ConntrackLookup } from '../../kernel/machine/conntrack-dump.ts';
import { readProcess } from '../../kernel/machine/process-reader.ts';
import { askRoute, type RouteAnswer } from '../../kernel/machine/route-get.ts';
import { readConnections, type SocketEntry, type TcpState } from '../../kernel/machine/socket-diag.ts';
import { readSocketOwners, type SocketOwners } from '../../kernel/machine/socket-owners.ts';
import { readUserNames } from '../../kernel/machine/user-names.ts';
import { readProcessStart } from '../../kernel/process-identity.ts';
import { RouteSocket } from '../../kernel/route-socket.ts';
import type { Address } from '../../model/address.ts';
import type { MachineContainer, MachineNamespace, MachineProcess } from '../../model/machine.ts';
import { type Endpoint, type Flow, flowKey } from './flow.ts';
import type { WorldSource } from './world.ts';

/** Without TIME_WAIT, of which a busy machine has more than of all others, and which nobody holds. */
const askedStates: readonly TcpState[] = [
  'ESTABLISHED',
  'SYN_SENT',
  'SYN_RECV',
  'FIN_WAIT1',
  'FIN_WAIT2',
  'CLOSE',
  'CLOSE_WAIT',
  'LAST_ACK',
  'LISTEN',
  'CLOSING',
];
/** USER_HZ, in which /proc tells times. */
const ticksPerSecond = 100;
/** Namespaces whose sockets for asking are kept. */
const maxOpen = 256;
/** Connections remembered from one reading to the next. */
const maxTracked = 131_072;

interface Kept {
  close(): void;
}

export class LiveSource implements WorldSource {
  readonly #lookups = new Map<string, ConntrackLookup>();
  readonly #routes = new Map<string, RouteSocket>();
  #tracked = new Map<string, ConntrackEntry>();
  #trackedBefore = new Map<string, ConntrackEntry>();
  #users: ReadonlyMap<number, string> | undefined;
  readonly #names: ReadonlyMap<string, string>;

  /** `names`: of containers by identifier. */
  constructor(names: ReadonlyMap<string, string>) {
    this.#names = names;
  }

  sockets({ path }: MachineNamespace): SocketEntry[] {
    return readConnections(path, { states: askedStates, counters: true }).sockets;
  }

  conntrack(netns: MachineNamespace, flow: Flow): ConntrackEntry | undefined {
    const key = `${netns.inode} ${flowKey(flow)}`;
    const known = this.#trackedBefore.get(key) ?? this.#tracked.get(key);
    const entry = known ?? this.#ask(netns, flow);
    if (entry && this.#tracked.size < maxTracked) this.#tracked.set(key, entry);
    return entry;
  }

  /** A packet after translation is the reverse of the answer's tuple, which alone is known. */
  #ask(netns: MachineNamespace, { protocol, a, b }: Flow): ConntrackEntry | undefined {
    const lookup = kept(this.#lookups, netns, () => new ConntrackLookup(netns.path));
    const find = (from: Endpoint, to: Endpoint): ConntrackEntry | undefined =>
      lookup.find(protocol, {
        source: from.address,
        sourcePort: from.port,
        destination: to.address,
        destinationPort: to.port,
      });
    return find(a, b) ?? find(b, a);
  }

  /** What a connection is translated to never changes: it is known as long as its packets are seen in every reading. */
  beginReading(): void {
    this.#trackedBefore = this.#tracked;
    this.#tracked = new Map();
  }

  route(netns: MachineNamespace, to: Address): RouteAnswer {
    return askRoute(
      kept(this.#routes, netns, () => new RouteSocket(netns.path)),
      { to },
    );
  }

  owners(): SocketOwners {
    return readSocketOwners();
  }

  process(pid: number): MachineProcess | undefined {
    const process = readProcess(pid);
    const name = process?.container && this.#names.get(process.container.id);
    return name === undefined
      ? process
      : ({ ...process, container: { ...process?.container, name } as MachineContainer } as MachineProcess);
  }

  begunAt(pid: number): number | undefined {
    const ticks = readProcessStart(pid);
    return ticks === undefined ? undefined : Number(ticks) / ticksPerSecond;
  }

  userName(uid: number): string | undefined {
    this.#users ??= readUserNames();
    return this.#users.get(uid);
  }

  /** Idempotent. */
  close(): void {
    for (const map of [this.#lookups, this.#routes]) {
      for (const one of map.values()) one.close();
      map.clear();
    }
  }
}

/** The oldest gives way. */
function kept<T extends Kept>(map: Map<string, T>, { inode }: MachineNamespace, open: () => T): T {
  const known = map.get(inode);
  if (known) return known;
  const opened = open();
  const [oldest] = map.keys();
  if (map.size >= maxOpen && oldest !== undefined) {
    map.get(oldest)?.close();
    map.delete(oldest);
  }
  map.set(inode, opened);
  return opened;
}
