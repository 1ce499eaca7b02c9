// The load of catch-all-bench.ts, in a process of its own so that it does not share the acceptor's event loop.
// Takes one order over the parent's channel, answers with the seconds it took, dials nothing but 127.0.0.1.

import { connect } from 'node:net';
import type { ClientOrder } from './catch-all-bench.ts';

/** Sequences of sessions side by side until all are done. */
export async function runLoad(order: ClientOrder): Promise<number> {
  const payload = Buffer.from(order.payload, 'base64');
  let left = order.sessions;
  const one = (): Promise<void> =>
    new Promise((resolve) => {
      const socket = connect(order.port, '127.0.0.1', () => socket.end(payload));
      socket.on('error', () => {});
      socket.on('close', () => resolve());
      socket.resume();
    });
  const lane = async (): Promise<void> => {
    while (left > 0) {
      left -= 1;
      await one();
    }
  };
  const start = performance.now();
  await Promise.all(Array.from({ length: Math.min(order.concurrency, order.sessions) }, lane));
  return (performance.now() - start) / 1000;
}

if (process.send)
  process.once('message', (order: ClientOrder) => {
    void runLoad(order).then((seconds) => process.send?.(seconds));
  });
