// What segments cost: processes started, descriptors held, and what an unchanged one costs. Counted, not timed, so that it
// holds on a slow machine.

import assert from 'node:assert/strict';
import { createHook } from 'node:async_hooks';
import { readdirSync } from 'node:fs';
import test from 'node:test';
import type { Configuration } from '../../src/model/configuration.ts';
import { withBed } from '../support/diversion-bed.ts';
import { group } from '../support/golden-states.ts';
import { lacksKernelTests, withLab } from '../support/namespace.ts';
import { createUnderlay, servers, vxlanSegment, withSegments } from '../support/segment-bed.ts';

let started = 0;
createHook({
  init: (_id, type) => {
    if (type === 'PROCESSWRAP') started += 1;
  },
}).enable();

async function processesOf(work: () => Promise<unknown>): Promise<number> {
  const before = started;
  await work();
  return started - before;
}

/** A /16 of decoys in each. */
const configurationOf = (count: number, more: Readonly<Record<string, readonly string[]>> = {}): Configuration =>
  withSegments(
    Array.from({ length: count }, (_, index) => {
      const name = `floor-${index}`;
      const groups = [
        group(name, 'claimed', ['10.50.0.0/17'], servers),
        group(name, 'claimed', more[name] ?? [], servers, { seed: 3 }),
      ];
      return vxlanSegment(name, { vni: 100 + index, addresses: ['10.50.200.2/16'], groups });
    }),
  );

test(
  'no process for a segment or a decoy, but one for very many decoys at once; no descriptor is left open',
  {
    skip: lacksKernelTests(),
  },
  () =>
    withLab(async (lab) => {
      const { sensor } = await createUnderlay(lab);
      await withBed(lab, sensor, async ({ controller }) => {
        const apply = async (configuration: Configuration): Promise<void> =>
          controller.apply(await controller.plan(configuration));
        const descriptors = (): number => readdirSync('/proc/self/fd').length;
        // The first looks at everything; from then on what is unchanged is known to be so.
        for (let times = 0; times < 2; times += 1) await apply(configurationOf(1));
        const none = await processesOf(() => apply(configurationOf(1)));
        const ten = await processesOf(() => apply(configurationOf(11)));
        assert.equal(ten, none + 1, 'one for all their namespaces');
        const held = descriptors();
        assert.equal(await processesOf(() => apply(configurationOf(11))), none, 'unchanged: what the machine itself costs');
        const one = await processesOf(() => apply(configurationOf(11, { 'floor-4': ['10.50.201.7'] })));
        assert.equal(one, none);
        const thousands = Array.from({ length: 10_000 }, (_, at) => `10.50.${210 + (at >> 8)}.${at & 255}`).filter(
          (_, at) => at % 2 === 0,
        );
        const many = await processesOf(() => apply(configurationOf(11, { 'floor-4': thousands })));
        assert.equal(many, none + 1, 'a long transaction is not done in this process');
        const looking = await processesOf(() => controller.verify());
        await apply(configurationOf(1));
        assert.equal(
          await processesOf(() => controller.verify()),
          looking,
          'looking costs the same for one segment as for eleven',
        );
        await apply(configurationOf(11));
        assert.deepEqual(await controller.verify(), []);
        assert.ok(descriptors() <= held, `${descriptors()} descriptors, ${held} before`);
      });
    }),
);
