// Agents in weir.yaml: their diversions, inner gateways, and the part of the file each is given, read back by the same parser.

import assert from 'node:assert/strict';
import test from 'node:test';
import { acceptText, checkMistake, type MistakeCase } from '../../test/support/configuration-text.ts';
import { renderAddress, renderRange } from '../model/address.ts';
import type { Configuration } from '../model/configuration.ts';
import { renderPorts } from '../model/port-set.ts';

/** Line 3 to 12 are diversions. */
const whole = `version: 1
diversions:
  - { name: branch, kind: agent, agent: branch-1, listen: { ports: [23, 445, 8000-8100], udp-ports: [161] }, persona: printer }
  - { name: second, kind: agent, agent: branch-2, listen: { ports: [80], addresses: [10.9.0.5] } }
  - name: branch-lan
    kind: host
    agent: branch-1
    interface: eth7
    decoys: [{ addresses: 10.66.0.0/24, population: mine }]
  - { name: floor, kind: network, agent: branch-1, trunk: eth1, vlan: 110, address: 10.77.0.2/24, decoys: [{ addresses: 10.77.0.0/25, persona: nas }] }
  - { name: dmz, kind: host, interface: eth0, decoys: [{ addresses: 10.66.0.0/24, persona: nas }] }
  - { name: floor-here, kind: network, trunk: eth1, vlan: 110, address: 10.77.0.2/24, decoys: [{ addresses: 10.77.0.0/25, persona: nas }] }
agents: { listen: "[::]:7443", names: [weir.example.org, 192.0.2.1] }
gateways:
  - { name: vm-2, address: "[2001:db8:8::2]:7000", via: vm-1 }
  - { name: vm-1, address: 10.8.0.2:7000, from: 10.8.0.1 }
services:
  - { name: shop, kind: external, address: "172.17.0.2:80", via: vm-1 }
  - { name: deep, kind: external, address: 172.18.0.2, path: transparent, interface: br0, from: 172.18.0.1/24, via: vm-2 }
  - { name: secret, kind: external, address: "10.250.0.1:22" }
  - { name: win, kind: external, path: kernel, address: 10.1.0.9, interface: eth2, from: 10.1.0.1/24 }
bindings:
  - { diversion: branch, ports: [23], service: shop }
  - { diversion: branch-lan, ports: [22], service: secret }
  - { diversion: branch-lan, addresses: [10.66.0.9], service: catch-all }
  - { diversion: floor, addresses: [10.77.0.9], service: win }
  - { diversion: dmz, ports: [80], service: deep }
personas: [{ name: my-nas, like: nas, ttl: 255 }]
populations: [{ name: mine, shares: { my-nas: 50% } }]
limits: { sessions: 100 }
management: { ports: [2222], sources: [10.0.0.0/8] }
`;

const configuration = acceptText(whole);
const partOf = (agent: string): Configuration => acceptText(configuration.agents.rules.get(agent) ?? '');

test('an agent runs what names it; nothing of that is planned here', () => {
  assert.deepEqual(
    configuration.agentDiversions.map(({ name, agent, tcp, udp, addresses, persona, place }) => [
      name,
      agent,
      renderPorts(tcp),
      renderPorts(udp),
      addresses.map(renderAddress).join(),
      persona,
      place.line,
    ]),
    [
      ['branch', 'branch-1', '23,445,8000-8100', '161', '', 'printer', 3],
      ['second', 'branch-2', '80', '', '10.9.0.5', 'all-open', 4],
    ],
  );
  assert.deepEqual(
    configuration.diversions.map(({ name }) => name),
    ['dmz', 'floor-here'],
    'the same addresses, interfaces and VLANs elsewhere are no overlap',
  );
  assert.deepEqual(
    configuration.remoteDiversions.map(({ agent, diversion }) => `${agent} ${diversion.name} ${diversion.place.line}`),
    ['branch-1 branch-lan 5', 'branch-1 floor 10'],
  );
  assert.deepEqual(configuration.services, [], 'the wire of `win` is on the machine of branch-1');
  assert.deepEqual(configuration.bindings, []);
  assert.equal(renderPorts(configuration.management.ports), '2222,7443');
  assert.equal(renderAddress(configuration.agents.listen?.address as never), '::');
  assert.deepEqual(configuration.agents.publicNames, ['weir.example.org', '192.0.2.1']);
});

test('a chain begins with its first hop', () => {
  assert.deepEqual(
    configuration.relayedServices.map(({ name, via }) => [name, via]),
    [
      ['shop', 'vm-1'],
      ['deep', 'vm-1'],
      ['secret', undefined],
    ],
  );
  assert.deepEqual(
    configuration.innerGateways.map(({ name, address, port }) => `${name} ${renderAddress(address)} ${port}`),
    ['vm-2 2001:db8:8::2 7000', 'vm-1 10.8.0.2 7000'],
  );
});

test('each agent gets its own part, and nothing else', () => {
  assert.deepEqual([...configuration.agents.rules.keys()], ['branch-1', 'branch-2', 'vm-1', 'vm-2']);
  assert.doesNotMatch(configuration.agents.rules.get('branch-1') ?? '', /10\.250\.0\.1|branch-2|eth0|vm-1|7443/);
  assert.doesNotMatch(configuration.agents.rules.get('branch-2') ?? '', /management|10\.66|branch-1|gateways":\[\{/);
  const first = partOf('branch-1');
  assert.equal(first.agent, 'branch-1');
  const unplaced = ({ agentDiversions }: Configuration): unknown =>
    agentDiversions.flatMap((one) => (one.agent === 'branch-1' ? [{ ...one, place: undefined }] : []));
  assert.deepEqual(unplaced(first), unplaced(configuration));
  const decoys = (list: Configuration['diversions']): unknown =>
    list.map(({ name, kind, groups }) => [name, kind, groups.map(({ ranges, population }) => [ranges, population])]);
  assert.deepEqual(decoys(first.diversions), decoys(configuration.remoteDiversions.map(({ diversion }) => diversion)));
  assert.equal(first.personas.get('my-nas')?.ttl, 255);
  assert.deepEqual(first.limits, configuration.limits);
  assert.equal(renderPorts(first.management.ports), '2222');
  assert.deepEqual(
    first.relayBindings.map(({ diversion, ports, addresses, service }) => [
      diversion,
      ports && renderPorts(ports),
      addresses?.map(renderRange).join(),
      service,
    ]),
    [
      ['branch-lan', '22', undefined, 'gateway'],
      ['branch-lan', undefined, '10.66.0.9', 'catch-all'],
    ],
  );
  assert.deepEqual(
    first.bindings.map(({ diversion, service }) => [diversion, service]),
    [['floor', 'win']],
  );
  assert.deepEqual(
    first.services.map(({ name, interface: link }) => [name, link]),
    [['win', 'eth2']],
  );
});

test('an inner gateway gets a door, the services behind it, and the way on', () => {
  const [outer, inner] = [partOf('vm-1'), partOf('vm-2')];
  const doors = ({ proxyDiversions }: Configuration): unknown =>
    proxyDiversions.map(({ listen, allow, inner: handed }) => [
      `${renderAddress(listen.address)} ${listen.port}`,
      allow.map(renderRange).join(),
      handed,
    ]);
  const ways = ({ relayedServices }: Configuration): unknown => relayedServices.map(({ name, path, via }) => [name, path, via]);
  assert.deepEqual(doors(outer), [['10.8.0.2 7000', '10.8.0.1', true]]);
  assert.deepEqual(ways(outer), [
    ['shop', 'direct', undefined],
    ['deep', 'transparent', 'vm-2'],
  ]);
  assert.deepEqual(
    outer.innerGateways.map(({ name }) => name),
    ['vm-2'],
  );
  assert.deepEqual(doors(inner), [['2001:db8:8::2 7000', '10.8.0.2', true]], 'the gateway before it comes from its own address');
  assert.deepEqual(ways(inner), [['deep', 'transparent', undefined]]);
  assert.deepEqual(inner.innerGateways, []);
  assert.equal(outer.agents.rules.size, 0);
  assert.deepEqual(outer.diversions, []);
});

test('where nothing says where the one before comes from, it is where the link leads to', () => {
  const text = whole.replace(', from: 10.8.0.1', '');
  const [door] = acceptText(acceptText(text).agents.rules.get('vm-1') ?? '').proxyDiversions;
  assert.deepEqual([door.inner, door.allow], [true, []]);
});

test('rules are the same text for the same file', () => {
  assert.deepEqual([...acceptText(whole).agents.rules], [...configuration.agents.rules]);
});

/** Mistakes in `whole` after a change, and its line. */
const changed = (from: string, to: string): string => {
  assert.ok(whole.includes(from), from);
  return whole.replace(from, to);
};
const cases: readonly MistakeCase[] = [
  [
    'nowhere to connect to',
    changed('agents: { listen: "[::]:7443", names', 'agents: { names'),
    3,
    /`branch-1` has nowhere to connect to/,
    /7443/,
  ],
  ['no agent', changed('agent: branch-2, ', ''), 4, /`agent` is missing/, /weir agents add/],
  [
    'no port',
    changed('{ ports: [80], addresses: [10.9.0.5] }', '{ addresses: [10.9.0.5] }'),
    4,
    /listen on no port/,
    /ports: \[23, 445\]/,
  ],
  ['listen missing', changed(', listen: { ports: [80], addresses: [10.9.0.5] }', ''), 4, /`listen` is missing/, /add/],
  ['unknown key', changed('udp-ports', 'udp-port'), 3, /unknown key `udp-port`/, /`udp-ports`/],
  ['port', changed('[80], addresses', '[0], addresses'), 4, /port 0 does not exist/, /1 to 65535/],
  ['address', changed('10.9.0.5', '10.9.0.0/24'), 4, /is not an address of the agent's machine/, /one address/],
  ['persona', changed('persona: printer', 'persona: prnter'), 3, /no persona `prnter`/, /`printer`/],
  ['name', changed('agent: branch-2', 'agent: Branch'), 4, /`Branch` is not a name/, /a-z/],
  ['names', changed('weir.example.org', '"-"'), 13, /is not a host name/, /under which agents reach/],
  [
    'a port twice',
    changed('agent: branch-2, listen: { ports: [80]', 'agent: branch-1, listen: { ports: [80, 445]'),
    4,
    /`branch` on line 3 has port 445 of the same agent/,
    /out of one/,
  ],
  [
    'overlap on an agent',
    changed('10.66.0.0/24, population: mine }', '10.66.0.0/24, population: mine }, { address: 10.66.0.9, persona: nas }'),
    9,
    /10\.66\.0\.9 is a decoy twice/,
    /exclude/,
  ],
  ['not listened on', changed('ports: [23], service', 'ports: [23, 24], service'), 23, /does not listen on port 24/, /`listen`/],
  [
    'not listened at',
    changed('{ diversion: branch, ports: [23]', '{ diversion: second, addresses: 10.9.0.6'),
    23,
    /does not listen at 10\.9\.0\.6/,
    /10\.9\.0\.5/,
  ],
  [
    'a wire on two machines',
    changed('diversion: dmz, ports: [80], service: deep', 'diversion: dmz, service: win'),
    21,
    /`win` is bound on the machine of `branch-1` and this machine/,
    /once for each/,
  ],
  [
    'unknown gateway',
    changed('"172.17.0.2:80", via: vm-1', '"172.17.0.2:80", via: vm-3'),
    18,
    /no gateway `vm-3`/,
    /did you mean/,
  ],
  [
    'unknown gateway before',
    changed('via: vm-1 }\n  - { name: vm-1', 'via: vm-9 }\n  - { name: vm-1'),
    15,
    /no gateway `vm-9`/,
    /did you mean/,
  ],
  [
    'gateway twice',
    changed('name: vm-2,', 'name: vm-1,')
      .replace(', via: vm-1 }\n  - { name: vm-1', ' }\n  - { name: vm-1')
      .replace('via: vm-2', 'via: vm-1'),
    16,
    /`vm-1` stands here and on line 15/,
    /another name/,
  ],
  ['gateway without a port', changed('10.8.0.2:7000', '10.8.0.2'), 16, /has no port/, /10\.8\.0\.2:7000/],
  ['gateway at all addresses', changed('10.8.0.2:7000', '0.0.0.0:7000'), 16, /leads nowhere/, /one address/],
  [
    'gateway of the kernel path',
    changed('interface: eth2, from: 10.1.0.1/24', 'interface: eth2, from: 10.1.0.1/24, via: vm-1'),
    21,
    /unknown key `via`/,
    /keys here/,
  ],
  ['gateway service by hand', changed('service: secret', 'service: gateway'), 24, /no service `gateway`/, /use one of/],
];

for (const one of cases) test(`mistake about agents: ${one[0]}`, () => checkMistake(one));

test('a way that goes round in a circle is told once for each gateway on it', () => {
  const text = changed('10.8.0.2:7000, from: 10.8.0.1', '10.8.0.2:7000, via: vm-2');
  assert.throws(() => acceptText(text), /goes round in a circle/);
});

test("an agent's part holds nothing of others", () => {
  const part = (diversion: string): string => `version: 1\nagent: branch-1\ndiversions:\n  - ${diversion}\n`;
  for (const one of [
    part('{ name: a, kind: agent, agent: branch-2, listen: { ports: [80] } }'),
    part('{ name: a, kind: host, agent: branch-2, interface: eth0, decoys: [{ address: 10.0.0.1, persona: nas }] }'),
  ])
    checkMistake(['other', one, 4, /this file is the part of `branch-1`/, /leave this diversion out/]);
  const own = acceptText(part('{ name: a, kind: agent, listen: { ports: [80] } }'));
  assert.equal(own.agentDiversions[0].agent, 'branch-1');
});
