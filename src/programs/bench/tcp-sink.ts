// The peer of `weir bench catch-all`: the least a Node program can do and still have a record. Accepts on one port, reads
// to the end, writes one JSON line per connection to a file. `tcp-sink.js --port N --file PATH`.

import { createWriteStream } from 'node:fs';
import net from 'node:net';
import { parseArgs } from 'node:util';

const { values } = parseArgs({ options: { port: { type: 'string' }, file: { type: 'string' } } });
const file = createWriteStream(values.file ?? '');
const server = net.createServer((socket) => {
  const start = Date.now();
  let payload = '';
  socket.on('data', (chunk) => {
    payload += chunk.toString('base64');
  });
  socket.on('error', () => {});
  socket.on('close', () => {
    file.write(
      `${JSON.stringify({ time: start, src: socket.remoteAddress, sport: socket.remotePort, dst: socket.localAddress, dport: socket.localPort, payload })}\n`,
    );
  });
});
server.listen({ port: Number(values.port), host: '0.0.0.0', backlog: 65535 });
process.stdin.resume();
process.stdin.on('end', () => process.exit(0));
