// A listener on loopback as a bare descriptor, and a directory that owns loopback: for tests that need no diversion.

import {
  AF_INET,
  AF_INET6,
  bindSocket,
  listenSocket,
  openSocket,
  readSocketName,
  SO_REUSEADDR,
  SOCK_STREAM,
  SOL_SOCKET,
  setSocketOption,
} from '../../src/kernel/libc.ts';
import { loopbackOf, renderSocketAddress, socketPort } from '../../src/kernel/socket-address.ts';
import { decoyDirectory, decoyGroup } from './decoy-segment.ts';

/** The descriptor is the caller's. Any free port, or that one, also where it was in use a moment ago. */
export function openListener(wanted = 0, address = loopbackOf(4)): { fd: number; port: number } {
  const fd = openSocket(address.family === 4 ? AF_INET : AF_INET6, SOCK_STREAM, 0);
  setSocketOption(fd, SOL_SOCKET, SO_REUSEADDR, 1);
  bindSocket(fd, renderSocketAddress(address, wanted));
  listenSocket(fd, 4096);
  const own = new Uint8Array(28);
  readSocketName(fd, own);
  return { fd, port: socketPort(own) };
}

export const ownDirectory = decoyDirectory([decoyGroup(['127.0.0.0/8'], { kind: 'own' })]);
