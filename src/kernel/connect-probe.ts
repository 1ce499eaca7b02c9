// One connection from an address, made in a network namespace to see what becomes of it. Ends by itself; sends at most one empty line, and
// only where asked. What the outcome means is netops/doctor.

import { Socket } from 'node:net';
import { WeirError } from '../base/errors.ts';
import { type Address, renderAddress } from '../model/address.ts';
import { AF_INET, AF_INET6, bindSocket, closeDescriptor, insideNetns, openSocket, readSocketName, SOCK_STREAM } from './libc.ts';
import { renderSocketAddress, socketPort } from './socket-address.ts';

/** Both ends included. */
export interface PortRange {
  readonly first: number;
  readonly last: number;
}

export interface ConnectProbe {
  /** Path of the namespace; undefined: this one. */
  readonly netns: string | undefined;
  /** An address of that namespace. */
  readonly from: Address;
  readonly to: Address;
  readonly port: number;
  /** The first of these that is free; default: any. */
  readonly fromPorts?: PortRange;
  /** Default 1500. */
  readonly timeoutMs?: number;
  /** Once connected: an empty line is sent, and what comes in this time is counted. 0: closed at once. */
  readonly lingerMs?: number;
  /** Hears the source port before anything is sent. */
  readonly onPort?: (port: number) => void;
}

export interface ConnectOutcome {
  readonly result: 'connected' | 'refused' | 'timeout' | 'unreachable' | 'denied' | 'failed';
  /** As the kernel named it: `ECONNREFUSED`; absent for `connected` and `timeout`. */
  readonly errno?: string;
  readonly sourcePort: number;
  readonly ms: number;
  /** Of a connection that came about: what came of it while it was watched. */
  readonly ending?: 'open' | 'closed' | 'reset';
  readonly receivedBytes: number;
}

const results: Readonly<Record<string, ConnectOutcome['result']>> = {
  ECONNREFUSED: 'refused',
  EHOSTUNREACH: 'unreachable',
  ENETUNREACH: 'unreachable',
  ETIMEDOUT: 'timeout',
  EACCES: 'denied',
  EPERM: 'denied',
};

/** What an error of connecting or sending means; undefined is none the kernel named. */
export const resultOf = (errno: string | undefined): ConnectOutcome['result'] => results[errno ?? ''] ?? 'failed';

/** Throws `system-call` where none is free, and where the address is not there. */
export function bindFirstFree(fd: number, address: Address, { first, last }: PortRange): void {
  for (let port = first; ; port += 1)
    try {
      bindSocket(fd, renderSocketAddress(address, port));
      return;
    } catch (error) {
      if (port >= last || !(error instanceof WeirError) || error.details.errno !== 'EADDRINUSE') throw error;
    }
}

/** Entering another namespace needs CAP_SYS_ADMIN. Throws `not-found`, `not-permitted`, `system-call` (no such address there). */
export async function probeConnect(probe: ConnectProbe): Promise<ConnectOutcome> {
  const { from, to, port, timeoutMs = 1500, lingerMs = 0 } = probe;
  const { fd, sourcePort } = insideNetns(probe.netns, () => {
    const made = openSocket(to.family === 4 ? AF_INET : AF_INET6, SOCK_STREAM, 0);
    try {
      bindFirstFree(made, from, probe.fromPorts ?? { first: 0, last: 0 });
    } catch (error) {
      closeDescriptor(made);
      throw error;
    }
    const own = new Uint8Array(28);
    readSocketName(made, own);
    return { fd: made, sourcePort: socketPort(own) };
  });
  probe.onPort?.(sourcePort);
  const begun = performance.now();
  const socket = new Socket({ fd, manualStart: true } as { fd: number });
  let receivedBytes = 0;
  let connectedMs: number | undefined;
  return await new Promise((resolve) => {
    const end = (outcome: Pick<ConnectOutcome, 'result' | 'errno' | 'ending'>): void => {
      clearTimeout(timer);
      socket.removeAllListeners();
      socket.on('error', () => {});
      socket.destroy();
      resolve({ ...outcome, sourcePort, receivedBytes, ms: Math.round((connectedMs ?? performance.now()) - begun) });
    };
    let timer = setTimeout(() => end({ result: 'timeout' }), timeoutMs);
    socket.on('error', (error: NodeJS.ErrnoException) => {
      const errno = error.code ?? 'unknown';
      if (connectedMs !== undefined) end({ result: 'connected', ending: 'reset', errno });
      else end({ result: resultOf(errno), errno });
    });
    socket.on('connect', () => {
      connectedMs = performance.now();
      if (lingerMs === 0) return end({ result: 'connected' });
      clearTimeout(timer);
      timer = setTimeout(() => end({ result: 'connected', ending: 'open' }), lingerMs);
      socket.write('\r\n');
      socket.resume();
    });
    socket.on('data', (bytes) => {
      receivedBytes += bytes.length;
    });
    socket.on('end', () => end({ result: 'connected', ending: 'closed' }));
    socket.connect({ host: renderAddress(to), port });
  });
}
