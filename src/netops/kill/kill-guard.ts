// What is never killed, whatever a selector says: servers, the session the operator sits in, more connections than were meant. Pure.

import { renderAddress } from '../../model/address.ts';
import type { OperatorSession } from '../../plan/guard.ts';
import type { Candidate } from './select-connections.ts';

export interface GuardFacts {
  /** From sshd's SSH_CONNECTION, where it is known. */
  readonly operator?: OperatorSession;
  /** Port of the operator's client. */
  readonly operatorPort?: number;
  /** This process and all it descends from: what they hold carries the operator. */
  readonly ancestors: ReadonlySet<number>;
  /**
   * Which session is the operator's is known: sshd is among the ancestors, or its variable can be believed. In a terminal
   * multiplexer it cannot: that began in another session.
   */
  readonly certain: boolean;
  /** One socket was named by its cookie: nobody means another one by that. */
  readonly exact: boolean;
}

/** Names of programs that carry SSH sessions. */
export const sshServer = /^(sshd|dropbear)/;

/** Why this one is not to be killed; undefined: it may be. */
export function refusalOf(one: Candidate, { operator, operatorPort, ancestors, certain, exact }: GuardFacts): string | undefined {
  if (one.state === 'LISTEN') return 'it listens: a server is no connection';
  if (one.transport === 'udp' && one.remotePort === 0) return 'it is bound and not connected: a server is no connection';
  const holder = one.processes.find(({ pid }) => ancestors.has(pid));
  if (holder) return `it carries your own session: ${holder.comm} (pid ${holder.pid}) is what you work in`;
  const ssh = one.processes.find(({ comm }) => sshServer.test(comm));
  if (ssh && !certain && !exact)
    return `it is an SSH session (pid ${ssh.pid}), and which one is yours cannot be told here: cookie=${one.cookie} ends it all the same`;
  if (one.transport === 'tcp' && one.holderUnseen && !certain && !exact)
    return `who holds it cannot be seen, and your own session may be it: root sees it, cookie=${one.cookie} ends it all the same`;
  // What passes through has no end of ours: the client may be either one.
  const views = [one, ...(one.translated ?? [])].flatMap((view) => [
    view,
    { local: view.remote, localPort: view.remotePort, remote: view.local, remotePort: view.localPort },
  ]);
  if (
    operator &&
    views.some(
      ({ remote, remotePort, localPort }) =>
        localPort === operator.port &&
        remote.family === operator.client.family &&
        remote.value === operator.client.value &&
        (operatorPort === undefined || remotePort === operatorPort),
    )
  )
    return `it is your own SSH session, from ${renderAddress(operator.client)}`;
  return undefined;
}
