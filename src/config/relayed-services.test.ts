// Services that are dialled, proxy diversions and what is bound to either: what is accepted, and each mistake with its line.

import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { acceptText, checkMistake, type MistakeCase, refuseText } from '../../test/support/configuration-text.ts';
import { renderAddress, renderRange } from '../model/address.ts';
import { renderPorts } from '../model/port-set.ts';
import { BindingTable, type RelayedService } from '../model/relayed-service.ts';
import { renderInterfaceAddress } from '../model/segment.ts';
import { parseAddressAndPort } from './relay-forms.ts';

/** Services begin on line 9. */
const dmz = `version: 1
diversions:
  - name: dmz
    kind: host
    interface: eth0
    decoys: [{ addresses: 10.66.0.0/24, persona: nas }, { address: "2001:db8:66::1", persona: nas }]
  - { name: front, kind: proxy, listen: 0.0.0.0:7000, allow: [192.0.2.10] }
  - { name: me, kind: host, interface: eth0, decoys: [{ addresses: own, persona: all-open }] }
`;
const ssh = '{ name: ssh, kind: external, address: "10.1.0.9:2222", proxy-protocol: false }';
const web = '{ name: web, kind: external, address: 10.1.0.10, proxy-protocol: true }';
const old = '{ name: old, kind: external, address: "[2001:db8::9]:80", proxy-protocol: v1 }';
const deep = '{ name: deep, kind: external, path: transparent, address: 10.2.0.9, interface: eth2, from: 10.2.0.1/24 }';
const win = '{ name: win, kind: external, path: kernel, address: 10.3.0.9, interface: eth3, from: 10.3.0.1/24 }';
const services = (...lines: string[]): string => `${dmz}services:\n${lines.map((line) => `  - ${line}\n`).join('')}`;
/** Bindings after five services; the first stands on line 16. */
const bound = (...lines: string[]): string =>
  `${services(ssh, web, old, deep, win)}bindings:\n${lines.map((line) => `  - ${line}\n`).join('')}`;

const told = ({ name, path, address, port, proxyVersion, wire }: RelayedService): string =>
  [
    name,
    path,
    renderAddress(address),
    port ?? '-',
    proxyVersion ?? '-',
    ...(wire ? [wire.interface, renderInterfaceAddress(wire.from)] : []),
  ].join(' ');

test('services that are dialled, in each of their ways', () => {
  const { relayedServices, services: kernel } = acceptText(services(ssh, web, old, deep, win));
  assert.deepEqual(relayedServices.map(told), [
    'ssh direct 10.1.0.9 2222 -',
    'web proxy 10.1.0.10 - 2',
    'old proxy 2001:db8::9 80 1',
    'deep transparent 10.2.0.9 - - eth2 10.2.0.1/24',
  ]);
  assert.deepEqual(
    kernel.map(({ name }) => name),
    ['win'],
  );
  assert.equal(relayedServices[0].place.line, 10);
});

test('proxy diversions listen, and their ports are never diverted', () => {
  const { proxyDiversions, management } = acceptText(
    `${dmz}  - { name: six, kind: proxy, listen: "[::]:7001", allow: ["2001:db8::/32", 192.0.2.0/24], persona: linux-web }\n  - { name: near, kind: proxy, listen: 127.0.0.1:7002, allow: 127.0.0.1 }\n`,
  );
  assert.deepEqual(
    proxyDiversions.map(({ name, listen, allow, persona }) => [
      name,
      renderAddress(listen.address),
      listen.port,
      allow.map(renderRange).join(' '),
      persona,
    ]),
    [
      ['front', '0.0.0.0', 7000, '192.0.2.10', 'all-open'],
      ['six', '::', 7001, '2001:db8::/32 192.0.2.0/24', 'linux-web'],
      ['near', '127.0.0.1', 7002, '127.0.0.1', 'all-open'],
    ],
  );
  assert.equal(renderPorts(management.ports), '7000-7001', 'loopback needs no protection');
});

test('bindings by ports and protocol, beside those of the kernel path', () => {
  const { relayBindings, bindings } = acceptText(
    bound(
      '{ diversion: dmz, ports: [80, 8080], service: web }',
      '{ diversion: dmz, addresses: [10.66.0.0/28, 10.66.0.5], ports: [22], protocol: tcp, service: ssh }',
      '{ diversion: dmz, addresses: [10.66.0.128/25], service: win }',
      '{ diversion: front, service: old }',
      '{ diversion: me, ports: 22, service: ssh }',
      '{ diversion: dmz, addresses: [10.66.0.3], ports: [80], service: catch-all }',
    ),
  );
  assert.deepEqual(
    relayBindings.map(({ diversion, addresses, ports, transport, service, place }) => [
      diversion,
      addresses?.map(renderRange).join(' '),
      ports && renderPorts(ports),
      transport,
      service,
      place.line,
    ]),
    [
      ['dmz', undefined, '80,8080', undefined, 'web', 16],
      ['dmz', '10.66.0.0/28', '22', 'tcp', 'ssh', 17],
      ['front', undefined, undefined, 'tcp', 'old', 19],
      ['me', undefined, '22', undefined, 'ssh', 20],
      ['dmz', '10.66.0.3', '80', undefined, 'catch-all', 21],
    ],
  );
  assert.deepEqual(
    bindings.map(({ service, addresses }) => `${service} ${addresses.map(renderRange)}`),
    ['win 10.66.0.128/25'],
  );
});

test('what the catch-all answers by itself needs no look-up', () => {
  assert.deepEqual(acceptText(bound('{ diversion: front, ports: [80], service: catch-all }')).relayBindings, []);
});

const cases: readonly MistakeCase[] = [
  ['container', services('{ name: x, kind: container }'), 10, /starts no services of kind `container`/, /external/],
  ['address missing', services('{ name: x, kind: external }'), 10, /`address` is missing/, /address:port/],
  [
    'address',
    services(ssh.replace('10.1.0.9:2222', 'server:22')),
    10,
    /`server:22` is not the address of a service/,
    /10\.1\.0\.9/,
  ],
  ['port', services(ssh.replace('2222', '70000')), 10, /is not the address of a service/, /with or without a port/],
  ['multicast', services(ssh.replace('10.1.0.9', '224.0.0.9')), 10, /is multicast/, /one address/],
  ['version', services(web.replace('true', 'v3')), 10, /`v3` is no PROXY protocol/, /v1, v2/],
  ['path', services(web.replace('proxy-protocol: true', 'path: direct')), 10, /no path `direct`/, /transparent/],
  [
    'interface without a path',
    services(ssh.replace(' }', ', interface: eth2 }')),
    10,
    /`interface` says nothing/,
    /path: transparent/,
  ],
  ['no interface', services(deep.replace(', interface: eth2', '')), 10, /`interface` is missing/, /on whose wire/],
  ['no from', services(deep.replace(', from: 10.2.0.1/24', '')), 10, /`from` is missing/, /free address/],
  [
    'header twice',
    services(deep.replace(' }', ', proxy-protocol: true }')),
    10,
    /does not go with `path: transparent`/,
    /one of them/,
  ],
  ['transparent port', services(deep.replace('10.2.0.9', '"10.2.0.9:80"')), 10, /leads to the decoy's port/, /10\.2\.0\.9 alone/],
  ['wire', services(deep.replace('10.2.0.1/24', '10.9.0.1/24')), 10, /10\.2\.0\.9 is not on the wire/, /free address/],
  [
    'wires of two ways',
    services(win, deep.replaceAll('10.2.0', '10.3.0')),
    11,
    /10\.3\.0\.0\/24 is the wire of eth2 here/,
    /different/,
  ],
  ['unknown key', services(ssh.replace('proxy-protocol', 'proxy-protokol')), 10, /unknown key/, /`proxy-protocol`/],
  [
    'built-in name',
    services(ssh.replace('name: ssh', 'name: gateway')),
    10,
    /`gateway` is the name of what is built in/,
    /another/,
  ],
  ['unknown gateway', services(ssh.replace(' }', ', via: vm-1 }')), 10, /no gateway `vm-1`/, /add it to `gateways:`/],
  ['decoy', services(ssh.replace('10.1.0.9', '10.66.0.9')), 10, /10\.66\.0\.9 is a decoy of `dmz`/, /exclude/],
  [
    'circle',
    services(ssh.replace('10.1.0.9:2222', '127.0.0.1:7000')),
    10,
    /is the diversion `front` of line 7 itself/,
    /listens/,
  ],
  ['unknown service', bound('{ diversion: dmz, service: sssh }'), 16, /no service `sssh`/, /did you mean `ssh`/],
  ['protocol', bound('{ diversion: dmz, protocol: icmp, service: ssh }'), 16, /neither tcp nor udp/, /both/],
  [
    'v1 and UDP',
    bound('{ diversion: dmz, protocol: udp, service: old }'),
    16,
    /`v1`?, which cannot say UDP|cannot say UDP/,
    /v2/,
  ],
  ['no decoys', bound('{ diversion: dmz, addresses: 10.67.0.1, service: ssh }'), 16, /is no decoy of `dmz`/, /add them/],
  ['transparent and family', bound('{ diversion: dmz, service: deep }'), 16, /2001:db8:66::1 cannot be dialled/, /IPv4 decoys/],
  ['packets of connections', bound('{ diversion: front, service: win }'), 16, /takes packets, and `front` hands over/, /without/],
  [
    'protocol on the kernel path',
    bound('{ diversion: dmz, addresses: 10.66.0.1, protocol: tcp, service: win }'),
    16,
    /whole address/,
    /`protocol` out/,
  ],
  [
    'ports where packets are routed',
    bound(
      '{ diversion: dmz, addresses: 10.66.0.0/24, service: win }',
      '{ diversion: dmz, addresses: 10.66.0.7, ports: [80], service: web }',
    ),
    17,
    /line 16 routes these addresses to `win`/,
    /`web` then answers every port/,
  ],
  [
    'ports of the same addresses as a route',
    bound(
      '{ diversion: dmz, addresses: 10.66.0.7, protocol: tcp, service: web }',
      '{ diversion: dmz, addresses: 10.66.0.7, service: win }',
    ),
    16,
    /line 17 routes these addresses/,
    /`protocol` out/,
  ],
  [
    'two services of one port',
    bound('{ diversion: dmz, ports: [80, 81], service: web }', '{ diversion: dmz, ports: [81, 82], service: ssh }'),
    17,
    /port 81 would have two services, here and on line 16/,
    /out of one/,
  ],
  [
    'two services of everything',
    bound('{ diversion: front, service: web }', '{ diversion: front, service: ssh }'),
    17,
    /the same decoys would have two services/,
    /out of one/,
  ],
  [
    'addresses across',
    bound(
      '{ diversion: dmz, addresses: 10.66.0.0-10.66.0.9, service: web }',
      '{ diversion: dmz, addresses: 10.66.0.5-10.66.0.20, ports: [22], service: ssh }',
    ),
    17,
    /port 22 at 10\.66\.0\.5-10\.66\.0\.9 would have two services/,
    /out of one/,
  ],
  ['allow missing', dmz.replace(', allow: [192.0.2.10]', ''), 7, /`allow` is missing/, /addresses/],
  ['allow nobody', dmz.replace('[192.0.2.10]', '[]'), 7, /`allow` is empty/, /your proxies/],
  ['allow everybody', dmz.replace('192.0.2.10', '192.0.2.10, 0.0.0.0/0'), 7, /0\.0\.0\.0\/0 is everybody/, /your proxies/],
  ['listen without a port', dmz.replace('0.0.0.0:7000', '0.0.0.0'), 7, /has no port/, /0\.0\.0\.0:7000/],
  ['listen at nobody', dmz.replace('0.0.0.0:7000', '224.0.0.1:7000'), 7, /is multicast/, /of this machine/],
  [
    'persona',
    dmz.replace('allow: [192.0.2.10]', 'allow: [192.0.2.10], persona: windos-server'),
    7,
    /no persona/,
    /`windows-server`/,
  ],
  [
    'inner by hand',
    dmz.replace('allow: [192.0.2.10]', 'allow: [192.0.2.10], inner: true'),
    7,
    /rules of an agent only/,
    /`via:`/,
  ],
  [
    'two doors at one place',
    `${dmz}  - { name: back, kind: proxy, listen: 10.0.0.1:7000, allow: [192.0.2.10] }\n`,
    9,
    /`back` and `front` would both listen at 10\.0\.0\.1:7000/,
    /another port/,
  ],
  [
    'the console at the same place',
    dmz.replace('7000', '8443').replace('0.0.0.0', '"[::]').replace('8443', '8443"'),
    7,
    /`front` and the console/,
    /another/,
  ],
  [
    'unknown key of a proxy',
    dmz.replace('allow: [192.0.2.10]', 'allow: [192.0.2.10], alow: 1'),
    7,
    /unknown key `alow`/,
    /`allow`/,
  ],
];

for (const one of cases) test(`mistake in a dialled service, its bindings or a proxy: ${one[0]}`, () => checkMistake(one));

test('many mistakes come at once', () => {
  const text = bound('{ diversion: dmz, service: deep }', '{ diversion: front, ports: 99999, service: web }').replace(
    '[192.0.2.10]',
    '[]',
  );
  assert.deepEqual(
    refuseText(text).map(({ line }) => line),
    [7, 16, 17],
  );
});

test('accepted bindings leave no doubt: the look-up is the same whatever their order', () => {
  const entry = fc.record({
    from: fc.integer({ min: 0, max: 12 }),
    size: fc.constantFrom(1, 2, 4, 8),
    port: fc.option(fc.constantFrom('22', '80', '22, 80', '1-100')),
    protocol: fc.option(fc.constantFrom('tcp', 'udp')),
    service: fc.constantFrom('ssh', 'web', 'catch-all'),
  });
  let accepted = 0;
  fc.assert(
    fc.property(fc.array(entry, { minLength: 1, maxLength: 6 }), fc.integer({ min: 0, max: 19 }), (entries, host) => {
      const line = ({ from, size, port, protocol, service }: (typeof entries)[number]): string =>
        `{ diversion: dmz, addresses: 10.66.0.${from}-10.66.0.${from + size - 1}${port ? `, ports: [${port}]` : ''}${protocol ? `, protocol: ${protocol}` : ''}, service: ${service} }`;
      let text: string;
      try {
        text = bound(...entries.map(line));
        acceptText(text);
      } catch {
        return;
      }
      accepted += 1;
      const table = new BindingTable(acceptText(text).relayBindings);
      const turned = new BindingTable(acceptText(bound(...entries.map(line).reverse())).relayBindings);
      for (const port of [22, 80, 100, 443])
        for (const transport of ['tcp', 'udp'] as const)
          assert.equal(
            table.find('dmz', `10.66.0.${host}`, port, transport) ?? 'catch-all',
            turned.find('dmz', `10.66.0.${host}`, port, transport) ?? 'catch-all',
          );
    }),
    { numRuns: 150 },
  );
  assert.ok(accepted > 10, `${accepted} of 150 were accepted`);
});

test('an address with a port', () => {
  for (const [text, expected] of [
    ['10.0.0.1:80', '10.0.0.1 80'],
    ['[2001:db8::1]:443', '2001:db8::1 443'],
    ['2001:db8::1', '2001:db8::1 -'],
    ['10.0.0.1', '10.0.0.1 -'],
    ['[10.0.0.1]:80', '-'],
    ['10.0.0.1:0', '-'],
    ['10.0.0.1:', '-'],
    ['2001:db8::1:99999', '-'],
    [':80', '-'],
    ['10.0.0.1:80:80', '-'],
  ]) {
    const read = parseAddressAndPort(text);
    assert.equal(read ? `${renderAddress(read.address)} ${read.port ?? '-'}` : '-', expected, text);
  }
});
