// Watches devices and says, reading by reading, who makes their traffic. Owns what counts in the kernel until it is closed. How a flow is followed
// is trace-flow.ts and extend-path.ts; what is shown is the caller's. Works with any privilege and says what it could not measure.

import { uptime } from 'node:os';
import { asWeirError, WeirError } from '../../base/errors.ts';
import { ConnectionOrigins } from '../../kernel/machine/connection-origins.ts';
import { readConntrack } from '../../kernel/machine/conntrack-dump.ts';
import { readContainerNames } from '../../kernel/machine/container-names.ts';
import { FlowTally } from '../../kernel/machine/flow-tally.ts';
import { readMachineLinks } from '../../kernel/machine/link-reader.ts';
import { readMachine } from '../../kernel/machine/machine-reader.ts';
import { findNamespaces, selectNamespace } from '../../kernel/machine/namespace-finder.ts';
import { readConnections } from '../../kernel/machine/socket-diag.ts';
import { readSocketOwners, type SocketOwners } from '../../kernel/machine/socket-owners.ts';
import { askUnixSocket, readUnixListeners } from '../../kernel/machine/unix-question.ts';
import { withRouteSocket } from '../../kernel/route-socket.ts';
import type { Machine, MachineNamespace, Unseen } from '../../model/machine.ts';
import { type CarriedFlow, PathExtender } from './extend-path.ts';
import { type Flow, type FlowSelector, flowKey, matchesFlow } from './flow.ts';
import type { FlowExposure } from './flow-exposure.ts';
import { askHaproxies, type HaproxyLegs, type HaproxyProcess } from './haproxy-sessions.ts';
import { LiveSource } from './live-source.ts';
import { KeptOrigins } from './origin-book.ts';
import type { PathHop, TracedFlow } from './path.ts';
import { traceFlow } from './trace-flow.ts';
import { CounterDifference, countedConnection, countedSocket, type FlowBytes, type Measure, sumTally } from './traffic.ts';
import { World } from './world.ts';

export interface WatchOptions {
  /** Name of a device; default: those that default routes leave by, without any all that are up. */
  readonly device?: string;
  /** A name of /run/netns, a path or an inode, or `all`; default: the namespace this process is in. */
  readonly netns?: string;
  readonly dockerSocket?: string;
}

export interface FlowRow {
  readonly netns: string;
  readonly netnsName: string;
  readonly device?: string;
  readonly flow: Flow;
  /** Bits per second, from the IP header on; of `sockets` payload alone. */
  readonly inBps: number;
  readonly outBps: number;
  readonly path: readonly PathHop[];
  readonly attributed: boolean;
  readonly reason?: string;
  /** Of the services on its way; absent where nobody looked. */
  readonly exposure?: readonly FlowExposure[];
}

export interface WhoReading {
  readonly seconds: number;
  readonly measure: Measure;
  readonly devices: readonly { readonly netnsName: string; readonly device: string }[];
  /** The largest first, with their whole path. */
  readonly rows: readonly FlowRow[];
  /** With `all`: every flow, to its first process. */
  readonly all?: readonly FlowRow[];
  /** Flows that are not among the rows. */
  readonly rest: { readonly flows: number; readonly bps: number };
  readonly totals: { readonly flows: number; readonly bytes: number; readonly attributedBytes: number };
  /** Bytes nobody could be named for, by reason, the largest first. */
  readonly unattributed: readonly { readonly reason: string; readonly flows: number; readonly bytes: number }[];
  readonly unseen: readonly Unseen[];
}

export interface RowWish {
  readonly top: number;
  /** Only flows that are so, at any hop of their path. */
  readonly flow?: FlowSelector;
  readonly all?: boolean;
}

interface Watched {
  readonly netns: MachineNamespace;
  readonly device: string;
  readonly tally: FlowTally;
}

const otherReasons: Readonly<Record<Measure, string>> = {
  wire: 'neither IPv4 nor IPv6, or more flows at once than are counted',
  conntrack: 'the devices moved it, connection tracking did not count it',
  sockets: 'the devices moved it, no TCP socket of this namespace counted it: headers, UDP, what is forwarded, what ended',
};
const maxDevices = 16;
const maxTunnels = 8;
/** The machine's links are read anew after this time; in between a namespace that is new is not known. */
const machineAgeMs = 5000;
const haproxyAnswerBytes = 32 << 20;

export class TrafficWatch {
  readonly #options: WatchOptions;
  readonly #watched: Watched[] = [];
  readonly #tunnels = new Map<string, Watched>();
  readonly #origins = new KeptOrigins();
  readonly #differences = new CounterDifference();
  readonly #unseen = new Map<string, Unseen>();
  #listener: ConnectionOrigins | undefined;
  readonly #source: LiveSource;
  #machine: Machine;
  #machineAt: number;
  #since = performance.now();
  /** When origins were last taken, in seconds of uptime. */
  #takenAt = uptime();
  #before = new Map<string, { readonly received: number; readonly sent: number }>();
  #measure: Measure = 'wire';
  /** Devices whose packets cannot be counted one by one: their own sums say how much there was. */
  #uncounted: readonly { readonly netns: MachineNamespace; readonly device: string }[] = [];
  #deviceBytes = 0;

  private constructor(options: WatchOptions, machine: Machine, names: ReadonlyMap<string, string>) {
    this.#options = options;
    this.#machine = machine;
    this.#machineAt = performance.now();
    this.#source = new LiveSource(names);
  }

  /** Counts from now on. Throws `not-found` for a namespace or a device that is not there. */
  static async open(options: WatchOptions): Promise<TrafficWatch> {
    const { names } = await readContainerNames(options.dockerSocket);
    const watch = new TrafficWatch(options, await look(options), names);
    try {
      watch.#begin();
    } catch (error) {
      watch.close();
      throw error;
    }
    return watch;
  }

  #begin(): void {
    const places = chooseDevices(this.#machine, this.#options);
    try {
      for (const { netns, device } of places.slice(0, maxDevices))
        this.#watched.push({ netns, device, tally: new FlowTally(netns.path, device) });
      if (places.length > maxDevices) this.#note('further devices', `no more than ${maxDevices} are counted on`);
    } catch (error) {
      const { code, message } = asWeirError(error);
      if (code !== 'not-permitted' && code !== 'kernel-missing') throw error;
      for (const { tally } of this.#watched.splice(0)) tally.close();
      this.#measure = this.#tracksBytes(places[0].netns) ? 'conntrack' : 'sockets';
      this.#uncounted = places.slice(0, maxDevices);
      this.#note('packets of the device', code === 'not-permitted' ? 'needs CAP_NET_RAW and CAP_BPF' : message);
    }
    try {
      this.#listener = new ConnectionOrigins();
    } catch (error) {
      const { code, message } = asWeirError(error);
      this.#note(
        'who begins connections shorter than a reading',
        code === 'not-permitted' ? 'needs CAP_BPF and CAP_PERFMON' : message,
      );
    }
    const owners = readSocketOwners();
    this.#openTunnels(owners);
    if (this.#measure !== 'wire') this.#take();
    this.#since = performance.now();
  }

  /** What moved since the last reading, or since the beginning. */
  async read(wish: RowWish): Promise<WhoReading> {
    if (performance.now() - this.#machineAt > machineAgeMs) {
      this.#machine = await look(this.#options);
      this.#machineAt = performance.now();
    }
    const now = performance.now();
    const seconds = Math.max(0.001, (now - this.#since) / 1000);
    this.#since = now;
    const counted = this.#take();
    this.#origins.add(this.#listener?.take() ?? [], this.#takenAt);
    this.#takenAt = uptime();
    this.#source.beginReading();
    const world = new World(this.#machine, this.#source, this.#origins);
    const flows: (FlowRow & { readonly bytes: number })[] = [];
    const reasons = new Map<string, { flows: number; bytes: number }>();
    const totals = { flows: 0, bytes: 0, attributedBytes: 0 };
    for (const { netns, device, sums, other } of counted) {
      for (const { flow, inBytes, outBytes } of sums.values()) {
        const traced: TracedFlow = traceFlow(world, netns, flow, device);
        const bytes = inBytes + outBytes;
        flows.push({
          netns: netns.inode,
          netnsName: netns.name,
          ...(device === undefined ? {} : { device }),
          flow,
          inBps: (inBytes * 8) / seconds,
          outBps: (outBytes * 8) / seconds,
          bytes,
          ...traced,
        });
      }
      if (other > 0) {
        totals.bytes += other;
        reasons.set(otherReasons[this.#measure], { flows: 0, bytes: other });
      }
    }
    const own = counted.length > 1 ? withoutRepeats(flows) : flows;
    for (const { bytes, attributed, reason } of own) {
      totals.flows += 1;
      totals.bytes += bytes;
      if (attributed) totals.attributedBytes += bytes;
      else {
        const sum = reasons.get(reason ?? 'unknown') ?? { flows: 0, bytes: 0 };
        reasons.set(reason ?? 'unknown', { flows: sum.flows + 1, bytes: sum.bytes + bytes });
      }
    }
    own.sort((a, b) => b.bytes - a.bytes);
    const extender = await this.#extender(world);
    const rows: FlowRow[] = [];
    let shown = 0;
    for (const { bytes, ...row } of own) {
      if (rows.length >= wish.top) break;
      if (wish.flow && !row.path.some(({ flow }) => wish.flow && matchesFlow(wish.flow, flow))) {
        // Its far end may be what was asked for: only its whole way tells.
        const extended = extender.extend(row.path);
        if (!extended.some(({ flow }) => wish.flow && matchesFlow(wish.flow, flow))) continue;
        rows.push({ ...row, path: extended });
      } else rows.push({ ...row, path: extender.extend(row.path) });
      shown += bytes;
    }
    this.#remember(world);
    return {
      seconds,
      measure: this.#measure,
      devices: [...this.#watched, ...this.#uncounted].map(({ netns, device }) => ({ netnsName: netns.name, device })),
      rows,
      ...(wish.all ? { all: own } : {}),
      rest: { flows: own.length - rows.length, bps: ((own.reduce((sum, { bytes }) => sum + bytes, 0) - shown) * 8) / seconds },
      totals,
      unattributed: [...reasons].map(([reason, sum]) => ({ reason, ...sum })).sort((a, b) => b.bytes - a.bytes),
      unseen: [...this.#machine.unseen, ...this.#unseen.values(), ...[...world.unseen].map(([what, why]) => ({ what, why }))],
    };
  }

  #take(): { netns: MachineNamespace; device?: string; sums: Map<string, FlowBytes>; other: number }[] {
    if (this.#measure !== 'wire') {
      const netns = this.#target();
      const sums = this.#counted(netns);
      const before = this.#deviceBytes;
      this.#deviceBytes = readDeviceBytes(this.#uncounted);
      const moved = [...sums.values()].reduce((sum, { inBytes, outBytes }) => sum + inBytes + outBytes, 0);
      return [{ netns, sums, other: Math.max(0, this.#deviceBytes - before - moved) }];
    }
    return this.#watched.map(({ netns, device, tally }) => {
      const taken = tally.take();
      return { netns: this.#current(netns), device, sums: sumTally(taken, device === 'lo'), other: taken.other.bytes };
    });
  }

  /** The same namespace as it is now. */
  #current(netns: MachineNamespace): MachineNamespace {
    return this.#machine.namespaces.find(({ inode }) => inode === netns.inode) ?? netns;
  }

  #target(): MachineNamespace {
    return selectTargets(this.#machine, this.#options.netns)[0];
  }

  #tracksBytes(netns: MachineNamespace): boolean {
    let counters = false;
    try {
      readConntrack(netns.path, (entry) => {
        counters ||= entry.counters !== undefined;
      });
    } catch {
      return false;
    }
    return counters;
  }

  #counted(netns: MachineNamespace): Map<string, FlowBytes> {
    const now = new Map<string, NonNullable<ReturnType<typeof countedConnection>>>();
    const keep = (counted: ReturnType<typeof countedConnection>): void => {
      if (counted) now.set(flowKey(counted.flow), counted);
    };
    if (this.#measure === 'conntrack') readConntrack(netns.path, (entry) => keep(countedConnection(entry)));
    else {
      for (const socket of readConnections(netns.path, { transports: ['tcp'], counters: true }).sockets)
        keep(countedSocket(socket));
      this.#note('UDP, and what is forwarded', 'sockets alone are counted');
    }
    return this.#differences.take(now);
  }

  /** Counts inside the tunnels processes hold, so that what they carry can be told. */
  #openTunnels(owners: SocketOwners): void {
    if (this.#measure !== 'wire') return;
    const world = new World(this.#machine, this.#source, this.#origins);
    for (const { pid, device } of owners.tunnels) {
      const place = world.findLink(device, world.process(pid)?.netns ?? '');
      const key = place && `${place.netns.inode} ${device}`;
      if (!place || !key || this.#tunnels.has(key)) continue;
      if (this.#tunnels.size >= maxTunnels) {
        this.#note('what further tunnels carry', `no more than ${maxTunnels} are counted in`);
        return;
      }
      try {
        this.#tunnels.set(key, { netns: place.netns, device, tally: new FlowTally(place.netns.path, device) });
      } catch (error) {
        this.#note(`what ${device} carries`, asWeirError(error).message);
      }
    }
  }

  async #extender(world: World): Promise<PathExtender> {
    const carried = new Map<string, CarriedFlow[]>();
    for (const [key, { tally }] of this.#tunnels) {
      const sums = [...sumTally(tally.take(), false).values()];
      const all = sums.reduce((sum, { inBytes, outBytes }) => sum + inBytes + outBytes, 0);
      carried.set(
        key,
        sums
          .map(({ flow, inBytes, outBytes }) => ({ flow, share: (inBytes + outBytes) / Math.max(1, all) }))
          .sort((a, b) => b.share - a.share)
          .slice(0, 16),
      );
    }
    this.#openTunnels(world.owners);
    const haproxy = await this.#askHaproxies(world);
    return new PathExtender(world, {
      haproxy: (pid) => haproxy.get(pid),
      carried: (netns, device) => carried.get(`${netns} ${device}`) ?? [],
      before: (cookie) => this.#before.get(cookie),
    });
  }

  #askHaproxies(world: World): Promise<Map<number, HaproxyLegs>> {
    const { owners } = world;
    function* processes(): Generator<HaproxyProcess> {
      for (const pid of owners.pids) {
        if (world.process(pid)?.comm !== 'haproxy') continue;
        const inodes = new Set(owners.socketsOf(pid).map(([, inode]) => inode));
        yield { pid, listeners: () => readUnixListeners(pid, inodes) };
      }
    }
    return askHaproxies(
      processes(),
      (path, timeoutMs) => askUnixSocket(path, 'show sess', timeoutMs, haproxyAnswerBytes),
      (what, why) => this.#note(what, why),
    );
  }

  /** For the next reading: what each connection of a process that was looked into had moved. */
  #remember(world: World): void {
    this.#before = world.socketCounters();
  }

  #note(what: string, why: string): void {
    this.#unseen.set(what, { what, why });
  }

  /** Idempotent. */
  close(): void {
    for (const { tally } of this.#watched.splice(0)) tally.close();
    for (const { tally } of this.#tunnels.values()) tally.close();
    this.#tunnels.clear();
    this.#listener?.close();
    this.#listener = undefined;
    this.#source.close();
  }
}

/** What these devices moved since they were made; 0 for those that are gone. */
function readDeviceBytes(places: readonly { readonly netns: MachineNamespace; readonly device: string }[]): number {
  let bytes = 0;
  for (const { netns, device } of places) {
    const link = withRouteSocket(netns.path, readMachineLinks).find(({ name }) => name === device);
    if (link) bytes += link.counters.receivedBytes + link.counters.sentBytes;
  }
  return bytes;
}

/** All namespaces, for paths lead anywhere; no more of each than links and addresses. */
const look = ({ dockerSocket }: WatchOptions): Promise<Machine> =>
  readMachine({ parts: [], ...(dockerSocket === undefined ? {} : { dockerSocket }) });

function selectTargets(machine: Machine, netns: string | undefined): readonly MachineNamespace[] {
  if (netns === 'all') return machine.namespaces;
  if (netns === undefined) return machine.namespaces.slice(0, 1);
  const wanted = selectNamespace(findNamespaces().namespaces, netns);
  const found = machine.namespaces.find(({ inode, name }) =>
    wanted === undefined ? name !== '' && netns === name : inode === wanted.inode,
  );
  if (!found)
    throw new WeirError('not-found', `there is no network namespace ${netns} that can be looked into`, {
      next: '`ip netns` lists those with names',
    });
  return [found];
}

function chooseDevices(machine: Machine, { netns, device }: WatchOptions): { netns: MachineNamespace; device: string }[] {
  const chosen: { netns: MachineNamespace; device: string }[] = [];
  for (const target of selectTargets(machine, netns)) {
    if (device !== undefined) {
      if (target.links.some(({ name }) => name === device)) chosen.push({ netns: target, device });
      continue;
    }
    const uplinks = target.routes
      .filter(({ type, table, prefixLength }) => type === 'unicast' && table === 254 && prefixLength === 0)
      .flatMap(({ hops }) => hops.flatMap((hop) => (hop.device === undefined ? [] : [hop.device])));
    const names =
      uplinks.length > 0 ? uplinks : target.links.filter(({ up, name }) => up && name !== 'lo').map(({ name }) => name);
    for (const name of new Set(names)) chosen.push({ netns: target, device: name });
  }
  if (device !== undefined && chosen.length === 0)
    throw new WeirError('not-found', `there is no device ${device} there`, { next: '`ip link` lists the devices' });
  if (chosen.length === 0) throw new WeirError('not-found', 'there is no device that is up', { next: 'name one with --if' });
  return chosen;
}

/**
 * With several namespaces watched a flow is seen on its way many times: the longest path is kept. The same five-tuple with as many bytes,
 * give or take a fifth, is the same flow; with others it is another one in a network of the same addresses.
 */
export function withoutRepeats<T extends FlowRow & { readonly bytes: number }>(flows: readonly T[]): T[] {
  const covered = new Map<string, number[]>();
  const kept: T[] = [];
  for (const row of [...flows].sort((a, b) => b.path.length - a.path.length)) {
    const alike = covered.get(flowKey(row.flow)) ?? [];
    if (alike.some((bytes) => Math.abs(bytes - row.bytes) <= 0.2 * Math.max(bytes, row.bytes))) continue;
    kept.push(row);
    for (const key of new Set(row.path.map(({ flow }) => flowKey(flow)))) {
      const list = covered.get(key);
      if (list) list.push(row.bytes);
      else covered.set(key, [row.bytes]);
    }
  }
  return kept;
}
