// Who reaches what on a machine, as a table of sources and targets; and that table as it is now, by the rules and the kernel's own routing
// decisions. As a file it is matrix-file.ts, what differs from one matrix-check.ts.

import { type Address, renderAddress } from '../../model/address.ts';
import type { Machine, MachineListener, MachineNamespace } from '../../model/machine.ts';
import type { Transport } from '../../model/session.ts';
import { type Dial, dialsAt, dialsBehind, publishedAddresses, publishedPorts } from '../exposure/exposed-services.ts';
import type { DecidedBy } from '../exposure/exposure-report.ts';
import { type PathAnswer, PathWalker, type RouteQuestioner } from '../exposure/path-walk.ts';
import { canDial, notLookedFrom, type Standpoint, standpointsOf } from '../exposure/vantages.ts';

/** Somebody who may knock: an example of a group, where it comes in. */
export interface MatrixSource {
  readonly name: string;
  /** Name of the namespace it comes into; empty: the one looked from. */
  readonly netns: string;
  readonly device: string;
  readonly addresses: readonly Address[];
}

export interface MatrixTarget {
  readonly transport: Transport;
  readonly address: Address;
  readonly port: number;
}

export interface MatrixRow extends MatrixTarget {
  /** Name of the process that answers, where it could be told. */
  readonly service?: string;
  /** Names of sources. A source in none of the three is not checked. */
  readonly reach: readonly string[];
  readonly refuse: readonly string[];
  /** Could not be decided when it was recorded. */
  readonly unknown: readonly string[];
}

export interface AccessMatrix {
  /** Milliseconds since the epoch. */
  readonly recordedAt: number;
  readonly sources: readonly MatrixSource[];
  readonly rows: readonly MatrixRow[];
}

export interface MatrixReading {
  readonly matrix: AccessMatrix;
  /** In words: what could not be looked at. */
  readonly notMeasured: readonly string[];
}

/** `decoy`: a rule of Weir diverts it, nothing real is reached. `unknown`: it cannot be told from here. */
export interface CellAnswer {
  readonly outcome: 'reach' | 'refuse' | 'decoy' | 'unknown';
  readonly by: readonly DecidedBy[];
  readonly service?: string;
}

/** Walks at most, of one table. */
export const maxWalks = 60_000;

export const renderTarget = ({ transport, address, port }: MatrixTarget): string => {
  const text = renderAddress(address);
  return `${transport} ${address.family === 6 ? `[${text}]` : text}:${port}`;
};

/** Asks who reaches what, of one machine as it was read. */
export class AccessReader {
  readonly #machine: Machine;
  readonly #walker: PathWalker;
  readonly #comms: ReadonlyMap<number, string>;
  readonly #dialsBehind = new Map<MachineNamespace, Dial[]>();
  readonly #isOver: () => boolean;
  #walks = 0;

  /** `isOver`: asked before each way; no more are walked once it is true. */
  constructor(machine: Machine, ask: RouteQuestioner, isOver: () => boolean = () => false) {
    this.#isOver = isOver;
    this.#machine = machine;
    this.#walker = new PathWalker(machine, ask);
    this.#comms = new Map(machine.processes.map(({ pid, comm }) => [pid, comm]));
  }

  /** As many were walked as may be, or the time for it is over. */
  get isDone(): boolean {
    return this.#walks >= maxWalks || this.#isOver();
  }

  namespaceOf(source: MatrixSource): MachineNamespace | undefined {
    if (source.netns === '') return this.#machine.namespaces[0];
    return this.#machine.namespaces.find(({ name }) => name === source.netns);
  }

  /** One source's addresses, all of the target's family; undefined where it has none. What they do not agree in is unknown. */
  answer(source: MatrixSource, target: MatrixTarget): CellAnswer | undefined {
    const namespace = this.namespaceOf(source);
    const addresses = source.addresses.filter(({ family }) => family === target.address.family);
    if (addresses.length === 0) return undefined;
    // Its services may listen elsewhere now, or the reading was not of everything: that proves no refusal.
    if (!namespace) return { outcome: 'unknown', by: [{ text: `there is no namespace ${source.netns}` }] };
    if (!namespace.links.some(({ name }) => name === source.device))
      return { outcome: 'unknown', by: [{ text: `there is no device ${source.device}` }] };
    const answers = addresses.map((address) => this.#walk(namespace, source.device, address, target));
    const [first] = answers;
    if (answers.every(({ outcome }) => outcome === first.outcome)) return first;
    const text = answers.map(({ outcome }, index) => `${renderAddress(addresses[index])} ${outcome}`).join(', ');
    return { outcome: 'unknown', by: [{ text: `addresses of this source are not treated alike: ${text}` }] };
  }

  #walk(namespace: MachineNamespace, device: string, source: Address, { address, port, transport }: MatrixTarget): CellAnswer {
    this.#walks += 1;
    return this.#judge(this.#walker.walk({ namespace, device, source, destination: address, port, transport }));
  }

  #judge(answer: PathAnswer): CellAnswer {
    if (answer.kind !== 'reached') return { outcome: answer.kind === 'stopped' ? 'refuse' : 'unknown', by: [answer.by] };
    if (answer.undecided && !answer.undecided.limited) return { outcome: 'unknown', by: [answer.undecided] };
    const service = this.#serviceOf(answer.listener);
    const diverted = answer.tproxied && answer.allowedBy.some(({ rule }) => isWeirTable(rule?.table));
    return { outcome: diverted ? 'decoy' : 'reach', by: answer.allowedBy, ...(service === undefined ? {} : { service }) };
  }

  /** Services of namespaces that a link of this one leads to. */
  #behind(namespace: MachineNamespace): Dial[] {
    const known = this.#dialsBehind.get(namespace);
    if (known) return known;
    const joined = this.#machine.namespaces.filter(({ links }) => links.some(({ peer }) => peer?.netns === namespace.inode));
    const dials = dialsBehind({ ...this.#machine, namespaces: joined }, namespace);
    this.#dialsBehind.set(namespace, dials);
    return dials;
  }

  #serviceOf({ pids }: MachineListener): string | undefined {
    const names = pids.flatMap((pid) => this.#comms.get(pid) ?? []).sort();
    return names[0];
  }

  /** What may be dialled by somebody at one place, as it is now; by its text. */
  targets(namespace: MachineNamespace, standpoints: readonly Standpoint[]): Map<string, MatrixTarget> {
    const published = publishedPorts(namespace.filter);
    const translated = publishedAddresses(namespace.filter);
    const targets = new Map<string, MatrixTarget>();
    for (const standpoint of standpoints) {
      const { device, zone } = standpoint;
      const inside = zone === 'link' || zone === 'container' ? this.#behind(namespace) : [];
      for (const dial of [...dialsAt(namespace, device, published, translated), ...inside]) {
        const target = targetOf(dial);
        if (canDial(standpoint, target.address)) targets.set(renderTarget(target), target);
      }
    }
    return targets;
  }
}

const targetOf = ({ destination, port, transport }: Dial): MatrixTarget => ({ address: destination, port, transport });

/** Tables that belong to `weir up`: `weir`, `weir-services`. */
export const isWeirTable = (table: string | undefined): boolean => table !== undefined && /^weir(-|$)/.test(table);

/** Datagram sockets of clients come and go: no service listens there. */
export function isPassing({ transport, port }: MatrixTarget, machine: Machine): boolean {
  if (transport !== 'udp') return false;
  const range = machine.namespaces[0]?.sysctls['net/ipv4/ip_local_port_range'] ?? '32768 60999';
  const [first, last] = range.split(/\s+/).map(Number);
  return port >= first && port <= last;
}

/**
 * Sources of the namespace looked from, and of others that have a way out of the machine themselves. Links inside containers are no place
 * to come in by: what comes from there is seen where it arrives.
 */
export function placesOf(machine: Machine): { namespace: MachineNamespace; source: MatrixSource; standpoints: Standpoint[] }[] {
  return machine.namespaces.flatMap((namespace, index) => {
    const standpoints = standpointsOf(machine, namespace);
    const isWayIn = index === 0 || standpoints.some(({ zone }) => zone === 'public');
    return isWayIn ? sourcesOf(standpoints).map((place) => ({ namespace, ...place })) : [];
  });
}

/** Places of one kind at one device, as a source of its own. */
function sourcesOf(standpoints: readonly Standpoint[]): { source: MatrixSource; standpoints: Standpoint[] }[] {
  const groups = new Map<string, { source: MatrixSource; standpoints: Standpoint[] }>();
  for (const standpoint of standpoints) {
    const { netns, device, zone, range, address } = standpoint;
    const name = [zone === 'public' ? 'internet' : zone, device, netns, range ?? ''].filter((part) => part !== '').join(' ');
    const group = groups.get(name) ?? { source: { name, netns, device, addresses: [] }, standpoints: [] };
    groups.set(name, {
      source: { ...group.source, addresses: [...group.source.addresses, address] },
      standpoints: [...group.standpoints, standpoint],
    });
  }
  return [...groups.values()];
}

/** Everything that somebody reaches or is refused now, of services that listen or are published. */
export function readAccess(machine: Machine, ask: RouteQuestioner, isOver?: () => boolean): MatrixReading {
  const reader = new AccessReader(machine, ask, isOver);
  const notMeasured = new Set<string>();
  const sources: MatrixSource[] = [];
  interface Row {
    readonly target: MatrixTarget;
    service?: string;
    readonly cells: Map<string, CellAnswer['outcome']>;
  }
  const rows = new Map<string, Row>();
  let passing = 0;
  let left = 0;
  for (const namespace of machine.namespaces)
    for (const text of [...(namespace.filter?.unreadable ?? []), ...notLookedFrom(namespace)]) notMeasured.add(text);
  for (const { namespace, source, standpoints } of placesOf(machine)) {
    sources.push(source);
    for (const [key, target] of reader.targets(namespace, standpoints)) {
      if (isPassing(target, machine)) {
        passing += 1;
        continue;
      }
      if (reader.isDone) {
        left += 1;
        continue;
      }
      const answer = reader.answer(source, target);
      if (!answer || answer.outcome === 'decoy') continue;
      const row: Row = rows.get(key) ?? { target, cells: new Map() };
      row.cells.set(source.name, answer.outcome);
      if (answer.service !== undefined) row.service ??= answer.service;
      rows.set(key, row);
    }
  }
  for (const { what, why } of machine.unseen) notMeasured.add(`${what}: ${why}`);
  if (left > 0) notMeasured.add(`${left} ways: they are too many for the time there is`);
  if (passing > 0) notMeasured.add(`${passing} ways to datagram sockets with passing ports`);
  const listed = [...rows.values()].map(({ target, service, cells }): MatrixRow => {
    const of = (outcome: CellAnswer['outcome']): string[] =>
      [...cells].filter(([, found]) => found === outcome).map(([name]) => name);
    return {
      ...target,
      ...(service === undefined ? {} : { service }),
      reach: of('reach'),
      refuse: of('refuse'),
      unknown: of('unknown'),
    };
  });
  // Published ports of protocols nobody serves are no rows: nothing is there that could be reached.
  const matrix = {
    recordedAt: machine.takenAt,
    sources,
    rows: listed.filter(({ reach, unknown, ...target }) => reach.length + unknown.length > 0 || isServed(machine, target)),
  };
  return { matrix: { ...matrix, rows: matrix.rows.sort(byTarget) }, notMeasured: [...notMeasured] };
}

const isServed = ({ namespaces }: Machine, { transport, port }: MatrixTarget): boolean =>
  namespaces.some(({ listeners }) => listeners.some((one) => one.transport === transport && one.port === port));

const byTarget = (a: MatrixTarget, b: MatrixTarget): number =>
  a.port - b.port ||
  a.transport.localeCompare(b.transport) ||
  a.address.family - b.address.family ||
  Number(a.address.value > b.address.value) - Number(a.address.value < b.address.value);
