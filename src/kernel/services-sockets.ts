// The sockets by which a gateway sees what passes on the kernel path, opened or reused: what netd offers.

import { openConntrackSocket } from './conntrack-events.ts';
import { openCaptureSocket } from './flow-capture.ts';
import { closeDescriptor } from './libc.ts';
import type { NamedSocket } from './named-socket.ts';
import { netnsInode, socketNetnsInode } from './socket-place.ts';

/**
 * `capture` and `conntrack` of the services namespace at `netns`; none when it is not there. `capture-home` is of the
 * machine's own namespace: `home`, or the one this process is in. Of `existing` what belongs to these very namespaces is
 * kept; what is left over is not closed. Needs root.
 */
export function openServicesSockets(
  netns: string,
  group: number,
  existing: readonly NamedSocket[],
  home?: string,
): NamedSocket[] {
  if (netnsInode(netns) === undefined) return [];
  const opened: NamedSocket[] = [];
  const socketAt = (place: string | undefined, name: string, role: NamedSocket['role'], open: () => number): NamedSocket => {
    const inode = netnsInode(place);
    const known = existing.find((one) => one.name === name && (socketNetnsInode(one.fd) ?? inode) === inode);
    if (known) return known;
    const socket = { name, role, fd: open() };
    opened.push(socket);
    return socket;
  };
  try {
    return [
      socketAt(netns, 'capture', 'capture', () => openCaptureSocket(group, netns)),
      socketAt(netns, 'conntrack', 'conntrack', () => openConntrackSocket(netns)),
      socketAt(home, 'capture-home', 'capture', () => openCaptureSocket(group, home)),
    ];
  } catch (error) {
    for (const { fd } of opened) closeDescriptor(fd);
    throw error;
  }
}
