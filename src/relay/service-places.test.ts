import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type AddressRange, parseRange } from '../model/address.ts';
import { DecoyDirectory } from '../model/decoy.ts';
import type { Persona } from '../model/persona.ts';
import { ServicePlaces } from './service-places.ts';

const persona = { name: 'pc', macPrefixes: ['02:00:00'] } as unknown as Persona;
const directory = (diversion: string, text: string) =>
  new DecoyDirectory(
    [
      {
        diversion,
        kind: 'claimed',
        ranges: [parseRange(text) as AddressRange],
        population: { seed: 1, shares: [{ persona: 'pc', share: 10_000 }] },
        macs: {},
        place: { file: 'f', line: 1 },
      },
    ],
    new Map([['pc', persona]]),
  );
const network = (name: string, text: string) => ({ name, directory: directory(name, text), interfaces: {}, subnets: [] });
const single = (index: number): AddressRange =>
  parseRange(`10.${index >> 15}.${(index >> 7) & 255}.${(index & 127) * 2}`) as AddressRange;

test('who answers depends on the mark, and costs the same beside fifty thousand single addresses', () => {
  const many = Array.from({ length: 50_000 }, (_, index) => single(index));
  const places = new ServicePlaces(
    [network('a', '10.0.0.0/8'), network('b', '10.0.0.0/8')],
    [
      {
        mark: 1,
        network: 'a',
        bindings: [
          { service: 'one', ranges: many.slice(1) },
          { service: 'two', ranges: [many[0]] },
        ],
      },
      { mark: 2, network: 'b', bindings: [{ service: 'three', ranges: [parseRange('10.0.0.0/31') as AddressRange] }] },
      { mark: 3, network: 'gone', bindings: [] },
    ],
  );
  assert.equal(places.find(1, '10.0.0.0')?.service, 'two');
  assert.deepEqual(places.find(1, '10.0.0.2'), { network: 'a', diversion: 'a', service: 'one', persona: 'pc' });
  assert.equal(places.find(2, '10.0.0.1')?.service, 'three');
  for (const [mark, ip] of [
    [1, '10.0.0.1'],
    [2, '10.0.0.2'],
    [3, '10.0.0.0'],
    [4, '10.0.0.0'],
    [1, 'x'],
    [1, '::1'],
  ] as const)
    assert.equal(places.find(mark, ip), undefined, `${mark} ${ip}`);
  const started = performance.now();
  for (let count = 0; count < 20_000; count += 1) places.find(1, '10.1.134.158');
  assert.ok(performance.now() - started < 2000, `${performance.now() - started} ms`);
});
