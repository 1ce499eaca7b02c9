// Lock-outs and impossible plans are refused with every mistake named, and what is harmless is not.

import assert from 'node:assert/strict';
import test from 'node:test';
import { everybody, goldenPersonas, group } from '../../test/support/golden-states.ts';
import { WeirError } from '../base/errors.ts';
import { defaultAnalysis } from '../config/analysis-schema.ts';
import type { ObservedFacts } from '../kernel/observe.ts';
import { type Address, parseAddress } from '../model/address.ts';
import type { Configuration } from '../model/configuration.ts';
import type { DecoyGroup } from '../model/decoy.ts';
import { parsePorts } from '../model/port-set.ts';
import { nothingRelayed } from '../model/relayed-service.ts';
import { planDesired } from './desired.ts';
import { checkLockOut, parseSshConnection } from './guard.ts';

const address = (text: string): Address => parseAddress(text) as Address;

const link = (name: string, ...addresses: string[]): ObservedFacts['links'][number] => ({
  name,
  mac: '02:00:00:00:00:01',
  ethernet: name !== 'lo',
  mtu: 1500,
  loopback: name === 'lo',
  up: name !== 'down0',
  promiscuous: false,
  addresses: addresses.map((text) => {
    const [ip, length] = text.split('/');
    return { address: address(ip), prefixLength: Number(length), scope: ip.startsWith('fe80') ? 'link' : 'global', usable: true };
  }),
});

const facts = (more: Partial<ObservedFacts> = {}): ObservedFacts => ({
  links: [
    link('lo', '127.0.0.1/8', '::1/128'),
    link('eth0', '192.0.2.7/24', '2001:db8::7/64', 'fe80::1/64'),
    link('eth1', '10.66.0.2/16'),
    link('down0'),
  ],
  gateways: [
    { address: address('192.0.2.1'), interface: 'eth0', isDefault: true },
    { address: address('10.66.9.9'), interface: 'eth1', isDefault: false },
  ],
  neighbours: [],
  resolvers: [address('10.66.5.53')],
  listeners: [{ transport: 'tcp', address: address('0.0.0.0'), port: 22, inode: 1 }],
  connections: [],
  sshPorts: [22],
  foreign: { tracking: false, closedInputs: [] },
  ownRoutes: [],
  ownTables: '',
  sysctls: {},
  ...more,
});

function configuration(groups: readonly DecoyGroup[], more: { interface?: string; ports?: string } = {}): Configuration {
  const link = 'interface' in more ? more.interface : 'eth1';
  return {
    version: 1,
    data: '/nowhere',
    retention: { days: 1, sizeBytes: 1 },
    management: { ports: parsePorts(more.ports ?? '22') ?? [], sources: [] },
    console: { address: '127.0.0.1', port: 8443 },
    limits: { sessions: 1, sessionsPerSource: 1, sessionBytes: 1, idleTimeoutMs: 1, totalTimeoutMs: 1, bannerDelayMs: 1 },
    probing: { claimRate: 1 },
    analysis: defaultAnalysis,
    ...nothingRelayed,
    diversions: [
      {
        kind: 'host',
        name: 'dmz',
        ...(link === undefined ? {} : { interface: link }),
        groups,
        place: { file: 'weir.yaml', line: 3 },
      },
    ],
    services: [],
    bindings: [],
    personas: new Map(Object.values(goldenPersonas).map((persona) => [persona.name, persona])),
  };
}

const claim = (...ranges: string[]): DecoyGroup => group('dmz', 'claimed', ranges, everybody('web'));

function refusal(config: Configuration, ssh?: string, observed = facts()): string {
  try {
    checkLockOut(config, observed, parseSshConnection(ssh));
    return '';
  } catch (error) {
    assert.ok(error instanceof WeirError);
    return `${error.code}: ${error.message}`;
  }
}

test('each class of lock-out is refused with its line and next step', () => {
  const cases: [Configuration, RegExp, string?][] = [
    [
      configuration([claim('10.66.9.0/24')]),
      /^lock-out: weir\.yaml:7: 10\.66\.9\.0\/24 holds 10\.66\.9\.9, a gateway of eth1\. Next: add `exclude: \[10\.66\.9\.9\]`/,
    ],
    [configuration([claim('192.0.2.0/30')]), /^lock-out: .*192\.0\.2\.1, the default gateway of eth0/],
    [configuration([claim('10.66.0.2')]), /^lock-out: .*10\.66\.0\.2 is this machine's own address on eth1\. Next: remove it/],
    [
      configuration([claim('2001:db8::/120')]),
      /^lock-out: .*2001:db8::7, this machine's own address on eth0 \(not even on the same link\)/,
    ],
    [configuration([claim('10.66.5.0/24')]), /^lock-out: .*10\.66\.5\.53, a name server/],
    [
      configuration([claim('10.70.0.0/16')]),
      /^lock-out: .*10\.70\.3\.3, where your own SSH session comes from/,
      '10.70.3.3 5 10.66.0.2 22',
    ],
    [
      configuration([group('dmz', 'own', [], everybody('web'))], { ports: '443' }),
      /^lock-out: .*persona web would divert port 443 .* it is a management port/,
    ],
    [
      configuration([group('dmz', 'own', [], everybody('web'))]),
      /^lock-out: .*port 8000 .* your own SSH session uses it/,
      '10.70.3.3 5 10.66.0.2 8000',
    ],
    [configuration([claim('224.0.0.1-224.0.0.9')]), /^config-invalid: .*multicast/],
    [configuration([claim('127.0.0.8/30')]), /^config-invalid: .*loopback/],
    [configuration([claim('fe80::/64')]), /link-local/],
    [
      configuration([claim('10.70.0.1')], { interface: 'eth9' }),
      /^config-invalid: weir\.yaml:3: there is no interface eth9 here\. Next: use one of: eth0, eth1/,
    ],
    [configuration([claim('10.70.0.1')], { interface: 'down0' }), /^config-invalid: .*interface down0 is down/],
    [configuration([claim('10.70.0.1')], { interface: undefined }), /^config-invalid: .*need an interface/],
  ];
  for (const [config, expected, ssh] of cases) assert.match(refusal(config, ssh), expected);
});

test('every mistake is told at once, a long list is cut and counted', () => {
  const text = refusal(configuration([claim('10.66.0.0/16')]));
  assert.match(text, /10\.66\.0\.2/);
  assert.match(text, /10\.66\.9\.9/);
  assert.match(text, /10\.66\.5\.53/);
  const many = Array.from({ length: 30 }, (_, index) => link(`veth${index}`, `10.71.0.${index + 1}/32`));
  assert.match(
    refusal(configuration([claim('10.71.0.0/24')]), undefined, facts({ links: [...facts().links, ...many] })),
    /and 10 more$/,
  );
});

test('what cannot lock anybody out passes', () => {
  assert.equal(refusal(configuration([claim('10.66.128.0/17', '2001:db8:1::/64')]), '192.0.2.99 5 192.0.2.7 22'), '');
  assert.equal(refusal(configuration([group('dmz', 'own', [], everybody('all-open'))]), '192.0.2.99 5 192.0.2.7 22'), '');
});

test('an SSH connection parses, and what is none does not', () => {
  assert.deepEqual(parseSshConnection('192.0.2.9 50000 192.0.2.7 2222'), {
    client: address('192.0.2.9'),
    port: 2222,
    server: address('192.0.2.7'),
  });
  assert.deepEqual(parseSshConnection('fe80::1%eth0 50000 fe80::2%eth0 22')?.port, 22);
  for (const text of [undefined, '', 'x', '192.0.2.9 1 192.0.2.7', '192.0.2.9 1 192.0.2.7 0', '192.0.2.9 1 192.0.2.7 70000'])
    assert.equal(parseSshConnection(text), undefined);
});

const planned = (config: Configuration, more: Partial<Parameters<typeof planDesired>[0]> = {}): ReturnType<typeof planDesired> =>
  planDesired({
    configuration: config,
    facts: facts(),
    ports: { tcp: 1, udp: 2 },
    tag: '0a1b',
    live: [],
    savedSysctls: {},
    ...more,
  });

test('own groups take the global addresses of the machine, and only of their interface', () => {
  const own = group('dmz', 'own', [], everybody('all-open'));
  const text = (config: Configuration): string[] =>
    planned(config).desired.groups.flatMap(({ ranges }) => ranges.map(({ first }) => first.toString(16)));
  assert.deepEqual(text(configuration([own], { interface: undefined })), [
    'a420002',
    'c0000207',
    '20010db8000000000000000000000007',
  ]);
  assert.deepEqual(text(configuration([own])), ['a420002']);
  assert.deepEqual(planned(configuration([own], { interface: 'down0' })).desired.groups, []);
});

test('live hosts, network and broadcast addresses stay out of claimed ranges, and are named', () => {
  const { desired, notes } = planned(configuration([claim('10.66.255.0/24', '10.67.0.0/30')]), {
    live: [{ family: 4, first: 0x0a430001n, last: 0x0a430001n }],
  });
  assert.deepEqual(
    desired.groups[0].ranges.map(({ first, last }) => [first, last]),
    [
      [0x0a42ff00n, 0x0a42fffen],
      [0x0a430000n, 0x0a430000n],
      [0x0a430002n, 0x0a430003n],
    ],
  );
  assert.ok(notes.some((note) => note.startsWith('10.67.0.1 in dmz: a live host')));
  assert.ok(notes.some((note) => note.startsWith('10.66.255.255 in dmz: network or broadcast')));
});

test('ports of sessions and servers stay guarded from one plan to the next', () => {
  const own = configuration([group('dmz', 'own', [], everybody('all-open'))], { interface: undefined });
  const first = planned(own, { operator: { client: address('192.0.2.9'), port: 2022 } }).desired;
  const second = planned(own, { current: first }).desired;
  assert.deepEqual(second.guards.ports, first.guards.ports);
  assert.ok([22, 2022, 8443].every((port) => second.guards.ports.some(({ first: low, last }) => low <= port && port <= last)));
});

test('sysctls change only where they stand in the way, and what was there before counts, not what we set', () => {
  const config = configuration([claim('10.70.0.0/24')]);
  const key = 'net/ipv4/conf/eth1/arp_ignore';
  const all = 'net/ipv4/conf/all/arp_ignore';
  const keys = (sysctls: Record<string, string>, saved: Record<string, string> = {}): string[] =>
    planned(config, { facts: facts({ sysctls }), savedSysctls: saved }).desired.sysctls.map(
      (item) => `${item.key}=${item.value}`,
    );
  assert.deepEqual(keys({ [key]: '0', [all]: '0' }), []);
  assert.deepEqual(keys({ [key]: '1', [all]: '0' }), [`${key}=0`]);
  assert.deepEqual(keys({ [key]: '0', [all]: '0' }, { [key]: '1' }), [`${key}=0`]);
  assert.deepEqual(keys({ [all]: '1', 'net/ipv4/conf/eth0/arp_ignore': '0' }), [
    'net/ipv4/conf/eth0/arp_ignore=1',
    'net/ipv4/conf/down0/arp_ignore=1',
    `${all}=0`,
  ]);
  assert.deepEqual(keys({ 'net/ipv4/conf/eth1/rp_filter': '1' }), ['net/ipv4/conf/eth1/rp_filter=2']);
});
