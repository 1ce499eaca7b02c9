// ClientHellos as real clients write them, split and damaged; JA3 and JA4 against values worked out by hand and against a real handshake.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { type ClientHello, describeHello, parseClientHello, renderJa3, renderJa4 } from './client-hello.ts';

const u16 = (value: number): Buffer => Buffer.from([value >> 8, value & 255]);
const list = (values: readonly number[]): Buffer => Buffer.concat([u16(values.length * 2), ...values.map(u16)]);
const extension = (type: number, body: Buffer): Buffer => Buffer.concat([u16(type), u16(body.length), body]);

interface Parts {
  readonly version?: number;
  readonly ciphers?: readonly number[];
  readonly extensions?: readonly Buffer[];
}

function message({ version = 0x0303, ciphers = [0x1301], extensions = [] }: Parts): Buffer {
  const all = Buffer.concat(extensions);
  const body = Buffer.concat([
    u16(version),
    Buffer.alloc(32, 7),
    Buffer.from([0]),
    list(ciphers),
    Buffer.from([1, 0]),
    u16(all.length),
    all,
  ]);
  return Buffer.concat([Buffer.from([1, 0]), u16(body.length), body]);
}

/** In records of at most `size` bytes. */
function records(handshake: Buffer, size = 16_384): Buffer {
  const parts: Buffer[] = [];
  for (let at = 0; at < handshake.length; at += size) {
    const part = handshake.subarray(at, at + size);
    parts.push(Buffer.from([0x16, 3, 1]), u16(part.length), part);
  }
  return Buffer.concat(parts);
}

const read = (bytes: Buffer): ClientHello => {
  const reading = parseClientHello(bytes);
  assert.equal(reading.verdict, 'hello');
  return (reading as { hello: ClientHello }).hello;
};

const serverName = (name: string): Buffer => {
  const bytes = Buffer.from(name);
  return extension(0, Buffer.concat([u16(bytes.length + 3), Buffer.from([0]), u16(bytes.length), bytes]));
};
const alpn = (...names: string[]): Buffer => {
  const body = Buffer.concat(names.map((name) => Buffer.concat([Buffer.from([name.length]), Buffer.from(name, 'latin1')])));
  return extension(16, Buffer.concat([u16(body.length), body]));
};

/** The browser of the JA4 specification's example: 15 suites, 16 extensions, GREASE in both. */
const suites = [
  0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8, 0xc013, 0xc014, 0x009c, 0x009d, 0x002f, 0x0035,
];
const algorithms = [0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601];
const empty = Buffer.alloc(0);
const browser = message({
  ciphers: [0x5a5a, ...suites],
  extensions: [
    extension(0x3a3a, empty),
    extension(0x001b, empty),
    serverName('Example.ORG'),
    extension(0x0033, empty),
    alpn('h2', 'http/1.1'),
    extension(0x4469, empty),
    extension(0x0017, empty),
    extension(0x002d, empty),
    extension(0x000d, list(algorithms)),
    extension(0x0005, empty),
    extension(0x0023, empty),
    extension(0x0012, empty),
    extension(0x002b, Buffer.concat([Buffer.from([6]), u16(0x8a8a), u16(0x0304), u16(0x0303)])),
    extension(0xff01, empty),
    extension(0x000b, Buffer.from([1, 0])),
    extension(0x000a, list([0x9a9a, 29, 23, 24])),
    extension(0x0015, empty),
    extension(0xcaca, empty),
  ],
});

describe('ClientHello', () => {
  test('what it says', () => {
    const hello = read(records(browser));
    assert.equal(hello.serverName, 'example.org');
    assert.deepEqual(hello.alpn, ['h2', 'http/1.1']);
    assert.deepEqual(hello.supportedVersions, [0x8a8a, 0x0304, 0x0303]);
    assert.deepEqual(hello.signatureAlgorithms, algorithms);
  });

  test('JA4 of the specification’s example', () => {
    // FoxIO's README gives this fingerprint for these suites, extensions and algorithms.
    assert.equal(renderJa4(read(records(browser))), 't13d1516h2_8daaf6152771_e5627efa2ab1');
  });

  test('JA4 without extensions, with odd ALPN, with old versions', () => {
    assert.equal(renderJa4(read(records(message({ version: 0x0301, ciphers: [] })))), 't10i000000_000000000000_000000000000');
    assert.match(renderJa4(read(records(message({ extensions: [alpn('\xab')] })))), /^t12i0101ab_/);
    assert.match(renderJa4(read(records(message({ extensions: [alpn('h')] })))), /^t12i0101hh_/);
    assert.match(renderJa4(read(records(message({ version: 0x0300 })))), /^ts3i/);
  });

  test('JA3 keeps the order and leaves GREASE out', () => {
    const ja3 = renderJa3(read(records(browser)));
    assert.equal(
      ja3,
      '771,4865-4866-4867-49195-49199-49196-49200-52393-52392-49171-49172-156-157-47-53,27-0-51-16-17513-23-45-13-5-35-18-43-65281-11-10-21,29-23-24,0',
    );
    assert.equal(describeHello(read(records(browser))).ja3, createHash('md5').update(ja3).digest('hex'));
  });

  test('split over records of any size, and over reads', () => {
    const whole = describeHello(read(records(browser)));
    for (const size of [1, 2, 3, 5, 100, 511]) {
      const bytes = records(browser, size);
      assert.deepEqual(describeHello(read(bytes)), whole, `records of ${size}`);
      for (let cut = 1; cut < bytes.length; cut += 37) assert.equal(parseClientHello(bytes.subarray(0, cut)).verdict, 'more');
    }
  });

  test('version 2 hello', () => {
    const bytes = Buffer.from('802e0100020015000000100700c0050080030080010080080080060040040080', 'hex');
    const hello = read(Buffer.concat([bytes, Buffer.alloc(16, 9)]));
    assert.equal(hello.version, 2);
    assert.equal(hello.ciphers.length, 7);
    assert.match(renderJa4(hello), /^ts2i07/);
  });

  test('not a hello', () => {
    for (const text of ['15030100020228', '160301000401000005', '1603010000', '1702010004', '16030100040200000000'])
      assert.notEqual(parseClientHello(Buffer.from(text, 'hex')).verdict, 'hello', text);
    assert.equal(parseClientHello(Buffer.from('160301000402000000', 'hex')).verdict, 'broken');
    assert.equal(parseClientHello(Buffer.from('1603010004010fffff', 'hex')).verdict, 'broken', 'longer than any real one');
  });

  test('a server name that is none is left out', () => {
    assert.equal(read(records(message({ extensions: [serverName('a b\r\nc')] }))).serverName, undefined);
  });

  test('damaged anywhere: never a throw', () => {
    const bytes = records(browser);
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(bytes.length - 1), fc.nat(255)), { maxLength: 6 }),
        fc.nat(bytes.length),
        (changes, cut) => {
          const damaged = Buffer.from(bytes);
          for (const [at, value] of changes) damaged[at] = value;
          const reading = parseClientHello(damaged.subarray(0, cut));
          if (reading.verdict === 'hello') describeHello(reading.hello);
        },
      ),
      { numRuns: 2000 },
    );
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 400 }),
        (any) => void parseClientHello(Buffer.concat([Buffer.from([0x16, 3, 1]), any])),
      ),
    );
  });
});
