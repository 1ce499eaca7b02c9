// The doctor beside a real Docker engine, real fail2ban and iptables-legacy next to nft: what they write themselves, not rules in their shape.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { parseAddress } from '../../src/model/address.ts';
import type { Diagnosis } from '../../src/model/diagnosis.ts';
import { diagnose } from '../../src/netops/doctor/diagnose.ts';
import { canTry, tryFix } from '../../src/netops/doctor/try-fix.ts';
import { shown } from '../support/doctor-bed.ts';
import { FaultLab } from '../support/fault-lab.ts';
import { lacksKernelTests, lacksProgram, until } from '../support/namespace.ts';
import { startDockerEngine, startFail2ban } from '../support/real-engine.ts';

const lacking = lacksKernelTests() || lacksProgram('dockerd', 'docker.io') || lacksProgram('fail2ban-server', 'fail2ban');

async function withPlace(body: (lab: FaultLab, room: string) => Promise<void>): Promise<void> {
  const room = mkdtempSync(join(tmpdir(), 'weir-doctor-'));
  const lab = await FaultLab.open();
  try {
    await body(lab, room);
  } finally {
    await lab.end();
    rmSync(room, { recursive: true, force: true });
  }
}

async function ask(lab: FaultLab, port: number, more: { from?: string; to?: string; socket?: string } = {}): Promise<Diagnosis> {
  const source = parseAddress(more.from ?? '10.50.1.10');
  const destination = parseAddress(more.to ?? '10.60.0.2');
  assert.ok(source && destination);
  const { diagnosis } = await diagnose({
    source,
    destination,
    port,
    netns: lab.at('server').name,
    probe: true,
    ...(more.socket && { fail2banSocket: more.socket }),
  });
  return diagnosis;
}

const saying = (diagnosis: Diagnosis): string => `${diagnosis.cause?.id ?? '-'} ${diagnosis.verdict}`;

/** The fix heals it, and is taken back. */
async function heals(lab: FaultLab, diagnosis: Diagnosis, again: () => Promise<Diagnosis>): Promise<void> {
  const fix = diagnosis.fix.find(canTry);
  assert.ok(fix, shown(diagnosis));
  assert.ok(fix.cmd.startsWith(`nsenter --net=${lab.at('server').path} `), shown(diagnosis));
  const trial = await tryFix(fix, 20_000);
  try {
    const fixed = await again();
    assert.equal(fixed.verdict, 'reachable', `${fix.cmd}: ${shown(fixed)}`);
  } finally {
    await trial.end();
  }
}

test('a real Docker engine: published ports, its chains, its networks', { skip: lacking, timeout: 120_000 }, async () => {
  await withPlace(async (lab, room) => {
    const server = lab.at('server');
    const engine = await startDockerEngine(server, room);
    try {
      const serve = 'while true; do echo hello | /bin/busybox nc -l -p 80; done';
      await engine.docker('run', '-d', '--name', 'web', '-p', '8180:80', 'box', '/bin/busybox', 'sh', '-c', serve);
      await until('the published port answers', async () => (await ask(lab, 8180)).verdict === 'reachable', 20_000);
      const healthy = await ask(lab, 8180);
      assert.deepEqual(
        healthy.hops.filter(({ state }) => state === 'fail' || state === 'unknown'),
        [],
        shown(healthy),
      );
      assert.ok(
        healthy.hops.some(({ layer, detail }) => layer === 'nat' && /10\.60\.0\.2:8180 to 172\.17\.0\.2:80/.test(detail)),
        shown(healthy),
      );

      await server.run(['iptables', '-I', 'DOCKER-USER', '-s', '10.50.1.10', '-j', 'DROP']);
      const dropped = await ask(lab, 8180);
      assert.equal(saying(dropped), 'fw-rule-drop unreachable', shown(dropped));
      assert.match(dropped.cause?.detail ?? '', /DOCKER-USER[\s\S]*8180/);
      assert.equal((await ask(lab, 8180, { from: '10.50.1.11' })).verdict, 'reachable');
      await heals(lab, dropped, () => ask(lab, 8180));
      await server.run(['iptables', '-D', 'DOCKER-USER', '-s', '10.50.1.10', '-j', 'DROP']);

      await engine.docker('network', 'create', '--subnet', '10.50.0.0/16', 'overlapping');
      await engine.docker('run', '-d', '--name', 'other', '--network', 'overlapping', 'box', '/bin/busybox', 'sh', '-c', serve);
      await lab.listen({ at: 'server', address: '0.0.0.0', port: 8080 });
      const captured = await ask(lab, 8080);
      assert.equal(saying(captured), 'return-route-captured-by-bridge unreachable', shown(captured));
      assert.match(captured.cause?.detail ?? '', /10\.50\.0\.0\/16/);
      assert.ok(captured.rejected_fixes.some(({ cmd }) => cmd.includes('DOCKER-USER')));
      assert.match(captured.fix.map(({ cmd }) => cmd).join('\n'), /default-address-pools/);
      assert.equal((await ask(lab, 8080, { from: '10.60.0.20' })).verdict, 'reachable');
      await heals(lab, captured, () => ask(lab, 8080));

      await engine.docker('rm', '-f', 'web');
      assert.equal(saying(await ask(lab, 8180, { from: '10.60.0.20' })), 'service-not-listening unreachable');
    } finally {
      await engine.docker('rm', '-f', 'web', 'other').catch(() => '');
      await engine.stop();
    }
  });
});

for (const [action, tool] of [
  ['nftables-multiport', 'a set of nft'],
  ['iptables-multiport', 'a chain of iptables'],
] as const)
  test(`real fail2ban, ${tool}, and iptables-legacy beside it`, { skip: lacking, timeout: 60_000 }, async () => {
    await withPlace(async (lab, room) => {
      const server = lab.at('server');
      await lab.listen({ at: 'server', address: '0.0.0.0', port: 8080 });
      const bans = await startFail2ban(server, room, action);
      const again = () => ask(lab, 8080, { socket: bans.socket });
      try {
        assert.equal((await again()).verdict, 'reachable');
        await bans.ban('10.50.1.10');
        const banned = await again();
        assert.equal(saying(banned), 'banned unreachable', shown(banned));
        assert.match(banned.cause?.detail ?? '', /jail web/);
        const evidence = banned.hops[(banned.cause?.hop ?? 1) - 1].evidence.map(({ text }) => text).join('\n');
        assert.match(evidence, /until \d{4}-\d\d-\d\d/);
        assert.equal((await ask(lab, 8080, { from: '10.50.1.11' })).verdict, 'reachable');
        await heals(lab, banned, again);
        await server.run(['iptables-legacy', '-A', 'INPUT', '-s', '10.50.1.11', '-p', 'tcp', '--dport', '8080', '-j', 'DROP']);
        const legacy = await ask(lab, 8080, { from: '10.50.1.11' });
        assert.equal(saying(legacy), 'fw-legacy-drop unreachable', shown(legacy));
        assert.equal(saying(await again()), 'banned unreachable');
      } finally {
        await bans.stop();
      }
    });
  });
