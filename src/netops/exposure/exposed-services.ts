// Every service of a machine with all the ways to it: what is dialled from where, walked to its socket. The walks are bounded; what was
// left out is said.

import { type Address, renderAddress } from '../../model/address.ts';
import type { Machine, MachineListener, MachineNamespace } from '../../model/machine.ts';
import type { FilterExpression, FilterKey, FilterStatement, PacketFilter } from '../../model/packet-filter.ts';
import type { Transport } from '../../model/session.ts';
import {
  type ExposedService,
  type ExposurePath,
  type ExposureReport,
  type Reach,
  reachRank,
  type Vantage,
} from './exposure-report.ts';
import { isLoopback, PathWalker, type RouteQuestioner } from './path-walk.ts';
import { maxPaths, reachOf, ServiceWays, vantageOf } from './service-ways.ts';
import {
  canDial,
  dialledAddresses,
  firstOfEachFamily,
  isLinkLocal,
  maxOwnAddresses,
  notLookedFrom,
  standpointsOf,
} from './vantages.ts';

export interface ExposureOptions {
  /** Paths walked at most; default 60,000. */
  readonly maxWalks?: number;
  /** Links of the namespace looked from that lead out, wherever their other end is. */
  readonly outside?: readonly string[];
  /** Asked before each path: no more are walked once it is true. */
  readonly isOver?: () => boolean;
  /** Programs that are Weir's own, by process name or command. */
  readonly isWeir?: (listener: MachineListener) => boolean;
}

export interface Dial {
  readonly destination: Address;
  readonly port: number;
  readonly transport: Transport;
  readonly direct: boolean;
}

/** Ports of one range of a rule that are tried one by one; of a longer one both ends. */
const maxRange = 32;

function portsOfKey(key: FilterKey, index: number): number[] {
  const part = key[index];
  if (part === undefined || !('first' in part)) return [];
  const [first, last] = [Number(part.first), Number(part.last)];
  if (first < 1 || last > 65535) return [];
  if (last - first >= maxRange) return [first, last];
  return Array.from({ length: last - first + 1 }, (_, offset) => first + offset);
}

/** Where in a key the destination port is. */
const portIndex = (expression: FilterExpression): number => {
  const parts = expression.kind === 'concatenation' ? expression.parts : [expression];
  return parts.findIndex((part) => part.kind === 'field' && /^(tcp|udp|th)\.dport$/.test(part.field));
};

/** Ports that rules with address translation speak of: published ones, whatever publishes them. */
export function publishedPorts(filter: PacketFilter | undefined): number[] {
  const ports = new Set<number>();
  const take = (key: FilterKey, index: number): void => {
    if (index >= 0 && ports.size < 4096) for (const port of portsOfKey(key, index)) ports.add(port);
  };
  const visitMap = (expression: FilterExpression | undefined, table: string): void => {
    if (expression?.kind !== 'map') return;
    const { key, map } = expression;
    const elements =
      typeof map === 'string' ? (filter?.sets.find((set) => set.name === map && set.table === table)?.elements ?? []) : map;
    for (const element of elements.slice(0, 4096)) take(element.key, portIndex(key));
  };
  const translates = ({ kind }: FilterStatement): boolean =>
    kind === 'dnat' || kind === 'redirect' || kind === 'vmap' || kind === 'jump' || kind === 'goto';
  for (const chain of filter?.chains ?? []) {
    const isNat =
      chain.base?.type === 'nat' ||
      chain.rules.some(({ statements }) => statements.some(({ kind }) => kind === 'dnat' || kind === 'redirect'));
    if (!isNat) continue;
    for (const { statements } of chain.rules) {
      if (!statements.some(translates)) continue;
      for (const statement of statements) {
        if (statement.kind === 'compare' && statement.operator === '==')
          for (const key of statement.right) take(key, portIndex(statement.left));
        if (statement.kind === 'dnat') {
          visitMap(statement.address, chain.table);
          visitMap(statement.port, chain.table);
        }
      }
    }
  }
  return [...ports].sort((a, b) => a - b);
}

const maxPublishedAddresses = 16;

/** Addresses that rules with address translation name as the one that is dialled: not all of them are an own one. */
export function publishedAddresses(filter: PacketFilter | undefined): Address[] {
  const found = new Map<string, Address>();
  for (const { rules } of filter?.chains ?? [])
    for (const { statements } of rules) {
      if (!statements.some(({ kind }) => kind === 'dnat' || kind === 'redirect')) continue;
      for (const statement of statements) {
        if (statement.kind !== 'compare' || statement.operator !== '==' || statement.left.kind !== 'field') continue;
        const side = /^(ip6?)\.daddr$/.exec(statement.left.field);
        if (!side) continue;
        const family = side[1] === 'ip' ? 4 : 6;
        for (const [part] of statement.right)
          if (part && 'first' in part && part.first === part.last && found.size < maxPublishedAddresses)
            found.set(`${family} ${part.first}`, { family, value: part.first });
      }
    }
  return [...found.values()].filter((address) => !isLoopback(address));
}

/** What somebody at a device may dial: this machine's addresses there, what is bound elsewhere, and what rules publish. */
export function dialsAt(
  namespace: MachineNamespace,
  device: string,
  published: readonly number[],
  addresses: readonly Address[] = [],
): Dial[] {
  const link = namespace.links.find(({ name }) => name === device);
  const dials = new Map<string, Dial>();
  const add = (destination: Address, port: number, transport: Transport, direct: boolean): void => {
    dials.set(`${transport} ${renderAddress(destination)} ${port}`, { destination, port, transport, direct });
  };
  for (const { address } of link ? dialledAddresses(link).addresses : []) {
    for (const { transport, port, address: bound, v6only } of namespace.listeners)
      if (bound.value === 0n && (bound.family === address.family || (bound.family === 6 && !v6only)))
        add(address, port, transport, false);
    for (const port of published) for (const transport of ['tcp', 'udp'] as const) add(address, port, transport, false);
  }
  for (const address of addresses)
    for (const port of published) for (const transport of ['tcp', 'udp'] as const) add(address, port, transport, false);
  // Hosts answer for all their addresses on every link.
  const families = new Set(link?.addresses.map(({ address }) => address.family));
  for (const { transport, port, address } of namespace.listeners)
    if (address.value !== 0n && !isLoopback(address) && families.has(address.family)) add(address, port, transport, false);
  return [...dials.values()];
}

/** Services of other namespaces, dialled at their own address by somebody who routes to this machine. */
export function dialsBehind(machine: Machine, namespace: MachineNamespace): Dial[] {
  const dials: Dial[] = [];
  for (const other of machine.namespaces) {
    if (other === namespace) continue;
    const addresses = other.links
      .filter(({ name, up }) => name !== 'lo' && up)
      .flatMap(firstOfEachFamily)
      .map(({ address }) => address)
      .filter((address) => !isLinkLocal(address));
    for (const { transport, port, address, v6only } of other.listeners) {
      if (isLoopback(address)) continue;
      for (const own of addresses)
        if (
          address.value === own.value ||
          (address.value === 0n && (address.family === own.family || (address.family === 6 && !v6only)))
        )
          dials.push({ destination: own, port, transport, direct: true });
    }
  }
  return dials;
}

const listenerKey = (namespace: MachineNamespace, { transport, address, port, inode }: MachineListener): string =>
  `${namespace.inode} ${transport} ${renderAddress(address)} ${port} ${inode}`;

/** The namespace one looked from, and others that have a link out of the machine: where strangers come in. */
export function findExposure(machine: Machine, ask: RouteQuestioner, options: ExposureOptions = {}): ExposureReport {
  const maxWalks = options.maxWalks ?? 60_000;
  const walker = new PathWalker(machine, ask);
  const gathered = new Map<string, ServiceWays>();
  const of = (key: string): ServiceWays => {
    const known = gathered.get(key) ?? new ServiceWays();
    gathered.set(key, known);
    return known;
  };
  const wantedBy = listenersWanted(machine);
  /** Where published ways lead to is not known before they are walked: as far as those that were not would reach. */
  let publishedLeft: Reach = 'local';
  const notMeasured = new Set<string>();
  const vantages: Vantage[] = [];
  let walks = 0;
  let left = 0;
  for (const namespace of machine.namespaces) {
    const standpoints = standpointsOf(machine, namespace, options.outside);
    const published = publishedPorts(namespace.filter);
    const publishedSet = new Set(published);
    const translated = publishedAddresses(namespace.filter);
    // Who has one link leads nowhere.
    const leads = namespace.links.filter(({ name, master }) => name !== 'lo' && master === undefined).length > 1;
    const behind = leads ? dialsBehind(machine, namespace) : [];
    for (const text of namespace.filter?.unreadable ?? []) notMeasured.add(text);
    for (const text of notLookedFrom(namespace)) notMeasured.add(text);
    for (const device of new Set(standpoints.map((one) => one.device))) {
      const beyond = namespace.links.filter(({ name }) => name === device).map((link) => dialledAddresses(link).left)[0] ?? 0;
      if (beyond > 0) notMeasured.add(`${beyond} addresses of ${device}, after the first ${maxOwnAddresses}`);
    }
    for (const standpoint of standpoints) {
      const { device, zone, address } = standpoint;
      vantages.push(vantageOf(standpoint));
      // Who is not on a link cannot route to a container's own address by this machine, save by its route to it.
      const dials = [
        ...dialsAt(namespace, device, published, translated),
        ...(zone === 'link' || zone === 'container' ? behind : []),
      ];
      for (const dial of dials) {
        if (!canDial(standpoint, dial.destination)) continue;
        walks += 1;
        if (walks > maxWalks || options.isOver?.()) {
          left += 1;
          const reach = reachOf(zone, dial.destination);
          for (const key of wantedBy(namespace, dial)) of(key).left(reach);
          if (publishedSet.has(dial.port) && reachRank(reach) < reachRank(publishedLeft)) publishedLeft = reach;
          continue;
        }
        const question = {
          namespace,
          device,
          source: address,
          destination: dial.destination,
          port: dial.port,
          transport: dial.transport,
        };
        const answer = walker.walk(question);
        if (answer.kind === 'reached') {
          // A service asked by its own namespace's link is not reached from elsewhere.
          of(listenerKey(answer.namespace, answer.listener)).found(standpoint, dial, answer);
        } else
          for (const key of wantedBy(namespace, dial)) {
            if (answer.kind === 'unknown')
              of(key).found(standpoint, dial, { ...answer, undecided: { ...answer.by, limited: false } });
            else of(key).stopped(standpoint, answer.by);
          }
      }
    }
    if (namespace.filter?.chains.some(({ family, rules }) => (family === 'bridge' || family === 'arp') && rules.length > 0))
      notMeasured.add(
        `rules of families bridge and arp${namespace.name === '' ? '' : ` in ${namespace.name}`}: frames that are bridged`,
      );
  }
  if (left > 0) notMeasured.add(`${left} ways, after ${walks - left} others: they are too many for the time there is`);
  const services = machine.namespaces.flatMap((namespace) =>
    namespace.listeners.map((listener) => {
      const ways = of(listenerKey(namespace, listener));
      if (publishedLeft !== 'local' && !isLoopback(listener.address)) ways.left(publishedLeft);
      const service = serviceOf(machine, namespace, listener, ways, options);
      if (ways.beyond > 0)
        notMeasured.add(
          `${ways.beyond} ways to ${service.transport} ${service.address} port ${service.port}, beyond the ${maxPaths} widest`,
        );
      return service;
    }),
  );
  return {
    takenAt: machine.takenAt,
    services: services.sort(byReach),
    vantages,
    unseen: machine.unseen,
    notMeasured: [...notMeasured],
  };
}

/** Asks for the listeners that a dial would reach, were nothing in the way. */
function listenersWanted(machine: Machine): (namespace: MachineNamespace, dial: Dial) => string[] {
  const listeners = new Map<MachineNamespace, Map<string, MachineListener[]>>();
  const owners = new Map<string, MachineNamespace>();
  for (const namespace of machine.namespaces) {
    const byPort = new Map<string, MachineListener[]>();
    for (const listener of namespace.listeners) {
      const key = `${listener.transport} ${listener.port}`;
      const known = byPort.get(key);
      if (known) known.push(listener);
      else byPort.set(key, [listener]);
    }
    listeners.set(namespace, byPort);
    for (const { addresses } of namespace.links)
      for (const { address } of addresses) {
        const text = renderAddress(address);
        if (!owners.has(text)) owners.set(text, namespace);
      }
  }
  return (namespace, { transport, port, destination, direct }) => {
    const owner = direct ? owners.get(renderAddress(destination)) : namespace;
    const there = (owner && listeners.get(owner)?.get(`${transport} ${port}`)) ?? [];
    return there.flatMap((listener) =>
      owner && (listener.address.value === 0n || listener.address.value === destination.value)
        ? [listenerKey(owner, listener)]
        : [],
    );
  };
}

const byReach = (a: ExposedService, b: ExposedService): number =>
  reachRank(a.reach) - reachRank(b.reach) ||
  reachRank(a.atWorst ?? a.reach) - reachRank(b.atWorst ?? b.reach) ||
  a.netns.localeCompare(b.netns) ||
  a.port - b.port;

/** Ways into the namespace one looked from come first: they are what its owner sees. */
const byWidth = (a: ExposurePath, b: ExposurePath): number =>
  reachRank(a.reach) - reachRank(b.reach) || a.from.netns.length - b.from.netns.length;

const widest = (paths: readonly Pick<ExposurePath, 'reach'>[]): Reach =>
  paths.reduce<Reach>((so, { reach }) => (reachRank(reach) < reachRank(so) ? reach : so), 'local');

function serviceOf(
  machine: Machine,
  namespace: MachineNamespace,
  listener: MachineListener,
  ways: ServiceWays,
  { isWeir }: ExposureOptions,
): ExposedService {
  const paths = ways.paths.sort(byWidth);
  const reach = widest(paths.filter(({ certainty }) => certainty !== 'unknown'));
  const atWorst = widest([...paths, { reach: ways.widestNotWalked }]);
  const processes = listener.pids.flatMap((pid) => machine.processes.filter((process) => process.pid === pid));
  const container =
    namespace.container?.name ?? namespace.container?.id.slice(0, 12) ?? processes.find((one) => one.container)?.container?.name;
  return {
    netns: namespace.name,
    ...(container === undefined ? {} : { container }),
    transport: listener.transport,
    address: renderAddress(listener.address),
    port: listener.port,
    processes: processes.map(({ pid, comm, uid }) => ({ pid, comm, uid })),
    uid: listener.uid,
    reach,
    ...(reachRank(atWorst) < reachRank(reach) ? { atWorst } : {}),
    ...(ways.notWalked > 0 ? { notWalked: ways.notWalked } : {}),
    paths,
    stoppedBy: ways.stoppedBy,
    isWeir: isWeir?.(listener) ?? false,
  };
}
