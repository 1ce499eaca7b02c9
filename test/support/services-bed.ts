// Two segments that use the same addresses, a machine's own namespace with a diversion of its own, and one service on a wire
// of its own that owns the decoys (AnyIP) and tells each client both ends of its connection. For tests of the kernel path;
// segments are made by hand here.

import { createCommandRunner } from '../../src/kernel/command.ts';
import { applyRoutes } from '../../src/kernel/ip-route.ts';
import { setLinkPromiscuous } from '../../src/kernel/link-message.ts';
import { applyTransaction, renderReplacement } from '../../src/kernel/nft-apply.ts';
import type { Address, AddressRange } from '../../src/model/address.ts';
import { parseAddress, parseRange } from '../../src/model/address.ts';
import type { DesiredState, NetworkState, SegmentState } from '../../src/plan/desired-state.ts';
import { planRoutes } from '../../src/plan/difference.ts';
import { planRuleset } from '../../src/plan/ruleset.ts';
import { everybody, group, state } from './golden-states.ts';
import { type NamespaceLab, type TestNamespace, until } from './namespace.ts';

export interface ServicesBed {
  /** Behind `floor-1`, `floor-2` and the machine's `eth0`; the first two have the same addresses. */
  readonly attackers: readonly [TestNamespace, TestNamespace, TestNamespace];
  readonly segments: readonly [TestNamespace, TestNamespace];
  readonly home: TestNamespace;
  readonly service: TestNamespace;
  readonly desired: DesiredState;
}

const addressOf = (text: string): Address => parseAddress(text) as Address;
const rangeOf = (text: string): AddressRange => parseRange(text) as AddressRange;
const place = { file: 'weir.yaml', line: 1 };

/** Decoys: 10.50.0.0/24 and fd50::/120 in both segments, 10.70.0.0/24 and fd70::/120 on eth0; all bound to `real`. */
export async function layServicesBed(lab: NamespaceLab): Promise<ServicesBed> {
  const home = await lab.namespace('h');
  const service = await lab.namespace('v');
  await lab.join(
    { namespace: home, link: 'wire0' },
    { namespace: service, link: 'eth0', addresses: ['10.60.0.9/24', 'fd60::9/64'] },
  );
  const attackers: TestNamespace[] = [];
  const segments: TestNamespace[] = [];
  const states: SegmentState[] = [];
  for (const index of [1, 2]) {
    const segment = await lab.namespace(`n${index}`);
    const attacker = await lab.namespace(`a${index}`);
    const mac = `02:00:00:00:50:0${index}`;
    await lab.join(
      { namespace: attacker, link: 'eth0', addresses: ['10.50.0.1/24', '10.50.1.1/24', 'fd50::f001/64'], mac },
      { namespace: segment, link: 'lan', addresses: ['10.50.0.2/24', 'fd50::f002/64'] },
    );
    const inside: NetworkState = state([group(`floor-${index}`, 'claimed', ['10.50.0.16-10.50.0.255'], everybody('web'))], {
      interfaces: { [`floor-${index}`]: 'lan' },
      macLinks: ['lan'],
    });
    await furnish(segment, inside);
    attackers.push(attacker);
    segments.push(segment);
    states.push({
      name: `floor-${index}`,
      netns: segment.name,
      attachment: { kind: 'vlan', trunk: 'wire0', vlan: index },
      addresses: [{ address: addressOf('10.50.0.2'), prefixLength: 24 }],
      gateways: [addressOf('10.50.0.1')],
      mtu: 1500,
      inside,
    });
  }
  const outside = await lab.namespace('a3');
  await lab.join(
    { namespace: outside, link: 'eth0', addresses: ['10.70.0.1/24', 'fd70::f001/64'] },
    { namespace: home, link: 'eth0', addresses: ['10.70.0.2/24', 'fd70::f002/64'] },
  );
  const own = state([group('dmz', 'claimed', ['10.70.0.16-10.70.0.255', 'fd70::/120'], everybody('web'))]);
  await furnish(home, own);
  await service.ip(
    ['10.50.0.64/26', '10.70.0.64/26', 'fd70::40/122']
      .map((range) => `route add local ${range} dev lo\n`)
      .join('')
      .concat('route add default via 10.60.0.1\nroute add default via fd60::1\n'),
  );
  const bind = (diversion: string, address: string): DesiredState['bindings'][number] => ({
    diversion,
    addresses: [rangeOf(address)],
    service: address.includes(':') ? 'real6' : 'real',
    place,
  });
  const external = (name: string, address: string, from: string, prefixLength: number): DesiredState['services'][number] => ({
    kind: 'external',
    path: 'kernel',
    name,
    address: addressOf(address),
    interface: 'wire0',
    from: { address: addressOf(from), prefixLength },
    place,
  });
  return {
    attackers: [attackers[0], attackers[1], outside],
    segments: [segments[0], segments[1]],
    home,
    service,
    desired: {
      ...own,
      segments: states,
      services: [external('real', '10.60.0.9', '10.60.0.1', 24), external('real6', 'fd60::9', 'fd60::1', 64)],
      bindings: [
        bind('floor-1', '10.50.0.64/26'),
        bind('floor-2', '10.50.0.64/26'),
        bind('dmz', '10.70.0.64/26'),
        bind('dmz', 'fd70::40/122'),
      ],
    },
  };
}

/** Routes, rules and the link's flag, as the controller would set them. */
async function furnish(namespace: TestNamespace, inside: NetworkState): Promise<void> {
  const runner = createCommandRunner(namespace.path);
  await applyTransaction(runner, renderReplacement(planRuleset(inside, [], [])));
  for (const link of inside.macLinks) setLinkPromiscuous(runner.netns, link, true);
  await applyRoutes(runner, planRoutes(inside, []), []);
}

/** A TCP server on this port of every address, which answers with both ends and the bytes it heard; on 10.50.0.75 UDP too. */
export async function serveBothEnds(service: TestNamespace, port: number): Promise<void> {
  const script = `
const net = require('node:net'), dgram = require('node:dgram');
net.createServer({ allowHalfOpen: true }, (s) => {
  let heard = 0;
  s.on('error', () => {});
  s.on('data', (d) => { heard += d.length; });
  s.on('end', () => s.end('real ' + s.remoteAddress + ' ' + s.remotePort + ' ' + s.localAddress + ' ' + s.localPort + ' ' + heard + '\\n'));
}).listen(${port}, () => console.log('up'));
const udp = dgram.createSocket('udp4').bind(${port}, '10.50.0.75');
udp.on('message', (m, r) => udp.send('echo ' + m, r.port, r.address));`;
  const child = service.spawn(['node', '-e', script]);
  let heard = '';
  child.stdout?.on('data', (data) => {
    heard += String(data);
  });
  await until('the service listens', () => heard.includes('up'));
}

/** What a client hears that connects from this port, sends, half-closes and reads; `refused` or `silence` otherwise. */
export async function talk(
  from: TestNamespace,
  host: string,
  port: number,
  localPort: number,
  payload = 'hello',
): Promise<string> {
  const script = `
const socket = require('node:net').connect({ host: ${JSON.stringify(host)}, port: ${port}, localPort: ${localPort} });
const end = (text) => { process.stdout.write(text); process.exit(0); };
setTimeout(end, 3000, 'silence');
let heard = '';
socket.on('connect', () => socket.end(${JSON.stringify(payload)}));
socket.on('data', (data) => { heard += data; });
socket.on('end', () => end(heard));
socket.on('error', (error) => end(error.code === 'ECONNREFUSED' ? 'refused' : error.code));
`;
  return (await from.run(['node', '-e', script])).stdout.trim();
}
