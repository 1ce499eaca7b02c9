import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decoyDirectory, decoyGroup, openPersona } from '../../test/support/decoy-segment.ts';
import { type AddressRange, addressBytes, parseAddress, parseRange } from '../model/address.ts';
import { NameBook } from '../model/name-book.ts';
import { packDatagram, packedBytes, unpackDatagrams } from './datagram-batch.ts';
import { Datagram, ReplySender } from './datagram-visit.ts';

const bytes = (text: string): Uint8Array => {
  const address = parseAddress(text);
  assert.ok(address);
  return addressBytes(address);
};

function socketAddress(ip: string, port: number): Uint8Array {
  const address = bytes(ip);
  const name = new Uint8Array(28);
  name[0] = address.length === 4 ? 2 : 10;
  name[2] = port >> 8;
  name[3] = port & 255;
  name.set(address, address.length === 4 ? 4 : 8);
  return name;
}

test('a batch gives back what was packed, whatever the lengths', () => {
  const all = [
    ['10.0.0.1', 5, '10.99.128.1', 53, 'one'],
    ['fd99::1', 65535, 'fd99::2', 1, ''],
    ['10.0.0.2', 300, '10.99.128.2', 161, 'x'.repeat(1471)],
  ] as const;
  const batch = new Uint8Array(all.reduce((sum, [, , , , text]) => sum + packedBytes(text.length), 0));
  const view = new DataView(batch.buffer);
  let at = 0;
  for (const [from, fromPort, to, toPort, text] of all)
    at = packDatagram(
      batch,
      view,
      at,
      1.5e15,
      socketAddress(from, fromPort),
      0,
      socketAddress(to, toPort),
      0,
      Buffer.from(text),
      0,
      text.length,
    );
  assert.equal(at, batch.length);
  const got = [...unpackDatagrams(batch)];
  assert.equal(got.length, 3);
  for (const [index, [from, fromPort, to, toPort, text]] of all.entries()) {
    assert.deepEqual([...got[index].source], [...bytes(from)]);
    assert.deepEqual([...got[index].destination], [...bytes(to)]);
    assert.deepEqual([got[index].sourcePort, got[index].destinationPort, got[index].at], [fromPort, toPort, 1.5e15]);
    assert.equal(Buffer.from(got[index].payload).toString(), text);
  }
});

test('nothing is sent to a decoy, a group, a loopback address or port 0: such a source is forged', () => {
  const sender = new ReplySender('', new NameBook(decoyDirectory([decoyGroup(['10.99.128.0/17', 'fd99::/64'])])));
  sender.four = 0x7fffffff; // no such descriptor: a send would be counted as failed
  sender.six = 0x7fffffff;
  const answer = (source: string, port: number, destination: string): void => {
    const packed = {
      family: source.includes(':') ? 6 : 4,
      at: 0,
      sourcePort: port,
      destinationPort: 53,
      source: bytes(source),
      destination: bytes(destination),
      payload: new Uint8Array(9),
    } as const;
    assert.equal(new Datagram(packed, source, destination, 'lab', openPersona, sender).reply(new Uint8Array(9)), false);
  };
  for (const source of ['10.99.200.1', '127.0.0.1', '0.0.0.0', '224.0.0.1', '255.255.255.255']) answer(source, 9, '10.99.128.1');
  for (const source of ['fd99::77', '::1', '::', 'ff02::1']) answer(source, 9, 'fd99::1');
  answer('10.1.1.1', 0, '10.99.128.1');
  assert.equal(sender.counters.repliesRefused, 10);
  assert.equal(sender.counters.repliesFailed, 0);
  answer('10.1.1.1', 1, '10.99.128.1');
  assert.equal(sender.counters.repliesFailed, 1);
  assert.equal(sender.counters.replies, 0);
});

test('what is said to a group stays on the link, whatever address stood in a frame to all', () => {
  const lan = parseRange('10.1.0.0/24') as AddressRange;
  const sender = new ReplySender('', new NameBook(decoyDirectory([decoyGroup(['10.1.0.128/25'])]), [lan]));
  const packed = {
    family: 4,
    at: 0,
    sourcePort: 5353,
    destinationPort: 5353,
    source: bytes('10.1.0.5'),
    destination: bytes('10.1.0.200'),
    payload: new Uint8Array(9),
  } as const;
  const say = (group: string): boolean => {
    const origin = {
      fd: 0x7fffffff, // no such descriptor: a send is counted as failed
      family: 4,
      toMac: new Uint8Array(6).fill(255),
      fromMac: new Uint8Array(6),
      decoyMac: new Uint8Array(6),
      source: packed.source,
      sourcePort: 5353,
      destination: bytes(group),
      destinationPort: 5353,
      payload: packed.payload,
    } as const;
    return new Datagram(packed, '10.1.0.5', '10.1.0.200', 'lab', openPersona, sender, origin).replyOnLink(
      new Uint8Array(20),
      255,
      true,
    );
  };
  for (const group of ['192.0.2.1', '239.1.2.3', '10.1.0.7']) assert.equal(say(group), false);
  assert.deepEqual([sender.counters.repliesRefused, sender.counters.repliesFailed], [3, 0]);
  say('224.0.0.251');
  assert.deepEqual([sender.counters.repliesRefused, sender.counters.repliesFailed], [3, 1]);
});
