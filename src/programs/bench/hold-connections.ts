// Opens TCP connections and keeps them without a word: `hold-connections.js --target A --addresses N --port N --count N`.
// Prints `{"established":N}` once all are through or refused, and goes on holding until its standard input ends.

import { parseArgs } from 'node:util';
import { AF_INET, connectSocket, openSocket, receive, SOCK_STREAM } from '../../kernel/libc.ts';
import { renderSocketAddress } from '../../kernel/socket-address.ts';
import { parseAddress } from '../../model/address.ts';

const EINPROGRESS = 115;
const EALREADY = 114;
const EISCONN = 106;
const EAGAIN = 11;

const { values } = parseArgs({
  options: { target: { type: 'string' }, addresses: { type: 'string' }, port: { type: 'string' }, count: { type: 'string' } },
});
const first = parseAddress(values.target ?? '');
if (!first) throw new Error(`not an address: ${values.target}`);
const addresses = Number(values.addresses);
const count = Number(values.count);
const held: number[] = [];
for (let index = 0; index < count; index += 1) {
  const address = renderSocketAddress({ family: 4, value: first.value + BigInt(index % addresses) }, Number(values.port));
  const fd = openSocket(AF_INET, SOCK_STREAM, 0);
  let outcome = connectSocket(fd, address);
  const end = performance.now() + 10_000;
  while ((outcome === -EINPROGRESS || outcome === -EALREADY) && performance.now() < end) outcome = connectSocket(fd, address);
  if (outcome === 0 || outcome === -EISCONN) held.push(fd);
}
/** Those the other side has not ended since. */
const alive = (): number => held.filter((fd) => receive(fd, new Uint8Array(1)) === -EAGAIN).length;
process.stdout.write(`${JSON.stringify({ established: held.length })}\n`);
process.stdin.on('data', () => process.stdout.write(`${JSON.stringify({ alive: alive() })}\n`));
process.stdin.on('end', () => process.exit(0));
