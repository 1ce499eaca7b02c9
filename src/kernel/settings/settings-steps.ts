// What has to be run to turn one reading of settings into another, in an order in which nothing refers to what is not there; as steps, and as a
// script for a process that has to do it alone. Pure.

import { createHash } from 'node:crypto';
import type { NetworkSettings, SettingsPart, SettingsStep } from '../../model/network-settings.ts';
import { policyRuleSteps, routeSteps, sysctlSteps } from './canonical-routes.ts';
import { ipsetSteps, iptablesSteps, nftSteps } from './canonical-rules.ts';

/** Parts that one of both readings lacks are left as they are. */
export function planSettings(now: NetworkSettings, wanted: NetworkSettings): SettingsStep[] {
  const steps = <T>(part: SettingsPart, otherwise: T, body: (current: string, goal: string) => T): T => {
    const [current, goal] = [now.parts[part], wanted.parts[part]];
    return current === undefined || goal === undefined ? otherwise : body(current, goal);
  };
  const sets = steps('ipset', { before: [], after: [] }, ipsetSteps);
  const tables = (part: SettingsPart): SettingsStep[] =>
    steps(part, [], (current, goal) => iptablesSteps(`${part}-restore`, current, goal));
  return [
    ...steps('sysctls', [], sysctlSteps),
    ...steps('routes', [], (current, goal) => routeSteps('-4', current, goal)),
    ...steps('routes6', [], (current, goal) => routeSteps('-6', current, goal)),
    ...steps('rules', [], (current, goal) => policyRuleSteps('-4', current, goal)),
    ...steps('rules6', [], (current, goal) => policyRuleSteps('-6', current, goal)),
    ...sets.before,
    ...tables('iptables-nft'),
    ...tables('ip6tables-nft'),
    ...tables('iptables-legacy'),
    ...tables('ip6tables-legacy'),
    ...steps('nft', [], nftSteps),
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
