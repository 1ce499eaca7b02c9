// A plan for people and as JSON. Pure; `weir plan` prints what this returns.

import { netnsPath } from '../kernel/netns.ts';
import { renderAddress, renderRange } from '../model/address.ts';
import type { DecoyGroup } from '../model/decoy.ts';
import { renderPorts } from '../model/port-set.ts';
import { describeAttachment, renderInterfaceAddress } from '../model/segment.ts';
import { describeWays, wayOf } from './claims.ts';
import type { Plan } from './controller.ts';
import type { RelayState, SegmentState } from './desired-state.ts';
import {
  describeAgentDiversion,
  describeBinding,
  describeProxyDiversion,
  describeService,
  renderEndpoint,
} from './relay-state.ts';
import type { Step } from './step.ts';

/** What `weir plan` shows: changes first, then what stays out of reach, then doubts. Ends with a newline. */
export function renderPlan(plan: Plan): string {
  const lines: string[] = [];
  if (plan.changes.length === 0) lines.push('No change: the kernel is as the configuration wants it.');
  else {
    lines.push(plan.changes.length === 1 ? '1 change:' : `${plan.changes.length} changes:`);
    lines.push(...renderChanges(plan).map((line) => `  ${line}`));
  }
  const summary = summarise(plan);
  if (summary.length > 0) lines.push('', 'Decoys:', ...summary.map((line) => `    ${line}`));
  const segments = bounded(plan.desired.segments.map(summariseSegment));
  if (segments.length > 0) lines.push('', 'Segments:', ...segments.map((line) => `    ${line}`));
  const relayed = bounded(summariseRelay(plan.desired.relay));
  if (relayed.length > 0) lines.push('', 'Relayed:', ...relayed.map((line) => `    ${line}`));
  const ways = describeWays([...plan.desired.groups, ...plan.desired.segments.flatMap(({ inside }) => inside.groups)]);
  if (ways.length > 0) lines.push('', 'How their addresses become ours:', ...ways.map((line) => `    ${line}`));
  const notes = bounded(plan.notes);
  if (notes.length > 0) lines.push('', 'Left alone:', ...notes.map((note) => `    ${note}`));
  if (plan.warnings.length > 0) lines.push('', 'Mind:', ...plan.warnings.map((warning) => `  ! ${warning}`));
  return `${lines.join('\n')}\n`;
}

/** The same as one JSON value; big parts are counted, not listed. */
export function describePlan(plan: Plan): Record<string, unknown> {
  return {
    changes: plan.changes.map((step) => ({
      kind: step.kind,
      line: step.line,
      ...(step.network === undefined ? {} : { network: step.network }),
      ...(step.kind === 'routes' || step.kind === 'claims' ? { add: step.add.length, remove: step.remove.length } : {}),
      ...(step.kind === 'ruleset' ? { tables: step.to.map(({ family, name }) => `${family} ${name}`) } : {}),
      ...(step.kind === 'sysctl' ? { key: step.key, from: step.from, to: step.to } : {}),
      ...(step.kind === 'promiscuous' ? { link: step.link, on: step.on } : {}),
    })),
    decoys: plan.desired.groups.slice(0, maxGroups).map(describeGroup),
    segments: plan.desired.segments.slice(0, maxGroups).map(({ name, netns, attachment, mtu, addresses, gateways, inside }) => ({
      name,
      netns,
      attachment: describeAttachment(attachment),
      mtu,
      addresses: addresses.map(renderInterfaceAddress),
      gateways: gateways.map(renderAddress),
      decoys: inside.groups.slice(0, maxGroups).map(describeGroup),
    })),
    ...(plan.desired.relay ? { relayed: describeRelay(plan.desired.relay) } : {}),
    protected: {
      ports: renderPorts(plan.desired.guards.ports),
      sources: plan.desired.guards.sources.map(renderRange),
    },
    notes: plan.notes,
    warnings: plan.warnings,
  };
}

function summariseRelay(relay: RelayState | undefined): string[] {
  if (!relay) return [];
  const { agents, agentDiversions, proxyDiversions, services, bindings } = relay;
  return [
    ...(agents.listen ? [`agents: links at ${renderEndpoint(agents.listen)}`] : []),
    ...agentDiversions.map((one) => `${one.name}: ${describeAgentDiversion(one)}`),
    ...proxyDiversions.map((one) => `${one.name}: ${describeProxyDiversion(one)}`),
    ...services.map((one) => `service ${one.name}: ${describeService(one)}`),
    ...bindings.map((one) => `bound: ${describeBinding(one)}`),
  ];
}

const describeRelay = ({
  agents,
  agentDiversions,
  proxyDiversions,
  services,
  bindings,
}: RelayState): Record<string, unknown> => ({
  ...(agents.listen ? { agents: renderEndpoint(agents.listen) } : {}),
  diversions: [
    ...agentDiversions.map((one) => ({ name: one.name, kind: one.kind, agent: one.agent, what: describeAgentDiversion(one) })),
    ...proxyDiversions.map((one) => ({ name: one.name, kind: one.kind, what: describeProxyDiversion(one) })),
  ],
  services: services.map((one) => ({ name: one.name, path: one.path, what: describeService(one) })),
  bindings: bindings.map(describeBinding),
  rules: Object.keys(agents.rules),
});

const maxGroups = 1000;
const maxRanges = 1000;
const maxLines = 40;

const describeGroup = (group: DecoyGroup): Record<string, unknown> => ({
  diversion: group.diversion,
  kind: group.kind,
  ...(group.kind === 'claimed' ? { way: wayOf(group) } : {}),
  ranges: group.ranges.slice(0, maxRanges).map(renderRange),
  addresses: String(countAddresses(group.ranges)),
  population: group.population.shares,
  seed: group.population.seed,
});

const bounded = (lines: readonly string[]): string[] =>
  lines.length <= maxLines ? [...lines] : [...lines.slice(0, maxLines), `and ${lines.length - maxLines} more`];

/** Steps one by one for the machine's own namespace, a line for each segment. */
function renderChanges({ changes }: Plan): string[] {
  const made = new Set(changes.flatMap((step) => (step.kind === 'netns' ? step.add.map(netnsPath) : [])));
  const before: string[] = [];
  const after: string[] = [];
  const networks = new Map<string, Step[]>();
  for (const step of changes) {
    if (step.network === undefined) (networks.size === 0 ? before : after).push(`${signOf(step)} ${step.line}`);
    else networks.set(step.network, [...(networks.get(step.network) ?? []), step]);
  }
  const segments = [...networks].map(([name, steps]) => {
    const sign = made.has(steps[0].netns ?? '') ? '+' : '~';
    return `${sign} ${name}: ${steps.map(({ line }) => line).join('; ')}`;
  });
  return [...before, ...bounded(segments), ...after];
}

function summariseSegment({ name, netns, attachment, mtu, addresses, gateways, inside }: SegmentState): string {
  const own = addresses.map(renderInterfaceAddress).join(', ');
  const ways = gateways.length === 0 ? '' : ` by way of ${gateways.map(renderAddress).join(', ')}`;
  const count = inside.groups.reduce((sum, group) => sum + countAddresses(group.ranges), 0n);
  const personas = inside.personas.map((persona) => persona.name);
  const shown = `${personas.slice(0, 4).join(', ')}${personas.length > 4 ? ` and ${personas.length - 4} more` : ''}`;
  const decoys = count === 0n ? 'no decoys' : `${count} addresses (${shown})`;
  return `${name}: ${describeAttachment(attachment)}, mtu ${mtu}, ${own}${ways}: ${decoys}, in ${netns}`;
}

const signOf = (step: Step): string => {
  if (step.kind === 'routes' || step.kind === 'claims') return step.remove.length === 0 ? '+' : step.add.length === 0 ? '-' : '~';
  if (step.kind === 'netns' || step.kind === 'links') return step.add.length > 0 ? '+' : '-';
  if (step.kind === 'ruleset') return step.to.length === 0 ? '-' : step.from.length === 0 ? '+' : '~';
  return '~';
};

const countAddresses = (ranges: Plan['desired']['groups'][number]['ranges']): bigint =>
  ranges.reduce((sum, range) => sum + range.last - range.first + 1n, 0n);

function summarise(plan: Plan): string[] {
  const lines = plan.desired.groups.slice(0, maxLines).map((group) => {
    const shown = group.ranges.slice(0, 3).map(renderRange).join(', ');
    const more = group.ranges.length > 3 ? ` and ${group.ranges.length - 3} more ranges` : '';
    const shares = group.population.shares.map(({ persona, share }) => `${persona}${share === 10_000 ? '' : ` ${share / 100}%`}`);
    const kind = group.kind === 'own' ? "this machine's own" : `${countAddresses(group.ranges)} addresses`;
    return `${group.diversion}: ${shown}${more} (${kind}): ${shares.join(', ')}`;
  });
  if (plan.desired.groups.length > maxLines) lines.push(`and ${plan.desired.groups.length - maxLines} more groups`);
  return lines;
}
