// A walk of the rules says what the kernel does: random rulesets of both backends in a real namespace, packets sent through them, and
// what became of each compared with the walk. Where the walk says "unknown", what happened is among what it holds possible.

import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { createCommandRunner } from '../../src/kernel/command.ts';
import { readPacketFilter } from '../../src/kernel/filter/packet-filter-reader.ts';
import { parseAddress, renderAddress } from '../../src/model/address.ts';
import type { FilterPacket, FilterWalk, PacketFilter, WalkContext } from '../../src/model/packet-filter.ts';
import { walkFilter } from '../../src/netops/filter-walk.ts';
import { FilterBed, inSix, type Observed, type ObservedHook, type Probe, packetOf } from '../support/filter-bed.ts';
import { farAddresses, ownAddresses, ports, type Ruleset, rulesets, sourcePorts, sources } from '../support/filter-rulesets.ts';
import { lacksKernelTests, lacksProgram, withLab } from '../support/namespace.ts';

const skip =
  lacksKernelTests() ||
  lacksProgram('iptables-legacy', 'iptables') ||
  lacksProgram('ipset', 'ipset') ||
  lacksProgram('conntrack', 'conntrack');

const own = new Set([...ownAddresses, '10.71.0.254'].flatMap((ip) => [ip, inSix(ip)]));

const context = (hook: WalkContext['hook']): WalkContext => ({
  hook,
  isLocal: (packet, which) => own.has(renderAddress(packet[which])),
  hasReversePath: ({ source }) => /^(10\.7[01]\.|fd7[01]:)/.test(renderAddress(source)),
  deviceAddress: (device, family) => {
    // IPv6 lists the newest first.
    if (family === 6) return parseAddress(inSix(device === 'gc' ? '10.70.0.253' : '10.71.0.254'));
    return parseAddress(device === 'gc' ? '10.70.0.254' : '10.71.0.254');
  },
});

const probes: fc.Arbitrary<Probe[]> = fc
  .uniqueArray(
    fc.record({
      protocol: fc.constantFrom('tcp', 'tcp', 'udp', 'icmp'),
      tcpFlags: fc.constantFrom('syn', 'syn', 'syn', 'ack'),
      source: fc.constantFrom(...sources),
      sourcePort: fc.constantFrom(...sourcePorts),
      destination: fc.constantFrom(...ownAddresses, ...farAddresses),
      destinationPort: fc.constantFrom(...ports),
    }),
    {
      minLength: 24,
      maxLength: 24,
      // Two packets of one connection would not both begin it, whatever address it was sent to: translation may join them.
      selector: ({ protocol, source, sourcePort, destinationPort }) =>
        `${protocol} ${source} ${sourcePort} ${protocol === 'icmp' ? '' : destinationPort}`,
    },
  )
  .map((list) => list.map((probe, index) => ({ ...probe, id: index + 1 }) as Probe));

interface Tally {
  walks: number;
  unknown: number;
  dropped: number;
}

const letsThrough = (kind: FilterWalk['verdict']['kind']): boolean | undefined =>
  kind === 'unknown' ? undefined : kind === 'accept' || kind === 'tproxy';

/** Compares one hook; gives the packet as it goes on, or undefined where it ended or the walk cannot tell. */
function compareHook(
  filter: PacketFilter,
  packet: FilterPacket,
  hook: Exclude<ObservedHook, 'arrived'>,
  id: number,
  observed: Observed,
  tally: Tally,
): { readonly packet: FilterPacket; readonly blurred: readonly string[] } | undefined {
  const walk = walkFilter(filter, packet, context(hook));
  const seen = observed.get(hook)?.get(id);
  tally.walks += 1;
  const expected = letsThrough(walk.verdict.kind);
  const about = (): string =>
    `${hook}: packet ${id} ${show(packet)}, the kernel ${seen ? `let it through as ${JSON.stringify(seen)}` : 'dropped it'}, the walk said ${show(walk)}`;
  if (expected === undefined) {
    tally.unknown += 1;
    assert.ok(
      walk.possible.some(({ kind }) => kind === 'unknown' || letsThrough(kind) === (seen !== undefined)),
      about(),
    );
    return undefined;
  }
  assert.equal(seen !== undefined, expected, about());
  if (!seen) {
    tally.dropped += 1;
    return undefined;
  }
  if (!walk.blurred.includes('destination')) assert.equal(seen.destination, renderAddress(walk.packet.destination), about());
  if (!walk.blurred.includes('destinationPort') && packet.protocol !== 'icmp')
    assert.equal(seen.destinationPort, walk.packet.destinationPort, about());
  if (!walk.blurred.includes('mark')) assert.equal(seen.mark, walk.packet.mark, about());
  return { packet: walk.packet, blurred: walk.blurred };
}

const show = (value: unknown): string =>
  JSON.stringify(value, (_key, inner) => (typeof inner === 'bigint' ? inner.toString() : inner));

/** All hooks of its path; undefined where it ended or could not be told, else the packet as it left. */
function comparePath(
  filter: PacketFilter,
  packet: FilterPacket,
  outputDevice: string,
  id: number,
  observed: Observed,
  tally: Tally,
): FilterPacket | undefined {
  const routed = compareHook(filter, packet, 'prerouting', id, observed, tally);
  if (!routed || routed.blurred.includes('destination')) return undefined;
  const destination = renderAddress(routed.packet.destination);
  if (routed.blurred.length > 0) return undefined;
  if (own.has(destination)) {
    compareHook(filter, routed.packet, 'input', id, observed, tally);
    return undefined;
  }
  // Sent back where it came from, or nowhere: other hooks than these.
  if (!(outputDevice === 'gs' ? /^(10\.71\.0\.|fd71:)/ : /^(10\.70\.0\.|fd70:)/).test(destination)) return undefined;
  const forwarded = compareHook(filter, { ...routed.packet, outputDevice }, 'forward', id, observed, tally);
  if (!forwarded || forwarded.blurred.length > 0) return undefined;
  const left = compareHook(filter, forwarded.packet, 'postrouting', id, observed, tally);
  return left && left.blurred.length === 0 ? left.packet : undefined;
}

/** Answers to datagrams that got through untouched: the other direction of a known connection. */
function answersOf(sent: readonly Probe[], left: ReadonlyMap<number, FilterPacket>): Probe[] {
  return sent.flatMap((probe) => {
    const packet = left.get(probe.id);
    if (!packet || probe.protocol !== 'udp' || packet.originalDestination !== undefined || /^(10\.99\.|fd99:)/.test(probe.source))
      return [];
    const { id, source, sourcePort, destination, destinationPort } = probe;
    return [
      {
        ...probe,
        id: id + 100,
        source: destination,
        sourcePort: destinationPort,
        destination: source,
        destinationPort: sourcePort,
      },
    ];
  });
}

// More rulesets, and other ones, for whoever changes the walk.
const numRuns = Number(process.env.WEIR_FILTER_RULESETS ?? 30);

const probeInSix = (probe: Probe): Probe => ({ ...probe, source: inSix(probe.source), destination: inSix(probe.destination) });
const seed = Number(process.env.WEIR_FILTER_SEED ?? 20_260_101);

for (const family of [4, 6] as const)
  test(
    `what becomes of a packet is what the walk says, for random rulesets of every backend, IPv${family}`,
    { skip, timeout: numRuns * 2000 + 60_000 },
    () =>
      withLab(async (lab) => {
        const bed = await FilterBed.open(lab, family);
        const runner = createCommandRunner(bed.router.path);
        const tally: Tally = { walks: 0, unknown: 0, dropped: 0 };
        try {
          await fc.assert(
            fc.asyncProperty(rulesets, probes, async (ruleset, written) => {
              const sent = family === 4 ? written : written.map(probeInSix);
              await bed.load(ruleset);
              const read = await readPacketFilter(runner);
              assert.deepEqual(read.unreadable, []);
              // The observer stands where nothing follows.
              const filter = { ...read, chains: read.chains.filter(({ table }) => table !== 'observer') };
              const observed = await bed.send(sent);
              const left = new Map<number, FilterPacket>();
              for (const probe of sent) {
                const packet = comparePath(filter, packetOf(probe, 'gc'), 'gs', probe.id, observed, tally);
                if (packet) left.set(probe.id, packet);
              }
              const answers = answersOf(sent, left);
              const answered = await bed.send(answers, true);
              for (const answer of answers) {
                const first = left.get(answer.id - 100);
                const known = first?.state === 'new';
                const packet: FilterPacket = {
                  ...packetOf(answer, 'gs'),
                  ...(known ? { state: 'established', direction: 'reply', connectionMark: first.connectionMark ?? 0 } : {}),
                };
                comparePath(filter, packet, 'gc', answer.id, answered, tally);
              }
            }),
            { numRuns, seed, endOnFailure: process.env.WEIR_FILTER_SHRINK === undefined, includeErrorInReport: true },
          );
        } finally {
          bed.close();
        }
        console.log(`# ${numRuns} rulesets, ${tally.walks} walks: ${tally.dropped} ended there, ${tally.unknown} unknown`);
        assert.ok(tally.walks > numRuns * 24, 'packets were compared');
        assert.ok(tally.dropped > tally.walks / 50, 'rules dropped some');
        assert.ok(tally.unknown < tally.walks / 10, `${tally.unknown} of ${tally.walks} walks could not tell`);
      }),
  );

/** What chance meets rarely: each is told wrongly by a walk that is wrong in one point. */
const corners: Readonly<Record<string, Partial<Ruleset>>> = {
  'of one priority and table the chain registered last comes first': {
    nft: 'table inet one {\n chain a {\n  type filter hook prerouting priority 0; policy accept;\n  meta mark set 1\n }\n chain b {\n  type filter hook prerouting priority 0; policy accept;\n  meta mark set 2\n }\n chain c {\n  type filter hook input priority 0; policy accept;\n  meta mark 1 drop\n }\n}\n',
  },
  'translated to where it was going is not translated': {
    nft: 'table inet one {\n chain a {\n  type nat hook prerouting priority -100; policy accept;\n  meta nfproto ipv4 dnat ip to 10.71.0.2\n }\n chain b {\n  type filter hook forward priority 0; policy accept;\n  ct status dnat drop\n }\n}\n',
  },
  'what one chain of address translation accepts the next may translate': {
    nft: 'table inet one {\n chain a {\n  type nat hook prerouting priority -110; policy accept;\n  accept\n }\n chain b {\n  type nat hook prerouting priority -90; policy accept;\n  tcp dport 80 dnat ip to 10.71.0.3\n  tcp dport 22 drop\n }\n}\n',
  },
  'both backends translate: one of the two, and which is not told': {
    nft: 'table inet one {\n chain a {\n  type nat hook prerouting priority -100; policy accept;\n  tcp dport 80 dnat ip to 10.71.0.2\n }\n}\n',
    legacy: '*nat\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.71.0.3\nCOMMIT\n',
  },
};

for (const [name, ruleset] of Object.entries(corners))
  test(`the kernel agrees: ${name}`, { skip, timeout: 60_000 }, () =>
    withLab(async (lab) => {
      const bed = await FilterBed.open(lab);
      try {
        await bed.load({ nft: '', iptablesNft: '', legacy: '', ...ruleset });
        const read = await readPacketFilter(createCommandRunner(bed.router.path));
        const filter = { ...read, chains: read.chains.filter(({ table }) => table !== 'observer') };
        const tally: Tally = { walks: 0, unknown: 0, dropped: 0 };
        const [sent] = fc.sample(probes, { numRuns: 1, seed: 5 });
        const observed = await bed.send(sent);
        for (const probe of sent) comparePath(filter, packetOf(probe, 'gc'), 'gs', probe.id, observed, tally);
        assert.ok(tally.walks > 24);
        if (ruleset.legacy === undefined) return;
        const web = sent.find(({ protocol, destinationPort }) => protocol === 'tcp' && destinationPort === 80);
        assert.ok(web);
        assert.deepEqual(walkFilter(filter, { ...packetOf(web, 'gc'), state: 'new' }, context('prerouting')).blurred, [
          'destination',
        ]);
      } finally {
        bed.close();
      }
    }),
  );

const golden = (name: string, ending: string): string => {
  const file = path.join(path.dirname(fileURLToPath(import.meta.url)), `../../../test/golden/filters/${name}.${ending}`);
  if (!existsSync(file)) return '';
  // The bed's devices and addresses for those of the machine the program ran on.
  const places: readonly (readonly [RegExp, string])[] = [
    [/\beth0\b/g, 'gc'],
    [/\b(docker0|br-[0-9a-f]{12})\b/g, 'gs'],
    [/\b172\.1[78]\.0\.2\b/g, '10.71.0.2'],
    [/\b172\.17\.0\.0\/16/g, '10.71.0.0/24'],
    [/\b203\.0\.113\.5\b/g, '10.70.0.2'],
    [/\b(203\.0\.113\.0|198\.51\.100\.0)\/24/g, '10.70.0.76/30'],
    [/\b(5432|2222)\b/g, '31000'],
  ];
  return places.reduce((text, [pattern, place]) => text.replaceAll(pattern, place), readFileSync(file, 'utf8'));
};

for (const [name, backends] of [
  ['docker', ['iptables-nft', 'legacy']],
  ['ufw', ['iptables-nft', 'legacy']],
  ['fail2ban', ['iptables-nft']],
  ['firewalld', ['nft']],
] as const)
  for (const backend of backends)
    test(`the rules of ${name}, in ${backend}, do in the kernel what the walk says`, { skip, timeout: 60_000 }, () =>
      withLab(async (lab) => {
        const bed = await FilterBed.open(lab);
        try {
          const save = golden(name, 'save');
          const sets = golden(name, 'ipset');
          if (sets !== '')
            await bed.router.run(['ipset', 'restore'], { input: sets.replaceAll(/ bucketsize \d+ initval \S+/g, '') });
          await bed.load({
            nft: backend === 'nft' ? golden(name, 'nft.txt') : '',
            iptablesNft: backend === 'iptables-nft' ? save : '',
            legacy: backend === 'legacy' ? save : '',
          });
          const read = await readPacketFilter(createCommandRunner(bed.router.path));
          assert.deepEqual(read.unreadable, []);
          const filter = { ...read, chains: read.chains.filter(({ table }) => table !== 'observer') };
          const tally: Tally = { walks: 0, unknown: 0, dropped: 0 };
          for (const [round, sent] of fc.sample(probes, { numRuns: 6, seed }).entries()) {
            const numbered = sent.map((probe) => ({ ...probe, id: probe.id + round * 200 }));
            await bed.router.run(['conntrack', '-F'], { anyCode: true });
            const observed = await bed.send(numbered);
            for (const probe of numbered) comparePath(filter, packetOf(probe, 'gc'), 'gs', probe.id, observed, tally);
          }
          assert.ok(tally.walks > 144 && tally.dropped > 0, JSON.stringify(tally));
        } finally {
          bed.close();
        }
      }),
    );
