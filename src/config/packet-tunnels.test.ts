import assert from 'node:assert/strict';
import path from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { renderRange } from '../model/address.ts';
import type { Configuration, NetworkDiversion } from '../model/configuration.ts';
import { parseConfiguration } from './configuration.ts';
import { readPersonas } from './personas.ts';

const personas = readPersonas(path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../../../rules'));
const tunnel = 'tunnel: { kind: vxlan, vni: 7, local: 192.0.2.1, remote: 192.0.2.2 }';
const text = (more: string, decoys = '{ addresses: [10.1.0.0/24, "fd01::/120"], persona: linux-web }'): string => `version: 1
agents: { listen: 0.0.0.0:7443 }
diversions:
  - { name: depot, kind: host, interface: eth9, ${more}, decoys: [${decoys}] }
`;

const read = (source: string): Configuration => {
  const parsed = parseConfiguration(source, 'weir.yaml', { personas });
  if ('mistakes' in parsed) throw new Error(JSON.stringify(parsed.mistakes));
  return parsed.configuration;
};

const mistakesIn = (source: string): string[] => {
  const parsed = parseConfiguration(source, 'weir.yaml', { personas });
  return 'mistakes' in parsed ? parsed.mistakes.map(({ mistake }) => mistake) : [];
};

test('one diversion becomes a segment at the gateway and bound decoys at the agent, end to end', () => {
  const centre = read(text(`agent: b, transport: packets, ${tunnel}`));
  assert.deepEqual(centre.remoteDiversions, []);
  const [segment] = centre.diversions as NetworkDiversion[];
  assert.deepEqual([segment.kind, segment.name, segment.agent, segment.mtu], ['network', 'depot', 'b', 1500]);
  const rules = centre.agents.rules.get('b');
  assert.ok(rules);
  const agent = read(rules);
  assert.deepEqual(
    agent.diversions.map(({ kind, name }) => `${kind} ${name}`),
    ['host depot'],
  );
  assert.equal(agent.services.length, 2);
  for (const service of agent.services) {
    const { family } = service.address;
    assert.deepEqual(service.tunnel?.attachment, {
      ...segment.attachment,
      local: { family: 4, value: 0xc0000202n },
      remotes: [{ family: 4, value: 0xc0000201n }],
    });
    // Each end's next hop is the other's own address.
    assert.ok(segment.addresses.some(({ address }) => address.value === service.address.value));
    assert.ok(segment.gateways.some(({ value }) => value === service.from.address.value));
    const [binding] = agent.bindings.filter((one) => one.service === service.name);
    assert.deepEqual(binding.addresses.map(renderRange), [family === 4 ? '10.1.0.0/24' : 'fd01::/120']);
  }
  assert.ok([centre, agent].every(({ management }) => management.ports.some(({ first, last }) => first <= 4789 && last >= 4789)));
});

test('what cannot be carried, or is not all said, is a mistake with its reason', () => {
  assert.deepEqual(mistakesIn(text('agent: b, transport: packets')), ['`tunnel` is missing']);
  assert.match(mistakesIn(text(`agent: b, ${tunnel}`))[0], /does nothing without `transport: packets`/);
  assert.match(mistakesIn(text(`transport: packets, ${tunnel}`))[0], /are here already/);
  assert.match(mistakesIn(text(`agent: b, transport: frames, ${tunnel}`))[0], /neither sessions nor packets/);
  assert.match(
    mistakesIn(text(`agent: b, transport: packets, ${tunnel.replace('.2.2', '.2.1')}`))[0],
    /two addresses of one family/,
  );
  const own = '{ addresses: 10.1.0.9, persona: linux-web, claim: address }';
  assert.match(mistakesIn(text(`agent: b, transport: packets, ${tunnel}`, own))[0], /stay with that machine/);
  const twice = `${text(`agent: b, transport: packets, ${tunnel}`)}  - { name: other, kind: host, interface: eth8, agent: c, transport: packets, ${tunnel.replace('.2.2', '.2.3')}, decoys: [{ addresses: 10.2.0.0/24, persona: linux-web }] }\n`;
  assert.match(mistakesIn(twice)[0], /VNI 7 on port 4789 stands here and on line/);
});
