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
}

/** Why this one is not to be killed; undefined: it may be. */
export function refusalOf(one: Candidate, { operator, operatorPort, ancestors }: GuardFacts): string | undefined {
  if (one.state === 'LISTEN') return 'it listens: a server is no connection';
  if (one.transport === 'udp' && one.remotePort === 0) return 'it is bound and not connected: a server is no connection';
  const holder = one.processes.find(({ pid }) => ancestors.has(pid));
  if (holder) return `it carries your own session: ${holder.comm} (pid ${holder.pid}) is what you work in`;
  const views = [one, ...(one.translated ?? [])];
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
