// One look at a machine, as model/machine.ts has it: its network namespaces, what is in each, and its processes. Reads only; works with any
// privilege and says what it could not see. Judging is netops/.

import { release } from 'node:os';
import { asWeirError, WeirError } from '../../base/errors.ts';
import type { Machine, MachineContainer, MachineNamespace, MachineProcess, Unseen } from '../../model/machine.ts';
import { createCommandRunner } from '../command.ts';
import { readPacketFilter } from '../filter/packet-filter-reader.ts';
import { readContainerNames } from './container-names.ts';
import { type FoundNamespace, findNamespaces, firstProcessOf, nameNamespace, selectNamespace } from './namespace-finder.ts';
import { type MachinePart, machineParts, readNamespace } from './namespace-reader.ts';
import { readProcess, whyUnreadable } from './process-reader.ts';
import { readSocketOwners, type SocketOwners } from './socket-owners.ts';

export interface MachineReadOptions {
  /** `one`: the one this process is in, or `netns`; default `all`. Peers' inodes are told for those that are read or found. */
  readonly namespaces?: 'one' | 'all';
  /** With `one`: a name of /run/netns, a path, an inode or `pid:123` instead of the one this process is in. */
  readonly netns?: string;
  /** These alone, by inode, in one look; those that are gone are left out. Not together with `netns`. */
  readonly inodes?: readonly string[];
  /** Default: all. */
  readonly parts?: readonly MachinePart[];
  /** Of the container engine; default Docker's. */
  readonly dockerSocket?: string;
  /** Used instead of a pass over /proc of its own. */
  readonly owners?: SocketOwners;
}

/** Throws `not-found` only when `netns` names none. */
export async function readMachine(options: MachineReadOptions = {}): Promise<Machine> {
  const parts = new Set(options.parts ?? machineParts);
  const unseen: Unseen[] = [];
  const takenAt = Date.now();
  const { namespaces: found, hidden, cut } = findNamespaces();
  if (hidden > 0)
    unseen.push({ what: `namespaces of ${hidden} processes`, why: `they may not be looked into: ${whyUnreadable()}` });
  if (cut) unseen.push({ what: 'further network namespaces', why: 'there are more than are looked at' });
  const containers = await readContainerNames(options.dockerSocket);
  if (containers.why) unseen.push({ what: 'names of containers', why: containers.why });
  const owners = options.owners ?? (parts.has('listeners') ? readSocketOwners() : undefined);
  if (owners && owners.unreadable > 0)
    unseen.push({ what: `sockets of ${owners.unreadable} processes of others`, why: whyUnreadable() });
  if (owners?.cut) unseen.push({ what: 'sockets of further processes', why: 'there are more than are looked at' });

  const named = <T extends { readonly container?: MachineContainer }>(thing: T): T => {
    const name = thing.container && containers.names.get(thing.container.id);
    return name === undefined ? thing : { ...thing, container: { ...thing.container, name } as MachineContainer };
  };
  const namespaces: MachineNamespace[] = [];
  const processes = new Map<number, MachineProcess>();
  const budget = { questions: 200_000 };
  for (const one of chosen(found, options)) {
    const first = firstProcessOf(one);
    const process = first && named(first);
    const own = found[0];
    try {
      const { unseen: missed, ...reading } = await readNamespace(one, parts, found, owners, budget);
      unseen.push(...missed);
      const filter = parts.has('filter') ? await readPacketFilter(createCommandRunner(one.path)) : undefined;
      namespaces.push({
        ...reading,
        name: nameNamespace(one, process),
        ...(process?.container && one !== own ? { container: process.container } : {}),
        ...(filter ? { filter } : {}),
      });
    } catch (error) {
      const { code, message } = asWeirError(error);
      // It ended while the others were read.
      if (code === 'not-found') continue;
      const why = code === 'not-permitted' ? 'needs CAP_SYS_ADMIN to enter it' : message;
      unseen.push({ netns: one.inode, what: `everything in namespace ${nameNamespace(one, process)}`, why });
    }
    if (process) processes.set(process.pid, process);
  }
  for (const pid of owners?.pids ?? []) {
    if (processes.has(pid)) continue;
    const process = readProcess(pid);
    if (process) processes.set(pid, named(process));
  }
  return {
    takenAt,
    kernel: release(),
    namespaces,
    processes: [...processes.values()].sort((a, b) => a.pid - b.pid),
    unseen,
  };
}

function chosen(found: readonly FoundNamespace[], { namespaces, netns, inodes }: MachineReadOptions): readonly FoundNamespace[] {
  if (inodes !== undefined) {
    const wanted = new Set(inodes);
    return found.filter(({ inode }) => wanted.has(inode));
  }
  if (netns === undefined) return namespaces === 'one' ? found.slice(0, 1) : found;
  const one = selectNamespace(found, netns);
  if (!one)
    throw new WeirError('not-found', `there is no network namespace ${netns}`, { next: '`ip netns` lists those with names' });
  return [one];
}
