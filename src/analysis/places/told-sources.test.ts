// Each source once, also those whose numbers share a place, and again after many others.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ToldSources } from './told-sources.ts';

const address = (number: number): string => `10.${(number >>> 16) & 255}.${(number >>> 8) & 255}.${number & 255}`;

describe('ToldSources', () => {
  it('tells each address once, of both families, and texts that are none', () => {
    const told = new ToldSources();
    for (const ip of ['192.0.2.1', '0.0.0.0', '255.255.255.255', '2001:db8::1', 'unknown', ''])
      assert.deepEqual([told.add(ip), told.add(ip), told.add(ip)], [true, false, false], ip);
  });

  it('tells none twice when more come in turn than there are shortcuts', () => {
    const told = new ToldSources();
    let tellings = 0;
    for (let turn = 0; turn < 2; turn += 1)
      for (let number = 0; number < 60_000; number += 1) if (told.add(address(number))) tellings += 1;
    assert.equal(tellings, 60_000);
  });

  it('tells one again that comes back after 65,536 others', () => {
    const told = new ToldSources();
    told.add('192.0.2.1');
    for (let number = 0; number < 65_536; number += 1) told.add(address(number));
    assert.equal(told.add('192.0.2.1'), true);
  });
});
