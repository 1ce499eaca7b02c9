// Places are found offline, in whatever shape a database has, and what is missing or damaged leaves the rest answering.

import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { after } from 'node:test';
import fc from 'fast-check';
import { type Log, silentLog } from '../../base/log.ts';
import { parseAddress, parseIpv4Number } from '../../model/address.ts';
import { ipv6Words, openNetworkTable, readNetworkFiles } from './network-source.ts';
import { NetworkTableBuilder, parseNetworkTable } from './network-table.ts';
import { Places } from './places.ts';

const home = mkdtempSync(join(tmpdir(), 'places-'));
after(() => rmSync(home, { recursive: true }));

/** A MaxMind DB of IPv4 networks, as its format 2.0 says: records of 24 bits, then data, then metadata. */
function encodeDatabase(entries: readonly (readonly [network: string, length: number, record: object])[]): Buffer {
  const nodes: [number | object | undefined, number | object | undefined][] = [[undefined, undefined]];
  for (const [network, length, record] of entries) {
    const value = parseIpv4Number(network);
    let node = 0;
    for (let bit = 0; bit < length; bit += 1) {
      const side = (value >>> (31 - bit)) & 1;
      if (bit === length - 1) nodes[node][side] = record;
      else {
        if (typeof nodes[node][side] !== 'number') nodes[node][side] = nodes.push([undefined, undefined]) - 1;
        node = nodes[node][side] as number;
      }
    }
  }
  const data: Buffer[] = [];
  let dataBytes = 0;
  const tree = nodes.flatMap((node) =>
    node.map((side) => {
      let value = nodes.length;
      if (typeof side === 'number') value = side;
      else if (side) {
        value = nodes.length + 16 + dataBytes;
        data.push(encodeValue(side));
        dataBytes += (data.at(-1) as Buffer).length;
      }
      return Buffer.from([value >>> 16, (value >>> 8) & 255, value & 255]);
    }),
  );
  const metadata = {
    binary_format_major_version: 2,
    binary_format_minor_version: 0,
    build_epoch: 1,
    database_type: 'test',
    description: {},
    ip_version: 4,
    languages: [],
    node_count: nodes.length,
    record_size: 24,
  };
  return Buffer.concat([
    ...tree,
    Buffer.alloc(16),
    ...data,
    Buffer.from('\xab\xcd\xefMaxMind.com', 'latin1'),
    encodeValue(metadata),
  ]);
}

function encodeValue(value: unknown): Buffer {
  if (typeof value === 'string') return Buffer.concat([head(2, Buffer.byteLength(value)), Buffer.from(value)]);
  if (typeof value === 'number')
    return Buffer.concat([head(6, 4), Buffer.from([24, 16, 8, 0].map((shift) => (value >>> shift) & 255))]);
  if (Array.isArray(value)) return Buffer.concat([Buffer.from([value.length, 11 - 7]), ...value.map(encodeValue)]);
  const pairs = Object.entries(value as object);
  return Buffer.concat([head(7, pairs.length), ...pairs.flat().map(encodeValue)]);
}

const head = (type: number, size: number): Buffer =>
  size < 29 ? Buffer.from([(type << 5) | size]) : Buffer.from([(type << 5) | 29, size - 29]);

const said: string[] = [];
const log: Log = { ...silentLog, warn: (message) => void said.push(message) };

function fileNamed(name: string, content: string | Buffer): string {
  const path = join(home, name);
  writeFileSync(path, content);
  return path;
}

test('what the packages know, of both families', async () => {
  const places = await Places.open({ cacheDirectory: join(home, 'cache'), log });
  assert.deepEqual(places.problems, []);
  assert.deepEqual(places.of('8.8.8.8'), { ip: '8.8.8.8', country: 'US', asn: 15169, organization: 'Google LLC' });
  assert.equal(places.of('2001:4860:4860::8888').asn, 15169);
  assert.equal(places.of('2a00:1450:4001:80f::200e').country, 'IE');
  assert.equal(places.of('2002:808:808::1').asn, 15169, '6to4 is where its IPv4 address is');
  for (const ip of [
    '10.1.2.3',
    '192.0.2.1',
    '127.0.0.1',
    '224.0.0.1',
    'fe80::1',
    '2001:db8::1',
    'fd00::1',
    '::1',
    'no address',
    '',
  ])
    assert.deepEqual(places.of(ip), { ip });
});

test('the packed table is made once, made again when its source changes, and never believed when damaged', async () => {
  const files = {
    ipv4: fileNamed('a4.csv', '16777216,16777471,13335,"Cloud, ""flare"""\n16777472,16777727,9,Nine\r\n'),
    ipv6: fileNamed('a6.csv', '2001:200::,2001:200:ffff:ffff:ffff:ffff:ffff:ffff,2500,WIDE\n'),
  };
  const cache = join(home, 'packed');
  const packed = join(cache, 'networks.bin');
  const ask = async (): Promise<unknown[]> => {
    const table = await openNetworkTable(files, cache, assert.fail);
    return [16777215, 16777216, 16777471, 16777472, 16777727, 16777728].map((at) => table.findIpv4(at)?.organization);
  };
  const expected = [undefined, 'Cloud, "flare"', 'Cloud, "flare"', 'Nine', 'Nine', undefined];
  assert.deepEqual(await ask(), expected);
  const { ino } = statSync(packed);
  assert.deepEqual(await ask(), expected);
  assert.equal(statSync(packed).ino, ino, 'read, not made again');
  const bytes = readFileSync(packed);
  bytes[40] ^= 1;
  writeFileSync(packed, bytes);
  assert.deepEqual(await ask(), expected);
  writeFileSync(packed, bytes.subarray(0, 50));
  assert.deepEqual(await ask(), expected);
  writeFileSync(files.ipv4, '16777216,16777471,1,One\n16777472,16777727,9,Nine\n');
  utimesSync(files.ipv4, 1, 1);
  assert.deepEqual((await ask())[1], 'One');
});

test('a cache that cannot be written is said and does without', async () => {
  const files = {
    ipv4: fileNamed('b4.csv', '16777216,16777471,13335,One\n'),
    ipv6: fileNamed('b6.csv', '2001::,2001::1,1,One\n'),
  };
  const messages: string[] = [];
  const table = await openNetworkTable(files, fileNamed('in-the-way', ''), (message) => messages.push(message));
  assert.equal(table.findIpv4(16777300)?.asn, 13335);
  assert.equal(messages.length, 1);
});

test("a user's own files, in MaxMind's shape and in a flat one, know private networks too", async () => {
  const country = fileNamed(
    'country.mmdb',
    encodeDatabase([
      ['10.1.0.0', 16, { country: { iso_code: 'NL' } }],
      ['8.8.8.0', 24, { country_code: 'de' }],
      ['9.0.0.0', 8, { registered_country: { iso_code: 'JP' } }],
      ['11.0.0.0', 8, { country_code: 'not one' }],
    ]),
  );
  const asn = fileNamed(
    'asn.mmdb',
    encodeDatabase([
      ['10.1.0.0', 16, { autonomous_system_number: 64500, autonomous_system_organization: 'Ours' }],
      ['8.8.8.0', 24, { asn: 'AS64501', as_name: 'Theirs' }],
      ['9.0.0.0', 8, { asn: 'many' }],
    ]),
  );
  const places = await Places.open({ country, asn, log });
  assert.deepEqual(places.of('10.1.2.3'), { ip: '10.1.2.3', country: 'NL', asn: 64500, organization: 'Ours' });
  assert.deepEqual(places.of('8.8.8.8'), { ip: '8.8.8.8', country: 'DE', asn: 64501, organization: 'Theirs' });
  assert.deepEqual(places.of('9.1.1.1'), { ip: '9.1.1.1', country: 'JP' });
  assert.deepEqual(places.of('11.1.1.1'), { ip: '11.1.1.1' });
});

test('missing and damaged databases are said once each, and the rest answers', async () => {
  said.length = 0;
  const gone = await Places.open({ country: join(home, 'none'), asn: fileNamed('text', 'no database'), log });
  assert.deepEqual(gone.of('8.8.8.8'), { ip: '8.8.8.8' });
  assert.equal(said.length, 2);
  assert.deepEqual(gone.problems, said);

  said.length = 0;
  const whole = encodeDatabase([['8.0.0.0', 8, { country_code: 'US' }]]);
  // The data type of the record: one that does not exist.
  whole.fill(0x0f, whole.indexOf('country_code') - 2, whole.indexOf('country_code'));
  const country = fileNamed('broken.mmdb', whole);
  const networks = { ipv4: fileNamed('c4.csv', '134744064,134744319,1,One\n'), ipv6: fileNamed('c6.csv', 'nonsense\nmore\n') };
  const broken = await Places.open({ country, log, bundled: { country, networks } });
  broken.of('8.8.8.8');
  broken.of('8.8.8.9');
  assert.equal(said.length, 2, said.join('; '));
  networks.ipv6 = fileNamed('c6.csv', '2001:200::,2001:200::1,1,One\n');
  said.length = 0;
  const half = await Places.open({ country, log, bundled: { country, networks } });
  assert.equal(half.of('8.8.8.8').asn, 1);
});

const ranges = fc
  .array(fc.tuple(fc.nat(0xffff), fc.nat(40), fc.integer({ min: 1, max: 9 })), { maxLength: 60 })
  .map((rows) => rows.map(([first, more, asn]) => ({ first, last: first + more, asn })).sort((a, b) => a.first - b.first));

test('the table says what a walk over its ranges says, packed and unpacked', () => {
  fc.assert(
    fc.property(ranges, fc.array(fc.nat(0x1ffff), { maxLength: 50 }), (rows, asked) => {
      const builder = new NetworkTableBuilder();
      for (const { first, last, asn } of rows) {
        builder.addIpv4(first, last, asn, `n${asn}`);
        builder.addIpv6([0, 0, first, 0], [0, 0, last, 0xffffffff], asn, `n${asn}`);
      }
      const table = builder.build();
      const again = parseNetworkTable(Buffer.concat([Buffer.alloc(1), table.render('x')]).subarray(1), 'x');
      assert.ok(again);
      assert.equal(parseNetworkTable(table.render('x'), 'y'), undefined);
      for (const at of [...asked, 0, 0xffffffff, ...rows.flatMap(({ first, last }) => [first, last, last + 1])]) {
        const owner = rows.find(({ first, last }) => first <= at && at <= last)?.asn;
        for (const one of [table, again]) {
          assert.equal(one.findIpv4(at)?.asn, owner);
          assert.equal(one.findIpv6([0, 0, at, 77])?.asn, owner);
          if (owner) assert.equal(one.findIpv4(at)?.organization, `n${owner}`);
        }
      }
    }),
  );
});

test('the last addresses of all have a network too', () => {
  const builder = new NetworkTableBuilder();
  builder.addIpv4(0xffffff00, 0xffffffff, 7, 'end');
  builder.addIpv6([1, 0, 0, 0], [0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff], 7, 'end');
  const table = builder.build();
  assert.equal(table.findIpv4(0xffffffff)?.asn, 7);
  assert.equal(table.findIpv4(0xfffffeff), undefined);
  assert.equal(table.findIpv6(ipv6Words(parseAddress('ffff::') ?? assert.fail()))?.asn, 7);
});

test('lines beyond any measure do not end the reading', async () => {
  const files = {
    ipv4: fileNamed(
      'long.csv',
      `16777216,16777471,1,One\n${'x'.repeat(3_000_000)}\n16777472,16777727,9,Nine\n16777728,16777729,10,Ten`,
    ),
    ipv6: fileNamed('d6.csv', '2001:200::,2001:200::1,1,One\n'),
  };
  await assert.rejects(readNetworkFiles(files), { code: 'bad-request' }, 'more bad than good');
  writeFileSync(
    files.ipv4,
    `${'1,2,3,Four\n'.repeat(9)}${'x'.repeat(3_000_000)}\n16777472,16777727,9,Nine\n16777728,16777729,10,Ten`,
  );
  const table = await readNetworkFiles(files);
  assert.equal(table.findIpv4(16777500)?.asn, 9);
  assert.equal(table.findIpv4(16777729)?.asn, 10);
});
