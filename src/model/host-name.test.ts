import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type AddressRange, parseAddress, parseRange, renderAddress } from './address.ts';
import { DecoyDirectory, type DecoyGroup } from './decoy.ts';
import { addressNumber, hostName, netbiosName, residueOf, residues } from './host-name.ts';
import { asksWholeLink, NameBook, parseReverseName, renderReverseName } from './name-book.ts';
import type { Persona } from './persona.ts';
import { noPorts, type PortSet, parsePorts } from './port-set.ts';

const address = (text: string) => {
  const parsed = parseAddress(text);
  assert.ok(parsed);
  return parsed;
};

const persona = (name: string, hostname: string, udp = ''): Persona => ({
  name,
  description: '',
  macPrefixes: ['00:0c:29'],
  tcp: { open: noPorts, otherwise: 'closed' },
  udp: { open: udp === '' ? noPorts : (parsePorts(udp) as PortSet), otherwise: 'closed' },
  answersEcho: true,
  ttl: 64,
  services: {},
  banners: {},
  hostname,
  operatingSystem: 'Linux',
});
const personas = new Map(
  [
    persona('desktop', 'DESKTOP-{n}'),
    persona('nas', 'DiskStation-{n}'),
    persona('printer', 'NPI{n}'),
    persona('core', 'core-{n}-eu'),
    persona('file', 'fileserver'),
  ].map((one) => [one.name, one]),
);

const group = (name: string | readonly [string, number][], ...ranges: string[]): DecoyGroup => ({
  diversion: 'floor-1',
  kind: 'claimed',
  ranges: ranges.map((text) => parseRange(text) as AddressRange),
  population: {
    seed: 11,
    shares: (typeof name === 'string' ? ([[name, 10_000]] as const) : name).map(([one, share]) => ({ persona: one, share })),
  },
  macs: {},
  place: { file: 'lab.yaml', line: 1 },
});
const book = (...groups: DecoyGroup[]): NameBook => new NameBook(new DecoyDirectory(groups, personas));

test('nine thousand addresses in a row have nine thousand numbers, and each leads back', () => {
  const seen = new Set<number>();
  const first = address('10.99.128.0').value;
  for (let index = 0n; index < residues; index += 1n) {
    const number = addressNumber({ family: 4, value: first + index });
    assert.ok(number >= 1000 && number <= 9999);
    assert.equal(residueOf(number), (first + index) % residues);
    seen.add(number);
  }
  assert.equal(seen.size, 9000);
  for (const none of [999, 10_000, -1, 1.5, Number.NaN]) assert.equal(residueOf(none), undefined);
});

test('neighbours are not numbered one after the other', () => {
  let close = 0;
  for (let index = 0; index < 254; index += 1)
    if (Math.abs(addressNumber(`10.0.0.${index}`) - addressNumber(`10.0.0.${index + 1}`)) < 20) close += 1;
  assert.ok(close < 10, `${close}`);
});

test('every living decoy is found by its name, in ranges, as single addresses, IPv4 and IPv6; case aside', () => {
  const mixed: [string, number][] = [
    ['desktop', 3000],
    ['nas', 1000],
    ['core', 1000],
  ];
  const singles = Array.from({ length: 40 }, (_, index) => `10.7.0.${index * 6}`);
  const names = book(group(mixed, '10.1.0.0/22', 'fd99::/120'), group('printer', ...singles));
  let living = 0;
  for (const range of names.directory.groups.flatMap(({ ranges }) => ranges))
    for (let value = range.first; value <= range.last; value += 1n) {
      const named = names.nameOf({ family: range.family, value });
      if (!named) continue;
      living += 1;
      const found = names.find(named.name.toUpperCase(), { family: range.family });
      assert.ok(found, named.name);
      // Two may have one name only where their addresses are 9,000 apart or in other ranges.
      assert.equal(hostName(found.decoy.persona, found.address), named.name);
      if (found.address.value !== value) assert.equal((found.address.value - value) % residues, 0n);
    }
  assert.ok(living > 600);
});

test('NetBIOS cuts names after fifteen characters: those are found too', () => {
  const names = book(group('nas', '10.1.0.0/24'));
  const { name } = names.nameOf(address('10.1.0.77')) ?? { name: '' };
  assert.equal(name.length, 16);
  const short = netbiosName(name);
  assert.equal(short.length, 15);
  const found = names.find(short, { length: 15 });
  assert.ok(found);
  assert.equal(netbiosName(hostName(found.decoy.persona, found.address)), short);
});

test('a persona without a number in its name is found as well; what was given back is not', () => {
  const only = new DecoyDirectory([group('file', '10.1.0.5')], personas);
  assert.equal(renderAddress(new NameBook(only).find('FILESERVER')?.address ?? address('::')), '10.1.0.5');
  const withheld = new DecoyDirectory([group('file', '10.1.0.5')], personas, [parseRange('10.1.0.5') as AddressRange]);
  assert.equal(new NameBook(withheld).find('fileserver'), undefined);
});

test('names of a million decoys, of a whole /64 and of nobody cost a bounded look', () => {
  const names = book(group([['desktop', 4000]], '10.16.0.0/12'), group([['printer', 1]], 'fd99::/64'));
  const started = performance.now();
  for (let number = 1000; number < 1100; number += 1) {
    const found = names.find(`DESKTOP-${number}`);
    assert.equal(hostName(personas.get('desktop') as Persona, found?.address ?? address('::')), `DESKTOP-${number}`);
    names.find(`NPI${number}`);
    names.find(`web-${number}`);
  }
  assert.ok(performance.now() - started < 5_000);
});

test('a decoy found by its name wears the MAC that was given by hand', () => {
  const ip = '10.1.0.5';
  const given = { ...group('desktop', '10.1.0.0/24'), macs: { [ip]: '02:00:00:00:00:05' } };
  const names = book(given);
  const { name, decoy } = names.nameOf(address(ip)) ?? { name: '', decoy: undefined };
  assert.equal(decoy?.mac, '02:00:00:00:00:05');
  assert.equal(names.find(name)?.decoy.mac, '02:00:00:00:00:05');
  assert.equal(names.find(name)?.decoy.ip, ip);
});

test('a decoy that a service answers for has no name of ours; its neighbours have', () => {
  const ranges = ['10.1.0.5', '10.1.0.7-10.1.0.9', 'fd99::5'].map((text) => parseRange(text) as AddressRange);
  const directory = new DecoyDirectory([group('desktop', '10.1.0.0/24', 'fd99::/120')], personas);
  const names = new NameBook(directory, [], ranges);
  for (const [ip, has] of [
    ['10.1.0.4', true],
    ['10.1.0.5', false],
    ['10.1.0.6', true],
    ['10.1.0.8', false],
    ['10.1.0.10', true],
    ['fd99::5', false],
    ['fd99::6', true],
  ] as const) {
    const one = address(ip);
    assert.equal(names.nameOf(one) !== undefined, has, ip);
    const name = hostName(personas.get('desktop') as Persona, one);
    assert.equal(names.find(name, { family: one.family })?.address.value === one.value, has, ip);
  }
});

test('hostile names find nobody and throw nothing', () => {
  const names = book(group('desktop', '10.1.0.0/24'), group('core', '10.2.0.0/24'), group('file', '10.3.0.1'));
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string(),
        fc.string({ unit: 'binary' }).map((text) => `DESKTOP-${text}`),
      ),
      (text) => {
        const found = names.find(text);
        if (found) assert.equal(hostName(found.decoy.persona, found.address).toLowerCase(), text.toLowerCase());
      },
    ),
  );
});

test('reverse names go both ways, and nothing else is one', () => {
  fc.assert(
    fc.property(
      fc.oneof(
        fc.bigInt(0n, 0xffffffffn).map((value) => ({ family: 4 as const, value })),
        fc.bigInt(0n, (1n << 128n) - 1n).map((value) => ({ family: 6 as const, value })),
      ),
      (one) => assert.deepEqual(parseReverseName(renderReverseName(one)), one),
    ),
  );
  for (const text of ['4.3.2.in-addr.arpa', '256.3.2.1.in-addr.arpa', '01.3.2.1.in-addr.arpa', 'x.ip6.arpa', 'arpa', ''])
    assert.equal(parseReverseName(text.split('.')), undefined);
  assert.equal(renderReverseName(address('10.99.128.7')).join('.'), '7.128.99.10.in-addr.arpa');
});

test('a book knows its link: the subnets and link-local addresses; and who asks a whole link', () => {
  const names = new NameBook(new DecoyDirectory([group('file', '10.9.0.1')], personas), [
    parseRange('10.1.0.0/24') as AddressRange,
  ]);
  for (const [text, on] of [
    ['10.1.0.200', true],
    ['10.1.1.1', false],
    ['10.9.0.1', false],
    ['fe80::1', true],
    ['fec0::1', false],
    ['fd99::1', false],
  ] as const)
    assert.equal(names.isOnLink(address(text)), on, text);
  assert.equal(names.isKnown(address('10.9.0.1')), true);
  assert.equal(asksWholeLink(personas.values()), false);
  assert.equal(asksWholeLink([persona('x', 'x', '53,5353')]), true);
});
