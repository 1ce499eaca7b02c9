// Where a socket or an interface is: which network namespace, which interface index. For telling whether a socket that is
// at hand still serves the place it was opened for: a namespace or link of the same name may be another one by now.

import { closeSync, fstatSync, statSync } from 'node:fs';
import { AF_INET, closeDescriptor, insideNetns, openSocket, openSocketNetns, SOCK_DGRAM, tryControlDevice } from './libc.ts';

const SIOCGIFINDEX = 0x8933;

/** Inode of the namespace the socket lives in; undefined where the kernel does not tell. */
export function socketNetnsInode(fd: number): number | undefined {
  const place = openSocketNetns(fd);
  if (place < 0) return undefined;
  try {
    return fstatSync(place).ino;
  } finally {
    closeSync(place);
  }
}

/** Inode of the namespace at this path, or of our own; undefined when there is none. */
export function netnsInode(path = '/proc/self/ns/net'): number | undefined {
  try {
    return statSync(path).ino;
  } catch {
    return undefined;
  }
}

/** Index of an interface in a namespace (netdevice(7)); undefined when the interface or the namespace is not there. */
export function readInterfaceIndex(name: string, netns?: string): number | undefined {
  try {
    return insideNetns(netns, () => {
      const fd = openSocket(AF_INET, SOCK_DGRAM, 0);
      try {
        const argument = new Uint8Array(40);
        argument.set(Buffer.from(name).subarray(0, 15));
        return tryControlDevice(fd, SIOCGIFINDEX, argument) ? new DataView(argument.buffer).getInt32(16, true) : undefined;
      } finally {
        closeDescriptor(fd);
      }
    });
  } catch {
    return undefined;
  }
}
