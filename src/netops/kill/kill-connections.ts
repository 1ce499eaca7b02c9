// `weir kill`: finds what a selector means, refuses what must not be touched, ends the rest and proves that it is gone. By SOCK_DESTROY in the
// namespace that owns the socket, else by RSTs on the path. Does nothing but look unless told to.

import { asWeirError } from '../../base/errors.ts';
import { printable } from '../../base/printable.ts';
import { type FoundNamespace, findNamespaces } from '../../kernel/machine/namespace-finder.ts';
import { readProcess, whyUnreadable } from '../../kernel/machine/process-reader.ts';
import { destroySocket, readConnections, type SocketEntry } from '../../kernel/machine/socket-diag.ts';
import { readAncestors } from '../../kernel/process-identity.ts';
import { parseSshConnection } from '../../plan/guard.ts';
import { endOnPath, type PathOutcome } from './end-on-path.ts';
import { findConnections, type KillTarget } from './find-connections.ts';
import { type GuardFacts, refusalOf, sshServer } from './kill-guard.ts';
import { type KillSelector, renderEnds } from './select-connections.ts';

export interface KillOptions {
  readonly selector: KillSelector;
  /** Only in this one. */
  readonly netns?: FoundNamespace;
  /** Ends them; without it they are only shown. */
  readonly yes: boolean;
  /** More than so many: none is touched. */
  readonly max: number;
  /** `auto`: the socket where it is here, else the path. */
  readonly method: 'auto' | 'socket' | 'path';
  /** SSH_CONNECTION of the operator's session. */
  readonly sshConnection?: string;
  /** It runs in tmux or screen: SSH_CONNECTION is that of whoever started those. */
  readonly multiplexed?: boolean;
  /** Whose session is not to be cut; default: this process. */
  readonly pid?: number;
  /** Of the container engine; default Docker's. */
  readonly dockerSocket?: string;
  readonly signal?: AbortSignal;
}

export interface KillItem {
  readonly cookie?: string;
  /** Local end first. */
  readonly tuple: string;
  readonly netns: string;
  readonly state: string;
  readonly transport: string;
  readonly pid?: number;
  readonly comm?: string;
  readonly container?: string;
  /** As it is known behind translation. */
  readonly also?: string;
}

export type KillMethod = 'sock-destroy' | 'challenge-rst' | 'sniffed-rst' | 'gone' | 'none';

export interface KillResult extends KillItem {
  readonly method: KillMethod;
  readonly verified: boolean;
  readonly ms: number;
  readonly detail?: string;
}

export interface KillReport {
  readonly selector: string;
  /** Connections; servers are not among them. */
  readonly matched: number;
  readonly killed: number;
  readonly refused: readonly (KillItem & { readonly why: string })[];
  readonly results: readonly KillResult[];
  /** What would be ended, where nothing was. */
  readonly would: readonly KillItem[];
  readonly dry_run: boolean;
  readonly not_measured: readonly string[];
}

/** Beyond it what was found is counted, not listed. */
const maxListed = 1000;

const itemOf = (target: KillTarget): KillItem => {
  const [holder] = target.processes;
  const [also] = target.translated ?? [];
  return {
    ...(target.cookie === undefined ? {} : { cookie: target.cookie }),
    tuple: renderEnds(target.local, target.localPort, target.remote, target.remotePort),
    netns: target.netnsName,
    state: target.socket ? target.state : 'passing through',
    transport: target.transport,
    ...(holder ? { pid: holder.pid, comm: printable(holder.comm, 40) } : {}),
    ...(holder?.container ? { container: holder.container.name ?? holder.container.id.slice(0, 12) } : {}),
    ...(also ? { also: renderEnds(also.local, also.localPort, also.remote, also.remotePort) } : {}),
  };
};

const isServer = ({ state, transport, remotePort }: KillTarget): boolean =>
  state === 'LISTEN' || (transport === 'udp' && remotePort === 0);

type Presence = 'alive' | 'gone' | 'unknown';

/**
 * Whether this connection is among them; one that is not may be among those that were not read. Of UDP the kernel leaves the socket, with
 * nobody at the other end any more.
 */
export function presenceOf(
  { sockets, complete }: { readonly complete: boolean; readonly sockets: readonly SocketIdentity[] },
  { cookie, remote, remotePort }: SocketIdentity,
): Presence {
  const left = sockets.find((one) => one.cookie === cookie);
  const isSame = left?.remotePort === remotePort && left.remote.family === remote.family && left.remote.value === remote.value;
  if (left) return isSame ? 'alive' : 'gone';
  return complete ? 'gone' : 'unknown';
}

type SocketIdentity = Pick<SocketEntry, 'cookie' | 'remote' | 'remotePort'>;

const isThere = (path: string | undefined, socket: SocketEntry): Presence =>
  presenceOf(readConnections(path, { transports: [socket.transport] }), socket);

const unproven: Readonly<Record<Exclude<Presence, 'gone'>, string>> = {
  alive: 'the kernel took it, the socket is still there',
  unknown: 'the kernel took it, there are more sockets than are read',
};

async function endTarget(target: KillTarget, method: KillOptions['method']): Promise<KillResult> {
  const begun = performance.now();
  const { path } = target.netns;
  const result = (more: Pick<KillResult, 'method' | 'verified' | 'detail'>): KillResult => ({
    ...itemOf(target),
    ...more,
    ms: Math.round((performance.now() - begun) * 10) / 10,
  });
  const { socket } = target;
  let refusal = socket ? undefined : 'no socket of this machine';
  try {
    if (socket && method !== 'path') {
      const outcome = destroySocket(path, socket);
      if (outcome.kind === 'gone')
        return result({ method: 'gone', verified: isThere(path, socket) === 'gone', detail: 'it ended before it was touched' });
      if (outcome.kind === 'destroyed') {
        const left = isThere(path, socket);
        return result({
          method: 'sock-destroy',
          verified: left === 'gone',
          ...(left === 'gone' ? {} : { detail: unproven[left] }),
        });
      }
      refusal = outcome.kind === 'refused' ? outcome.errno : undefined;
    }
    if (method === 'socket' || target.transport !== 'tcp')
      return result({ method: 'none', verified: false, detail: `SOCK_DESTROY is not possible: ${refusal}` });
    const outcome: PathOutcome = await endOnPath(path, target.ends);
    // Of a socket here its cookie is the better proof.
    const verified = socket ? isThere(path, socket) === 'gone' : outcome.verified;
    return result({ method: outcome.method, verified, detail: outcome.detail });
  } catch (error) {
    return result({ method: 'none', verified: false, detail: asWeirError(error).message });
  }
}

/** Needs root to end anything, and to see what others hold. Throws only what reading /proc cannot do. */
export async function killConnections(options: KillOptions): Promise<KillReport> {
  const { selector, netns, yes, max, method, sshConnection, signal } = options;
  const everywhere = netns ? undefined : findNamespaces();
  const { targets, unseen } = await findConnections(
    selector,
    netns ? [netns] : (everywhere?.namespaces ?? []),
    options.dockerSocket,
  );
  const notSearched = [
    ...(everywhere && everywhere.hidden > 0
      ? [`namespaces of ${everywhere.hidden} processes of others: ${whyUnreadable()}`]
      : []),
    ...(everywhere?.cut ? ['further network namespaces: there are more than are looked at'] : []),
  ];
  const operator = parseSshConnection(sshConnection);
  const port = Number(sshConnection?.trim().split(/\s+/)[1]);
  const ancestors = readAncestors(options.pid ?? process.pid);
  const facts: GuardFacts = {
    ancestors: new Set(ancestors),
    certain:
      ancestors.some((pid) => sshServer.test(readProcess(pid)?.comm ?? '')) || (operator !== undefined && !options.multiplexed),
    exact: selector.cookie !== undefined,
    ...(operator ? { operator } : {}),
    ...(Number.isInteger(port) && port > 0 ? { operatorPort: port } : {}),
  };
  const refused: (KillItem & { why: string })[] = [];
  const allowed: KillTarget[] = [];
  for (const target of targets) {
    const why = refusalOf(target, facts);
    if (why === undefined) allowed.push(target);
    else if (refused.length < maxListed) refused.push({ ...itemOf(target), why });
  }
  const matched = targets.filter((target) => !isServer(target)).length;
  const results: KillResult[] = [];
  const would = allowed.slice(0, maxListed).map(itemOf);
  const tooMany = allowed.length > max;
  if (tooMany)
    for (const item of would)
      refused.push({ ...item, why: `${allowed.length} connections match, more than --max ${max}: none is touched` });
  else if (yes) {
    let stopped = signal?.aborted === true;
    const stop = (): void => {
      stopped = true;
    };
    signal?.addEventListener('abort', stop);
    // One that is being ended is proven or not before it stops.
    for (const target of allowed) {
      if (stopped) refused.push({ ...itemOf(target), why: 'stopped before it' });
      else results.push(await endTarget(target, method));
    }
    signal?.removeEventListener('abort', stop);
  }
  return {
    selector: selector.text,
    matched,
    killed: results.filter(({ verified }) => verified).length,
    refused,
    results,
    would: yes || tooMany ? [] : would,
    dry_run: !yes,
    not_measured: [...notSearched, ...unseen],
  };
}

/**
 * 0: all were ended and that is proven; 4: nothing matched; 5: not all, or not proven; 10: nothing was touched, there is something to
 * end. A server that matched as well is no connection, and leaves 0.
 */
export function exitCodeOfKill({ matched, results, refused, dry_run: dryRun, would }: KillReport): number {
  if (matched === 0) return 4;
  if (dryRun) return would.length > 0 ? 10 : 5;
  const connections = refused.filter(
    ({ state, tuple, transport }) => state !== 'LISTEN' && !(transport === 'udp' && tuple.endsWith(':0')),
  );
  return connections.length === 0 && results.length > 0 && results.every(({ verified }) => verified) ? 0 : 5;
}
