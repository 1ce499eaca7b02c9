// Names in a segment that never existed, with the real programs and the real rules: what tools are told, from which MAC, and
// that it would not get past a router.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { withWeirLab } from '../../src/programs/weir-lab.ts';
import { lacksKernelTests, until } from '../support/namespace.ts';
import { addSegmentHost } from '../support/segment-host.ts';

const skip = lacksKernelTests();
const configuration = `diversions:
  - { name: floor-3, kind: network, vxlan: { vni: 310, local: 10.0.0.2, remotes: [10.0.0.1] },
      address: [192.168.110.2/24, "fd11::2/64"], gateway: [192.168.110.1, "fd11::1"], decoys: [
        { addresses: [192.168.110.40, "fd11::40"], persona: windows-workstation },
        { addresses: [192.168.110.50], persona: printer },
        { addresses: [192.168.110.60], persona: windows-domain-controller } ] }
`;

test('a segment tells its hosts who is who, decoy by decoy, and the questions are on record', { skip }, () =>
  withWeirLab({ configuration }, async (lab) => {
    const host = await addSegmentHost(lab, { vni: 310, addresses: ['192.168.110.5/24', 'fd11::5/64'] });
    const link = 'lan';
    await lab.up();
    const capture = host.spawn(['tcpdump', '-i', link, '-nnev', '-l', '--immediate-mode', 'udp and src net 192.168.110.32/27']);
    let seen = '';
    let told = '';
    capture.stdout?.on('data', (bytes) => {
      seen += bytes;
    });
    capture.stderr?.on('data', (bytes) => {
      told += bytes;
    });
    await until('the capture runs', () => told.includes('listening on'));
    const rows = (await lab.records(['decoys', '--diversion', 'floor-3'])) as unknown as { ip: string; mac: string }[];
    const macOf = (ip: string): string => rows.find((row) => row.ip === ip)?.mac ?? 'none';

    const status = await host.run(['nmblookup', '-A', '192.168.110.40']);
    const name = /^\s+(DESKTOP-\d{4}) +<20>/m.exec(status.stdout)?.[1] ?? '';
    assert.notEqual(name, '', status.stdout);
    assert.match(status.stdout.toLowerCase(), new RegExp(`mac address = ${macOf('192.168.110.40').replaceAll(':', '-')}`));
    const found = await host.run(['nmblookup', '-B', '192.168.110.255', name]);
    assert.match(found.stdout, new RegExp(`^192\\.168\\.110\\.40 ${name}<00>`, 'm'));
    const reverse = await host.run(['dig', '@192.168.110.60', '+short', '+tries=1', '-x', '192.168.110.40']);
    assert.equal(reverse.stdout, `${name}.corp.local.\n`);

    await host.run(['ip', 'route', 'add', '224.0.0.0/4', 'dev', link]);
    const settings = `llmnr-resolve.hostname=${name},llmnr-resolve.timeout=2s`;
    const llmnr = await host.run(['nmap', '-n', '-e', link, '--script', 'llmnr-resolve', '--script-args', settings]);
    assert.match(llmnr.stdout, /: 192\.168\.110\.40/);

    // A persona of Windows leaves with 128: what must stay on the link does not, by broadcast or alone.
    const from = (ip: string): string[] => seen.split(/\n(?=\d\d:)/).filter((line) => line.includes(`${ip}.`));
    await until('all answers are in the capture', () => from('192.168.110.40').length >= 3);
    for (const line of from('192.168.110.40')) {
      assert.match(line, /ttl 1,/);
      assert.ok(line.includes(` ${macOf('192.168.110.40')} > `), line);
    }
    const recorded = await lab.recorded(['sessions', '--limit', '50'], 4);
    const protocols = recorded.map(
      ({ destination, network }) => `${(network as { protocol?: string }).protocol} ${destination.ip}:${destination.port}`,
    );
    assert.deepEqual([...new Set(protocols)].sort(), [
      'dns 192.168.110.60:53',
      'llmnr 192.168.110.40:5355',
      'netbios 192.168.110.40:137',
    ]);
  }),
);
