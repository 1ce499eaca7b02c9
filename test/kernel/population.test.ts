// The kernel's arithmetic against ours: who lives at an address, as whom, and with which MAC, over thousands of
// addresses of both families, seen from the attacker's end of the wire.

import assert from 'node:assert/strict';
import test from 'node:test';
import { type Address, parseAddress, renderAddress } from '../../src/model/address.ts';
import { DecoyDirectory } from '../../src/model/decoy.ts';
import { jhash } from '../../src/model/population.ts';
import { configurationOf, withBed } from '../support/diversion-bed.ts';
import { createSegment, lacksKernelTests, type TestNamespace, until, withLab } from '../support/namespace.ts';

const skip = lacksKernelTests();

const persona = (name: string, prefixes: string[], ttl: number): string => `
  - name: ${name}
    description: of the test
    operating-system: none
    hostname: ${name}-{n}
    mac-prefixes: [${prefixes.map((prefix) => `"${prefix}"`).join(', ')}]
    ttl: ${ttl}
    tcp: { open: [1], otherwise: closed }
    udp: { open: [], otherwise: closed }`;

const configuration = (seed: number): string => `
personas:${persona('one', ['00:0c:29'], 64)}${persona('two', ['00:15:5d', '00:50:56', 'b8:27:eb'], 128)}${persona('three', ['00:1b:78', '3c:d9:2b'], 255)}
diversions:
  - name: wide
    kind: host
    interface: sv
    decoys:
      - { addresses: [10.64.0.0/12, "fd99:0:0:1::/64"], population: { one: 10.01%, two: 29.99%, three: 25% }, seed: ${seed} }
      - { addresses: [10.99.77.0/24], population: { one: 50% }, seed: ${seed} }
      - { addresses: [10.120.0.1, 10.120.0.3, 10.120.0.5, 10.120.0.7, "fd99:0:0:2::7"], population: { two: 60% }, seed: ${seed} }
`;

/** Addresses spread over a range by the hash of their index: the same in every run. */
function spread(first: string, bits: number, count: number): Address[] {
  const base = parseAddress(first) as Address;
  const chosen = new Map<string, Address>();
  for (let index = 0; chosen.size < count; index += 1) {
    let offset = 0n;
    for (let word = 0; word < 4; word += 1)
      offset = (offset << 32n) | BigInt(jhash(new Uint8Array([index & 255, index >> 8, word]), 99));
    const address = { family: base.family, value: base.value + (offset & ((1n << BigInt(bits)) - 1n)) };
    chosen.set(renderAddress(address), address);
  }
  return [...chosen.values()];
}

/** What answered: `address . mac . ttl` as the attacker's kernel saw it. */
async function readSeen(attacker: TestNamespace, set: string): Promise<Map<string, string>> {
  const { stdout } = await attacker.run(['nft', '-j', 'list', 'set', 'netdev', 'watch', set]);
  const seen = new Map<string, string>();
  const items = JSON.parse(stdout).nftables.find((item: { set?: unknown }) => item.set).set.elem ?? [];
  for (const item of items) {
    const [ip, mac, ttl] = (item.elem?.val ?? item).concat;
    // A listing made while the set grows may name an element twice.
    assert.equal(seen.get(ip) ?? `${mac} ${ttl}`, `${mac} ${ttl}`, `${ip} answered with two MACs or TTLs`);
    seen.set(ip, `${mac} ${ttl}`);
  }
  return seen;
}

for (const seed of [0, 1, 0xfffffff1])
  test(`seed ${seed}: kernel and user space agree on residents, MACs and TTLs`, { skip }, () =>
    withLab(async (lab) => {
      const { attacker, sensor } = await createSegment(lab);
      await attacker.nft(`table netdev watch {
  set seen4 {
    typeof ip saddr . ether saddr . ip ttl
    size 65535
    flags dynamic
  }
  set seen6 {
    typeof ip6 saddr . ether saddr . ip6 hoplimit
    size 65535
    flags dynamic
  }
  chain in {
    type filter hook ingress device "av" priority 0
    tcp flags & rst == rst update @seen4 { ip saddr . ether saddr . ip ttl }
    tcp flags & rst == rst update @seen6 { ip6 saddr . ether saddr . ip6 hoplimit }
  }
}
`);
      // By way of the sensor: no neighbour table to fill up.
      await attacker.ip(
        'route add 10.64.0.0/12 via 10.99.0.2\nroute add 10.120.0.0/16 via 10.99.0.2\nroute add 10.99.77.0/24 via 10.99.0.2\n',
      );
      await attacker.run(['ip', '-6', 'route', 'add', 'fd99:0:0:1::/64', 'via', 'fd99::2']);
      await attacker.run(['ip', '-6', 'route', 'add', 'fd99:0:0:2::/64', 'via', 'fd99::2']);
      await withBed(lab, sensor, async ({ controller }) => {
        const parsed = configurationOf(configuration(seed));
        await controller.apply(await controller.plan(parsed));
        const directory = new DecoyDirectory(controller.groups(), parsed.personas);
        const addresses = [
          ...spread('10.64.0.0', 20, 1500),
          ...spread('10.99.77.0', 8, 100),
          ...[1, 3, 5, 7].map((last) => parseAddress(`10.120.0.${last}`) as Address),
          ...spread('fd99:0:0:1::', 64, 1500),
          parseAddress('fd99:0:0:2::7') as Address,
        ];
        const expected = new Map<string, string>();
        for (const address of addresses) {
          const text = renderAddress(address);
          const decoy = directory.find(text);
          if (decoy) expected.set(text, `${decoy.mac} ${decoy.persona.ttl}`);
        }
        assert.ok(expected.size > 1500 && expected.size < addresses.length - 500, 'the sample has living and dead');
        const script = `
const hosts = require('node:fs').readFileSync(0, 'utf8').split('\\n');
let waiting = hosts.length;
for (const host of hosts) {
  const socket = require('node:net').connect({ host, port: 9 });
  socket.on('error', () => { waiting -= 1; });
}
process.on('SIGTERM', () => process.exit(0));
`;
        const client = attacker.spawn(['node', '-e', script]);
        client.stdin?.end(addresses.map(renderAddress).join('\n'));
        const seen = await until('every living decoy has answered', async () => {
          const all = new Map([...(await readSeen(attacker, 'seen4')), ...(await readSeen(attacker, 'seen6'))]);
          return all.size >= expected.size ? all : undefined;
        });
        assert.deepEqual([...seen].sort(), [...expected].sort());
      });
    }),
  );

test('ARP tells the computed MACs of the living, and nothing of the dead', { skip }, () =>
  withLab(async (lab) => {
    const { attacker, sensor } = await createSegment(lab);
    await attacker.ip('addr add 10.64.0.1/12 dev av\n');
    await withBed(lab, sensor, async ({ controller }) => {
      const parsed = configurationOf(configuration(7).replace('10.64.0.0/12', '10.64.16.0-10.79.255.200'));
      await controller.apply(await controller.plan(parsed));
      const directory = new DecoyDirectory(controller.groups(), parsed.personas);
      const addresses = spread('10.72.0.0', 16, 300).map(renderAddress);
      const living = new Map(addresses.flatMap((ip) => (directory.find(ip) ? [[ip, directory.find(ip)?.mac]] : [])));
      await attacker.run([
        'node',
        '-e',
        `const s = require('node:dgram').createSocket('udp4'); let n = 0; const hosts = ${JSON.stringify(addresses)};
for (const host of hosts) s.send('x', 9, host, () => { n += 1; if (n === hosts.length) s.close(); });`,
      ]);
      const neighbours = await until('the living are in the neighbour table', async () => {
        const { stdout } = await attacker.run(['ip', '-4', 'neigh', 'show', 'dev', 'av']);
        const found = new Map<string, string>();
        for (const [, ip, mac] of stdout.matchAll(/^(10\.72\.\S+) lladdr (\S+)/gm)) found.set(ip, mac);
        const undecided = /10\.72\.\S+ +INCOMPLETE/.test(stdout);
        return found.size >= living.size && !undecided ? found : undefined;
      });
      assert.deepEqual([...neighbours].sort(), [...living].sort());
      assert.ok(living.size > 100 && living.size < 290);
    });
  }),
);
