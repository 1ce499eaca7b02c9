import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { renderAddress } from './address.ts';
import { crc32c } from './crc32c.ts';
import { ProxyHeaderReader, type ProxyReading } from './proxy-header-reader.ts';
import { type ProxyHeader, parseProxyDatagram, renderProxyV1, renderProxyV2, tlvType, v2Signature } from './proxy-protocol.ts';

const latin1 = (text: string): Buffer => Buffer.from(text, 'latin1');
const read = (bytes: Uint8Array, versions?: (1 | 2)[]): ProxyReading =>
  new ProxyHeaderReader(versions ? { versions } : {}).push(bytes);
const faultOf = (reading: ProxyReading): string => (reading.state === 'bad' ? reading.fault : reading.state);
const v2 = (command: number, family: number, body: Uint8Array, length = body.length): Buffer =>
  Buffer.concat([v2Signature, Uint8Array.from([command, family, length >> 8, length & 255]), body]);

const address = fc.oneof(
  fc.bigInt({ min: 0n, max: 0xffffffffn }).map((value) => renderAddress({ family: 4, value })),
  fc
    .bigInt({ min: 0n, max: (1n << 128n) - 1n })
    .filter((value) => value >> 32n !== 0xffffn)
    .map((value) => renderAddress({ family: 6, value })),
);
const plain = { noNullPrototype: true };
const endpoint = fc.record({ ip: address, port: fc.nat(65535) }, plain);
const tlv = fc.record({
  type: fc.nat(255).filter((type) => type !== tlvType.crc32c && type !== tlvType.uniqueId),
  value: fc.uint8Array({ maxLength: 64 }),
});
const flowOf = (transport: 'tcp' | 'udp') =>
  fc.record({ transport: fc.constant(transport), source: endpoint, destination: endpoint }, plain);

test('CRC-32C of the check string', () => {
  assert.equal(crc32c(latin1('123456789')), 0xe3069283);
  assert.equal(crc32c(latin1('6789'), crc32c(latin1('12345'))), 0xe3069283);
});

test('what is rendered is read back, however it is cut, and what follows is the rest', () => {
  fc.assert(
    fc.property(
      fc.oneof(flowOf('tcp'), flowOf('udp')),
      fc.array(tlv, { maxLength: 8 }),
      fc.boolean(),
      fc.boolean(),
      fc.uint8Array({ maxLength: 40 }),
      fc.array(fc.nat(200), { maxLength: 12 }),
      (flow, tlvs, checksum, one, rest, cuts) => {
        if (one && flow.transport === 'udp') return;
        const bytes = Buffer.concat([one ? renderProxyV1(flow) : renderProxyV2(flow, tlvs, { checksum }), rest]);
        const places = [...new Set(cuts.map((cut) => cut % (bytes.length + 1)))].sort((a, b) => a - b);
        const reader = new ProxyHeaderReader({ transports: ['tcp', 'udp'] });
        let from = 0;
        let got: ProxyReading = { state: 'more' };
        let tail = Buffer.alloc(0);
        for (const place of [...places, bytes.length]) {
          // The piece is overwritten afterwards, as a socket's buffer is: nothing may be kept as a view of it.
          const piece = Buffer.from(bytes.subarray(from, place));
          if (got.state === 'more') {
            got = reader.push(piece);
            if (got.state === 'done') tail = Buffer.from(got.rest);
            piece.fill(0xee);
          } else tail = Buffer.concat([tail, piece]);
          from = place;
        }
        assert.equal(got.state, 'done');
        const { header } = got as { header: ProxyHeader };
        assert.deepEqual(header.flow, flow);
        if (!one)
          assert.deepEqual(
            header.tlvs.filter(({ type }) => type !== tlvType.crc32c).map(({ type, value }) => [type, [...value]]),
            tlvs.map(({ type, value }) => [type, [...value]]),
          );
        assert.deepEqual([...tail], [...rest]);
      },
    ),
  );
});

test('any bytes at all: an answer, never an exception, and never more than one header is kept', () => {
  fc.assert(
    fc.property(fc.boolean(), fc.uint8Array({ maxLength: 300 }), (signed, bytes) => {
      const reading = read(signed ? Buffer.concat([v2Signature, bytes]) : bytes);
      assert.ok(['more', 'done', 'bad'].includes(reading.state));
    }),
  );
});

test('one changed byte under a checksum is never taken for the header that was sent', () => {
  const flow = {
    transport: 'tcp' as const,
    source: { ip: '203.0.113.9', port: 4711 },
    destination: { ip: '10.0.0.7', port: 22 },
  };
  const good = renderProxyV2(flow, [{ type: tlvType.uniqueId, value: latin1('session-1') }], { checksum: true });
  assert.equal(read(good).state, 'done');
  for (let at = 14; at < good.length; at += 1)
    for (const change of [1, 0x80, 0xff]) {
      const bytes = good.slice();
      bytes[at] ^= change;
      const reading = read(bytes);
      if (reading.state !== 'done') continue;
      // Only a change that turns the checksum itself into something else escapes it: then nothing else was changed.
      assert.deepEqual(reading.header.flow, flow, `byte ${at}`);
    }
});

test('v1: exactly what the document allows', () => {
  const good = 'PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n';
  assert.equal(read(latin1(good)).state, 'done');
  assert.equal(read(latin1(good), [2]).state, 'bad');
  assert.deepEqual(read(latin1('PROXY UNKNOWN\r\nrest')), {
    state: 'done',
    header: { version: 1, command: 'proxy', tlvs: [] },
    rest: latin1('rest'),
  });
  for (const [line, fault] of [
    ['PROXY TCP4 192.0.2.01 198.51.100.2 1 2\r\n', 'bad-address'],
    ['PROXY TCP4 192.0.2.1 198.51.100.2 01 2\r\n', 'bad-port'],
    ['PROXY TCP4 192.0.2.1 198.51.100.2 1 65536\r\n', 'bad-port'],
    ['PROXY TCP4 192.0.2.1 198.51.100.2 +1 2\r\n', 'bad-port'],
    ['PROXY TCP4 ::1 ::2 1 2\r\n', 'bad-address'],
    ['PROXY TCP6 192.0.2.1 198.51.100.2 1 2\r\n', 'bad-address'],
    ['PROXY TCP6 fe80::1%eth0 ::2 1 2\r\n', 'bad-address'],
    ['PROXY TCP4  192.0.2.1 198.51.100.2 1 2\r\n', 'bad-line'],
    ['PROXY TCP4 192.0.2.1 198.51.100.2 1 2 \r\n', 'bad-line'],
    ['PROXY TCP4 192.0.2.1 198.51.100.2 1 2\n', 'bad-line'],
    ['PROXY UDP4 192.0.2.1 198.51.100.2 1 2\r\n', 'bad-line'],
    ['proxy TCP4 192.0.2.1 198.51.100.2 1 2\r\n', 'not-proxy'],
    [`PROXY UNKNOWN ${'x'.repeat(100)}\r\n`, 'line-too-long'],
    ['PROXY UNKNOWN 192.0.2.1 198.51.100.2 1 2\r\n', 'bad-line'],
    ['PROXY TCP6 1:2:3:4:5:6:7:8:: ::2 1 2\r\n', 'bad-address'],
    ['PROXY TCP6 :::1 ::2 1 2\r\n', 'bad-address'],
    ['PROXY TCP6 1::2::3 ::2 1 2\r\n', 'bad-address'],
    ['GET / HTTP/1.1\r\n', 'not-proxy'],
  ])
    assert.equal(faultOf(read(latin1(line))), fault, JSON.stringify(line));
});

test('v2: what other parsers let pass is refused', () => {
  const addresses = new Uint8Array(12);
  for (const [bytes, fault] of [
    [v2(0x31, 0x11, addresses), 'unknown-version'],
    [v2(0x22, 0x11, addresses), 'unknown-command'],
    [v2(0x21, 0x13, addresses), 'unknown-family'],
    [v2(0x21, 0x41, addresses), 'unknown-family'],
    [v2(0x21, 0x11, addresses.subarray(0, 11)), 'too-short'],
    [v2(0x21, 0x21, addresses), 'too-short'],
    [v2(0x21, 0x11, Buffer.concat([addresses, Uint8Array.from([1, 0, 5, 0])])), 'bad-tlv'],
    [v2(0x21, 0x11, Buffer.concat([addresses, Uint8Array.from([4, 0])])), 'bad-tlv'],
    [v2(0x21, 0x11, Buffer.concat([addresses, Uint8Array.from([5, 0, 129]), new Uint8Array(129)])), 'bad-tlv'],
    [v2(0x21, 0x11, Buffer.concat([addresses, Uint8Array.from([2, 1, 0]), new Uint8Array(256)])), 'bad-tlv'],
    [v2(0x21, 0x11, Buffer.concat([addresses, Uint8Array.from([3, 0, 4, 0, 0, 0, 0, 3, 0, 4, 0, 0, 0, 0])])), 'bad-tlv'],
    [v2(0x21, 0x11, Buffer.concat([addresses, Uint8Array.from([3, 0, 4, 0, 0, 0, 0])])), 'bad-checksum'],
    [v2(0x21, 0x11, Buffer.concat([addresses, Uint8Array.from([3, 0, 2, 0, 0])])), 'bad-checksum'],
    [v2(0x21, 0x11, new Uint8Array(0), 0xffff), 'too-long'],
  ] as const)
    assert.equal(faultOf(read(bytes)), fault, bytes.toString('hex'));
  assert.equal(read(v2(0x20, 0x00, Uint8Array.from([9, 9, 9]))).state, 'done', 'LOCAL may carry anything and is skipped');
  assert.equal(faultOf(read(v2(0x21, 0x31, new Uint8Array(216)))), 'no-addresses', 'UNIX sockets carry no IP addresses');
  assert.equal(faultOf(read(v2(0x21, 0x00, new Uint8Array(0)))), 'no-addresses');
  assert.equal(faultOf(read(v2(0x21, 0x12, addresses))), 'other-transport', 'a stream carries no datagrams unless told');
  const both = new ProxyHeaderReader({ transports: ['tcp', 'udp'] });
  assert.equal(both.push(v2(0x21, 0x12, addresses)).state, 'done');
  assert.equal(read(v2(0x21, 0x11, addresses).subarray(0, 20)).state, 'more');
});

test('a header that cannot be written is an error of the writer', () => {
  const flow = { transport: 'tcp' as const, source: { ip: 'nobody', port: 1 }, destination: { ip: '10.0.0.7', port: 22 } };
  assert.throws(() => renderProxyV2(flow), RangeError);
  assert.throws(() => renderProxyV2(undefined, [{ type: 1, value: new Uint8Array(65535) }]), RangeError);
  assert.equal(Buffer.from(renderProxyV1(flow)).toString(), 'PROXY UNKNOWN\r\n');
  const good = { ...flow, source: { ip: '192.0.2.1', port: 1 } };
  for (const port of [-1, 65536, 1.5, Number.NaN]) {
    const source = { ip: '192.0.2.1', port };
    assert.throws(() => renderProxyV2({ ...good, source }), RangeError, `port ${port}`);
    assert.throws(() => renderProxyV1({ ...good, source }), RangeError, `port ${port}`);
  }
  for (const [type, length] of [
    [tlvType.uniqueId, 129],
    [tlvType.authority, 256],
    [tlvType.crc32c, 4],
  ])
    assert.throws(() => renderProxyV2(good, [{ type, value: new Uint8Array(length) }]), RangeError, `type ${type}`);
  assert.equal(read(renderProxyV2(undefined)).state, 'done', 'without a flow the sender speaks for itself');
});

test('a datagram is a header and its payload, and nothing else is taken for one', () => {
  fc.assert(
    fc.property(flowOf('udp'), fc.array(tlv, { maxLength: 4 }), fc.uint8Array({ maxLength: 40 }), (flow, tlvs, payload) => {
      const header = renderProxyV2(flow, tlvs, { checksum: true });
      const datagram = Buffer.concat([header, payload]);
      const parsed = parseProxyDatagram(datagram);
      assert.ok('payload' in parsed, JSON.stringify(parsed));
      assert.deepEqual(parsed.header.flow, flow);
      assert.deepEqual([...parsed.payload], [...payload]);
      for (let length = 0; length < header.length; length += 1)
        assert.ok('fault' in parseProxyDatagram(datagram.subarray(0, length)), `cut at ${length}`);
    }),
    { numRuns: 30 },
  );
  const flow = { transport: 'tcp' as const, source: { ip: '192.0.2.1', port: 1 }, destination: { ip: '192.0.2.2', port: 2 } };
  assert.deepEqual(parseProxyDatagram(renderProxyV2(flow)), { fault: 'other-transport' });
  assert.deepEqual(parseProxyDatagram(renderProxyV1(flow)), { fault: 'not-proxy' });
  // As nginx writes it before the first datagram of a flow.
  assert.deepEqual(parseProxyDatagram(latin1('PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nhello'), [1]), {
    header: { version: 1, command: 'proxy', flow: { ...flow, transport: 'udp' }, tlvs: [] },
    payload: latin1('hello'),
  });
  assert.deepEqual(parseProxyDatagram(latin1('PROXY TCP4 192.0.2.1'), [1]), { fault: 'too-short' });
  assert.deepEqual(parseProxyDatagram(latin1(`PROXY ${'x'.repeat(120)}`), [1]), { fault: 'line-too-long' });
  assert.deepEqual(parseProxyDatagram(renderProxyV2({ ...flow, transport: 'udp' }), [1]), { fault: 'not-proxy' });
});

test('byte by byte a reader keeps no more than its bound, and nothing once it has answered', () => {
  const body = new Uint8Array(4096 - 16);
  Buffer.from('04', 'hex').copy(body, 12);
  new DataView(body.buffer).setUint16(13, body.length - 15);
  for (const [bytes, bound] of [
    [v2(0x21, 0x11, body), 4096],
    [latin1(`PROXY TCP4 ${'1'.repeat(200)}`), 107],
    [v2(0x20, 0, new Uint8Array(0), 0xffff), 16],
  ] as const) {
    const reader = new ProxyHeaderReader();
    let most = 0;
    for (const byte of bytes) {
      const { state } = reader.push(Uint8Array.of(byte));
      most = Math.max(most, reader.heldBytes);
      if (state !== 'more') break;
    }
    assert.ok(most <= bound && most >= bound - 1, `${most} bytes held`);
    assert.equal(reader.heldBytes, 0);
  }
});
