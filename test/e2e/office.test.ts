// A generated office as a visitor sees it: who is there, whose network card, which system nmap takes it for, beside the
// personas that were asked for; and that the visitor's own system is on record although decoys hide options from the kernel.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { withWeirLab } from '../../src/programs/weir-lab.ts';
import { personaLibrary } from '../support/diversion-bed.ts';
import { lacksKernelTests, until } from '../support/namespace.ts';
import { asAsked, scanSystems } from '../support/os-scan.ts';
import { addSegmentHost } from '../support/segment-host.ts';

const skip = lacksKernelTests();

const configuration = `diversions:
  - name: floor-3
    kind: network
    vxlan: { vni: 310, local: 10.0.0.2, remotes: [10.0.0.1] }
    address: 192.168.110.2/24
    decoys: [{ addresses: [192.168.110.10-192.168.110.90], population: mixed-office, alive: 40%, seed: 27 }]
`;
/** Of the guesses; a busy machine loses an answer of one host or another. */
const shareAsAsked = 0.85;

interface DecoyRow {
  readonly ip: string;
  readonly persona: string;
  readonly mac: string;
}

test('nmap finds the office that was asked for: hosts, vendors and systems', { skip, timeout: 300_000 }, () =>
  withWeirLab({ configuration }, async (lab) => {
    const visitor = await addSegmentHost(lab, { vni: 310, addresses: ['192.168.110.5/24'] });
    await lab.up();
    const living = (await lab.records(['decoys', '--diversion', 'floor-3', '--limit', '1000'])) as unknown as DecoyRow[];
    assert.ok(living.length > 20, `${living.length} live`);
    const pinged = await visitor.run(['nmap', '-sn', '-n', '-oG', '-', '192.168.110.10-90'], { timeoutMs: 120_000 });
    assert.deepEqual(
      [...pinged.stdout.matchAll(/Host: (\S+) .*Status: Up/g)].map(([, ip]) => ip).sort(),
      living.map(({ ip }) => ip).sort(),
    );
    assert.equal(new Set(living.map(({ persona }) => persona)).size, 9, 'every kind of the population lives here');
    const { personas } = personaLibrary();
    const seen = await scanSystems(visitor, '192.168.110.10-90');
    let right = 0;
    for (const { ip, persona, mac } of living) {
      const host = seen.get(ip);
      assert.equal(host?.mac, mac, ip);
      assert.ok(host?.vendor, `${ip}: nmap does not know the vendor of ${mac}`);
      const asked = asAsked(personas.get(persona), host);
      if (asked) right += 1;
      const [guess] = host.guesses;
      console.log(
        `${ip}  ${persona} (${personas.get(persona)?.operatingSystem}) <- ${host.vendor}; ${guess?.accuracy ?? 0}% ${guess?.name ?? 'no guess'}${asked ? '' : '   <-- not as asked'}`,
      );
    }
    console.log(`${right} of ${living.length} as asked`);
    assert.ok(right >= living.length * shareAsAsked, `${right} of ${living.length}`);

    const desk = living.find(({ persona }) => persona === 'windows-workstation');
    const machine = living.find(({ persona }) => persona === 'printer');
    for (const [ip, port] of [
      [desk?.ip, 445],
      [machine?.ip, 80],
    ] as const) {
      const { stdout } = await visitor.run(
        ['curl', '-s', '-m', '3', '-o', '/dev/null', '-w', '%{local_port}', `http://${ip}:${port}/`],
        {
          anyCode: true,
        },
      );
      const session = await until(`the session of ${ip}:${port}`, async () =>
        (await lab.records(['sessions', '--port', String(port), '--limit', '200'])).find(
          ({ source, destination }) => source.port === Number(stdout) && destination.ip === ip,
        ),
      );
      const { syn } = session.weir as { syn?: { options: string; system?: string } };
      assert.deepEqual([syn?.options, syn?.system], ['mss,sok,ts,nop,ws', 'Linux 4.19+'], `${ip}:${port}`);
    }
  }),
);
