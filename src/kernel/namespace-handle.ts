// A hold on one named network namespace: as long as it is open the namespace and all that is in it stay, even when
// somebody removes its name (`ip netns delete`), and the name can be put back. Making and deleting namespaces is not here.
// Source: ip-netns(8), namespaces(7).

import { closeSync, fstatSync, openSync, statSync } from 'node:fs';
import { WeirError } from '../base/errors.ts';
import { bindMount, detachMount } from './libc.ts';

/** Where ip-netns(8) keeps names; a mount point of its own once the first name was made. */
export const namespaceDirectory = '/run/netns';

/** All namespaces are files of one file system, nsfs; a name whose mount is gone is an empty file of another. */
const { dev: namespaceDevice } = statSync('/proc/self/ns/net', { bigint: true });

/** What a name leads to at this moment, by inode of nsfs; undefined when there is no such name or nothing behind it. */
export function readNamespaceIdentity(path: string): bigint | undefined {
  try {
    const { ino, dev } = statSync(path, { bigint: true });
    return dev === namespaceDevice ? ino : undefined;
  } catch {
    return undefined;
  }
}

export class NamespaceHandle {
  /** The name's path, such as `/run/netns/weir-1a2b-floor-3`. */
  readonly name: string;
  /** Leads to this namespace whatever becomes of the name; for `insideNetns` and for programs this process starts. */
  readonly path: string;
  readonly identity: bigint;
  readonly #fd: number;
  #open = true;

  /** Throws `not-found` when nothing is behind the name. */
  constructor(name: string) {
    this.name = name;
    if (readNamespaceIdentity(name) === undefined) throw new WeirError('not-found', `no network namespace at ${name}`);
    try {
      this.#fd = openSync(name, 'r');
    } catch (error) {
      throw new WeirError('not-found', `no network namespace at ${name}`, { path: name }, error);
    }
    this.identity = fstatSync(this.#fd, { bigint: true }).ino;
    this.path = `/proc/${process.pid}/fd/${this.#fd}`;
  }

  /** Whether the name still leads here. */
  get named(): boolean {
    return readNamespaceIdentity(this.name) === this.identity;
  }

  /**
   * Puts the name back; what somebody put in its place is detached from it. Needs CAP_SYS_ADMIN. Throws `system-call`
   * or `not-permitted`.
   */
  restoreName(): void {
    if (this.named) return;
    detachMount(this.name);
    // As `ip netns add` does: a file nobody may open, which the mount covers.
    closeSync(openSync(this.name, 'a', 0o000));
    bindMount(this.path, this.name);
  }

  /** The namespace goes when nothing else holds it. Idempotent. */
  close(): void {
    if (!this.#open) return;
    this.#open = false;
    closeSync(this.#fd);
  }
}
