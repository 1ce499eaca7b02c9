// Connections made to see what the walk foretold, with everything measured around them: counters of every namespace on the way, matches of
// the rules in question, drops and resets as the kernel tells them. Ends by itself; leaves nothing.

import { randomInt } from 'node:crypto';
import { asWeirError } from '../../base/errors.ts';
import { type ConnectOutcome, type PortRange, probeConnect } from '../../kernel/connect-probe.ts';
import { probeDatagram } from '../../kernel/datagram-probe.ts';
import { readMachine } from '../../kernel/machine/machine-reader.ts';
import { NftTrace, type NftTraceLine } from '../../kernel/trace/nft-trace.ts';
import { dropTraceRequest, type PacketDrop, type ResetSent, readTcpTraceEvent } from '../../kernel/trace/tcp-events.ts';
import { TraceSession } from '../../kernel/trace/trace-session.ts';
import { type Address, renderAddress } from '../../model/address.ts';
import type { MachineNamespace } from '../../model/machine.ts';
import type { RulePlace } from '../../model/packet-filter.ts';
import type { Transport } from '../../model/session.ts';
import { ruleAt } from './filter-hop.ts';
import type { Fault, WalkHop } from './hop.ts';
import { counterGrowth, readCountersOf, readFilterOf } from './reading.ts';
import { ruleKey } from './signals.ts';

export interface ProbeWish {
  readonly transport: Transport;
  /** Owns the source. */
  readonly namespace: MachineNamespace;
  readonly source: Address;
  readonly destination: Address;
  readonly port: number;
  /** All the way. */
  readonly through: readonly MachineNamespace[];
  readonly hops: readonly WalkHop[];
  /** Other addresses the source has on the way, where rules rewrite it. */
  readonly alsoAs?: readonly Address[];
}

export interface ProbeRun {
  readonly transport: Transport;
  /** Not from the source itself: a SYN of ours, whose answer was looked for as it left. */
  readonly injected?: { readonly by: string; readonly master?: string; readonly answeredBy?: string };
  readonly attempts: readonly ConnectOutcome[];
  /** By inode, then by counter. */
  readonly growth: ReadonlyMap<string, Readonly<Record<string, number>>>;
  /** Matches by `ruleKey`. */
  readonly rulePackets: ReadonlyMap<string, number>;
  /** Where nft's trace saw packets of the flow end. */
  readonly endings: readonly RuleEnding[];
  /** Namespaces of hops that went wrong, by inode, once it was over: neighbours, queues, and listeners where one did not accept. */
  readonly after: ReadonlyMap<string, MachineNamespace>;
  readonly drops: readonly PacketDrop[];
  /** Sent to the probe. */
  readonly resets: readonly ResetSent[];
  readonly notMeasured: readonly string[];
  /** The same once more, alone: what it meets within this time. */
  readonly again?: (timeoutMs: number) => Promise<ConnectOutcome>;
  /** How that went, for a hop whose meter others may have moved too. */
  readonly repeated?: Repetition;
}

export interface Repetition {
  readonly hop: WalkHop;
  /** Each time the meter stood still without the probe, and moved by exactly its one packet with it. */
  readonly exact: boolean;
  readonly text: string;
}

const timeoutMs = 1300;
const lingerMs = 350;
/** Limits let so many through before they hold. */
const mostAttempts = 8;
/** What makes a packet vanish in ordinary running: said nowhere. */
const ordinaryDrops = new Set(['NO_SOCKET', 'NOT_SPECIFIED', 'OTHERHOST', 'TCP_OLD_DATA', 'SKB_CONSUMED', 'TCP_CLOSE']);

/** Ports of one diagnosis: what is traced is told from other flows of the same hosts by them. */
const portsEach = 32;

export function choosePorts(): PortRange {
  const first = randomInt(33_000, 60_000);
  return { first, last: first + portsEach - 1 };
}

/** Connects from the namespace that has the source. */
export async function runProbe(wish: ProbeWish): Promise<ProbeRun> {
  const ports = choosePorts();
  const connect = (forMs: number, stayMs: number): Promise<ConnectOutcome> =>
    (wish.transport === 'udp' ? probeDatagram : probeConnect)({
      netns: wish.namespace.path,
      from: wish.source,
      fromPorts: ports,
      to: wish.destination,
      port: wish.port,
      timeoutMs: forMs,
      lingerMs: stayMs,
    });
  const run = await measured({ ...wish, ports }, async (notMeasured) => {
    const attempts: ConnectOutcome[] = [];
    const limited = wish.hops.some(({ fault }) => fault?.id === 'fw-rate-limit');
    const foretold = wish.hops.some(({ fault }) => fault !== undefined);
    for (let count = 0; count < (limited ? mostAttempts : foretold ? 1 : 2); count += 1) {
      const later = limited && count > 0;
      const outcome = await connect(later ? 500 : timeoutMs, later ? 0 : lingerMs);
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
  return { ...run, again: (forMs) => connect(forMs, 0) };
}

type MeasureWish = Pick<ProbeWish, 'transport' | 'through' | 'hops' | 'source' | 'alsoAs'> & { readonly ports: PortRange };

/** What a body that makes packets meets: everything that is counted or told around it. */
export async function measured(wish: MeasureWish, body: (notMeasured: string[]) => Promise<ConnectOutcome[]>): Promise<ProbeRun> {
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
  const rulesAsTheyAct = await openRuleTraces(wish, notMeasured);
  let trace: Trace | undefined;
  let attempts: ConnectOutcome[];
  try {
    trace = openTrace(notMeasured);
    attempts = await body(notMeasured);
    trace?.collect();
  } finally {
    // Tables of ours first: nothing that fails may leave one.
    await Promise.allSettled(rulesAsTheyAct.map(({ nft }) => nft.close()));
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
    transport: wish.transport,
    attempts,
    growth,
    rulePackets,
    endings: rulesAsTheyAct.flatMap(({ namespace, nft }) => endingsOf(namespace, nft.lines)),
    after: await readAfter(wish.hops),
    drops: trace?.drops.filter(({ reason }) => !ordinaryDrops.has(reason ?? '')) ?? [],
    resets: trace?.resets.filter(({ destination }) => destination !== undefined && ports.has(destination.port)) ?? [],
    notMeasured,
  };
}

export interface RuleEnding {
  readonly inode: string;
  readonly family: string;
  readonly table: string;
  readonly chain: string;
  readonly text: string;
}

/** A queue that somebody reads is no end: what becomes of the packet is the reader's to say. */
export const endingsOf = (
  { inode, queueConsumers }: Pick<MachineNamespace, 'inode' | 'queueConsumers'>,
  lines: readonly NftTraceLine[],
): RuleEnding[] =>
  lines
    .filter(
      ({ kind, verdict }) =>
        kind !== 'verdict' && (/^(drop|stolen)/.test(verdict) || (/^queue/.test(verdict) && queueConsumers?.length === 0)),
    )
    .map(({ family, table, chain, text }) => ({ inode, family, table, chain, text }));

/** Namespaces whose rules are watched at work. */
const mostTraces = 4;

/** Where rules of nft are in question. */
async function openRuleTraces(
  { transport, hops, source, alsoAs = [], ports, through }: MeasureWish,
  notMeasured: string[],
): Promise<{ namespace: MachineNamespace; nft: NftTrace }[]> {
  const foretold = new Set(
    hops
      .filter(({ fault }) => fault && (fault.parts.rule ?? fault.parts.policyOf)?.backend === 'nft')
      .map(({ namespace }) => namespace),
  );
  // Nothing foretold: should it fail all the same, any of them may have done it.
  const suspects = hops.some(({ fault }) => fault)
    ? foretold
    : through.filter(({ filter }) => filter?.chains.some(({ backend, base }) => backend === 'nft' && base));
  const ip = source.family === 4 ? 'ip' : 'ip6';
  // Addresses are rewritten on the way, the ports of the probe hardly ever: they tell it from other flows of the same hosts.
  const range = `${ports.first}-${ports.last}`;
  const selectors = [source, ...alsoAs]
    .map(renderAddress)
    .flatMap((from) => [`${ip} saddr ${from} ${transport} sport ${range}`, `${ip} daddr ${from} ${transport} dport ${range}`]);
  const opened: { namespace: MachineNamespace; nft: NftTrace }[] = [];
  for (const namespace of [...suspects].slice(0, mostTraces))
    try {
      opened.push({ namespace, nft: await NftTrace.open(namespace.path, selectors) });
    } catch (error) {
      notMeasured.push(`the rules of ${namespace.name} at work (nft monitor trace): ${asWeirError(error).message}`);
    }
  return opened;
}

const isFull = ({ id }: Fault): boolean => id === 'accept-queue-full';

async function readAfter(hops: readonly WalkHop[]): Promise<Map<string, MachineNamespace>> {
  const asked = hops.filter(({ fault, layer }) => fault && layer !== 'filter' && (layer !== 'socket' || isFull(fault)));
  if (asked.length === 0) return new Map();
  const full = asked.some(({ fault }) => fault && isFull(fault));
  const parts = ['neighbours', 'qdiscs', ...(full ? (['listeners'] as const) : [])] as const;
  const inodes = asked.map(({ namespace }) => namespace.inode);
  const machine = await readMachine({ inodes, parts }).catch(() => undefined);
  return new Map(machine?.namespaces.map((namespace) => [namespace.inode, namespace]));
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
