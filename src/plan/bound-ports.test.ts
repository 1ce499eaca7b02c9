// Which ports a binding opens: exactly those that the look-up then leads to a service and that the binding names.

import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { type Address, type AddressRange, parseRange, rangeHolds, renderAddress, renderRange } from '../model/address.ts';
import type { DecoyGroup } from '../model/decoy.ts';
import { hasPort, parsePorts, renderPorts } from '../model/port-set.ts';
import { bySpecificity, type RelayBinding } from '../model/relayed-service.ts';
import { planBoundPorts } from './bound-ports.ts';

const place = { file: 'weir.yaml', line: 1 };
const rangeOf = (text: string): AddressRange => parseRange(text) as AddressRange;
const group = (diversion: string, ...ranges: string[]): DecoyGroup => ({
  diversion,
  kind: 'claimed',
  ranges: ranges.map(rangeOf),
  population: { seed: 1, shares: [{ persona: 'nas', share: 10_000 }] },
  macs: {},
  place,
});
const bind = (service: string, addresses?: string, ports?: string, transport?: 'tcp' | 'udp'): RelayBinding => ({
  diversion: 'dmz',
  ...(addresses ? { addresses: [rangeOf(addresses)] } : {}),
  ...(ports ? { ports: parsePorts(ports) ?? [] } : {}),
  ...(transport ? { transport } : {}),
  service,
  place,
});
const groups = [group('dmz', '10.66.0.0/28', '2001:db8::/120'), group('dmz', '10.66.1.0/28'), group('lab', '10.67.0.0/24')];
const shown = (...bindings: RelayBinding[]): string[] =>
  planBoundPorts(bindings, groups).map(
    ({ diversion, ranges, tcp, udp }) =>
      `${diversion} ${ranges?.map(renderRange).join(' ') ?? 'all'}: ${renderPorts(tcp)} / ${renderPorts(udp)}`,
  );

test('a binding without addresses opens its ports everywhere in its diversion', () => {
  assert.deepEqual(shown(bind('web', undefined, '80,8080')), ['dmz all: 80,8080 / 80,8080']);
  assert.deepEqual(shown(bind('web', undefined, '80', 'tcp'), bind('dns', undefined, '53', 'udp')), ['dmz all: 80 / 53']);
});

test('a binding without ports opens none: what the persona has open goes to the service', () => {
  assert.deepEqual(shown(bind('web')), []);
  assert.deepEqual(shown(bind('web', undefined, '80'), bind('ssh', '10.66.0.5')), [
    'dmz 10.66.0.0-10.66.0.4 10.66.0.6-10.66.0.15 10.66.1.0/28 2001:db8::/120: 80 / 80',
  ]);
});

test('a more specific binding gives ports back to the persona', () => {
  assert.deepEqual(shown(bind('web', undefined, '80-90', 'tcp'), bind('catch-all', undefined, '85', 'tcp')), [
    'dmz all: 80-84,86-90 / ',
  ]);
});

test('what is bound nowhere in a network opens nothing there', () => {
  assert.deepEqual(shown({ ...bind('web', undefined, '80'), diversion: 'elsewhere' }), []);
});

test('entries are disjoint, and open what the first binding in order names', () => {
  const entry = fc.record({
    from: fc.integer({ min: 0, max: 12 }),
    size: fc.option(fc.integer({ min: 1, max: 12 })),
    ports: fc.option(fc.constantFrom('22', '80', '22,80', '1-100', '1-65535')),
    transport: fc.option(fc.constantFrom('tcp' as const, 'udp' as const)),
    service: fc.constantFrom('ssh', 'web', 'catch-all'),
  });
  fc.assert(
    fc.property(fc.array(entry, { minLength: 1, maxLength: 8 }), (entries) => {
      const bindings = entries.map(({ from, size, ports, transport, service }) =>
        bind(
          service,
          size === null ? undefined : `10.66.0.${from}-10.66.0.${Math.min(15, from + size - 1)}`,
          ports ?? undefined,
          transport ?? undefined,
        ),
      );
      const bound = planBoundPorts(bindings, groups);
      for (let host = 0; host < 16; host += 1) {
        const address: Address = { family: 4, value: 0x0a420000n + BigInt(host) };
        const holding = bound.filter(({ ranges }) => ranges === undefined || ranges.some((range) => rangeHolds(range, address)));
        assert.ok(holding.length <= 1, renderAddress(address));
        for (const transport of ['tcp', 'udp'] as const)
          for (const port of [22, 80, 100, 443]) {
            const first = bySpecificity(bindings).find(
              (one) =>
                (one.transport ?? transport) === transport &&
                (one.ports === undefined || hasPort(one.ports, port)) &&
                (one.addresses === undefined || one.addresses.some((range) => rangeHolds(range, address))),
            );
            const expected = first !== undefined && first.service !== 'catch-all' && first.ports !== undefined;
            assert.equal(
              hasPort(holding[0]?.[transport] ?? [], port),
              expected,
              `${renderAddress(address)} ${transport} ${port}`,
            );
          }
      }
    }),
    { numRuns: 300 },
  );
});
