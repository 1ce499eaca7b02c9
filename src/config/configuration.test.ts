import assert from 'node:assert/strict';
import path from 'node:path';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import { WeirError } from '../base/errors.ts';
import { parseAddress, parseRange, rangeHolds, rangeSize } from '../model/address.ts';
import type { Configuration } from '../model/configuration.ts';
import { DecoyDirectory } from '../model/decoy.ts';
import { defaultConfiguration, parseConfiguration, readConfiguration } from './configuration.ts';
import { type Mistake, renderMistake } from './mistake.ts';
import { readPersonas } from './personas.ts';

const personas = readPersonas(path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../../../rules'));
const context = { personas, observed: { interfaces: ['lo', 'eth0', 'eth1'] } };

function accept(text: string): Configuration {
  const result = parseConfiguration(text, 'weir.yaml', context);
  assert.ok('configuration' in result, 'mistakes' in result ? result.mistakes.map(renderMistake).join('\n') : '');
  return result.configuration;
}

function refuse(text: string): readonly Mistake[] {
  const result = parseConfiguration(text, 'weir.yaml', context);
  assert.ok('mistakes' in result, 'accepted');
  for (const mistake of result.mistakes) assert.ok(mistake.next.length > 0, renderMistake(mistake));
  return result.mistakes;
}

/** A host diversion around decoy entries; the first entry stands on line 7. */
const dmz = (...entries: string[]): string =>
  `version: 1\ndiversions:\n  - name: dmz\n    kind: host\n    interface: eth0\n    decoys:\n${entries.map((entry) => `      - ${entry}\n`).join('')}`;

test('without a file every free port of the own addresses answers', () => {
  const configuration = defaultConfiguration(personas);
  const [own] = configuration.diversions;
  assert.equal(own.name, 'own');
  assert.equal(own.groups[0].kind, 'own');
  assert.deepEqual(own.groups[0].population.shares, [{ persona: 'all-open', share: 10000 }]);
  assert.equal(configuration.data, '/var/lib/weir');
  assert.equal(configuration.file, undefined);
  assert.deepEqual(configuration.retention, { days: 90, sizeBytes: 20 * 2 ** 30 });
  assert.deepEqual(configuration, readConfiguration(undefined, context));
  assert.ok(Object.isFrozen(configuration) && Object.isFrozen(configuration.limits) && Object.isFrozen(own.groups[0]));
});

test('a file that says nothing about diversions keeps that of the defaults', () => {
  const { diversions, management } = accept('version: 1\nmanagement: { ports: [22, 8000-8002], sources: [10.0.0.0/8] }\n');
  assert.deepEqual(diversions[0].groups[0].population, defaultConfiguration(personas).diversions[0].groups[0].population);
  assert.deepEqual(management.ports, [
    { first: 22, last: 22 },
    { first: 8000, last: 8002 },
  ]);
  assert.equal(accept('version: 1\ndiversions: []\n').diversions.length, 0);
});

test('both families, exclusions, populations, seeds', () => {
  const { diversions, file } = accept(
    dmz(
      '{ addresses: [10.66.0.0/17, "2001:db8:66::/64"], exclude: [10.66.0.1, 10.66.127.0/24], persona: windows-server }',
      '{ addresses: 192.168.110.10-192.168.110.250, population: mixed-office, alive: 40%, seed: 7 }',
      '{ addresses: [10.9.0.0/24], population: { printer: 33.33%, nas: 33.33%, plc: 33.34% }, alive: 50% }',
    ),
  );
  assert.equal(file, 'weir.yaml');
  const [servers, office, thirds] = diversions[0].groups;
  assert.equal(
    servers.ranges.filter(({ family }) => family === 4).reduce((sum, range) => sum + rangeSize(range), 0n),
    32768n - 257n,
  );
  assert.ok(!servers.ranges.some((range) => rangeHolds(range, parseAddress('10.66.0.1') as never)));
  assert.ok(servers.ranges.some((range) => rangeHolds(range, parseAddress('2001:db8:66::ffff') as never)));
  assert.equal(office.population.seed, 7);
  assert.equal(
    office.population.shares.reduce((sum, { share }) => sum + share, 0),
    4000,
  );
  assert.deepEqual(office.population.shares[0], { persona: 'windows-workstation', share: 2560 });
  assert.equal(
    thirds.population.shares.reduce((sum, { share }) => sum + share, 0),
    5000,
    'rounding loses nothing',
  );
  assert.notEqual(thirds.population.seed, 7);
});

test('single addresses gather into one group per population, with the line of each', () => {
  const configuration = accept(
    dmz(
      '{ address: 10.0.0.5, persona: printer }',
      '{ address: 10.0.0.6, persona: printer, mac: 00-0C-29-01-02-03 }',
      '{ address: 10.0.0.9, persona: nas }',
      '{ address: "2001:DB8::9", persona: printer, mac: "02:00:00:00:00:01" }',
    ),
  );
  const [diversion] = configuration.diversions;
  assert.equal(diversion.groups.length, 2);
  assert.deepEqual(diversion.groups[0].ranges, [parseRange('10.0.0.5-10.0.0.6'), parseRange('2001:db8::9')]);
  assert.deepEqual(diversion.groups[0].macs, { '10.0.0.6': '00:0c:29:01:02:03', '2001:db8::9': '02:00:00:00:00:01' });
  assert.equal(diversion.placeOf?.(parseAddress('10.0.0.9') as never).line, 9);
  assert.equal(diversion.placeOf?.(parseAddress('2001:db8::9') as never).line, 10);
  const directory = new DecoyDirectory(diversion.groups, configuration.personas);
  assert.equal(directory.find('10.0.0.6')?.mac, '00:0c:29:01:02:03');
  assert.equal(directory.find('10.0.0.9')?.persona.name, 'nas');
});

test('65,536 decoys given by hand in two forms make few groups', () => {
  const inline = Array.from({ length: 32768 }, (_, index) => `{ address: 10.1.${index >> 8}.${index & 255}, persona: printer }`);
  const block = Array.from({ length: 32768 }, (_, index) => `address: 10.2.${index >> 8}.${index & 255}\n        persona: nas`);
  const { diversions } = accept(dmz(...inline, ...block));
  assert.deepEqual(
    diversions[0].groups.map(({ ranges }) => ranges),
    [[parseRange('10.1.0.0/17')], [parseRange('10.2.0.0/17')]],
  );
  const twice = refuse(dmz(...inline, ...block, '{ address: 10.1.100.7, persona: nas }'));
  assert.equal(twice.length, 1);
  assert.match(twice[0].mistake, /10\.1\.100\.7 is a decoy twice: on line 98311 and on line 25614/);
});

test('own addresses by name, on all interfaces or one', () => {
  const { diversions } = accept(
    'version: 1\ndiversions:\n  - { name: me, kind: host, interface: eth1, decoys: [{ addresses: own, persona: all-open }] }\n',
  );
  assert.equal(diversions[0].groups[0].kind, 'own');
  assert.ok(diversions[0].kind === 'host' && diversions[0].interface === 'eth1');
});

test('personas and populations of the file, whole or like another', () => {
  const { personas: known, diversions } = accept(
    `${dmz('{ address: 10.0.0.5, population: mine }')}personas:
  - { name: my-nas, like: nas, banners: { ssh: SSH-2.0-mine }, tcp: { open: [22] } }
  - { name: mine-too, like: my-nas, ttl: 128 }
populations:
  - { name: mine, shares: { my-nas: 50%, mine-too: 20% } }
`,
  );
  const mine = known.get('my-nas');
  assert.equal(mine?.banners.ssh, 'SSH-2.0-mine');
  assert.equal(mine?.banners.http, 'nginx', 'other banners stay');
  assert.deepEqual(mine?.tcp, { open: [{ first: 22, last: 22 }], otherwise: 'closed' });
  assert.equal(known.get('mine-too')?.ttl, 128);
  assert.equal(known.get('mine-too')?.banners.ssh, 'SSH-2.0-mine');
  assert.deepEqual(diversions[0].groups[0].population.shares, [
    { persona: 'my-nas', share: 5000 },
    { persona: 'mine-too', share: 2000 },
  ]);
});

test('a console that others can reach protects its own port', () => {
  assert.deepEqual(accept('version: 1\nconsole: { address: 0.0.0.0, port: 9443 }\n').management.ports, [
    { first: 9443, last: 9443 },
  ]);
  assert.deepEqual(accept('version: 1\nconsole: { address: 127.0.0.2, port: 9443 }\n').management.ports, []);
});

/** Each class of mistake: text, line, what the message must say, what the next step must say. */
const mistakes: [name: string, text: string, line: number, mistake: RegExp, next: RegExp][] = [
  ['unknown key', 'version: 1\nretenton: { days: 3 }\n', 2, /unknown key `retenton`/, /did you mean `retention`\?/],
  [
    'unknown key deep inside',
    dmz('{ address: 10.0.0.5, persna: nas, persona: nas }'),
    7,
    /unknown key `persna`/,
    /did you mean `persona`/,
  ],
  ['unknown key like none', 'version: 1\nmanagement:\n  zzz: 1\n', 3, /unknown key `zzz`/, /the keys here are ports, sources/],
  [
    'missing key',
    'version: 1\ndiversions:\n  - { name: a, kind: host, interface: eth0 }\n',
    3,
    /`decoys` is missing/,
    /add `decoys:`/,
  ],
  ['missing version', 'data: /tmp/x\n', 1, /`version` is missing/, /add/],
  ['another version', 'version: 2\n', 1, /version `2` is not known/, /version: 1/],
  ['bad address', dmz('{ address: 10.0.0.256, persona: nas }'), 7, /`10\.0\.0\.256` is not an address/, /write an address/],
  ['octal address', dmz('{ address: 010.0.0.1, persona: nas }'), 7, /is not an address/, /write an address/],
  ['bad prefix', dmz('{ addresses: [10.0.0.0/33], persona: nas }'), 7, /no such prefix length/, /from 0 to 32/],
  ['range backwards', dmz('{ addresses: 10.0.0.9-10.0.0.1, persona: nas }'), 7, /runs backwards/, /10\.0\.0\.1-10\.0\.0\.9/],
  ['range of two families', dmz('{ addresses: "10.0.0.9-::1", persona: nas }'), 7, /mixes IPv4 and IPv6/, /own range/],
  ['loopback', dmz('{ addresses: 127.0.0.0/8, persona: nas }'), 7, /is loopback/, /addresses that a host may have/],
  ['everything', dmz('{ addresses: 0.0.0.0/0, persona: nas }'), 7, /cannot be a decoy/, /addresses/],
  ['multicast', dmz('{ addresses: "ff02::1", persona: nas }'), 7, /is multicast/, /addresses/],
  ['no addresses', dmz('{ addresses: [], persona: nas }'), 7, /list of addresses is empty/, /at least one/],
  ['addresses twice', dmz('{ addresses: 10.0.0.1, address: 10.0.0.2, persona: nas }'), 7, /both stand here/, /keep one/],
  ['addresses missing', dmz('{ persona: nas }'), 7, /`addresses` is missing/, /add/],
  ['persona missing', dmz('{ address: 10.0.0.5 }'), 7, /neither `persona` nor `population`/, /persona: linux-server/],
  ['persona and population', dmz('{ address: 10.0.0.5, persona: nas, population: plant }'), 7, /both stand here/, /keep one/],
  ['unknown persona', dmz('{ address: 10.0.0.5, persona: windows_server }'), 7, /is not a name/, /a-z, 0-9 and -/],
  [
    'misspelt persona',
    dmz('{ address: 10.0.0.5, persona: windows-sever }'),
    7,
    /no persona `windows-sever`/,
    /did you mean `windows-server`/,
  ],
  [
    'unknown population',
    dmz('{ address: 10.0.0.5, population: mixed-ofice }'),
    7,
    /no population/,
    /did you mean `mixed-office`/,
  ],
  [
    'unknown persona in a population',
    dmz('{ address: 10.0.0.5, population: { prnter: 5% } }'),
    7,
    /no persona `prnter`/,
    /`printer`/,
  ],
  [
    'shares beyond the whole',
    dmz('{ address: 10.0.0.5, population: { printer: 60%, nas: 50% } }'),
    7,
    /sum to 110%/,
    /100% or less/,
  ],
  ['share', dmz('{ address: 10.0.0.5, persona: nas, alive: 140% }'), 7, /`alive`: `140%` is not a share/, /percentage/],
  ['tiny share', dmz('{ address: 10.0.0.5, persona: nas, alive: 0.001% }'), 7, /less than the smallest share/, /0\.01%/],
  ['seed', dmz('{ address: 10.0.0.5, persona: nas, seed: -1 }'), 7, /`seed`: `-1` is not a whole number/, /number/],
  ['mac', dmz('{ address: 10.0.0.5, persona: nas, mac: 00:0c:29 }'), 7, /is not a MAC address/, /six pairs/],
  ['multicast mac', dmz('{ address: 10.0.0.5, persona: nas, mac: "01:00:5e:00:00:01" }'), 7, /multicast MAC/, /even/],
  [
    'mac of many',
    dmz('{ addresses: 10.0.0.0/24, persona: nas, mac: "02:00:00:00:00:01" }'),
    7,
    /more than one address/,
    /own entry/,
  ],
  [
    'mac of the interface',
    dmz('{ address: 10.0.0.5, persona: nas, mac: "02:00:00:00:00:01", claim: address }'),
    7,
    /`mac` does not go with `claim: address`/,
    /claim: macvlan/,
  ],
  ['claim of own', dmz('{ addresses: own, persona: nas, claim: address }'), 7, /`claim` does not go with `own`/, /ours already/],
  [
    'exclusion of a stranger',
    dmz('{ addresses: 10.0.0.0/24, persona: nas, exclude: [10.0.1.1] }'),
    7,
    /10\.0\.1\.1 is not among/,
    /leave it out/,
  ],
  [
    'everything excluded',
    dmz('{ addresses: 10.0.0.0/24, persona: nas, exclude: [10.0.0.0/8] }'),
    7,
    /leaves no address/,
    /exclude less/,
  ],
  [
    'interface missing',
    'version: 1\ndiversions:\n  - name: a\n    kind: host\n    decoys: [{ address: 10.0.0.1, persona: nas }]\n',
    3,
    /`interface` is missing/,
    /add/,
  ],
  [
    'interface unknown',
    dmz('{ address: 10.0.0.5, persona: nas }').replace('eth0', 'eth9'),
    5,
    /no interface `eth9`/,
    /did you mean `eth0`/,
  ],
  [
    'no decoys',
    'version: 1\ndiversions:\n  - { name: a, kind: host, interface: eth0, decoys: [] }\n',
    3,
    /no decoys/,
    /add an entry/,
  ],
  [
    'name',
    'version: 1\ndiversions:\n  - { name: DMZ, kind: host, interface: eth0, decoys: [] }\n',
    3,
    /`DMZ` is not a name/,
    /1 to 32/,
  ],
  ['no such kind', 'version: 1\ndiversions:\n  - name: a\n    kind: hots\n', 4, /no kind of diversion/, /did you mean `host`/],
  ['size without unit', 'version: 1\nretention: { size: 20 }\n', 2, /`20` is not a size/, /20GiB/],
  ['size out of range', 'version: 1\nretention: { size: 1MiB }\n', 2, /out of range/, /256MiB/],
  ['duration', 'version: 1\nlimits:\n  idle-timeout: 60\n', 3, /is not a duration/, /60s/],
  ['duration out of range', 'version: 1\nlimits: { idle-timeout: 1ms }\n', 2, /out of range/, /from 1s to 1d/],
  ['port', 'version: 1\nmanagement:\n  ports: [22, 65536]\n', 3, /port 65536 does not exist/, /1 to 65535/],
  ['port zero', 'version: 1\nmanagement: { ports: 0 }\n', 2, /port 0 does not exist/, /1 to 65535/],
  ['ports backwards', 'version: 1\nmanagement: { ports: 9-3 }\n', 2, /is not a port or a range/, /8000-8100/],
  ['console address', 'version: 1\nconsole: { address: 10.0.0.0/8 }\n', 2, /is not one address/, /127\.0\.0\.1/],
  ['relative path', 'version: 1\ndata: var/weir\n', 2, /is not an absolute path/, /begins with \//],
  ['key without a value', 'version: 1\ndata:\n', 2, /nothing is not an absolute path/, /begins with/],
  ['no mapping', 'version: 1\nlimits: 5\n', 2, /`limits`: this is not a mapping/, /the keys here are sessions/],
  ['no list', 'version: 1\ndiversions: 5\n', 2, /`diversions`: this is not a list/, /- /],
  ['not YAML', 'version: 1\n  data: [\n', 1, /not YAML/, /indentation/],
  ['duplicate key', 'version: 1\nversion: 1\n', 2, /must be unique/, /line/],
  ['empty', '', 1, /empty/, /version: 1/],
  ['a list', '- 1\n', 1, /not a mapping/, /version: 1/],
  ['persona like none', 'version: 1\npersonas: [{ name: a, like: printr }]\n', 2, /no persona `printr`/, /`printer`/],
  [
    'persona incomplete',
    'version: 1\npersonas:\n  - { name: a, operating-system: x, hostname: h, mac-prefixes: ["00:0c:29"] }\n',
    3,
    /`description` is missing/,
    /add/,
  ],
  [
    'persona with a bad port',
    'version: 1\npersonas:\n  - name: a\n    like: nas\n    tcp: { open: [70000] }\n',
    5,
    /port 70000/,
    /1 to 65535/,
  ],
  [
    'persona service',
    'version: 1\npersonas:\n  - name: a\n    like: nas\n    services:\n      99999: http\n',
    6,
    /`99999` is not a port/,
    /ports/,
  ],
];

for (const [name, text, line, mistake, next] of mistakes)
  test(`mistake: ${name}`, () => {
    const found = refuse(text);
    const match = found.find((one) => mistake.test(one.mistake));
    assert.ok(match, found.map(renderMistake).join('\n'));
    assert.equal(match.line, line);
    assert.match(match.next, next);
    assert.deepEqual(found, [match], 'one mistake is one message');
  });

test('overlaps name both lines, across entries and diversions', () => {
  const within = refuse(dmz('{ addresses: [10.0.0.0/24], persona: nas }', '{ address: 10.0.0.77, persona: printer }'));
  assert.equal(
    renderMistake(within[0]),
    'weir.yaml:8: 10.0.0.77 is a decoy twice: on line 8 and on line 7. Next: take it out of one of them, for example by `exclude: [10.0.0.77]`',
  );
  const across = refuse(`${dmz('{ addresses: [10.0.0.0/24], persona: nas }')}  - name: b
    kind: host
    interface: eth1
    decoys:
      - { addresses: 10.0.0.128-10.0.1.5, persona: nas }
`);
  assert.match(across[0].mistake, /10\.0\.0\.128\/25 are decoys twice: on line 12 and on line 7/);
  const own = refuse(
    'version: 1\ndiversions:\n  - name: a\n    kind: host\n    decoys:\n      - { addresses: own, persona: nas }\n      - { addresses: own, persona: nas }\n',
  );
  assert.match(own[0].mistake, /own addresses are decoys twice: here and on line 6/);
  assert.equal(own[0].line, 7);
});

test('all mistakes come at once, in the order of the file, bounded', () => {
  const found = refuse(
    dmz(
      '{ address: 10.0.0.300, persona: nas }',
      '{ address: 10.0.0.1, persona: nas }',
      '{ address: 10.0.0.1, persona: nas, x: 1 }',
    ).replace('version: 1', 'version: 1\nlimits: { sessions: none }'),
  );
  assert.deepEqual(
    found.map(({ line }) => line),
    [2, 8, 10],
  );
  const many = refuse(dmz(...Array.from({ length: 500 }, () => '{ address: 10.0.0.5, persona: nas, mac: x }')));
  assert.equal(many.length, 101);
  assert.match(many[100].mistake, /400 more mistakes/);
});

test('readConfiguration throws one error that holds every mistake, or says that the file cannot be read', () => {
  assert.throws(
    () => readConfiguration('/nonexistent/weir.yaml', context),
    (error) => error instanceof WeirError && error.code === 'config-unreadable' && /ENOENT/.test(error.message),
  );
  assert.throws(
    () => readConfiguration(fileURLToPath(import.meta.url), context),
    (error) => error instanceof WeirError && error.code === 'config-invalid' && Array.isArray(error.details.mistakes),
  );
});
