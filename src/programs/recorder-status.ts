// Puts together what `weir status` shows from what each program says of itself, and judges it. Pure.

import { renderMicros } from '../base/clock.ts';
import type { AgentReport, AgentStatus } from '../model/agent.ts';
import type { Health, Status } from '../model/status.ts';
import type { RecorderStatus } from '../record/recorder.ts';
import type { IntakeCounters } from '../relay/intake.ts';
import type { KernelPathCounters } from '../relay/kernel-path-protocol.ts';
import type { ProxyDoorCounters } from '../relay/proxy-listening.ts';
import type { RelayCounters } from '../relay/relay.ts';
import type { GatewayAgentsCounters } from './gateway-agents.ts';
import type { AnalysisPart } from './recorder-analysis.ts';

/** What the gateway answers to `status`; every part may be absent while it starts. */
export interface GatewayStatus {
  readonly intake?: Partial<IntakeCounters>;
  readonly catchAll?: Record<string, number>;
  /** Absent while no decoy is bound to a service with its own stack. */
  readonly kernelPath?: Partial<KernelPathCounters>;
  readonly sessions?: Record<string, number>;
  readonly journal?: {
    readonly droppedRecords?: number;
    readonly strippedRecords?: number;
    readonly diskFull?: boolean;
    readonly lastError?: string;
  };
  readonly relay?: Partial<RelayCounters> & { readonly unknownServices?: number };
  readonly proxies?: ProxyDoorCounters;
  readonly links?: GatewayAgentsCounters;
  /** As agentReport() says it; absent where no agent was ever added. */
  readonly agents?: AgentReport;
  readonly error?: string;
}

/** As many as a person reads; `weir agents` has all. */
const maxAgentReasons = 8;

/** Why agents are not well: those that wait for their first start and those revoked are as they should be. */
export function agentReasons({ agents, reasons }: AgentReport): string[] {
  const ailing = agents.filter(({ state, health }) => (state === 'linked' && health !== 'good') || state === 'away');
  const told = ailing.slice(0, maxAgentReasons).map((agent) => `agent ${agent.name}: ${describeAilment(agent)}`);
  if (ailing.length > told.length) told.push(`${ailing.length - told.length} more agents are not well: see weir agents`);
  return [...reasons, ...told];
}

const describeAilment = ({ state, since, reasons }: AgentStatus): string =>
  [...(state === 'away' ? [`away${since === undefined ? '' : ` since ${since.slice(0, 19)}Z`}`] : []), ...reasons].join('; ') ||
  'not well';

/** What the recorder knows of itself, in the words of Status. */
export function recorderPart(status: RecorderStatus, analysed?: AnalysisPart): RecorderPart {
  const { lagBytes, lagMs, journalBytes, store, storeError, rebuilding, damagedBytes, unlooked } = status;
  const reasons: string[] = [...(analysed?.reasons ?? [])];
  if (storeError) reasons.push(`the store refuses (${storeError}): sessions stay in the journal until it takes them`);
  if (rebuilding) reasons.push('the store is being rebuilt from the journal');
  if (damagedBytes > 0) reasons.push(`${damagedBytes} bytes of the journal were not records and were passed over`);
  if (unlooked > 0) reasons.push(`analysis failed: ${unlooked} records are stored without having been looked at`);
  for (const [part, count] of Object.entries(analysed?.analysis.faults ?? {}))
    reasons.push(`analysis failed: ${part} at ${count} sessions, which have the tag analysis-failed`);
  return {
    reasons,
    status: {
      ...(analysed && { analysis: analysed.analysis }),
      journal: { lagBytes, lagMs, sizeBytes: journalBytes },
      store: {
        sizeBytes: store.bytes,
        sessions: store.sessions,
        ...(store.oldest === undefined ? {} : { oldest: renderMicros(store.oldest) }),
      },
    },
  };
}

export interface RecorderPart {
  readonly status: Partial<Status>;
  readonly reasons: readonly string[];
}

/** Counters whose every unit is something not recorded or refused; shown by name when not zero. */
const losses: readonly (readonly [string, (gateway: GatewayStatus) => number | undefined])[] = [
  ['journal records dropped', ({ journal }) => journal?.droppedRecords],
  ['sessions recorded without their bytes', ({ journal }) => journal?.strippedRecords],
  ['bytes beyond the cap of a session', ({ sessions }) => sessions?.unrecordedBytes],
  ['sessions shed', ({ catchAll }) => catchAll?.shed],
  ['connections refused per source', ({ catchAll }) => catchAll?.refusedBySource],
  ['connections shed for lack of descriptors', ({ intake }) => intake?.tcp?.shed],
  ['connections to nobody', ({ intake }) => intake?.tcp?.unknown],
  ['UDP sessions shed', ({ catchAll }) => catchAll?.udpShed],
  ['UDP answers withheld', ({ catchAll }) => catchAll?.udpWithheld],
  ['relayed sessions shed', ({ relay }) => relay?.shed],
  ['relayed connections refused per source', ({ relay }) => relay?.refusedBySource],
  ['relayed UDP sessions shed', ({ relay }) => relay?.udpShed],
  ['relayed UDP answers withheld', ({ relay }) => relay?.udpWithheld],
  ['relayed datagrams refused per source', ({ relay }) => relay?.udpRefusedBySource],
  ['relayed datagrams that services did not take', ({ relay }) => relay?.udpUnsent],
  ['connections to services for which no socket was left', ({ relay }) => relay?.dials?.dry],
  ['connections for services that are not here', ({ relay }) => relay?.unknownServices],
  ['proxies: connections of strangers', ({ proxies }) => proxies?.strangers],
  ['proxies: connections without a header', ({ proxies }) => sumOf(proxies?.faults)],
  ['proxies: headers that did not come', ({ proxies }) => proxies && proxies.cut + proxies.slow],
  ['proxies: connections shed', ({ proxies }) => proxies && proxies.shed + proxies.failed],
  ['agents: flows that are not theirs', ({ links }) => links?.links.placesRefused],
  ['agents: flows shed', ({ links }) => links && links.links.flowsShed + links.links.flowsOverBudget],
  ['agents: handshakes shed', ({ links }) => links?.links.handshakesShed],
  ['agents: answers to datagrams dropped', ({ links }) => links?.links.repliesDropped],
  ['agents: flows of broken links given up', ({ links }) => links?.links.claimsGivenUp],
  ['agents: requests refused', ({ links }) => links?.links.requestsRefused],
  ['agents: headers refused', ({ links }) => links?.links.headersRefused],
  ['agents: records refused, of others or malformed', ({ links }) => links && links.spool.foreign + links.spool.malformed],
  ['agents: alerts refused, more than its share', ({ links }) => links?.spool.alertsShed],
  ['kernel path: packets not captured', ({ kernelPath }) => kernelPath?.packetsLost],
  ['kernel path: bytes not captured', ({ kernelPath }) => kernelPath?.missingBytes],
  ['kernel path: sessions known by their counts alone', ({ kernelPath }) => kernelPath?.uncaptured],
  ['kernel path: times the kernel dropped ends of connections', ({ kernelPath }) => kernelPath?.endingsLost],
  ['kernel path: ends of connections nobody knows', ({ kernelPath }) => kernelPath?.unmatched],
  ['kernel path: sessions shed', ({ kernelPath }) => kernelPath?.shed],
  ['kernel path: probes dropped', ({ kernelPath }) => kernelPath?.probesDropped],
];

const sumOf = (counts: Readonly<Partial<Record<string, number>>> = {}): number =>
  Object.values(counts).reduce<number>((sum, count) => sum + (count ?? 0), 0);

/** Numbers named like a loss anywhere in the packet thread's counters: `probes.dropped`, `nflog.lost`. */
export function lossesWithin(value: unknown, path = ''): [string, number][] {
  if (typeof value === 'number')
    return value > 0 && /drop|lost|overflow|unread|refused|suppress|missed/i.test(path) ? [[path, value]] : [];
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([key, part]) => lossesWithin(part, path === '' ? key : `${path}.${key}`));
}

export function mergeStatus(system: Partial<Status>, gateway: GatewayStatus, recorder: RecorderPart): Status {
  const drops: Record<string, number> = { ...system.drops };
  for (const [name, read] of losses) {
    const count = read(gateway);
    if (count) drops[name] = count;
  }
  for (const [name, count] of lossesWithin(gateway.intake?.packets)) drops[`packets: ${name}`] = count;
  const reasons = [...(system.reasons ?? []), ...recorder.reasons, ...(gateway.agents ? agentReasons(gateway.agents) : [])];
  if (gateway.error) reasons.push(`the gateway does not answer (${gateway.error}): the supervisor starts it again`);
  if (gateway.journal?.diskFull)
    reasons.push(`the journal cannot be written (${gateway.journal.lastError ?? 'disk full'}): free space in the data directory`);
  for (const one of system.processes ?? []) if (one.state !== 'running') reasons.push(`${one.name} is ${one.state}`);
  if (system.confirmBefore) reasons.push(`the applied plan waits for \`weir confirm\` until ${system.confirmBefore}`);
  const bad = gateway.error !== undefined || gateway.journal?.diskFull === true;
  const health: Health = bad ? 'bad' : reasons.length > 0 ? 'degraded' : 'good';
  const open = gateway.sessions?.open;
  const total = gateway.sessions?.opened;
  return {
    ...system,
    ...recorder.status,
    ...(gateway.agents && gateway.agents.agents.length > 0 ? { agents: gateway.agents.agents } : {}),
    health,
    reasons,
    ...(open === undefined ? {} : { sessions: { open, ...(total === undefined ? {} : { total }) } }),
    drops,
  };
}
