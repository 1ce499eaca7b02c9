// One case of the catalogue from end to end: staged, diagnosed, its fix tried and taken back, healed; what is expected of each step.

import assert from 'node:assert/strict';
import { parseAddress } from '../../src/model/address.ts';
import type { Diagnosis } from '../../src/model/diagnosis.ts';
import type { Transport } from '../../src/model/session.ts';
import { diagnose } from '../../src/netops/doctor/diagnose.ts';
import { readConnected } from '../../src/netops/doctor/reading.ts';
import { canTry, tryFix } from '../../src/netops/doctor/try-fix.ts';
import { type FaultCase, server } from './fault-case.ts';
import { FaultLab, type Place } from './fault-lab.ts';

export interface CaseFigures {
  readonly number: string;
  readonly found: string;
  readonly confidence: string;
  /** The same cause without a probe. */
  readonly foretold: boolean;
  readonly ms: number;
  readonly foretoldMs: number;
}

const client = '10.50.1.10';

export async function ask(
  lab: FaultLab,
  fault: FaultCase,
  options: { from?: string; probe?: boolean; transport?: Transport } = {},
): Promise<Diagnosis> {
  const [to, port] = fault.to ?? ['10.60.0.2', 8080];
  const source = parseAddress(options.from ?? fault.from ?? client);
  const destination = parseAddress(to);
  assert.ok(source && destination);
  const { diagnosis } = await diagnose({
    source,
    destination,
    port,
    netns: lab.at('server').name,
    probe: options.probe ?? true,
    ...(options.transport && { transport: options.transport }),
  });
  return diagnosis;
}

/** As it is where the source is not on this machine: of the lab only the server and its container are seen; a SYN is handed to the kernel. */
export async function askFromServerAlone(
  lab: FaultLab,
  fault: FaultCase,
  { inject = true, iif }: { inject?: boolean; iif?: string } = {},
): Promise<Diagnosis> {
  const [to, port] = fault.to ?? ['10.60.0.2', 8080];
  const source = parseAddress(fault.from ?? client);
  const destination = parseAddress(to);
  assert.ok(source && destination);
  const netns = lab.at('server').name;
  const seen = [netns, lab.at('container').name];
  const { diagnosis } = await diagnose(
    { source, destination, port, netns, probe: false, inject, ...(iif && { iif }) },
    async () => {
      const machine = await readConnected(netns);
      return { ...machine, namespaces: machine.namespaces.filter(({ name }) => seen.includes(name)) };
    },
  );
  return diagnosis;
}

export const shown = ({ verdict, confidence, cause, hops, not_measured }: Diagnosis): string =>
  `${verdict} ${confidence} ${JSON.stringify(cause)} ${hops.map(({ n, layer, netns, state, detail }) => `\n  ${n} ${layer} ${netns} ${state}: ${detail}`).join('')}\n  ${not_measured.join('; ')}`;

/** What a fix may touch, in one place, as text without counters and times. */
async function stateOf(lab: FaultLab, place: Place): Promise<string> {
  const { stdout } = await lab.at(place).run([
    'sh',
    '-c',
    `nft -s list ruleset; [ ! -s /proc/net/ip_tables_names ] || iptables-legacy-save
ip -d link; ip addr; ip route show table all; ip -6 route show table all; ip rule; ip neigh show nud permanent; ip xfrm policy; tc qdisc
grep -rs '' /proc/sys/net/ipv4/conf /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv6/conf /proc/sys/net/bridge || true`,
  ]);
  return stdout
    .replace(/^# (Generated|Completed).*$/gm, '')
    .replace(/\[\d+:\d+\]/g, '[]')
    .replace(/ (valid_lft|preferred_lft|expires|\w+_timer) +\S+/g, '');
}

async function stage(lab: FaultLab, fault: FaultCase): Promise<() => Promise<void>> {
  const open: (() => Promise<void>)[] = [];
  for (const listening of fault.listening ?? [server()]) open.push(await lab.listen(listening));
  await lab.runAll(fault.stage);
  const more = await fault.more?.(lab);
  if (more) lab.atEnd(more);
  return async () => {
    await more?.();
    if (fault.healedListening) {
      for (const close of open) await close();
      for (const listening of fault.healedListening) await lab.listen(listening);
    }
    await lab.runAll(fault.heal);
    await lab.settled();
  };
}

function checkCause(fault: FaultCase, diagnosis: Diagnosis): void {
  const { cause, hops, verdict } = diagnosis;
  assert.equal(cause?.id, fault.cause, shown(diagnosis));
  assert.equal(verdict, fault.verdict, shown(diagnosis));
  const hop = hops[cause.hop - 1];
  assert.equal(`${hop.netns.replace(/^.*-/, '')}/${hop.layer}`, `${fault.hop.at}/${fault.hop.layer}`, shown(diagnosis));
  if (fault.says) assert.match(cause.detail ?? '', fault.says);
  const first = hops.find(({ state }) => state === 'fail');
  assert.equal((first ?? hop).n, cause.hop, 'the cause is the first hop that fails');
  assert.notEqual(hop.evidence.length, 0, 'a cause shows its evidence');
}

/** Throws with the whole diagnosis where something is not as the catalogue has it. */
export async function runCase(fault: FaultCase): Promise<CaseFigures> {
  const lab = await FaultLab.open();
  try {
    const heal = await stage(lab, fault);
    const foretelling = performance.now();
    const foretold = await ask(lab, fault, { probe: false });
    const foretoldMs = performance.now() - foretelling;
    const before = await stateOf(lab, fault.hop.at);
    const begun = performance.now();
    const diagnosis = await ask(lab, fault);
    const ms = performance.now() - begun;
    checkCause(fault, diagnosis);
    assert.deepEqual(
      [diagnosis.confidence, foretold.cause?.id === fault.cause],
      [fault.confidence ?? 'proven', fault.foretold ?? true],
      `how sure, and whether foretold: ${shown(diagnosis)}\nwithout a probe: ${shown(foretold)}`,
    );
    assert.equal(await stateOf(lab, fault.hop.at), before, 'a diagnosis leaves nothing behind');
    if (fault.rejects)
      assert.ok(
        diagnosis.rejected_fixes.some(({ cmd, proof }) => fault.rejects?.test(cmd) && proof !== ''),
        shown(diagnosis),
      );

    const contrast = await ask(lab, fault, { from: fault.contrast.from });
    assert.equal(contrast.verdict, fault.contrast.verdict, `contrast: ${shown(contrast)}`);

    const fix = diagnosis.fix.find(canTry);
    assert.equal(fix ? 'command' : 'advice', fault.fix);
    assert.ok(diagnosis.fix.length > 0, 'there is always something to do');
    if (fix) {
      const inside = `nsenter --net=${lab.at(fault.hop.at).path} `;
      assert.ok(fix.cmd.startsWith(inside) && fix.undo.startsWith(inside), `of the namespace it is for: ${fix.cmd}`);
      const trial = await tryFix(fix, 20_000);
      try {
        await lab.settled();
        const fixed = await ask(lab, fault);
        assert.equal(fixed.verdict, 'reachable', `with ${fix.cmd}: ${shown(fixed)}`);
      } finally {
        await trial.end();
      }
      assert.equal(await stateOf(lab, fault.hop.at), before, `undone: ${fix.undo}`);
    }

    await heal();
    const healthy = await ask(lab, fault);
    assert.equal(healthy.verdict, 'reachable', `healed: ${shown(healthy)}`);
    assert.deepEqual(
      healthy.hops.filter(({ state }) => state === 'fail' || state === 'unknown').map(({ detail }) => detail),
      [],
    );
    assert.equal(healthy.cause, undefined);
    return {
      number: fault.number,
      found: diagnosis.cause?.id ?? '',
      confidence: diagnosis.confidence,
      foretold: foretold.cause?.id === fault.cause,
      ms,
      foretoldMs,
    };
  } finally {
    await lab.end();
  }
}

/** Two faults at once: the one met first is named, and when it is healed the other. */
export async function runPair(first: FaultCase, second: FaultCase): Promise<void> {
  const lab = await FaultLab.open();
  try {
    const heal = await stage(lab, first);
    await lab.runAll(second.stage);
    checkCause(first, await ask(lab, first));
    await heal();
    const left = await ask(lab, second);
    checkCause(second, left);
  } finally {
    await lab.end();
  }
}

/** Named where only the server is seen, and nothing found once it is healed, which is then said as what was seen and no more. */
export async function runFromServerAlone(fault: FaultCase): Promise<void> {
  const lab = await FaultLab.open();
  try {
    const heal = await stage(lab, fault);
    const found = await askFromServerAlone(lab, fault);
    assert.equal(found.cause?.id, fault.cause, shown(found));
    assert.equal(found.verdict, fault.verdict, shown(found));
    assert.ok(found.hops[found.cause.hop - 1].evidence.some(({ rung }) => rung === 'probe'));
    await heal();
    const healthy = await askFromServerAlone(lab, fault);
    assert.deepEqual([healthy.verdict, healthy.confidence, healthy.cause], ['reachable', 'observed', undefined], shown(healthy));
    assert.ok(healthy.not_measured.some((text) => text.includes('10.50.1.10 is not on this machine')));
    const quiet = await askFromServerAlone(lab, fault, { inject: false });
    assert.deepEqual([quiet.verdict, quiet.cause], ['inconclusive', undefined], shown(quiet));
  } finally {
    await lab.end();
  }
}

/** A way back by another link than the address that is asked for: which way the question comes is not known, and the answer is not seen to arrive. */
export async function runTwoWays(fault: FaultCase): Promise<void> {
  const lab = await FaultLab.open();
  try {
    const heal = await stage(lab, fault);
    const open = await askFromServerAlone(lab, fault);
    assert.deepEqual([open.verdict, open.confidence, open.cause?.id], ['inconclusive', 'unknown', 'unexplained'], shown(open));
    assert.match(open.cause?.detail ?? '', /in by s1: .*in by s0: unreachable, rpfilter .*--iif/);
    const told = await askFromServerAlone(lab, fault, { iif: 's0' });
    assert.deepEqual([told.verdict, told.cause?.id], ['unreachable', fault.cause], shown(told));
    await heal();
    const healed = await askFromServerAlone(lab, fault, { iif: 's0' });
    assert.equal(healed.verdict, 'inconclusive', shown(healed));
    assert.match(healed.cause?.detail ?? '', /came in by s0 is answered by s1/);
  } finally {
    await lab.end();
  }
}

/** Several at a time: most of a case is waiting for an answer that does not come. */
export async function runAtOnce<T, R>(
  things: readonly T[],
  atOnce: number,
  body: (thing: T) => Promise<R>,
): Promise<PromiseSettledResult<R>[]> {
  const results: PromiseSettledResult<R>[] = new Array(things.length);
  let next = 0;
  const work = async (): Promise<void> => {
    for (let index = next++; index < things.length; index = next++)
      [results[index]] = await Promise.allSettled([body(things[index])]);
  };
  await Promise.all(Array.from({ length: atOnce }, work));
  return results;
}
