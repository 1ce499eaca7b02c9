// Every network namespace of the machine that anything leads to: a process, a name of ip-netns(8) or of a container engine, a bind mount.
// One held only by an open descriptor or a socket cannot be found. What is inside is namespace-reader.ts.
// Sources: namespaces(7), ip-netns(8), proc(5) (mountinfo).

import { closeSync, constants, fstatSync, openSync, readFileSync, readlinkSync } from 'node:fs';
import type { MachineProcess } from '../../model/machine.ts';
import { isNetworkNamespace } from '../libc.ts';
import { readNamespaceIdentity } from '../namespace-handle.ts';
import { attribute, longIn, longOf, parseAttributes } from '../netlink-message.ts';
import type { RouteSocket } from '../route-socket.ts';
import { namespaceInode, readIsKernelThread, readProcess, readProcessNetns } from './process-reader.ts';
import { readPids } from './socket-owners.ts';

export interface FoundNamespace {
  readonly inode: string;
  /** Leads there; absent for the one looked from. */
  readonly path?: string;
  /** Of /run/netns; absent without one. */
  readonly givenName?: string;
  /** The one with the lowest number in it that is no thread of the kernel. */
  readonly firstPid?: number;
  /** Threads of the kernel are in it: they are in the machine's first one alone. */
  readonly isHost?: boolean;
}

/** Namespaces beyond this are not looked at. */
const maxNamespaces = 4096;
const namedDirectory = /^(?:\/var)?\/run\/netns\//;

/** The one looked from first, then by name, then by process. Processes of others without root: `hidden` of them were not seen. */
export function findNamespaces(): { namespaces: FoundNamespace[]; hidden: number; cut: boolean } {
  const own = readProcessNetns('self') ?? '';
  type Entry = { -readonly [Key in keyof Omit<FoundNamespace, 'inode'>]: FoundNamespace[Key] };
  const found = new Map<string, Entry>([[own, {}]]);
  let hidden = 0;
  let cut = false;
  const note = (inode: string): Entry | undefined => {
    let entry = found.get(inode);
    if (!entry && found.size >= maxNamespaces) cut = true;
    else if (!entry) {
      entry = {};
      found.set(inode, entry);
    }
    return entry;
  };
  for (const mount of readNamespaceMounts()) {
    const entry = note(mount.inode);
    if (!entry || mount.inode === own) continue;
    if (namedDirectory.test(mount.path)) entry.givenName ??= mount.path.replace(namedDirectory, '');
    entry.path ??= mount.path;
  }
  for (const pid of readPids()) {
    let inode: string | undefined;
    try {
      inode = namespaceInode(readlinkSync(`/proc/${pid}/ns/net`));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EACCES') hidden += 1;
    }
    if (inode === undefined) continue;
    const entry = note(inode);
    if (!entry) continue;
    if (entry.firstPid === undefined) {
      if (readIsKernelThread(pid)) entry.isHost = true;
      else entry.firstPid = pid;
    }
    if (inode !== own) entry.path ??= `/proc/${pid}/ns/net`;
  }
  const namespaces = [...found].map(([inode, entry]) => ({ inode, ...entry }));
  const rank = ({ inode, givenName }: FoundNamespace): number => (inode === own ? 0 : givenName ? 1 : 2);
  namespaces.sort(
    (a, b) => rank(a) - rank(b) || (a.givenName ?? '').localeCompare(b.givenName ?? '') || (a.firstPid ?? 0) - (b.firstPid ?? 0),
  );
  return { namespaces, hidden, cut };
}

/** What `pid:123` or a path leads to now; undefined for another form, and where there is no network namespace. */
function typedNamespace(wanted: string): { readonly inode: string; readonly path: string } | undefined {
  const pid = /^pid:([1-9]\d{0,9})$/.exec(wanted)?.[1];
  const path = pid === undefined ? wanted : `/proc/${pid}/ns/net`;
  if (!path.includes('/')) return undefined;
  const link = pid === undefined ? undefined : readProcessNetns(Number(pid));
  // What is no file of that file system is not opened.
  const inode = link ?? (readNamespaceIdentity(path) === undefined ? undefined : readNetworkNamespace(path));
  return inode === undefined ? undefined : { inode, path };
}

/** Other kinds of namespaces are files of the same file system. */
function readNetworkNamespace(path: string): string | undefined {
  try {
    const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      return isNetworkNamespace(fd) ? String(fstatSync(fd, { bigint: true }).ino) : undefined;
    } finally {
      closeSync(fd);
    }
  } catch {
    return undefined;
  }
}

/**
 * Which namespace is meant: a name of /run/netns, an inode, `pid:123` of any process in it, a path, also one that nothing found leads to.
 * Undefined: none.
 */
export function selectNamespace(namespaces: readonly FoundNamespace[], wanted: string): FoundNamespace | undefined {
  const named = namespaces.find(({ inode, givenName }) => wanted === givenName || wanted === inode);
  if (named) return named;
  const typed = typedNamespace(wanted);
  return typed && (namespaces.find(({ inode }) => inode === typed.inode) ?? typed);
}

/** Files of nsfs that are mounted somewhere: `net:[4026532281]` is the root of such a mount. One entry each. */
export function parseNamespaceMounts(mountinfo: string): { inode: string; path: string }[] {
  const mounts: { inode: string; path: string }[] = [];
  const seen = new Set<string>();
  for (const line of mountinfo.split('\n')) {
    const match = /^\d+ \d+ \S+ net:\[(\d+)\] (\S+) /.exec(line);
    if (!match || seen.has(match[2])) continue;
    seen.add(match[2]);
    // Blanks and backslashes are written in octal.
    mounts.push({
      inode: match[1],
      path: match[2].replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8))),
    });
  }
  return mounts;
}

/** What a later mount covers is left out. */
function readNamespaceMounts(): { inode: string; path: string }[] {
  try {
    return parseNamespaceMounts(readFileSync('/proc/self/mountinfo', 'utf8')).filter(
      ({ inode, path }) => String(readNamespaceIdentity(path)) === inode,
    );
  } catch {
    return [];
  }
}

/** For people: its name, its container, its first process; of the machine's first one, looked at from another, that it is that. */
export function nameNamespace(found: FoundNamespace, first: MachineProcess | undefined): string {
  if (found.path === undefined) return '';
  if (found.givenName) return found.givenName;
  if (found.isHost) return 'the host';
  if (first?.container) return first.container.name ?? first.container.id.slice(0, 12);
  return first ? `pid ${first.pid} (${first.comm})` : (found.path ?? found.inode);
}

export const firstProcessOf = ({ firstPid }: FoundNamespace): MachineProcess | undefined =>
  firstPid === undefined ? undefined : readProcess(firstPid);

const RTM_GETNSID = 90;
const NETNSA_NSID = 1;
const NETNSA_FD = 3;
/** Each question costs 2 microseconds; a machine of a thousand joined namespaces must not cost a million of them. */
const maxQuestions = 200_000;

/**
 * Which namespaces the numbers mean that links of one namespace name their peers' by (IFLA_LINK_NETNSID): inodes by number. What
 * lies in a namespace that is not among `candidates` is left out. `budget` is counted down over many calls.
 */
export function readPeerNamespaces(
  socket: RouteSocket,
  wanted: ReadonlySet<number>,
  candidates: readonly FoundNamespace[],
  budget = { questions: maxQuestions },
): Map<number, string> {
  const found = new Map<number, string>();
  for (const candidate of candidates) {
    if (found.size === wanted.size || budget.questions <= 0) break;
    budget.questions -= 1;
    const id = askNamespaceId(socket, candidate.path ?? '/proc/self/ns/net');
    if (id !== undefined && wanted.has(id)) found.set(id, candidate.inode);
  }
  return found;
}

/** The number one namespace has in another; undefined when it has none or is gone. */
function askNamespaceId(socket: RouteSocket, path: string): number | undefined {
  let fd: number;
  try {
    fd = openSync(path, 'r');
  } catch {
    return undefined;
  }
  try {
    const message = socket.get(RTM_GETNSID, [new Uint8Array(4), attribute(NETNSA_FD, longOf(fd))], 'asking for a namespace');
    const id = message && parseAttributes(message.body.subarray(4)).get(NETNSA_NSID);
    return id && longIn(id) | 0;
  } catch {
    return undefined;
  } finally {
    closeSync(fd);
  }
}
