// What the judging of RSTs asks of the machine: whose an address is, which rules answer with a RST, under which other tuple a connection
// is known where addresses are translated. Read when asked, kept for seconds; what may not be read is told.

import type { Micros } from '../../base/clock.ts';
import { asWeirError } from '../../base/errors.ts';
import { createCommandRunner } from '../../kernel/command.ts';
import { readPacketFilter } from '../../kernel/filter/packet-filter-reader.ts';
import { type ConntrackTuple, readConntrack } from '../../kernel/machine/conntrack-dump.ts';
import { type ReadLink, readMachineLinks } from '../../kernel/machine/link-reader.ts';
import {
  type FoundNamespace,
  findNamespaces,
  firstProcessOf,
  nameNamespace,
  readPeerNamespaces,
} from '../../kernel/machine/namespace-finder.ts';
import { readNamespaceIdentity } from '../../kernel/namespace-handle.ts';
import { withRouteSocket } from '../../kernel/route-socket.ts';
import { renderAddress } from '../../model/address.ts';
import type { RejectRule } from './judge-reset.ts';
import { lookInTime, RuleReadings } from './rule-readings.ts';

export interface Tuple {
  readonly source: string;
  readonly sourcePort: number;
  readonly destination: string;
  readonly destinationPort: number;
}

type FoundRule = Omit<RejectRule, 'near'> & { readonly inode: string; readonly packets?: number };

const maxNamespaces = 256;
const keepAddressesMs = 2000;
/** Of all namespaces; the ones it did not come to are told. */
const rulesWithinMs = 60_000;
const keepTuplesMs = 250;
const maxTuples = 50_000;

const textOf = ({ source, sourcePort, destination, destinationPort }: Tuple): string =>
  `${source} ${sourcePort} ${destination} ${destinationPort}`;

const plain = ({ source, destination, sourcePort, destinationPort }: ConntrackTuple): Tuple => ({
  source: renderAddress(source),
  sourcePort,
  destination: renderAddress(destination),
  destinationPort,
});

const reversed = ({ source, sourcePort, destination, destinationPort }: Tuple): Tuple => ({
  source: destination,
  sourcePort: destinationPort,
  destination: source,
  destinationPort: sourcePort,
});

/** Where links of a namespace lead without a route between: to a veth's other end, through a bridge to that of each of its ports. */
export function leadsOf(
  links: readonly Pick<ReadLink, 'name' | 'master' | 'peerNamespaceId'>[],
  inodeOf: ReadonlyMap<number, string>,
): Map<string, Set<string>> {
  const leads = new Map<string, Set<string>>();
  for (const { name, master, peerNamespaceId } of links) {
    const inode = peerNamespaceId === undefined ? undefined : inodeOf.get(peerNamespaceId);
    if (inode === undefined) continue;
    for (const from of master === undefined ? [name] : [name, master])
      leads.set(from, (leads.get(from) ?? new Set<string>()).add(inode));
  }
  return leads;
}

export interface SenderPlace {
  readonly interface?: string;
  readonly outgoing?: boolean;
}

/**
 * Whether what bears this address, seen at this place, is from this machine. Other networks may have the same addresses as some
 * namespace here: only the namespace's own, or one that the link it came in by leads to, is. Undefined: it cannot be told.
 */
export function isSenderHere(
  ip: string,
  { interface: name, outgoing }: SenderPlace,
  own: ReadonlySet<string>,
  owners: ReadonlySet<string> | undefined,
  leads: ReadonlyMap<string, ReadonlySet<string>>,
): boolean | undefined {
  if (own.has(ip) || ip.startsWith('127.') || ip === '::1') return true;
  if (owners === undefined || owners.size === 0) return false;
  if (outgoing === true || name === undefined) return undefined;
  return [...(leads.get(name) ?? [])].some((inode) => owners.has(inode)) ? true : undefined;
}

export class MachineFacts {
  /** The namespace that is looked in: a path, or undefined for this one. */
  readonly #watched: string | undefined;
  #own: ReadonlySet<string> = new Set();
  #leads: ReadonlyMap<string, ReadonlySet<string>> = new Map();
  #namespaces: readonly FoundNamespace[] = [];
  /** Inodes of namespaces, by address. */
  #owners = new Map<string, Set<string>>();
  #addressesAt = Number.NEGATIVE_INFINITY;
  readonly #rules = new RuleReadings(() => this.#readRules());
  #tuples = new Map<string, Tuple[]>();
  #tuplesAt = Number.NEGATIVE_INFINITY;
  /** False: more connections are tracked than were read, so that a translation that was not found may be there all the same. */
  tuplesComplete = true;
  /** What could not be read, each once. */
  readonly unseen = new Set<string>();

  constructor(watched: string | undefined) {
    this.#watched = watched;
  }

  /** See `isSenderHere`. */
  senderAt(ip: string, place: SenderPlace): boolean | undefined {
    this.#refresh();
    return isSenderHere(ip, place, this.#own, this.#owners.get(ip), this.#leads);
  }

  /** Whether the namespace that is looked in has this address. */
  isOwn(ip: string): boolean {
    this.#refresh();
    return this.#own.has(ip) || ip.startsWith('127.') || ip === '::1';
  }

  /**
   * Rules of every namespace that may have answered TCP with a RST as `ip`, at that time. Those that count and counted nothing have not.
   */
  async rejectRules(ip: string, at: Micros): Promise<readonly RejectRule[]> {
    const { found, begunAt } = await this.#rules.for(at);
    const here = String(readNamespaceIdentity(this.#watched ?? '/proc/thread-self/ns/net') ?? '');
    const owners = this.#owners.get(ip);
    return found
      .filter(({ packets }) => packets !== 0 || begunAt < at)
      .map(({ inode, packets: _, ...rule }) => ({ ...rule, near: inode === here || owners?.has(inode) === true }));
  }

  /** Other tuples the same direction of a connection has before or after translation; empty: none. */
  translations(tuple: Tuple): readonly Tuple[] {
    if (performance.now() - this.#tuplesAt > keepTuplesMs) this.#readTuples();
    return this.#tuples.get(textOf(tuple)) ?? [];
  }

  #refresh(): void {
    if (performance.now() - this.#addressesAt > keepAddressesMs) this.#readAddresses();
  }

  #readAddresses(): void {
    const { namespaces, hidden } = findNamespaces();
    if (hidden > 0) this.unseen.add(`namespaces of ${hidden} processes of other users`);
    const owners = new Map<string, Set<string>>();
    this.#namespaces = namespaces.slice(0, maxNamespaces);
    for (const { path, inode } of this.#namespaces)
      try {
        for (const link of withRouteSocket(path, readMachineLinks))
          for (const { address } of link.addresses) {
            const ip = renderAddress(address);
            const known = owners.get(ip);
            if (known) known.add(inode);
            else owners.set(ip, new Set([inode]));
          }
      } catch (error) {
        this.unseen.add(`addresses of namespace ${inode}: ${asWeirError(error).message}`);
      }
    try {
      withRouteSocket(this.#watched, (socket) => {
        const links = readMachineLinks(socket);
        this.#own = new Set(links.flatMap(({ addresses }) => addresses.map(({ address }) => renderAddress(address))));
        const wanted = new Set(links.flatMap(({ peerNamespaceId: id }) => (id === undefined ? [] : [id])));
        this.#leads = leadsOf(links, wanted.size === 0 ? new Map() : readPeerNamespaces(socket, wanted, this.#namespaces));
      });
    } catch (error) {
      this.unseen.add(`links of the namespace that is looked in: ${asWeirError(error).message}`);
    }
    this.#owners = owners;
    this.#addressesAt = performance.now();
  }

  async #readRules(): Promise<readonly FoundRule[]> {
    const rules: FoundRule[] = [];
    if (this.#namespaces.length === 0) this.#readAddresses();
    const left = await lookInTime(this.#namespaces, rulesWithinMs, async (found) => {
      const { path, inode } = found;
      try {
        const { chains, unreadable } = await readPacketFilter(createCommandRunner(path));
        for (const what of unreadable) this.unseen.add(`rules of namespace ${inode}: ${what}`);
        for (const { rules: all } of chains)
          for (const { statements, ...rule } of all)
            if (statements.some((one) => one.kind === 'reject' && one.answer === 'tcp-reset'))
              rules.push({ ...rule, inode, netns: nameNamespace(found, firstProcessOf(found)) });
      } catch (error) {
        this.unseen.add(`rules of namespace ${inode}: ${asWeirError(error).message}`);
      }
    });
    if (left > 0) this.unseen.add(`rules of some namespaces: all take longer to read than ${rulesWithinMs / 1000} s`);
    return rules;
  }

  #readTuples(): void {
    const tuples = new Map<string, Tuple[]>();
    const join = (one: Tuple, other: Tuple): void => {
      const [key, known] = [textOf(one), textOf(other)];
      if (key === known) return;
      const others = tuples.get(key) ?? [];
      if (!others.some((tuple) => textOf(tuple) === known)) others.push(other);
      tuples.set(key, others);
    };
    let left = maxTuples;
    this.tuplesComplete = true;
    for (const { path } of this.#namespaces) {
      try {
        const whole = readConntrack(
          path,
          ({ protocol, original, reply }) => {
            left -= 1;
            if (protocol !== 6) return;
            const [there, back] = [plain(original), plain(reply)];
            join(there, reversed(back));
            join(reversed(back), there);
            join(reversed(there), back);
            join(back, reversed(there));
          },
          left,
        );
        if (whole) continue;
        this.tuplesComplete = false;
        this.unseen.add(`tracked connections beyond the first ${maxTuples}: translations among them are not known`);
        break;
      } catch {
        // No connection tracking there: nothing is translated by it.
      }
    }
    this.#tuples = tuples;
    this.#tuplesAt = performance.now();
  }
}
