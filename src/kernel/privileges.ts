// Gives up root where attacker bytes are read from here on: user and group nobody, no capability, no way back. Descriptors that are open stay.
// Sources: setuid(2), capabilities(7), PR_SET_NO_NEW_PRIVS(2const).

import { WeirError } from '../base/errors.ts';
import { forgoNewPrivileges } from './libc.ts';

/** Of user and group, on every distribution. */
export const nobody = 65_534;

/** For the whole process. Nothing happens without root, which is told by false. Throws `not-permitted` where it cannot be given up. */
export function dropPrivileges(): boolean {
  if (process.geteuid?.() !== 0) return false;
  try {
    // Going from 0 to another user empties the capability sets of every thread.
    process.setgroups?.([]);
    process.setgid?.(nobody);
    process.setuid?.(nobody);
    forgoNewPrivileges();
  } catch (error) {
    throw new WeirError('not-permitted', 'root cannot be given up here, and packets are not read with it', {}, error);
  }
  return true;
}
