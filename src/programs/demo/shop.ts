// The web server behind a decoy's port where no nginx is installed: `shop.js --port N`. Takes a PROXY header, and greets who is
// behind it by name, so that one sees that the true source reached it. Ends with the lab.

import http from 'node:http';
import net from 'node:net';
import { parseArgs } from 'node:util';
import { ProxyHeaderReader } from '../../model/proxy-header-reader.ts';

const { values } = parseArgs({ options: { port: { type: 'string' } } });
const idleMs = 10_000;
const guests = new WeakMap<object, string>();

const shop = http.createServer((request, response) => {
  request.resume();
  response.end(`welcome to the shop, ${guests.get(request.socket)}\n`);
});

const door = net.createServer((socket) => {
  const reader = new ProxyHeaderReader();
  socket.on('error', () => {});
  socket.setTimeout(idleMs, () => socket.destroy());
  socket.on('data', function read(bytes) {
    const reading = reader.push(bytes);
    if (reading.state === 'more') return;
    socket.off('data', read);
    if (reading.state === 'bad') return void socket.destroy();
    socket.pause();
    guests.set(socket, reading.header.flow?.source.ip ?? 'whoever you are');
    if (reading.rest.length > 0) socket.unshift(reading.rest);
    shop.emit('connection', socket);
    socket.resume();
  });
});
door.maxConnections = 64;
door.listen(Number(values.port));
