import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { addressBytes, parseAddress, renderAddress } from '../model/address.ts';
import { foldChecksum, sumWords, transportChecksum } from '../model/checksum.ts';
import { renderDatagram } from './datagram-frame.ts';
import { findControl } from './message-header.ts';
import { isZero, parseNeighbourFrame, renderAddressProbe, renderAdvertisement, renderArpProbe } from './neighbour-frame.ts';
import { layOut, parseSyn } from './packet-header.ts';
import { savedSynIpAt, savedSynMac } from './saved-syn.ts';
import { ipv4Text, ipv6Text } from './socket-address.ts';

const bytesOf = (hex: string): Uint8Array => Uint8Array.from(Buffer.from(hex.replaceAll(' ', ''), 'hex'));
const addressOf = (text: string) => {
  const address = parseAddress(text);
  assert.ok(address);
  return address;
};

// 10.99.0.1:40404 -> 10.99.128.1:2323, Linux: mss 1460, sackOK, timestamps, nop, window scale 7.
const linuxSyn = bytesOf(
  '45 00 00 3c 1c 46 40 00 40 06 00 00 0a 63 00 01 0a 63 80 01' +
    '9d d4 09 13 12 34 56 78 00 00 00 00 a0 02 fa f0 00 00 00 00' +
    '02 04 05 b4 04 02 08 0a 00 00 00 01 00 00 00 00 01 03 03 07',
);
const ethernet = bytesOf('02 00 00 00 99 02 02 00 00 00 99 01 08 00');

test('a SYN gives its TTL, window, sequence and options in order', () => {
  assert.deepEqual(parseSyn(linuxSyn), {
    ttl: 64,
    ipId: 0x1c46,
    doNotFragment: true,
    window: 64240,
    sequence: 0x12345678,
    options: 'mss,sok,ts,nop,ws',
    mss: 1460,
    windowScale: 7,
  });
});

test('IPv6 extension headers are skipped, later fragments have no transport', () => {
  const tcp = linuxSyn.slice(20);
  const six = (next: number, rest: Uint8Array): Uint8Array =>
    Uint8Array.from([0x60, 0, 0, 0, 0, rest.length, next, 63, ...new Uint8Array(32), ...rest]);
  const options = Uint8Array.from([6, 0, 1, 4, 0, 0, 0, 0, ...tcp]);
  assert.equal(parseSyn(six(6, tcp))?.options, 'mss,sok,ts,nop,ws');
  assert.equal(parseSyn(six(0, options))?.sequence, 0x12345678);
  const authenticated = Uint8Array.from([6, 4, ...new Uint8Array(22), ...tcp]);
  assert.equal(parseSyn(six(51, authenticated))?.sequence, 0x12345678);
  assert.equal(parseSyn(six(51, authenticated.subarray(0, 7))), undefined);
  assert.equal(parseSyn(six(44, Uint8Array.from([6, 0, 0, 9, 0, 0, 0, 1, ...tcp]))), undefined);
  assert.equal(parseSyn(six(44, Uint8Array.from([6, 0, 0, 1, 0, 0, 0, 1, ...tcp])))?.sequence, 0x12345678);
});

test('an option that lies about its length ends the list', () => {
  for (const [at, value, options] of [
    [41, 0, '?'],
    [41, 1, '?'],
    [41, 60, '?'],
    [45, 200, 'mss,?'],
    [59, 0, 'mss,sok,ts,nop,ws'],
  ] as const) {
    const bytes = linuxSyn.slice();
    bytes[at] = value;
    assert.equal(parseSyn(bytes)?.options, options);
  }
  const eol = linuxSyn.slice();
  eol[44] = 0;
  assert.equal(parseSyn(eol)?.options, 'mss,eol');
});

test('hostile bytes never throw and never read past their end', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 120 }), fc.constantFrom(0x45, 0x4f, 0x60, undefined), (bytes, first) => {
      if (first !== undefined && bytes.length > 0) bytes[0] = first;
      const cut = parseSyn(bytes);
      // The same bytes inside a larger buffer of other bytes give the same answer.
      const wide = new Uint8Array(bytes.length + 64).fill(0xee);
      wide.set(bytes, 32);
      assert.deepEqual(parseSyn(wide, 32, 32 + bytes.length), cut);
      const layout = layOut(bytes);
      assert.ok(!layout || layout.transportAt <= bytes.length);
      assert.ok([-1, 0, 14].includes(savedSynIpAt(bytes, bytes.length)));
      parseNeighbourFrame(bytes);
      findControl(bytes, 0, bytes.length, 1, 1);
    }),
    { numRuns: 2000 },
  );
});

test('a saved SYN is recognised with and without its Ethernet header', () => {
  const framed = Uint8Array.from([...ethernet, ...linuxSyn]);
  assert.equal(savedSynIpAt(linuxSyn, linuxSyn.length), 0);
  assert.equal(savedSynIpAt(framed, framed.length), 14);
  assert.equal(savedSynMac(framed, 14), '02:00:00:00:99:01');
  assert.equal(savedSynMac(linuxSyn, 0), undefined);
  assert.equal(savedSynIpAt(framed, framed.length - 1), -1);
});

test('address text is that of the model', () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 16, maxLength: 16 }), fc.integer({ min: 0, max: 255 }), (bytes, zeros) => {
      for (let index = 0; index < 8; index += 1) if ((zeros >> index) & 1) bytes.fill(0, index * 2, index * 2 + 2);
      let value = 0n;
      for (const byte of bytes) value = (value << 8n) | BigInt(byte);
      const six = ipv6Text(bytes, 0);
      assert.equal(six, value >> 32n === 0xffffn ? ipv4Text(bytes, 12) : renderAddress({ family: 6, value }));
      assert.equal(ipv4Text(bytes, 0), renderAddress({ family: 4, value: value >> 96n }));
    }),
  );
});

test('a datagram for the raw sender has right lengths and checksums', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), fc.boolean(), (payload, four) => {
      const ends = {
        source: addressOf(four ? '10.99.128.1' : 'fd99::1:2'),
        sourcePort: 53,
        destination: addressOf(four ? '10.99.0.1' : 'fd99::1'),
        destinationPort: 40000,
        ttl: 128,
      };
      const bytes = renderDatagram(ends, payload);
      const layout = layOut(bytes);
      assert.equal(layout?.protocol, 17);
      assert.equal(layout?.ttl, 128);
      const at = layout?.transportAt ?? 0;
      assert.deepEqual(bytes.subarray(at + 8), payload);
      assert.equal(transportChecksum(bytes, four ? 12 : 8, four ? 8 : 32, 17, at, bytes.length), 0);
      if (four) assert.equal(foldChecksum(sumWords(bytes, 0, 20)), 0);
      assert.notEqual((bytes[at + 6] << 8) | bytes[at + 7], 0);
    }),
  );
});

test('neighbour frames say what they were built from', () => {
  const mac = bytesOf('00 0c 29 01 02 03');
  const asker = bytesOf('02 00 00 00 99 01');
  const target = addressBytes(addressOf('fd99::abcd:1234'));
  const to = addressBytes(addressOf('fd99::1'));

  const arp = parseNeighbourFrame(renderArpProbe(mac, bytesOf('0a 63 07 07')));
  assert.equal(arp?.kind, 'arp-request');
  assert.ok(arp && isZero(arp.sender));
  assert.deepEqual(arp?.target, bytesOf('0a 63 07 07'));

  const probe = parseNeighbourFrame(renderAddressProbe(mac, target));
  assert.equal(probe?.kind, 'solicitation');
  assert.ok(probe && isZero(probe.sender));
  assert.deepEqual(probe?.target, target);

  const answer = parseNeighbourFrame(renderAdvertisement(mac, target, asker, to));
  assert.equal(answer?.kind, 'advertisement');
  assert.equal(answer?.solicited, true);
  assert.deepEqual([answer?.mac, answer?.target], [mac, target]);
  const toAll = renderAdvertisement(mac, target, asker, new Uint8Array(16));
  assert.deepEqual(toAll.slice(0, 6), bytesOf('33 33 00 00 00 01'));
  assert.equal(parseNeighbourFrame(toAll)?.solicited, false);

  // A wrong checksum, a hop limit that shows a router in between, a code: not neighbour discovery.
  for (const at of [57, 21, 55]) {
    const bad = renderAdvertisement(mac, target, asker, to);
    bad[at] ^= 1;
    assert.equal(parseNeighbourFrame(bad), undefined);
  }
});
