// Connections made to see what the walk foretold, with everything measured around them: counters of every namespace on the way, matches of
// the rules in question, drops and resets as the kernel tells them. Ends by itself; leaves nothing.

import { asWeirError } from '../../base/errors.ts';
import { type ConnectOutcome, probeConnect } from '../../kernel/connect-probe.ts';
import { dropTraceRequest, type PacketDrop, type ResetSent, readTcpTraceEvent } from '../../kernel/trace/tcp-events.ts';
import { TraceSession } from '../../kernel/trace/trace-session.ts';
import type { Address } from '../../model/address.ts';
import type { MachineNamespace } from '../../model/machine.ts';
import type { RulePlace } from '../../model/packet-filter.ts';
import { ruleAt } from './filter-hop.ts';
import type { WalkHop } from './hop.ts';
import { counterGrowth, readCountersOf, readFilterOf } from './reading.ts';
import { ruleKey } from './signals.ts';

export interface ProbeWish {
  /** Owns the source. */
  readonly namespace: MachineNamespace;
  readonly source: Address;
  readonly destination: Address;
  readonly port: number;
  /** All the way. */
  readonly through: readonly MachineNamespace[];
  readonly hops: readonly WalkHop[];
}

export interface ProbeRun {
  /** Not from the source itself: a SYN of ours, whose answer was looked for as it left. */
  readonly injected?: { readonly by: string; readonly answeredBy?: string };
  readonly attempts: readonly ConnectOutcome[];
  /** By inode, then by counter. */
  readonly growth: ReadonlyMap<string, Readonly<Record<string, number>>>;
  /** Matches by `ruleKey`. */
  readonly rulePackets: ReadonlyMap<string, number>;
  /** What nft's trace said of a rule, by `ruleKey`. */
  readonly tracedRules: ReadonlyMap<string, string>;
  readonly drops: readonly PacketDrop[];
  /** Sent to the probe. */
  readonly resets: readonly ResetSent[];
  readonly notMeasured: readonly string[];
}

const timeoutMs = 1300;
const lingerMs = 350;
/** Limits let so many through before they hold. */
const mostAttempts = 8;
/** What makes a packet vanish in ordinary running: said nowhere. */
const ordinaryDrops = new Set(['NO_SOCKET', 'NOT_SPECIFIED', 'OTHERHOST', 'TCP_OLD_DATA', 'SKB_CONSUMED', 'TCP_CLOSE']);

/** Connects from the namespace that has the source. */
export const runProbe = (wish: ProbeWish): Promise<ProbeRun> =>
  measured(wish, async (notMeasured) => {
    const attempts: ConnectOutcome[] = [];
    const limited = wish.hops.some(({ fault }) => fault?.id === 'fw-rate-limit');
    const foretold = wish.hops.some(({ fault }) => fault !== undefined);
    for (let count = 0; count < (limited ? mostAttempts : foretold ? 1 : 2); count += 1) {
      const outcome = await probeConnect({
        netns: wish.namespace.path,
        from: wish.source,
        to: wish.destination,
        port: wish.port,
        timeoutMs: limited && count > 0 ? 500 : timeoutMs,
        lingerMs: limited && count > 0 ? 0 : lingerMs,
      });
      // What nothing foretold may have been a passing thing, as a neighbour that is only being asked for: once more.
      if (!foretold && count === 0 && outcome.result !== 'connected') {
        notMeasured.push(`why a first attempt failed (${outcome.result}): a second one was made`);
        continue;
      }
      attempts.push(outcome);
      if (outcome.result !== 'connected' || !limited) break;
    }
    return attempts;
  });

/** What a body that makes packets meets: everything that is counted or told around it. */
export async function measured(
  wish: Pick<ProbeWish, 'through' | 'hops'>,
  body: (notMeasured: string[]) => Promise<ConnectOutcome[]>,
): Promise<ProbeRun> {
  const notMeasured: string[] = [];
  const before = readCountersOf(wish.through);
  for (const { inode, name } of wish.through)
    if (!before.has(inode)) notMeasured.push(`counters of ${name}: it cannot be entered`);
  const rules = new Map<string, { namespace: MachineNamespace; place: RulePlace; packets: number }>();
  for (const { namespace, fault } of wish.hops) {
    const place = fault?.parts.rule;
    const packets = place && namespace.filter ? ruleAt(namespace.filter, place)?.packets : undefined;
    if (place && packets !== undefined) rules.set(ruleKey(namespace.inode, place), { namespace, place, packets });
  }
  const trace = openTrace(notMeasured);
  let attempts: ConnectOutcome[];
  try {
    attempts = await body(notMeasured);
  } finally {
    trace?.collect();
    trace?.close();
  }
  const growth = counterGrowth(before, readCountersOf(wish.through));
  const rulePackets = new Map<string, number>();
  for (const namespace of new Set([...rules.values()].map((rule) => rule.namespace))) {
    const filter = await readFilterOf(namespace.path).catch(() => undefined);
    if (!filter) notMeasured.push(`matches of rules in ${namespace.name}`);
    for (const [key, { namespace: owner, place, packets }] of rules) {
      const now = owner === namespace && filter ? ruleAt(filter, place)?.packets : undefined;
      if (now !== undefined) rulePackets.set(key, now - packets);
    }
  }
  const ports = new Set(attempts.map(({ sourcePort }) => sourcePort));
  return {
    attempts,
    growth,
    rulePackets,
    tracedRules: new Map(),
    drops: trace?.drops.filter(({ reason }) => !ordinaryDrops.has(reason ?? '')) ?? [],
    resets: trace?.resets.filter(({ destination }) => destination !== undefined && ports.has(destination.port)) ?? [],
    notMeasured,
  };
}

interface Trace {
  readonly drops: readonly PacketDrop[];
  readonly resets: readonly ResetSent[];
  collect(): void;
  close(): void;
}

function openTrace(notMeasured: string[]): Trace | undefined {
  let session: TraceSession;
  try {
    session = new TraceSession([{ event: 'tcp:tcp_send_reset', optional: true }, dropTraceRequest]);
  } catch (error) {
    notMeasured.push(`the kernel's trace events: ${asWeirError(error).message}`);
    return undefined;
  }
  const drops: PacketDrop[] = [];
  const resets: ResetSent[] = [];
  return {
    drops,
    resets,
    collect() {
      for (const event of session.read(65_536).map(readTcpTraceEvent)) {
        if (event?.kind === 'drop') drops.push(event);
        if (event?.kind === 'reset-sent') resets.push(event);
      }
      if (session.lost > 0) notMeasured.push(`${session.lost} trace events that came too fast`);
    },
    close: () => session.close(),
  };
}
