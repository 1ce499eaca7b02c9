// Whose a packet is: of a socket on this machine's end of it, never of a server that has the other end's port.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseAddress } from '../../model/address.ts';
import { type PacketEnds, SocketTable } from './socket-holders.ts';

const address = (text: string) => parseAddress(text) ?? assert.fail(text);
const bound = (transport: 'tcp' | 'udp', ip: string, port: number, inode: number, v6only = false) => ({
  transport,
  local: address(ip),
  localPort: port,
  remote: address(ip.includes(':') ? '::' : '0.0.0.0'),
  remotePort: 0,
  inode,
  v6only,
});
const table = new SocketTable(
  [
    { ...bound('tcp', '10.0.0.1', 4000, 1), remote: address('192.0.2.9'), remotePort: 443 },
    bound('tcp', '::', 443, 2),
    { ...bound('tcp', '10.0.0.1', 443, 0), remote: address('192.0.2.8'), remotePort: 6000 },
    bound('udp', '0.0.0.0', 53, 3),
    bound('tcp', '10.0.0.1', 80, 4),
    bound('udp', '::', 5353, 5, true),
  ],
  new Set(['10.0.0.1', 'fd00::1']),
);
const find = (transport: 'tcp' | 'udp', from: string, to: string, outgoing?: boolean): number | undefined => {
  const end = (text: string): [string, number] => {
    const at = text.lastIndexOf(' ');
    return [text.slice(0, at), Number(text.slice(at + 1))];
  };
  const [[source, sourcePort], [destination, destinationPort]] = [end(from), end(to)];
  const ends: PacketEnds = { transport, source, sourcePort, destination, destinationPort };
  return table.find(outgoing === undefined ? ends : { ...ends, outgoing });
};

test('the end that is here', () => {
  assert.equal(find('tcp', '10.0.0.1 4000', '192.0.2.9 443', true), 1);
  assert.equal(find('tcp', '192.0.2.9 443', '10.0.0.1 4000', false), 1);
  // A client of another server, gone by now: the server here has the same port.
  assert.equal(find('tcp', '10.0.0.1 4001', '192.0.2.9 443', true), undefined);
  // What is only forwarded is nobody's here.
  assert.equal(find('tcp', '192.0.2.7 5000', '192.0.2.9 443', false), undefined);
  assert.equal(find('tcp', '192.0.2.7 5000', '10.0.0.1 443', false), 2);
  assert.equal(find('tcp', '192.0.2.7 5000', '10.0.0.1 443'), 2);
  assert.equal(find('tcp', '192.0.2.8 6000', '10.0.0.1 443', false), 2, 'it was accepted, and waits out its time');
  assert.equal(find('tcp', '10.0.0.1 80', '192.0.2.7 5000', true), 4);
  assert.equal(find('udp', '127.0.0.1 53', '127.0.0.1 5000', false), 3);
  // It answers by the address it was asked at.
  assert.equal(find('udp', '10.0.0.1 53', '192.0.2.7 5000', true), 3);
  assert.equal(find('udp', '192.0.2.7 5000', '127.0.0.53 53', false), 3);
  assert.equal(find('udp', 'fd00::7 5000', 'fd00::1 53', false), undefined, 'it is bound for IPv4 alone');
  assert.equal(find('udp', '192.0.2.7 5353', '224.0.0.251 5353', false), undefined, 'it is bound for IPv6 alone');
  assert.equal(find('udp', 'fd00::7 5353', 'ff02::fb 5353', false), 5);
});
