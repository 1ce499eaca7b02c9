// What has to be run to turn one reading of settings into another, in an order in which nothing refers to what is not there; as steps, and as a
// script for a process that has to do it alone. Pure.

import { createHash } from 'node:crypto';
import type { NetworkSettings, SettingsPart, SettingsStep } from '../../model/network-settings.ts';
import { ipsetSteps } from './canonical-ipsets.ts';
import { policyRuleSteps, routeSteps } from './canonical-routes.ts';
import { iptablesSteps, nftSteps, type OrderedSteps } from './canonical-rules.ts';
import { sysctlSteps } from './canonical-sysctls.ts';

const none: OrderedSteps = { before: [], after: [] };

/**
 * Parts that one of both readings lacks are left as they are. What closes comes first, what opens last: less forwarding, rules that come,
 * routes, more forwarding, rules that go; each set before rules that name it, and gone after them.
 */
export function planSettings(now: NetworkSettings, wanted: NetworkSettings): SettingsStep[] {
  const steps = <T>(part: SettingsPart, otherwise: T, body: (current: string, goal: string) => T): T => {
    const [current, goal] = [now.parts[part], wanted.parts[part]];
    return current === undefined || goal === undefined ? otherwise : body(current, goal);
  };
  const sysctls = steps('sysctls', { closing: [], enabling: [], opening: [], disabling: [] }, sysctlSteps);
  const sets = steps('ipset', none, ipsetSteps);
  const rules = [
    ...(['ebtables-nft', 'arptables-nft', 'iptables-nft', 'ip6tables-nft', 'iptables-legacy', 'ip6tables-legacy'] as const).map(
      (part) => steps(part, none, (current, goal) => iptablesSteps(`${part}-restore`, current, goal)),
    ),
    steps('nft', none, nftSteps),
  ];
  return [
    ...sysctls.closing,
    ...sets.before,
    ...rules.flatMap(({ before }) => before),
    ...sysctls.enabling,
    ...steps('routes', [], (current, goal) => routeSteps('-4', current, goal)),
    ...steps('routes6', [], (current, goal) => routeSteps('-6', current, goal)),
    ...steps('rules', [], (current, goal) => policyRuleSteps('-4', current, goal)),
    ...steps('rules6', [], (current, goal) => policyRuleSteps('-6', current, goal)),
    ...sysctls.disabling,
    ...sysctls.opening,
    ...rules.flatMap(({ after }) => after),
    ...sets.after,
  ];
}

const quoted = (word: string): string => `'${word.replaceAll("'", `'\\''`)}'`;

/** For sh(1): each step, whatever became of the one before. */
export function renderStepsScript(steps: readonly SettingsStep[]): string {
  const lines = ['PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', 'LC_ALL=C', 'export PATH LC_ALL'];
  for (const { program, args, input } of steps) {
    let end = `END_${createHash('sha256').update(input).digest('hex').slice(0, 24)}`;
    while (input.split('\n').includes(end)) end += '_';
    lines.push(`${[program, ...args].map(quoted).join(' ')} >/dev/null <<'${end}'`, input.replace(/\n$/, ''), end);
  }
  return `${lines.join('\n')}\n`;
}
