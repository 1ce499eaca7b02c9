// Segments in `weir decoys` and `weir status`: the same address twice, what belongs to the segment itself, who answers by
// kernel path; long lists cut for people and whole for programs.

import assert from 'node:assert/strict';
import { networkInterfaces } from 'node:os';
import { after, beforeEach, describe, it } from 'node:test';
import { CommandBed, now } from '../../test/support/command-bed.ts';
import { acceptText } from '../../test/support/configuration-text.ts';
import { sampleSession } from '../../test/support/sample-records.ts';
import type { Configuration } from '../model/configuration.ts';
import type { DiversionStatus, Status } from '../model/status.ts';

const text = `version: 1
diversions:
  - { name: dmz, kind: host, interface: eth0, decoys: [{ addresses: 10.66.3.4-10.66.3.5, persona: linux-web }] }
  - name: floor-3
    kind: network
    trunk: eth1
    vlan: 110
    address: 10.66.3.2/24
    gateway: 10.66.3.1
    decoys:
      - { addresses: 10.66.3.0/29, persona: printer }
      - { address: 10.66.3.9, persona: nas, claim: macvlan }
  - name: far
    kind: network
    vxlan: { vni: 7, local: 10.0.0.1, remotes: [10.0.0.2] }
    address: 10.0.0.2/8
    decoys: [{ addresses: 10.0.0.0/8, persona: nas }]
services:
  - { name: win, kind: external, path: kernel, address: 10.1.0.9, interface: eth2, from: 10.1.0.1/24 }
bindings:
  - { diversion: floor-3, addresses: 10.66.3.4, service: win }
`;

const configured = (): Partial<Configuration> => {
  const { diversions, services, bindings, personas } = acceptText(text);
  return { diversions, services, bindings, personas };
};

describe('segments for people', () => {
  const bed = new CommandBed();
  beforeEach(() => bed.reset());
  after(() => bed.close());

  const rows = async (line: string): Promise<Record<string, unknown>[]> =>
    (await bed.run(`${line} --json`)).out
      .trim()
      .split('\n')
      .filter((one) => one !== '')
      .map((one) => JSON.parse(one));

  it('gives a row for each network in which an address lives', async () => {
    bed.configured = configured();
    const found = await rows('decoys 10.66.3.4');
    assert.deepEqual(
      found.map(({ ip, diversion, network, attachment, persona, service, ports }) => [
        ip,
        diversion,
        network,
        attachment,
        persona,
        service,
        typeof ports,
      ]),
      [
        ['10.66.3.4', 'dmz', undefined, undefined, 'linux-web', 'catch-all', 'object'],
        ['10.66.3.4', 'floor-3', 'floor-3', 'vlan 110 on eth1', 'printer', 'win', 'undefined'],
        ['10.66.3.4', 'far', 'far', 'vni 7, vtep 10.0.0.1, 1 remote', 'nas', 'catch-all', 'object'],
      ],
    );
    const { out, err } = await bed.run('decoys 10.66.3.4');
    const lines = out.trimEnd().split('\n');
    assert.match(lines[0], /SYSTEM +STACK +MAC/);
    assert.match(lines[0], /DIVERSION +NETWORK +SERVICE/);
    assert.match(lines[1], /dmz +this machine's +catch-all/);
    assert.match(lines[2], /floor-3 +vlan 110 on eth1 +win .*the service's own/);
    assert.match(err, /3 living decoys in 3 addresses/);
    assert.deepEqual(
      found.map(({ stack }) => typeof stack),
      ['string', 'undefined', 'string'],
      'a service shows its own',
    );
  });

  it('keeps touches of one network apart from those of another', async () => {
    bed.configured = configured();
    const at = (seconds: number): number => now - seconds * 1e6;
    await bed.store?.apply(
      [
        {
          kind: 'session',
          session: sampleSession(at(3600), 71, { diversion: 'far', destination: { ip: '10.66.3.5', port: 22 } }),
        },
        {
          kind: 'session',
          session: sampleSession(at(7200), 72, { diversion: 'floor-3', destination: { ip: '10.66.3.5', port: 22 } }),
        },
      ],
      {},
    );
    const touched = new Map((await rows('decoys 10.66.3.5')).map(({ diversion, last_touch: last }) => [diversion, last]));
    assert.equal(touched.get('far'), '2026-03-04T04:06:07.000Z');
    assert.equal(touched.get('floor-3'), '2026-03-04T03:06:07.000Z');
    assert.equal(touched.get('dmz'), '2026-03-04T05:05:07.000Z', 'as the sample records have it');
  });

  it('leaves out what the segment needs itself, and says how a decoy is claimed', async () => {
    bed.configured = configured();
    const found = await rows('decoys --diversion floor-3');
    assert.deepEqual(
      found.map(({ ip, claim }) => [ip, claim]),
      [
        ['10.66.3.3', undefined],
        ['10.66.3.4', undefined],
        ['10.66.3.5', undefined],
        ['10.66.3.6', undefined],
        ['10.66.3.7', undefined],
        ['10.66.3.9', 'macvlan'],
      ],
    );
    assert.match((await bed.run('decoys 10.66.3.1 --diversion floor-3')).out, /no decoy is configured at 10\.66\.3\.1/);
  });

  const own = Object.values(networkInterfaces())
    .flatMap((addresses) => addresses ?? [])
    .find(({ internal, family }) => !internal && family === 'IPv4');
  const lone = own === undefined && 'this machine has no address';
  it('takes a decoy that is an address on an interface for no address of the machine', { skip: lone }, async () => {
    const { diversions, personas } = acceptText(`version: 1
diversions:
  - { name: me, kind: host, decoys: [{ addresses: own, persona: all-open }] }
  - { name: dmz, kind: host, interface: eth0, decoys: [{ address: ${own?.address}, persona: nas, claim: address }] }
`);
    bed.configured = { diversions, personas };
    assert.deepEqual(
      (await rows(`decoys ${own?.address}`)).map(({ diversion, persona }) => [diversion, persona]),
      [['dmz', 'nas']],
    );
  });

  it('shows the beginning of a range of millions at once', async () => {
    bed.configured = configured();
    const { out, err } = await bed.run('decoys --diversion far --limit 5');
    assert.equal(out.trimEnd().split('\n').length, 6);
    assert.match(err, /the first 5 living decoys of 16,777,213 addresses/);
  });

  it('says which diversion there is not', async () => {
    bed.configured = configured();
    const { code, err } = await bed.run('decoys --diversion floor-4');
    assert.equal(code, 2);
    assert.match(err, /there is no diversion 'floor-4'[\s\S]*next: the configuration has dmz, floor-3, far/);
  });

  const segment = (index: number): DiversionStatus => ({
    name: `floor-${index}`,
    kind: 'network',
    network: {
      attachment: `vlan ${100 + index} on eth1`,
      netns: `weir-ab12-floor-${index}`,
      mtu: 1500,
      addresses: ['192.168.110.2/24', '2001:db8::2/64'],
      gateways: index === 0 ? ['192.168.110.1'] : [],
    },
    decoys: '10000',
    ranges: ['192.168.110.0/24'],
  });
  const show = async (status: Status, line = 'status'): Promise<string> => {
    let out = '';
    await bed.withRecorder(
      (_request, response) => response.end(JSON.stringify(status)),
      async () => {
        out = (await bed.run(line)).out;
      },
    );
    return out;
  };

  it('shows segments, what they stand on and what was put right', async () => {
    const status: Status = {
      health: 'degraded',
      reasons: ['peer 10.0.0.253 is not established'],
      diversions: [
        { name: 'dmz', kind: 'host', interface: 'eth0', decoys: '4', ranges: ['10.66.3.4/30'] },
        segment(0),
        segment(1),
      ],
      annexes: [
        {
          name: 'fabric',
          lines: ['peer 10.0.0.254 established, 42 routes', 'as 65001, router id 10.0.0.1\u001b[2J'],
          reasons: ['peer 10.0.0.253 is not established', 'bgpd was started again'],
        },
      ],
      repairs: {
        count: 3,
        failures: 1,
        last: { at: '2026-03-04T05:05:07Z', network: 'floor-1', message: 'link lan of floor-1 was gone: made again' },
      },
    };
    const out = await show(status);
    assert.match(out, /dmz +host +eth0 +4 /);
    assert.match(out, /floor-0 +network +vlan 100 on eth1 +10,000 +0 +192\.168\.110\.0\/24/);
    assert.match(out, /^SEGMENT +NAMESPACE +MTU +GATEWAY +WEIR'S ADDRESS$/m);
    assert.match(out, /^floor-0 +weir-ab12-floor-0 +1500 +192\.168\.110\.1 +192\.168\.110\.2\/24, 2001:db8::2\/64$/m);
    assert.match(out, /^floor-1 +weir-ab12-floor-1 +1500 +- /m);
    assert.match(
      out,
      /^fabric {4}peer 10\.0\.0\.254 established, 42 routes\n {10}as 65001, router id 10\.0\.0\.1\\x1b\[2J\n {10}bgpd was started again$/m,
    );
    assert.equal(out.split('peer 10.0.0.253').length, 2, 'a reason is said once');
    assert.match(out, /^repaired {2}3 times, last 1m ago: link lan of floor-1 was gone: made again, 1 failed attempt$/m);
    assert.deepEqual(JSON.parse(await show(status, 'status --json')).repairs, status.repairs);
  });

  it('cuts long lists for people and counts the rest', async () => {
    const status: Status = { diversions: Array.from({ length: 100 }, (_, index) => segment(index)) };
    const out = await show(status);
    assert.equal(out.match(/^floor-\d+ +network/gm)?.length, 40);
    assert.equal(out.match(/^floor-\d+ +weir-ab12/gm)?.length, 40);
    assert.match(out, /^and 60 more diversions: --json lists all$/m);
    assert.match(out, /^and 60 more segments: --json lists all$/m);
    assert.equal(JSON.parse(await show(status, 'status --json')).diversions.length, 100);
  });

  it('says that nothing had to be put right', async () => {
    assert.match(await show({ repairs: { count: 0 } }), /^repaired {2}nothing$/m);
    assert.doesNotMatch(await show({}), /repaired/);
  });
});
