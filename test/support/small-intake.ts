// A TcpIntake that keeps every connection, to be run out of descriptors. Prints its port, then its counters for every
// line on standard input. Argument: `stubborn` never gives a connection back when asked to.

import type net from 'node:net';
import { silentLog } from '../../src/base/log.ts';
import { homeNetwork } from '../../src/relay/network.ts';
import { TcpIntake } from '../../src/relay/tcp-intake.ts';
import { openListener, ownDirectory } from './loopback-listener.ts';

const stubborn = process.argv[2] === 'stubborn';
const { fd, port } = openListener();
const open = new Set<net.Socket>();
const intake = new TcpIntake({
  networks: homeNetwork(ownDirectory),
  log: silentLog,
  onConnection: ({ socket }) => {
    open.add(socket);
    socket.on('error', () => {}).resume();
    socket.on('close', () => open.delete(socket));
    socket.on('end', () => socket.end());
  },
  onExhausted: (wanted) => {
    if (stubborn) return;
    let left = wanted;
    for (const socket of open) {
      if (left === 0) break;
      left -= 1;
      open.delete(socket);
      socket.destroy();
    }
  },
});
intake.add({ fd });
console.log(JSON.stringify({ port }));
process.stdin.on('data', () => console.log(JSON.stringify({ ...intake.counters, open: open.size })));
