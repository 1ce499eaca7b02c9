// Scanners against a whole Weir: every port answers, every touch is on record once with its true source and destination,
// or counted. Real tools, IPv4 and IPv6, all inside the lab.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type WeirLab, withWeirLab } from '../../src/programs/weir-lab.ts';
import { lacksKernelTests, until } from '../support/namespace.ts';

const skip = lacksKernelTests();

const configuration = `
limits: { sessions-per-source: 100000 }
diversions:
  - name: dmz
    kind: host
    interface: eth0
    decoys:
      - { addresses: 10.64.0.0/17, persona: all-open }
      - { addresses: "fd99:0:0:64::/64", persona: all-open }
      - { addresses: 10.65.0.0/24, persona: printer }
`;

interface Export {
  readonly source: { readonly ip: string; readonly port: number };
  readonly destination: { readonly ip: string; readonly port: number };
  readonly network: { readonly transport: string };
}

/** Every session the store has, by `export`, as a user would take them. */
async function exported(lab: WeirLab, filter: readonly string[] = []): Promise<Export[]> {
  await lab.settled();
  const { stdout, code, stderr } = await lab.weir(['export', 'jsonl', ...filter], { timeoutMs: 120_000 });
  assert.equal(code, 0, stderr);
  return stdout
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line));
}

/** What the gateway counted of packets that stayed probes, and what it says it lost. */
async function probeCount(
  lab: WeirLab,
): Promise<{ seen: number; matched: number; listed: number; unlisted: number; lost: number; waiting: number }> {
  const packets = (await lab.gateway()).intake?.packets?.packets ?? assert.fail('the gateway counts nothing');
  const { seen, matched, listed, unlisted, dropped, held, pending } = packets.probes;
  assert.equal(seen, matched + listed + unlisted + dropped + held + pending, 'every packet seen is somewhere');
  return { seen, matched, listed, unlisted, waiting: held + pending, lost: packets.probesLost + packets.probesDropped + dropped };
}

const overPorts = (family: 4 | 6): string => (family === 4 ? '10.64.77.7' : 'fd99::64:0:0:77:7');

for (const family of [4, 6] as const)
  test(`nmap -sT -p- finds 65,535 open ports, each recorded once (IPv${family})`, { skip }, () =>
    withWeirLab({ configuration }, async (lab) => {
      await lab.up();
      const target = overPorts(family);
      // On one processor and with the neighbour known: else nmap's RST may overtake its own ACK.
      await lab.attack(['ping', '-c', '1', '-W', '5', target]);
      const { stdout } = await lab.attack(
        [
          'taskset',
          '-c',
          '0',
          'nmap',
          ...(family === 6 ? ['-6'] : []),
          '-sT',
          '-n',
          '-Pn',
          '-p-',
          '--min-rate',
          '3000',
          '-oG',
          '-',
          target,
        ],
        { timeoutMs: 240_000 },
      );
      const open = stdout.match(/\d+\/open\//g)?.length ?? 0;
      const ignored = /Ignored State: (\w+) \((\d+)\)/.exec(stdout);
      assert.equal(open, 65_535, `nmap says open ${open}, ignored ${ignored?.[0]}`);
      const sessions = (await exported(lab)).filter(({ destination }) => destination.ip === target);
      const ports = new Set(sessions.map(({ destination }) => destination.port));
      // It still may for a handful: then no connection ever was, and the port is on record as a half-open probe.
      const overtaken = new Set<number>();
      await until('half-open probes are told apart', async () => (await probeCount(lab)).waiting === 0);
      await lab.settled();
      for (const { weir } of (await lab.reader.probes({ limit: '10000' })).items)
        for (const { ip, port, kind } of weir.probe.targets)
          if (ip === target && kind === 'half-open' && !ports.has(port)) overtaken.add(port);
      assert.equal(ports.size + overtaken.size, 65_535);
      assert.ok(overtaken.size <= 64, `${overtaken.size} ports were never connections`);
      console.log(`IPv${family}: ${ports.size} ports with a session, ${overtaken.size} half-open`);
      const source = family === 4 ? '10.0.0.1' : 'fd99::1';
      assert.ok(sessions.every((session) => session.source.ip === source && session.source.port > 0));
      // nmap may connect to a port a second time; a connection is never recorded twice.
      const tuples = new Set(sessions.map((session) => `${session.source.port} ${session.destination.port}`));
      assert.equal(tuples.size, sessions.length);
    }),
  );

test('half-open, UDP and masscan sweeps: every packet is a session, a probe or counted', { skip }, () =>
  withWeirLab({ configuration }, async (lab) => {
    await lab.up();
    await lab.attack(['nmap', '-sS', '-n', '-Pn', '-p', '1-2000', '--min-rate', '2000', '10.64.1.1']);
    await lab.attack(['nmap', '-6', '-sS', '-n', '-Pn', '-p', '1-1000', '--min-rate', '2000', 'fd99:0:0:64::1:1']);
    await lab.attack(['nmap', '-sU', '-n', '-Pn', '--top-ports', '100', '--max-retries', '0', '--min-rate', '200', '10.64.1.2']);
    await lab.attack(['nmap', '-sU', '-n', '-Pn', '--top-ports', '100', '--max-retries', '0', '--min-rate', '200', '10.65.0.2']);
    // The attacker's kernel answers each SYN/ACK with a RST: by one neighbour, or it fills the table that all namespaces share.
    assert.equal((await lab.attack(['ip', 'route', 'add', '10.64.0.0/17', 'via', '10.0.0.2'])).code, 0);
    const before = await probeCount(lab);
    const { stderr } = await lab.attack(
      [
        'masscan',
        '10.64.0.0/17',
        '-p23,445',
        '--rate',
        '8000',
        '--wait',
        '2',
        '-e',
        'eth0',
        '--router-mac',
        '02-00-00-00-00-02',
        '--source-ip',
        '10.0.0.1',
        '--source-port',
        '61000',
      ],
      { timeoutMs: 90_000 },
    );
    // Half-open probes are told apart from sessions three seconds after their SYN.
    await lab.settled();
    let after = await probeCount(lab);
    const deadline = Date.now() + 15_000;
    while (Date.now() < deadline && after.waiting > 0) {
      await new Promise((resolve) => setTimeout(resolve, 200));
      after = await probeCount(lab);
    }
    const swept = after.seen - before.seen + (after.lost - before.lost);
    assert.ok(swept >= 65_536, `masscan sent 65,536 SYNs, ${swept} are accounted for: ${stderr.slice(-200)}`);
    await lab.settled();
    // The last records may be on their way, and figures are shared for a second; what is lost never comes.
    const counts = await until('the store has every probe the gateway listed', async () => {
      const found = await lab.reader.counts({});
      return found.probes >= after.listed + after.unlisted ? found : undefined;
    });
    assert.equal(counts.probes, after.listed + after.unlisted, 'the store has no probe twice');
    const top = await lab.reader.top('ports', 'hits', { limit: '5' });
    assert.deepEqual(new Set(top.slice(0, 2).map(({ key }) => key)), new Set(['23/tcp', '445/tcp']));
    const udp = (await exported(lab)).filter(
      ({ destination, network }) => network.transport === 'udp' && destination.ip === '10.64.1.2',
    );
    assert.equal(new Set(udp.map(({ destination }) => destination.port)).size, 100, 'a session for each of 100 UDP ports');
    console.log(
      `masscan: ${swept} SYNs seen or counted; lost ${after.lost}; matched to sessions ${after.matched}; probes ${counts.probes}`,
    );
  }),
);
