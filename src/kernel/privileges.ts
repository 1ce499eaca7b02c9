// Gives up root where attacker bytes are read from here on: user and group nobody, no capability, no way back. Descriptors that are open stay.
// Sources: setuid(2), capabilities(7), user_namespaces(7), PR_SET_NO_NEW_PRIVS(2const).

import { readdirSync, readFileSync } from 'node:fs';
import { WeirError } from '../base/errors.ts';
import { forgoNewPrivileges } from './libc.ts';

/** Of user and group, on every distribution. */
export const nobody = 65_534;

/** Of this process. */
export interface OwnPrivileges {
  isRoot(): boolean;
  /** Throws where it may not, or where the user namespace has no such user. */
  becomeNobody(): void;
  forgoNew(): void;
  /** proc_pid_status(5) of each thread. */
  threads(): readonly string[];
}

export const ownPrivileges: OwnPrivileges = {
  isRoot: () => process.geteuid?.() === 0,
  becomeNobody() {
    // Going from 0 to another user empties the capability sets of every thread.
    process.setgroups?.([]);
    process.setgid?.(nobody);
    process.setuid?.(nobody);
  },
  forgoNew: forgoNewPrivileges,
  threads: () => readdirSync('/proc/self/task').map((thread) => readFileSync(`/proc/self/task/${thread}/status`, 'utf8')),
};

export interface DropOptions {
  /** What to do where root cannot be given up. */
  readonly next: string;
  /** Root without any capability will do where it cannot: what is read was opened before, and nothing is asked of root any more. */
  readonly orNoCapability?: boolean;
}

const hasNone = (status: string): boolean =>
  ['CapPrm', 'CapEff', 'CapInh'].every((set) => new RegExp(`^${set}:\\s*0+$`, 'm').test(status));

function hasNoCapability(own: OwnPrivileges): boolean {
  const threads = own.threads();
  return threads.length > 0 && threads.every(hasNone);
}

/** For the whole process. Without root nothing happens. Throws `not-permitted` where it cannot be given up. */
export function dropPrivileges(
  { next, orNoCapability = false }: DropOptions,
  own: OwnPrivileges = ownPrivileges,
): 'not-root' | 'nobody' | 'no-capability' {
  if (!own.isRoot()) return 'not-root';
  try {
    own.becomeNobody();
    own.forgoNew();
    return 'nobody';
  } catch (error) {
    if (!orNoCapability || !hasNoCapability(own))
      throw new WeirError('not-permitted', 'root cannot be given up here, and packets are not read with it', { next }, error);
    // Else a program it runs would get capabilities back.
    own.forgoNew();
    return 'no-capability';
  }
}
