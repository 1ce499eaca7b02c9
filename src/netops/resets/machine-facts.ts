// What the judging of RSTs asks of the machine: whose an address is, which rules answer with a RST, under which other tuple a connection
// is known where addresses are translated. Read when asked, kept for seconds; what may not be read is told.

import type { Micros } from '../../base/clock.ts';
import { asWeirError } from '../../base/errors.ts';
import { createCommandRunner } from '../../kernel/command.ts';
import { readPacketFilter } from '../../kernel/filter/packet-filter-reader.ts';
import { type ConntrackTuple, readConntrack } from '../../kernel/machine/conntrack-dump.ts';
import { readMachineLinks } from '../../kernel/machine/link-reader.ts';
import { type FoundNamespace, findNamespaces, firstProcessOf, nameNamespace } from '../../kernel/machine/namespace-finder.ts';
import { readNamespaceIdentity } from '../../kernel/namespace-handle.ts';
import { withRouteSocket } from '../../kernel/route-socket.ts';
import { renderAddress } from '../../model/address.ts';
import type { RejectRule } from './judge-reset.ts';

export interface Tuple {
  readonly source: string;
  readonly sourcePort: number;
  readonly destination: string;
  readonly destinationPort: number;
}

type FoundRule = Omit<RejectRule, 'near'> & { readonly inode: string; readonly packets?: number };

const maxNamespaces = 256;
const keepAddressesMs = 2000;
const keepRulesMs = 10_000;
/** Rules older than a RST are read again, so often at most. */
const freshRulesMs = 1000;
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

export class MachineFacts {
  #namespaces: readonly FoundNamespace[] = [];
  #addresses = new Set<string>();
  /** Inodes of namespaces, by address. */
  #owners = new Map<string, Set<string>>();
  #addressesAt = Number.NEGATIVE_INFINITY;
  #rules: Promise<readonly FoundRule[]> | undefined;
  /** When they were begun to be read, as the wall has it. */
  #rulesAt = 0;
  #tuples = new Map<string, Tuple[]>();
  #tuplesAt = Number.NEGATIVE_INFINITY;
  /** What could not be read, each once. */
  readonly unseen = new Set<string>();

  /** Whether an address is one of this machine's, in any namespace that could be entered. */
  isLocal(ip: string): boolean {
    if (performance.now() - this.#addressesAt > keepAddressesMs) this.#readAddresses();
    return this.#addresses.has(ip) || ip.startsWith('127.') || ip === '::1';
  }

  /** Of one namespace: a path, or undefined for this one. */
  addressesOf(netns: string | undefined): Set<string> {
    const links = withRouteSocket(netns, readMachineLinks);
    return new Set(links.flatMap(({ addresses }) => addresses.map(({ address }) => renderAddress(address))));
  }

  /**
   * Rules of every namespace that may have answered TCP with a RST as `ip`, at that time; `watched` is the namespace we look in,
   * a path. Those that count and counted nothing have not.
   */
  async rejectRules(ip: string, at: Micros, watched: string | undefined): Promise<readonly RejectRule[]> {
    const now = Date.now();
    if (
      this.#rules === undefined ||
      now - this.#rulesAt > keepRulesMs ||
      (this.#rulesAt * 1000 < at && now - this.#rulesAt > freshRulesMs)
    ) {
      this.#rulesAt = now;
      this.#rules = this.#readRules();
    }
    const readAt = this.#rulesAt;
    const here = String(readNamespaceIdentity(watched ?? '/proc/thread-self/ns/net') ?? '');
    const owners = this.#owners.get(ip);
    return (await this.#rules)
      .filter(({ packets }) => packets !== 0 || readAt * 1000 < at)
      .map(({ inode, packets: _, ...rule }) => ({ ...rule, near: inode === here || owners?.has(inode) === true }));
  }

  /** Other tuples the same direction of a connection has before or after translation; empty: none. */
  translations(tuple: Tuple): readonly Tuple[] {
    if (performance.now() - this.#tuplesAt > keepTuplesMs) this.#readTuples();
    return this.#tuples.get(textOf(tuple)) ?? [];
  }

  #readAddresses(): void {
    const { namespaces, hidden } = findNamespaces();
    if (hidden > 0) this.unseen.add(`namespaces of ${hidden} processes of other users`);
    const addresses = new Set<string>();
    const owners = new Map<string, Set<string>>();
    this.#namespaces = namespaces.slice(0, maxNamespaces);
    for (const { path, inode } of this.#namespaces)
      try {
        for (const link of withRouteSocket(path, readMachineLinks))
          for (const { address } of link.addresses) {
            const ip = renderAddress(address);
            addresses.add(ip);
            const known = owners.get(ip);
            if (known) known.add(inode);
            else owners.set(ip, new Set([inode]));
          }
      } catch (error) {
        this.unseen.add(`addresses of namespace ${inode}: ${asWeirError(error).message}`);
      }
    this.#addresses = addresses;
    this.#owners = owners;
    this.#addressesAt = performance.now();
  }

  async #readRules(): Promise<readonly FoundRule[]> {
    const rules: FoundRule[] = [];
    if (this.#namespaces.length === 0) this.#readAddresses();
    for (const found of this.#namespaces) {
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
    }
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
    for (const { path } of this.#namespaces) {
      if (left <= 0) break;
      try {
        readConntrack(
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
      } catch {
        // No connection tracking there: nothing is translated by it.
      }
    }
    this.#tuples = tuples;
    this.#tuplesAt = performance.now();
  }
}
