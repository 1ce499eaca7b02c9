// What a diagnosis looks at: the namespace it is asked in, and every one a wire leads to from there; rules, sockets and all. Reads only.

import { asWeirError, WeirError } from '../../base/errors.ts';
import { createCommandRunner } from '../../kernel/command.ts';
import { readPacketFilter } from '../../kernel/filter/packet-filter-reader.ts';
import { insideNetns } from '../../kernel/libc.ts';
import { type MachineReadOptions, readMachine } from '../../kernel/machine/machine-reader.ts';
import { machineParts } from '../../kernel/machine/namespace-reader.ts';
import { readCounters } from '../../kernel/machine/proc-tables.ts';
import { readSocketOwners } from '../../kernel/machine/socket-owners.ts';
import type { Machine, MachineNamespace, MachineProcess, Unseen } from '../../model/machine.ts';
import { needsText } from './qdisc-hop.ts';

/** Namespaces that are looked at from one on: a host of many containers has as many. */
const mostNamespaces = 256;

export const readFilterOf = (netns: string | undefined): Promise<MachineNamespace['filter']> =>
  readPacketFilter(createCommandRunner(netns));

/** Rules are read where the packet comes by: a host of containers has them in every one. */
const withoutFilter = machineParts.filter((part) => part !== 'filter');
/** Programs that run beside each other. */
const atOnce = 8;

async function inTurns<T, R>(things: readonly T[], body: (thing: T) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  for (let at = 0; at < things.length; at += atOnce)
    results.push(...(await Promise.all(things.slice(at, at + atOnce).map(body))));
  return results;
}

/** The same machine with the rules of these namespaces; where they cannot be read that is in their `unreadable`. */
export async function withFilters(machine: Machine, wanted: readonly MachineNamespace[]): Promise<Machine> {
  const read = new Map<string, MachineNamespace['filter']>();
  await inTurns(wanted, async ({ inode, path }) => {
    const filter = await readFilterOf(path).catch((error: unknown) => ({
      chains: [],
      sets: [],
      unreadable: [`rules: ${asWeirError(error).message}`],
    }));
    read.set(inode, filter);
  });
  return {
    ...machine,
    namespaces: machine.namespaces.map((namespace) => {
      const filter = read.get(namespace.inode);
      return filter === undefined ? namespace : { ...namespace, filter };
    }),
  };
}

/** The one asked in is first; without rules, see withFilters. Throws `not-found` where there is no such namespace. */
export async function readConnected(netns: string | undefined): Promise<Machine> {
  const owners = readSocketOwners();
  const namespaces = new Map<string, MachineNamespace>();
  const processes = new Map<number, MachineProcess>();
  const unseen = new Map<string, Unseen>();
  let first: Machine | undefined;
  let wanted: MachineReadOptions | undefined = { namespaces: 'one', ...(netns !== undefined && { netns }) };
  const asked = new Set<string>();
  while (wanted) {
    const machine = await readMachine({ ...wanted, owners, parts: withoutFilter });
    const next = new Set<string>();
    first ??= machine;
    for (const process of machine.processes) processes.set(process.pid, process);
    for (const lack of machine.unseen) unseen.set(`${lack.netns ?? ''} ${lack.what}`, lack);
    for (const namespace of machine.namespaces) {
      namespaces.set(namespace.inode, await withQueueTexts(namespace));
      asked.add(namespace.inode);
      for (const { peer } of namespace.links) if (peer?.netns !== undefined && !asked.has(peer.netns)) next.add(peer.netns);
    }
    const room = mostNamespaces - asked.size;
    if (next.size > room)
      unseen.set('more', { what: 'further network namespaces', why: `more than ${mostNamespaces} hang together` });
    const inodes = [...next].slice(0, Math.max(0, room));
    for (const inode of inodes) asked.add(inode);
    wanted = inodes.length === 0 ? undefined : { inodes };
  }
  if (!first) throw new WeirError('not-found', 'there is no such network namespace');
  return { ...first, namespaces: [...namespaces.values()], processes: [...processes.values()], unseen: [...unseen.values()] };
}

/** Of queues that may drop, as tc(8) prints them: their parameters are in no other text. */
async function withQueueTexts(namespace: MachineNamespace): Promise<MachineNamespace> {
  if (!namespace.qdiscs.some(needsText)) return namespace;
  try {
    const { stdout } = await createCommandRunner(namespace.path).run('tc', ['qdisc', 'show']);
    const lines = stdout.split('\n');
    return {
      ...namespace,
      qdiscs: namespace.qdiscs.map((qdisc) => {
        const text = lines.find((line) => line.startsWith(`qdisc ${qdisc.kind} `) && line.includes(` dev ${qdisc.device} root`));
        return text ? { ...qdisc, text: text.trim() } : qdisc;
      }),
    };
  } catch (error) {
    if (asWeirError(error).code !== 'tool-missing') throw error;
    return namespace;
  }
}

export type CounterReading = ReadonlyMap<string, Readonly<Record<string, number>>>;

/** Protocol counters of namespaces, by inode; one that cannot be entered is absent. */
export function readCountersOf(namespaces: readonly MachineNamespace[]): CounterReading {
  const reading = new Map<string, Readonly<Record<string, number>>>();
  for (const { inode, path } of namespaces)
    try {
      reading.set(inode, insideNetns(path, readCounters));
    } catch {
      // Not ours to enter: what it counts is not measured, which the answer says.
    }
  return reading;
}

/** What grew; counters that appeared meanwhile grew from 0. */
export function counterGrowth(before: CounterReading, after: CounterReading): Map<string, Record<string, number>> {
  const growth = new Map<string, Record<string, number>>();
  for (const [inode, counters] of after) {
    const earlier = before.get(inode);
    if (!earlier) continue;
    growth.set(
      inode,
      Object.fromEntries(
        Object.entries(counters)
          .map(([name, value]) => [name, value - (earlier[name] ?? 0)] as const)
          .filter(([, grown]) => grown > 0),
      ),
    );
  }
  return growth;
}
