// nmap's own opinion of decoys: what it takes each persona for, beside the system the persona claims to be.

import assert from 'node:assert/strict';
import test from 'node:test';
import { configurationOf, personaLibrary, withBed } from '../support/diversion-bed.ts';
import { createSegment, lacksKernelTests, withLab } from '../support/namespace.ts';
import { scanSystems } from '../support/os-scan.ts';

const skip = lacksKernelTests();

/**
 * What the first guess must hold, by persona. Where nmap's list knows nothing newer, or what decides is out of reach (the
 * clock behind timestamps, how much of a packet a refusal quotes), it is the nearest relative: FreeBSD for ESXi, whose stack
 * that is, and Linux for the small systems built on it.
 */
const expected: Readonly<Record<string, RegExp>> = {
  'windows-workstation': /^Microsoft Windows 10/,
  'windows-server': /^Microsoft Windows (10|Server 201[69])/,
  'windows-domain-controller': /^Microsoft Windows (10|Server 201[69])/,
  'windows-legacy': /^Microsoft .*(7|2008)/,
  hmi: /^Microsoft .*(7|2008)/,
  'linux-server': /^Linux [45]\./,
  'vmware-guest': /^Linux [34]\./,
  nas: /^(Linux [34]\.|Synology)/,
  printer: /HP|LaserJet|JetDirect/,
  router: /Cisco/,
  plc: /Siemens/,
  'ip-camera': /DVR|Hikvision|camera|Linux 2\.6/,
  hypervisor: /VMware|FreeBSD/,
  mikrotik: /MikroTik|Linux/,
  'voip-phone': /phone|Linux/i,
};

test('nmap -O takes decoys for what their personas claim', { skip, timeout: 240_000 }, () =>
  withLab(async (lab) => {
    const { attacker, sensor } = await createSegment(lab);
    const { personas } = personaLibrary();
    const names = Object.keys(expected);
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
        const verdict = guess && expected[name].test(guess.name) ? '' : '   <-- not as asked';
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
