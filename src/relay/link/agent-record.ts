// What is known of one agent, linked or not, and what its status says about it. The link is agent-link.ts.

import { renderMicros } from '../../base/clock.ts';
import { type AgentMessage, type AgentStatus, linkProtocol } from '../../model/agent.ts';
import { compareVersions } from '../../model/program-version.ts';
import type { Health } from '../../model/status.ts';
import type { AgentEntry } from '../agents/agent-gate.ts';
import type { AgentLink } from './agent-link.ts';

type Message<Kind extends AgentMessage['kind']> = Extract<AgentMessage, { kind: Kind }>;

export interface AgentRecord {
  link?: AgentLink | undefined;
  /** When it came or went, microseconds. */
  since?: number;
  /** Why it went. */
  lastEnd?: string;
  hello?: Message<'hello'>;
  health?: Message<'health'>;
  applied?: Message<'applied'>;
  skewMicros?: number;
  lastTouch?: number;
  upgrade?: NonNullable<AgentStatus['upgrade']>;
  /** When the agent began its trial, microseconds. */
  stagedAt?: number;
  /** It was turned away, the last time it came: it speaks another protocol. */
  foreign?: { readonly protocol: number; readonly version?: string } | undefined;
}

/** A clock further off than this is worth a word: records of it are corrected, logs on that machine are not. */
const notableSkewMicros = 5_000_000;
const soonMs = 7 * 24 * 3600 * 1000;

export function describeAgent(
  entry: AgentEntry,
  record: AgentRecord,
  wanted: string | undefined,
  gateway: { readonly version: string; readonly nowMicros: number },
): AgentStatus {
  const { link, hello, health, applied } = record;
  const state = entry.state !== 'enrolled' ? entry.state : link ? 'linked' : 'away';
  const lastTouch = link?.flows.lastAt ?? record.lastTouch;
  const spool = health?.spool ?? hello?.spool;
  const skewMicros = health?.skewMicros ?? record.skewMicros;
  const until = link?.certificateUntil ?? entry.certificateUntil;
  const upgrade = upgradeOf(record, gateway.nowMicros);
  const judged = judge(state, record, wanted, gateway, until, skewMicros);
  return {
    name: entry.name,
    state,
    ...judged,
    ...(hello ? { version: hello.version, platform: `${hello.platform} ${hello.arch}, Node ${hello.node}` } : {}),
    ...(link ? { peer: link.peer, openFlows: link.flows.open } : {}),
    since: record.since === undefined ? entry.since : renderMicros(record.since),
    ...(lastTouch === undefined ? {} : { lastTouch: renderMicros(lastTouch) }),
    ...(link?.latencyMicros === undefined ? {} : { latencyMicros: link.latencyMicros }),
    ...(health && link ? { ownHealth: health.health } : {}),
    ...(health ? { flows: health.flows, memoryBytes: health.memoryBytes } : link ? { flows: link.flows.flows } : {}),
    ...(spool ? { spool } : {}),
    ...(skewMicros === undefined ? {} : { skewMicros }),
    ...(wanted === undefined
      ? {}
      : {
          rules: {
            wanted,
            ...appliedRules(record),
            refused: applied?.refused ?? [],
            ...(applied ? { addresses: applied.addresses } : {}),
          },
        }),
    ...(until === undefined ? {} : { certificateUntil: until }),
    ...(upgrade ? { upgrade } : {}),
  };
}

/** How long an agent that came back may take to say why. */
const toSayWhyMicros = 5e6;

/** An agent that was on trial and is here with another version has given it up, also when its keeper died and nobody says so. */
function upgradeOf({ upgrade, link, hello, since, stagedAt }: AgentRecord, nowMicros: number): AgentRecord['upgrade'] {
  if (upgrade?.state !== 'staged' || !link || !hello || since === undefined || stagedAt === undefined) return upgrade;
  // The link over which it was said to be staged goes on for a moment.
  if (hello.version === upgrade.version || since <= stagedAt || nowMicros - since < toSayWhyMicros) return upgrade;
  return { version: upgrade.version, state: 'failed', reason: `it came back with ${hello.version}` };
}

const appliedRules = ({ applied, hello }: AgentRecord): { applied?: string } => {
  const rules = applied?.rules ?? hello?.rules;
  return rules === undefined ? {} : { applied: rules };
};

function judge(
  state: AgentStatus['state'],
  record: AgentRecord,
  wanted: string | undefined,
  { version, nowMicros }: { readonly version: string; readonly nowMicros: number },
  certificateUntil: string | undefined,
  skewMicros: number | undefined,
): { health: Health; reasons: readonly string[] } {
  const { hello, health, applied } = record;
  if (state === 'waiting' || state === 'revoked') return { health: 'good', reasons: [] };
  if (state === 'away' && record.foreign) return { health: 'bad', reasons: [foreignReason(record.foreign, version)] };
  if (state === 'away')
    return {
      health: 'bad',
      reasons: [record.lastEnd ? `it is away: ${record.lastEnd}` : 'it has not come since the gateway started'],
    };
  const reasons = [...(health?.reasons ?? [])];
  if (hello && hello.version !== version) reasons.push(versionReason(hello.version, version));
  if (wanted !== undefined && appliedRules(record).applied !== wanted) reasons.push('it does not work with the latest rules yet');
  const refused = applied?.refused ?? [];
  if (refused.length > 0)
    reasons.push(
      `it cannot listen on ${refused.length} of its ports, such as ${refused[0].port}/${refused[0].transport}: ${refused[0].why}`,
    );
  if (skewMicros !== undefined && Math.abs(skewMicros) > notableSkewMicros)
    reasons.push(
      `its clock is ${Math.round(Math.abs(skewMicros) / 1e6)} s ${skewMicros > 0 ? 'ahead' : 'behind'}: set it; times on record are corrected`,
    );
  if (certificateUntil !== undefined && Date.parse(certificateUntil) - nowMicros / 1000 < soonMs)
    reasons.push(`its certificate ends ${certificateUntil} and was not renewed yet`);
  const upgrade = upgradeOf(record, nowMicros);
  if (upgrade?.state === 'failed') reasons.push(`its upgrade failed: ${upgrade.reason ?? 'no reason was given'}`);
  const worst = health?.health ?? 'good';
  return { health: worst === 'good' && reasons.length > 0 ? 'degraded' : worst, reasons };
}

const versionReason = (agent: string, gateway: string): string =>
  compareVersions(agent, gateway) > 0
    ? `it runs ${agent}, which is newer than this gateway's ${gateway}: upgrade the gateway`
    : `it runs ${agent}, this gateway ${gateway}: upgrade it with weir agents upgrade`;

/** It cannot be upgraded over a link it does not get. */
function foreignReason({ protocol, version }: NonNullable<AgentRecord['foreign']>, gateway: string): string {
  const speaks = `it speaks link protocol ${protocol}${version === undefined ? '' : ` (version ${version})`}, this gateway ${linkProtocol} (version ${gateway})`;
  return protocol > linkProtocol
    ? `${speaks}: upgrade this gateway`
    : `${speaks}: upgrade the agent on its machine, with the file that weir agent build makes here`;
}
