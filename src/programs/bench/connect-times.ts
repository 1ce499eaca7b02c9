// How long connect() takes, one at a time, over decoys that answer: `connect-times.js --target RANGE|listed --port N --count N`.
// Runs inside a benchmark's namespace. Neighbour entries are made before the clock starts.

import { parseArgs } from 'node:util';
import {
  AF_INET,
  closeDescriptor,
  connectSocket,
  openSocket,
  resetConnection,
  SOCK_CLOEXEC,
  SOCK_STREAM,
} from '../../kernel/libc.ts';
import { renderSocketAddress } from '../../kernel/socket-address.ts';
import { parseRange } from '../../model/address.ts';

/** errno(3) on Linux. */
const EINPROGRESS = 115;
const EALREADY = 114;
const EISCONN = 106;

const { values } = parseArgs({ options: { target: { type: 'string' }, port: { type: 'string' }, count: { type: 'string' } } });
const port = Number(values.port);
const count = Number(values.count);

/** 64 addresses spread over the target; those that refuse or stay silent are passed over. */
function candidates(): bigint[] {
  if (values.target === 'listed') return Array.from({ length: 64 }, (_, index) => 0x0a400005n + BigInt(index * 1021 * 16));
  const range = parseRange(values.target ?? '');
  if (!range) throw new Error(`not a range: ${values.target}`);
  const size = range.last - range.first + 1n;
  if (size === 1n) return [range.first];
  return Array.from({ length: 4096 }, (_, index) => range.first + ((BigInt(index) * 2654435761n) % size));
}

function connectOnce(address: Uint8Array): number {
  const fd = openSocket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const began = performance.now();
  // Sockets here do not block: ask again until the handshake is through.
  let outcome = connectSocket(fd, address);
  while (outcome === -EINPROGRESS || outcome === -EALREADY) outcome = connectSocket(fd, address);
  const took = performance.now() - began;
  if (outcome < 0 && outcome !== -EISCONN) {
    closeDescriptor(fd);
    return -1;
  }
  resetConnection(fd);
  return took * 1000;
}

/** Whether it answers is asked without waiting for silence: a refusal or an answer comes within a millisecond. */
async function answering(): Promise<Uint8Array[]> {
  const net = await import('node:net');
  const { renderAddress } = await import('../../model/address.ts');
  const found: Uint8Array[] = [];
  const all = candidates();
  for (let at = 0; at < all.length && found.length < 64; at += 128) {
    const batch = all.slice(at, at + 128).map(
      (value) =>
        new Promise<bigint | undefined>((resolve) => {
          const socket = net.connect({ host: renderAddress({ family: 4, value }), port });
          socket.setTimeout(1500, () => socket.destroy());
          socket.once('connect', () => {
            resolve(value);
            socket.resetAndDestroy();
          });
          socket.once('error', () => resolve(undefined));
          socket.once('close', () => resolve(undefined));
        }),
    );
    for (const value of await Promise.all(batch))
      if (value !== undefined && found.length < 64) found.push(renderSocketAddress({ family: 4, value }, port));
  }
  return found;
}

const targets = await answering();
if (targets.length === 0) throw new Error('no decoy answers');
const times: number[] = [];
for (let index = 0; index < count + 200; index += 1) {
  const took = connectOnce(targets[index % targets.length]);
  if (index >= 200 && took >= 0) times.push(took);
}
times.sort((a, b) => a - b);
const at = (share: number): number => times[Math.floor(times.length * share)] ?? Number.NaN;
process.stdout.write(`${JSON.stringify({ p50: at(0.5), p99: at(0.99), connects: times.length, decoys: targets.length })}\n`);
