// The catalogue of faults: every one staged for real, named exactly, at the right place, with a fix that works and an undo that leaves nothing;
// and ten pairs of them at once.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readlinkSync, rmSync, statSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { WeirError } from '../../src/base/errors.ts';
import { parseAddress } from '../../src/model/address.ts';
import type { Diagnosis } from '../../src/model/diagnosis.ts';
import type { MachineLink, MachineNamespace } from '../../src/model/machine.ts';
import { touchDecoy } from '../../src/netops/doctor/decoy-touch.ts';
import { insideNamespace } from '../../src/netops/doctor/fix-rule.ts';
import { tryFix } from '../../src/netops/doctor/try-fix.ts';
import {
  ask,
  type CaseFigures,
  runAtOnce,
  runCase,
  runFromServerAlone,
  runPair,
  runTwoWays,
  shown,
} from '../support/doctor-bed.ts';
import type { FaultCase } from '../support/fault-case.ts';
import { faultCases } from '../support/fault-cases.ts';
import { faultCasesOfSix } from '../support/fault-cases-six.ts';
import { FaultLab } from '../support/fault-lab.ts';
import { lacksKernelTests, lacksProgram, until, withLab } from '../support/namespace.ts';

const lacking = lacksKernelTests() || lacksProgram('iptables-legacy', 'iptables') || lacksProgram('socat', 'socat');
const atOnce = 5;

const reasonOf = (result: PromiseSettledResult<unknown>): string =>
  result.status === 'rejected' ? String((result.reason as Error).stack ?? result.reason) : '';

test('every fault of the catalogue: id, first hop, contrast, fix, undo, healthy twin', { skip: lacking }, async (context) => {
  const begun = performance.now();
  const results = await runAtOnce(faultCases, atOnce, runCase);
  const figures = results.flatMap((result): CaseFigures[] => (result.status === 'fulfilled' ? [result.value] : []));
  const median = (of: (one: CaseFigures) => number): string => {
    const sorted = figures.map(of).sort((a, b) => a - b);
    return `${((sorted[sorted.length >> 1] ?? 0) / 1000).toFixed(2)} s`;
  };
  const proven = figures.filter(({ confidence }) => confidence === 'proven').length;
  context.diagnostic(
    `exact id and first hop ${figures.length} of ${faultCases.length}; proven ${proven}; without a probe ${figures.filter(({ foretold }) => foretold).length}; ` +
      `a diagnosis ${median(({ ms }) => ms)} with a probe, ${median(({ foretoldMs }) => foretoldMs)} without; all ${((performance.now() - begun) / 1000).toFixed(0)} s`,
  );
  assert.deepEqual(
    results.flatMap((result, index) =>
      result.status === 'rejected' ? [`fault ${faultCases[index].number}: ${reasonOf(result)}`] : [],
    ),
    [],
  );
});

const caseOf = (number: string): FaultCase => {
  const found = faultCases.find((fault) => fault.number === number);
  assert.ok(found, number);
  return found;
};

test('the same over IPv6', { skip: lacking }, async () => {
  const results = await runAtOnce(faultCasesOfSix, atOnce, runCase);
  assert.deepEqual(
    results.flatMap((result, index) =>
      result.status === 'rejected' ? [`fault ${faultCasesOfSix[index].number}: ${reasonOf(result)}`] : [],
    ),
    [],
  );
});

test('a next hop that nobody has, but a proxy answers for, is no fault', { skip: lacking }, async () => {
  const lab = await FaultLab.open();
  try {
    await lab.listen({ at: 'server', address: '0.0.0.0', port: 8080 });
    // As Calico joins its pods.
    await lab.run(['server', 'echo 1 >/proc/sys/net/ipv4/conf/br-lab/proxy_arp']);
    await lab.run(['container', 'ip route add 169.254.1.1 dev eth0; ip route replace default via 169.254.1.1 dev eth0']);
    const found = await ask(lab, caseOf('1'), { from: '172.18.0.2' });
    assert.deepEqual([found.verdict, found.confidence, found.cause], ['reachable', 'proven', undefined], shown(found));
    assert.deepEqual(
      found.hops.filter(({ state }) => state === 'fail' || state === 'unknown'),
      [],
      shown(found),
    );
  } finally {
    await lab.end();
  }
});

test('datagrams: answered, taken in silence, refused, dropped', { skip: lacking, timeout: 60_000 }, async () => {
  const lab = await FaultLab.open();
  try {
    const udp = (probe = true) => ask(lab, caseOf('1'), { transport: 'udp', probe });
    const words = ({ verdict, confidence, cause }: Diagnosis): string => `${verdict} ${confidence} ${cause?.id ?? '-'}`;
    const closed = await udp();
    assert.equal(words(closed), 'unreachable proven service-not-listening', shown(closed));
    const quiet = await lab.listenForDatagrams('server', 8080);
    const silent = await udp();
    assert.equal(words(silent), 'reachable observed -', shown(silent));
    await quiet();
    await lab.listenForDatagrams('server', 8080, { answers: true });
    const answered = await udp();
    assert.equal(words(answered), 'reachable proven -', shown(answered));
    await lab
      .at('server')
      .nft('table inet lab {\n chain in {\n type filter hook input priority 0\n udp dport 8080 drop\n }\n}\n');
    const dropped = await udp();
    assert.equal(words(dropped), 'unreachable proven fw-rule-drop', shown(dropped));
    assert.equal(words(await udp(false)), 'unreachable predicted fw-rule-drop');
  } finally {
    await lab.end();
  }
});

test('a source that is on another machine: a SYN as if from it', { skip: lacking }, async () => {
  const numbers = ['1', '4', '7', '10', '13', '22', '31'];
  const results = await runAtOnce(numbers, atOnce, (number) =>
    number === '10' ? runTwoWays(caseOf(number)) : runFromServerAlone(caseOf(number)),
  );
  assert.deepEqual(
    results.flatMap((result, index) => (result.status === 'rejected' ? [`fault ${numbers[index]}: ${reasonOf(result)}`] : [])),
    [],
  );
});

const pairs = [
  ['4', '13'],
  ['10', '21'],
  ['5', '26'],
  ['9', '14'],
  ['25', '27'],
  ['7', '31'],
  ['28', '4'],
  ['23', '21'],
  ['1', '13'],
  ['8', '19'],
] as const;

test('ten pairs of faults: the one met first, then the other', { skip: lacking }, async () => {
  const results = await runAtOnce(pairs, atOnce, ([first, second]) => runPair(caseOf(first), caseOf(second)));
  assert.deepEqual(
    results.flatMap((result, index) =>
      result.status === 'rejected' ? [`${pairs[index].join(' and ')}: ${reasonOf(result)}`] : [],
    ),
    [],
  );
});

test('a fix that is being tried goes when whoever tries it is killed', { skip: lacking }, async () => {
  await withLab(async (lab) => {
    const place = await lab.namespace('k');
    await place.nft('table inet lab {\n chain input {\n type filter hook input priority 0\n tcp dport 8080 drop\n }\n}\n');
    const before = await place.snapshot();
    const fix = {
      cmd: `nsenter --net=${place.path} -- nft insert rule inet lab input tcp dport 8080 accept comment '"weir-doctor"'`,
      undo: `nsenter --net=${place.path} -- sh -c "nft delete rule inet lab input handle \\$(nft -a list chain inet lab input | sed -n 's/.*comment \\"weir-doctor\\" # handle //p')"`,
    };
    const module = new URL('../../src/netops/doctor/try-fix.js', import.meta.url).href;
    const script = `import { tryFix } from '${module}'; await tryFix(${JSON.stringify(fix)}, 60_000); console.log('applied'); setInterval(() => {}, 1000);`;
    const child = spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
    await once(child.stdout, 'data');
    assert.match(await place.snapshot(), /weir-doctor/);
    child.kill('SIGKILL');
    await until('the fix is gone', async () => (await place.snapshot()) === before);
    // A namespace that only a process leads to: held from the first to the last, and taken for no other.
    const holder = place.spawn(['cat']);
    await until('it is inside', () => readlinkSync(`/proc/${holder.pid}/ns/net`) === `net:[${statSync(place.path).ino}]`);
    const path = `/proc/${holder.pid}/ns/net`;
    const inProcess = (inode: string, command: string): string =>
      insideNamespace({ path, inode }, command.replace(/^nsenter \S+ -- /, ''));
    const [other, back] = [fix.cmd, fix.undo].map((command) => inProcess('1', command));
    await assert.rejects(tryFix({ cmd: other, undo: back, when: 'now', risk: '', scope: '' }, 1000), /another network namespace/);
    const [cmd, undo] = [fix.cmd, fix.undo].map((command) => inProcess(String(statSync(place.path).ino), command));
    const held = await tryFix({ cmd, undo, when: 'now', risk: '', scope: '' }, 60_000);
    await place.stopChildren();
    assert.match(await place.snapshot(), /weir-doctor/);
    await held.end();
    assert.equal(await place.snapshot(), before, 'undone though nothing leads there any more');
    // A name that is given anew meanwhile is neither taken for what it was, nor does the undo follow it.
    const [room, another] = [mkdtempSync(join(tmpdir(), 'weir-netns-')), await lab.namespace('k2')];
    try {
      const name = join(room, "a web's");
      const point = (to: string): void => {
        rmSync(name, { force: true });
        symlinkSync(to, name);
      };
      const byName = (command: string): string => {
        const inode = String(statSync(place.path).ino);
        return insideNamespace({ path: name, inode }, command.replace(/^nsenter \S+ -- /, ''));
      };
      const named = { cmd: byName(fix.cmd), undo: byName(fix.undo), when: 'now', risk: '', scope: '' } as const;
      point(another.path);
      await assert.rejects(tryFix(named, 1000), /another network namespace/);
      point(place.path);
      const trial = await tryFix(named, 60_000);
      point(another.path);
      await trial.end();
      assert.equal(await place.snapshot(), before, 'undone where it was applied');
    } finally {
      rmSync(room, { recursive: true });
    }
    const bad = tryFix({ ...fix, cmd: 'false', when: 'now', risk: '', scope: '' }, 1000);
    await assert.rejects(bad, (error: WeirError) => error.code === 'kernel-refused');
    assert.equal(await place.snapshot(), before, 'what was not applied is not undone');
  });
});

test('a touch that cannot be made leaves no table', { skip: lacking }, async () => {
  await withLab(async (lab) => {
    const place = await lab.namespace('t');
    const before = await place.snapshot();
    const decoy = parseAddress('10.0.0.9') ?? assert.fail();
    const gone = { name: 'gone0', index: 4711, mac: '' } as unknown as MachineLink;
    await assert.rejects(touchDecoy({ path: place.path } as unknown as MachineNamespace, gone, decoy, 80));
    assert.equal(await place.snapshot(), before);
  });
});
