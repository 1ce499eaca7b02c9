// Conditions on keys of ports, as text; that they select what the filter does is the contract's.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parsePorts } from '../model/port-set.ts';
import { canBeIcmp, portKeysOf } from './duckdb-port-keys.ts';

test('whole keys for single ports, numbers for ranges, and the rest of the filter apart', () => {
  const ports = parsePorts('22,8000-8100');
  assert.deepEqual(portKeysOf({ limit: 5, since: 1, ports }), {
    filter: { limit: 5, since: 1 },
    where: `(key IN ('22/tcp', '22/udp') OR try_cast(split_part(key, '/', 1) AS INTEGER) BETWEEN 8000 AND 8100)`,
  });
  assert.equal(portKeysOf({ limit: 5, transport: 'udp' })?.where, `(ends_with(key, '/udp'))`);
  assert.equal(
    portKeysOf({ limit: 5, transport: 'udp', ports: parsePorts('53') })?.where,
    `(key IN ('53/udp')) AND (ends_with(key, '/udp'))`,
  );
  assert.equal(portKeysOf({ limit: 5, ports: [] })?.where, 'false');
  assert.equal(portKeysOf({ limit: 5, protocol: 'ssh' }), undefined);
});

test('packets of ICMP pass port 0 unless a transport is asked for', () => {
  assert.ok(canBeIcmp({ limit: 1, ports: parsePorts('0-65535') }));
  assert.ok(!canBeIcmp({ limit: 1, ports: parsePorts('1-65535') }));
  assert.ok(!canBeIcmp({ limit: 1, ports: parsePorts('0'), transport: 'tcp' }));
});
