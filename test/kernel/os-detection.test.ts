// nmap's own opinion of decoys: what it takes each persona for, beside the system the persona claims to be.

import assert from 'node:assert/strict';
import test from 'node:test';
import { configurationOf, personaLibrary, withBed } from '../support/diversion-bed.ts';
import { createSegment, lacksKernelTests, withLab } from '../support/namespace.ts';
import { asAsked, scanSystems } from '../support/os-scan.ts';

const skip = lacksKernelTests();

test('nmap -O takes decoys for what their personas claim', { skip, timeout: 240_000 }, () =>
  withLab(async (lab) => {
    const { attacker, sensor } = await createSegment(lab);
    // As in a segment: the usual one refusal a second is what a host allows itself, and here are twenty.
    await sensor.setSysctl('net/ipv4/icmp_ratelimit', '20');
    const { personas } = personaLibrary();
    const names = [...personas.keys()].filter((name) => name !== 'all-open');
    const lines = names.map((name, index) => `      - { address: 10.99.7.${index + 1}, persona: ${name} }`).join('\n');
    await withBed(lab, sensor, async ({ controller }) => {
      const plan = await controller.plan(
        configurationOf(`diversions:\n  - name: dmz\n    kind: host\n    interface: sv\n    decoys:\n${lines}\n`),
      );
      await controller.apply(plan);
      const seen = await scanSystems(attacker, `10.99.7.1-${names.length}`);
      const wrong: string[] = [];
      for (const [index, name] of names.entries()) {
        const found = seen.get(`10.99.7.${index + 1}`);
        const guess = found?.guesses[0];
        const verdict = asAsked(personas.get(name), found) ? '' : '   <-- not as asked';
        if (verdict) wrong.push(`${name}: ${guess?.name}`);
        console.log(
          `${name} (${personas.get(name)?.operatingSystem}): ${guess?.accuracy ?? 0}% ${guess?.name ?? 'no guess'}${verdict}`,
        );
        if (process.env.WEIR_PRINTS) console.log(found?.print);
      }
      assert.deepEqual(wrong, []);
    });
  }),
);
