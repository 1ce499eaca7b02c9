// Carries connections from a unix socket to a TCP port of the namespace this runs in, so that a browser outside can see
// the console inside: `console-door.js --socket PATH --port N`. Bytes only; ends when its standard input does.

import net from 'node:net';
import { parseArgs } from 'node:util';

const { values } = parseArgs({ options: { socket: { type: 'string' }, port: { type: 'string' } } });
const server = net.createServer({ allowHalfOpen: true }, (outside) => {
  const inside = net.connect({ host: '127.0.0.1', port: Number(values.port), allowHalfOpen: true });
  outside.on('error', () => inside.destroy());
  inside.on('error', () => outside.destroy());
  outside.pipe(inside);
  inside.pipe(outside);
});
server.maxConnections = 64;
server.listen({ path: values.socket ?? '' });
process.stdin.resume();
process.stdin.on('end', () => process.exit(0));
