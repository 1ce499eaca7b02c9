// Services and bindings: what is accepted, each mistake with its line and next step, and that the most specific wins.

import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { acceptText, checkMistake, type MistakeCase, refuseText } from '../../test/support/configuration-text.ts';
import { type AddressRange, overlapRanges, parseRange, rangeHolds, renderAddress, renderRange } from '../model/address.ts';
import { renderInterfaceAddress } from '../model/segment.ts';

/** Ten lines; services begin on line 11. */
const segments = `version: 1
diversions:
  - name: floor
    kind: network
    trunk: eth1
    vlan: 110
    address: [10.9.0.2/16, "2001:db8::2/64"]
    decoys: [{ addresses: 10.9.0.0/16, persona: nas }]
  - { name: dmz, kind: host, interface: eth0, decoys: [{ addresses: 10.66.0.0/24, persona: nas }, { address: "2001:db8:66::1", persona: nas }] }
  - { name: me, kind: host, interface: eth0, decoys: [{ addresses: own, persona: all-open }] }
`;
const win = '{ name: win, kind: external, path: kernel, address: 10.1.0.9, interface: eth2, from: 10.1.0.1/24 }';
const six = '{ name: six, kind: external, path: kernel, address: "fd00::9", interface: eth2, from: "fd00::1/64" }';
const services = (...lines: string[]): string => `${segments}services:\n${lines.map((line) => `  - ${line}\n`).join('')}`;
/** Bindings after two services; the first stands on line 15. */
const bound = (...lines: string[]): string => `${services(win, six)}bindings:\n${lines.map((line) => `  - ${line}\n`).join('')}`;
const bindings = (text: string): string[] =>
  acceptText(text).bindings.map(
    ({ diversion, addresses, service, place }) => `${diversion} ${addresses.map(renderRange).join(' ')} ${service} ${place.line}`,
  );

test('services and bindings as they are written', () => {
  const configuration = acceptText(bound('{ diversion: floor, addresses: [10.9.0.128/25, 10.9.3.4], service: win }'));
  assert.deepEqual(
    configuration.services.map(({ name, kind, path, address, interface: link, from, place }) => [
      name,
      kind,
      path,
      renderAddress(address),
      link,
      renderInterfaceAddress(from),
      place.line,
    ]),
    [
      ['win', 'external', 'kernel', '10.1.0.9', 'eth2', '10.1.0.1/24', 12],
      ['six', 'external', 'kernel', 'fd00::9', 'eth2', 'fd00::1/64', 13],
    ],
  );
  assert.deepEqual(bindings(bound('{ diversion: floor, addresses: [10.9.0.128/25, 10.9.3.4], service: win }')), [
    'floor 10.9.0.128/25 10.9.3.4 win 15',
  ]);
});

test('without addresses all decoys of the diversion are bound, but for what the segment needs itself', () => {
  assert.deepEqual(bindings(bound('{ diversion: floor, service: win }')), ['floor 10.9.0.1 10.9.0.3-10.9.255.254 win 15']);
});

test('the more specific binding wins, also when it gives decoys back to the catch-all', () => {
  assert.deepEqual(
    bindings(
      bound(
        '{ diversion: dmz, addresses: 10.66.0.0/24, service: win }',
        '{ diversion: dmz, addresses: [10.66.0.0/26], service: catch-all }',
        '{ diversion: dmz, addresses: 10.66.0.7, service: win }',
        '{ diversion: dmz, addresses: "2001:db8:66::1", service: six }',
      ),
    ),
    ['dmz 10.66.0.64-10.66.0.255 win 15', 'dmz 10.66.0.7 win 17', 'dmz 2001:db8:66::1 six 18'],
  );
});

test('what the catch-all answers anyway may be said, with ports too', () => {
  assert.deepEqual(
    bindings(`${segments}bindings:\n  - { service: catch-all }\n  - { diversion: dmz, ports: [22], service: catch-all }\n`),
    [],
  );
});

const cases: readonly MistakeCase[] = [
  [
    'container',
    services('{ name: web, kind: container, image: nginx }'),
    12,
    /starts no services of kind `container`/,
    /kind: external/,
  ],
  ['no such kind', services('{ name: web, kind: extern }'), 12, /no kind of service `extern`/, /kind: external/],
  ['another path', services(win.replace('path: kernel', 'path: proxy')), 12, /no path `proxy`/, /kernel or transparent/],
  [
    'unknown key',
    services(win.replace(' }', ', proxy-protocol: true }')),
    12,
    /unknown key `proxy-protocol`/,
    /name, kind, path/,
  ],
  [
    'kind missing',
    services('{ name: web }').replace('{ name: web }', win.replace('kind: external, ', '')),
    12,
    /`kind` is missing/,
    /external/,
  ],
  ['name', services(win.replace('win', 'Win')), 12, /`Win` is not a name/, /a-z/],
  ['reserved name', services(win.replace('win', 'catch-all')), 12, /`catch-all` is the name/, /another name/],
  ['name twice', services(win, win), 13, /`win` stands here and on line 12/, /another name/],
  [
    'address with a port',
    services(win.replace('10.1.0.9', '"10.1.0.9:22"')),
    12,
    /is not the address of a service/,
    /one address/,
  ],
  ['from without a length', services(win.replace('10.1.0.1/24', '10.1.0.1')), 12, /no prefix length/, /10\.1\.0\.1|192\.168/],
  [
    'from elsewhere',
    services(win.replace('10.1.0.1/24', '10.2.0.1/24')),
    12,
    /10\.1\.0\.9 is not on the wire of 10\.2\.0\.1\/24/,
    /free address/,
  ],
  ['from itself', services(win.replace('10.1.0.1/24', '10.1.0.9/24')), 12, /10\.1\.0\.9 is the service itself/, /another/],
  ['from of another family', services(win.replace('10.1.0.1/24', '"fd00::1/64"')), 12, /not of one family/, /both in one/],
  ['from at the edge', services(win.replace('10.1.0.1/24', '10.1.0.255/24')), 12, /is the broadcast address/, /free address/],
  ['service at the edge', services(win.replace('10.1.0.9', '10.1.0.0')), 12, /10\.1\.0\.0 is the network address/, /own address/],
  [
    'two wires with one subnet',
    services(win, win.replace('win', 'mac').replace('eth2', 'eth3').replace('10.1.0.1/24', '10.1.0.2/25')),
    13,
    /10\.1\.0\.0\/25 is the wire of eth3 here and of eth2 on line 12/,
    /different subnets/,
  ],
  ['unknown service', bound('{ diversion: floor, service: wim }'), 15, /no service `wim`/, /did you mean `win`/],
  ['unknown diversion', bound('{ diversion: flor, service: win }'), 15, /no diversion `flor`/, /did you mean `floor`/],
  ['diversion missing', bound('{ service: win }'), 15, /`diversion` is missing/, /add/],
  ['service missing', bound('{ diversion: floor }'), 15, /`service` is missing/, /add/],
  ['unknown key in a binding', bound('{ diversion: floor, service: win, port: 80 }'), 15, /unknown key `port`/, /`ports`/],
  ['ports', bound('{ diversion: floor, ports: [80], service: win }'), 15, /whole address is routed/, /leave `ports` out/],
  [
    'ports within',
    bound('{ diversion: floor, service: win }', '{ diversion: floor, addresses: 10.9.3.0/24, ports: [80], service: catch-all }'),
    16,
    /line 15 routes these addresses to `win`/,
    /every port/,
  ],
  [
    'no decoys',
    bound('{ diversion: floor, addresses: 10.10.0.5, service: win }'),
    15,
    /10\.10\.0\.5 is no decoy of `floor`/,
    /add them/,
  ],
  [
    'partly no decoys',
    bound('{ diversion: dmz, addresses: 10.66.0.0/23, service: win }'),
    15,
    /10\.66\.1\.0\/24 are no decoys/,
    /`decoys`/,
  ],
  [
    'taken',
    bound('{ diversion: floor, addresses: 10.9.0.2, service: win }'),
    15,
    /taken by the segment itself/,
    /addresses of their own/,
  ],
  ['own', bound('{ diversion: me, service: win }'), 15, /no decoys that can be bound/, /addresses of their own/],
  ['both families', bound('{ diversion: dmz, service: win }'), 15, /2001:db8:66::1 cannot be routed to `win`/, /IPv6 address/],
  [
    'other family',
    bound('{ diversion: floor, addresses: 10.9.1.0/24, service: six }'),
    15,
    /10\.9\.1\.0\/24 cannot be routed/,
    /IPv4/,
  ],
  [
    'twice',
    bound(
      '{ diversion: dmz, addresses: 10.66.0.7, service: win }',
      '{ diversion: dmz, addresses: 10.66.0.7, service: catch-all }',
    ),
    16,
    /10\.66\.0\.7 is bound here and on line 15/,
    /out of one/,
  ],
  [
    'crosswise',
    bound(
      '{ diversion: dmz, addresses: 10.66.0.0-10.66.0.9, service: win }',
      '{ diversion: dmz, addresses: 10.66.0.5-10.66.0.20, service: win }',
    ),
    16,
    /10\.66\.0\.5-10\.66\.0\.9 are bound here and on line 15/,
    /out of one/,
  ],
  [
    'the service as its own decoy',
    bound('{ diversion: floor, service: win }').replaceAll('10.1.0.', '10.9.0.'),
    15,
    /10\.9\.0\.9 leads to `win`/,
    /leave it out/,
  ],
  [
    'a claimed decoy',
    bound('{ diversion: dmz, addresses: 10.66.0.7, service: win }').replace(
      '10.66.0.0/24, persona: nas',
      '10.66.0.0/24, persona: nas, claim: address',
    ),
    15,
    /decoys on line 9 have `claim: address`/,
    /leave `claim` out/,
  ],
  ['no mapping', bound('win'), 15, /not a mapping/, /key: value/],
];

for (const one of cases) test(`mistake in a service or binding: ${one[0]}`, () => checkMistake(one));

test('too many bindings are refused before any is looked at', () => {
  const found = refuseText(bound(...Array.from({ length: 513 }, () => '{ diversion: floor, service: win }')));
  assert.deepEqual(
    found.map(({ line, mistake }) => [line, mistake]),
    [[14, '513 bindings are more than 512']],
  );
});

test('a binding to what did not parse is no second mistake', () => {
  const text = bound('{ diversion: floor, service: win }').replace('vlan: 110', 'vlan: 0').replace('path: kernel', 'path: fast');
  assert.deepEqual(
    refuseText(text).map(({ line }) => line),
    [6, 12],
  );
});

test('nested bindings come out disjoint, and each address goes to the smallest that holds it', () => {
  const block = fc.integer({ min: 24, max: 32 }).chain((length) =>
    fc.record({
      range: fc.integer({ min: 0, max: 255 }).map((host) => parseRange(`10.66.0.${host}/${length}`) as AddressRange),
      service: fc.constantFrom('win', 'catch-all'),
    }),
  );
  const distinct = fc.uniqueArray(block, { selector: ({ range }) => renderRange(range), minLength: 1, maxLength: 12 });
  fc.assert(
    fc.property(distinct, fc.integer({ min: 0, max: 255 }), (entries, host) => {
      const text = bound(
        ...entries.map(({ range, service }) => `{ diversion: dmz, addresses: ${renderRange(range)}, service: ${service} }`),
      );
      const found = acceptText(text).bindings;
      for (const [index, one] of found.entries())
        for (const other of found.slice(0, index)) assert.deepEqual(overlapRanges(one.addresses, other.addresses), []);
      const at = { family: 4, value: 0x0a420000n + BigInt(host) } as const;
      const [smallest] = entries
        .filter(({ range }) => rangeHolds(range, at))
        .sort((a, b) => Number(a.range.last - a.range.first - (b.range.last - b.range.first)));
      const bindingOf = found.find(({ addresses }) => addresses.some((range) => rangeHolds(range, at)));
      assert.equal(bindingOf?.service, smallest?.service === 'win' ? 'win' : undefined);
    }),
    { numRuns: 100 },
  );
});
