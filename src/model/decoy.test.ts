import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { type AddressRange, parseAddress, parseRange, rangeHolds, renderAddress, subtractRanges } from './address.ts';
import { DecoyDirectory, type DecoyGroup } from './decoy.ts';
import { type Persona, portState } from './persona.ts';
import { allPorts, noPorts } from './port-set.ts';

const persona = (name: string): Persona => ({
  name,
  description: name,
  macPrefixes: ['00:0c:29'],
  tcp: { open: [{ first: 22, last: 25 }], otherwise: 'filtered' },
  udp: { open: noPorts, otherwise: 'closed' },
  answersEcho: true,
  ttl: 64,
  services: {},
  banners: {},
  hostname: 'h-{n}',
  operatingSystem: 'Linux',
});
const personas = new Map([persona('a'), persona('b')].map((one) => [one.name, one]));

const group = (diversion: string, ranges: AddressRange[], share = 10_000, more: Partial<DecoyGroup> = {}): DecoyGroup => ({
  diversion,
  kind: 'claimed',
  ranges,
  population: { seed: 1, shares: [{ persona: 'a', share }] },
  macs: {},
  place: { file: 'weir.yaml', line: 1 },
  ...more,
});
const range = (text: string): AddressRange => parseRange(text) as AddressRange;

test('the directory finds the group whose range holds the address, of any number of ranges', () => {
  const gaps = fc.array(fc.tuple(fc.bigInt({ min: 1n, max: 5n }), fc.bigInt({ min: 0n, max: 9n })), { maxLength: 40 });
  fc.assert(
    fc.property(gaps, gaps, fc.bigInt({ min: 0n, max: 400n }), fc.boolean(), (four, six, at, ask6) => {
      const build = (family: 4 | 6, list: [bigint, bigint][]): DecoyGroup[] => {
        let next = 0n;
        return list.map(([gap, more], index) => {
          const first = next + gap;
          next = first + more + 1n;
          return group(`${family}-${index}`, [{ family, first, last: first + more }]);
        });
      };
      const groups = [...build(4, four), ...build(6, six)].reverse();
      const address = { family: ask6 ? (6 as const) : (4 as const), value: at };
      const expected = groups.find(({ ranges }) => rangeHolds(ranges[0], address));
      assert.equal(new DecoyDirectory(groups, personas).groupOf(address), expected);
    }),
    { numRuns: 1000 },
  );
});

test('withheld addresses are nobody’s', () => {
  const inside = fc.bigInt({ min: 0x0a000000n, max: 0x0a0000ffn });
  fc.assert(
    fc.property(inside, inside, inside, (a, b, at) => {
      const withheld = [{ family: 4 as const, first: a < b ? a : b, last: a < b ? b : a }];
      const directory = new DecoyDirectory([group('d', [range('10.0.0.0/24')])], personas, withheld);
      const left = subtractRanges([range('10.0.0.0/24')], withheld);
      const address = { family: 4 as const, value: at };
      assert.equal(
        directory.find(renderAddress(address)) !== undefined,
        left.some((one) => rangeHolds(one, address)),
      );
    }),
  );
});

test('a living decoy has its persona and MAC; a dead one and a stranger are undefined', () => {
  const directory = new DecoyDirectory(
    [
      group('d', [range('10.0.0.0/24')], 5000, { macs: { '10.0.0.6': '02:00:00:00:00:06' } }),
      group('own', [range('192.0.2.1')], 10_000, { kind: 'own' }),
      group('six', [range('2001:db8::/64')]),
    ],
    personas,
  );
  const alive = Array.from({ length: 256 }, (_, index) => `10.0.0.${index}`).filter((ip) => directory.find(ip));
  assert.ok(alive.length > 90 && alive.length < 166, `${alive.length}`);
  const [first] = alive;
  const decoy = directory.find(first);
  assert.equal(decoy?.persona.name, 'a');
  assert.match(decoy?.mac ?? '', /^00:0c:29:/);
  assert.equal(decoy?.mac, directory.find(first)?.mac);
  assert.equal(directory.find('10.0.1.0'), undefined);
  assert.equal(directory.find('not an address'), undefined);
  assert.equal(directory.find('192.0.2.1')?.mac, undefined, 'own addresses keep the MAC they have');
  assert.equal(directory.find('2001:db8::77')?.diversion, 'six');
  assert.equal(directory.groupOf(parseAddress('10.0.0.3') as never)?.diversion, 'd');
});

test('ports are open, closed or filtered as the persona says', () => {
  const one = persona('a');
  assert.equal(portState(one, 'tcp', 24), 'open');
  assert.equal(portState(one, 'tcp', 26), 'filtered');
  assert.equal(portState(one, 'udp', 24), 'closed');
  assert.equal(portState({ ...one, udp: { open: allPorts, otherwise: 'closed' } }, 'udp', 65535), 'open');
});
