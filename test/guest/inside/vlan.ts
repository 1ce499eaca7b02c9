// VLAN segments by the whole Weir: a trunk on a VLAN-aware switch, scanners on access ports, the machine's own addresses on
// the same trunk, two segments with the same addresses, a change under way, and nothing left afterwards.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { SessionDocument } from '../../../src/record/documents.ts';
import { until } from '../../support/namespace.ts';
import { findHosts, livingBetween, ownAddresses, type TrunkLab, withTrunkLab } from '../../support/trunk-lab.ts';

/** Node starts in seconds here, and Weir is four programs. */
const slowMs = 240_000;

const floor = (name: string, vlan: number, decoys: string, address = '192.168.110.2/24'): string => `
  - name: ${name}
    kind: network
    trunk: trunk0
    vlan: ${vlan}
    address: ${address}
    gateway: 192.168.110.1
    decoys:
${decoys}`;

const office = (seed: number): string =>
  `      - { addresses: 192.168.110.16-192.168.110.95, population: mixed-office, alive: 40%, seed: ${seed} }\n`;
const open = '      - { addresses: [10.110.4.0/24, "fd00:110::4:0/112"], persona: all-open }\n';
const floor1 = floor('floor-1', 110, office(7) + open, '[192.168.110.2/24, 10.110.0.2/16, "fd00:110::2/64"]');
const floor2 = floor(
  'floor-2',
  120,
  `${office(8)}      - { addresses: 10.110.4.0/24, persona: all-open }\n`,
  '[192.168.110.2/24, 10.110.0.2/16]',
);
const floor3 = floor('floor-3', 130, office(9));
const both = `diversions:${floor1}${floor2}`;

const scannerAddresses = ['192.168.110.1/24', '10.110.0.1/16', 'fd00:110::1/64'];

/** Sessions on record with these addresses, once there are so many. */
const recorded = (lab: TrunkLab, destination: string, count: number): Promise<readonly SessionDocument[]> =>
  until<readonly SessionDocument[] | undefined>(
    `${count} sessions to ${destination}`,
    async () => {
      const { items } = await lab.weir.reader.sessions({ destination, limit: '100' });
      return items.length >= count ? items : undefined;
    },
    30_000,
  );

test('floors of one building on one trunk', () =>
  withTrunkLab(both, async (lab) => {
    const before = await lab.weir.sensor.snapshot();
    const first = await lab.scanner(110, scannerAddresses);
    const second = await lab.scanner(120, scannerAddresses);
    const third = await lab.scanner(130, scannerAddresses);
    const watchers = [ownAddresses.untagged, ownAddresses.tagged].map((address) => lab.watch(address));

    const running = await lab.weir.start().ready(slowMs);

    // Who is there, with which vendor: two floors with the same addresses have other people.
    const residents = lab.residents();
    const scans = await Promise.all([first, second].map((scanner) => findHosts(scanner, ['192.168.110.10-99'])));
    for (const [index, name] of ['floor-1', 'floor-2'].entries()) {
      const directory = residents.get(name) ?? assert.fail(name);
      const expected = livingBetween(directory, '192.168.110.10', '192.168.110.99');
      assert.ok(expected.length > 15 && expected.length < 60, `${expected.length} of 80 live`);
      assert.deepEqual(
        scans[index].map(({ ip, mac }) => ({ ip, mac })),
        expected,
      );
      assert.ok(
        scans[index].every(({ vendor }) => vendor !== ''),
        'every MAC belongs to a vendor nmap knows',
      );
    }
    assert.notDeepEqual(scans[0], scans[1]);

    // The same source to the same address at the same port in two VLANs; a second subnet; IPv6.
    const get = (host: string): string[] => [
      'curl',
      '-s',
      '-m',
      '20',
      '-o',
      '/dev/null',
      '-w',
      '%{http_code}',
      `http://${host}:8000/`,
    ];
    for (const scanner of [first, second]) assert.equal((await scanner.run(get('10.110.4.7'), { anyCode: true })).stdout, '200');
    assert.equal((await first.run(get('[fd00:110::4:7]'), { anyCode: true })).stdout, '200');
    const v4 = await recorded(lab, '10.110.4.7', 2);
    assert.deepEqual(v4.map(({ weir }) => weir.diversion).sort(), ['floor-1', 'floor-2']);
    for (const { source } of v4) assert.equal(source.ip, '10.110.0.1');
    const [v6] = await recorded(lab, 'fd00:110::4:7', 1);
    assert.deepEqual([v6.source.ip, v6.weir.diversion], ['fd00:110::1', 'floor-1']);

    // A floor comes and one goes; the one that stays answers throughout.
    const stays = first.spawn(['ping', '-q', '-n', '-i', '0.1', '10.110.4.9']);
    let said = '';
    stays.stdout?.on('data', (text) => {
      said += text;
    });
    lab.weir.configure(`diversions:${floor1}${floor3}`);
    await lab.weir.weir(['apply', '--yes'], { timeoutMs: slowMs });
    const found = await findHosts(third, ['192.168.110.10-99']);
    const newcomers = lab.residents().get('floor-3') ?? assert.fail('floor-3');
    assert.deepEqual(
      found.map(({ ip, mac }) => ({ ip, mac })),
      livingBetween(newcomers, '192.168.110.10', '192.168.110.99'),
    );
    assert.deepEqual(await findHosts(second, ['10.110.4.7', '192.168.110.10-99']), [], 'a floor that is gone is silent');
    stays.kill('SIGINT');
    const summary = await until('ping sums up', () => /(\d+) packets transmitted, (\d+) received/.exec(said) ?? undefined);
    assert.equal(summary[1], summary[2], 'a floor that stays loses nothing');

    await lab.weir.weir(['down'], { timeoutMs: slowMs });
    assert.equal(await running.exited(), 0, running.output);
    for (const watcher of watchers) {
      const { sent, lost } = await watcher.lost();
      assert.ok(sent > 50);
      assert.equal(lost, 0, `${lost} of ${sent} lost: the machine's own addresses stay reachable`);
    }
    assert.deepEqual(await lab.leftovers(), []);
    assert.equal(await lab.weir.sensor.snapshot(), before);
  }));
