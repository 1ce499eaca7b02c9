// The two sockets by which a gateway sees what passes the services namespace, opened or reused: what netd offers.

import { openConntrackSocket } from './conntrack-events.ts';
import { openCaptureSocket } from './flow-capture.ts';
import { closeDescriptor } from './libc.ts';
import type { NamedSocket } from './named-socket.ts';
import { netnsInode, socketNetnsInode } from './socket-place.ts';

/**
 * `capture` and `conntrack` of the namespace at `netns`; none when it is not there. Of `existing` what belongs to this very
 * namespace is kept; what is left over is not closed. Needs root.
 */
export function openServicesSockets(netns: string, group: number, existing: readonly NamedSocket[]): NamedSocket[] {
  const place = netnsInode(netns);
  if (place === undefined) return [];
  const known = (role: NamedSocket['role']): NamedSocket | undefined =>
    existing.find((one) => one.role === role && (socketNetnsInode(one.fd) ?? place) === place);
  const capture = known('capture') ?? { name: 'capture', role: 'capture' as const, fd: openCaptureSocket(group, netns) };
  try {
    const conntrack = known('conntrack') ?? { name: 'conntrack', role: 'conntrack' as const, fd: openConntrackSocket(netns) };
    return [capture, conntrack];
  } catch (error) {
    if (!existing.includes(capture)) closeDescriptor(capture.fd);
    throw error;
  }
}
