// Routes, policy rules and sysctls as text that stays the same while they do, and what brings them back. Pure. Routes the kernel makes of
// addresses, those of Weir (protocol 87) and those with a lifetime are no settings.
// Sources: ip-route(8), ip-rule(8), Documentation/networking/ip-sysctl.rst.

import type { SettingsStep } from '../../model/network-settings.ts';

const sortedLines = (lines: readonly string[]): string =>
  [...new Set(lines)]
    .sort()
    .map((line) => `${line}\n`)
    .join('');

/** Of `ip -o -4 route show table all`. */
export function canonicalRoutes(listing: string): string {
  const lines = listing
    .split('\n')
    .map((line) =>
      line
        .replace(/\\/g, ' ')
        .replace(/ (?:linkdown|dead|offload|trap)(?= |$)/g, '')
        .replace(/\s+/g, ' ')
        .trim(),
    )
    .filter((line) => line !== '' && !/ table (local|255)( |$)| proto (kernel|ra|redirect|2|9|87)( |$)| expires /.test(line))
    .filter((line) => !/^(?:multicast|anycast|local|broadcast) /.test(line));
  return sortedLines(lines);
}

/** Of `ip -4 rule show`. */
export const canonicalPolicyRules = (listing: string): string =>
  listing
    .split('\n')
    .map((line) =>
      line
        .replace(/ \[detached\]/g, '')
        .replace(/\s+/g, ' ')
        .trim(),
    )
    .filter((line) => /^\d+: /.test(line))
    .sort((a, b) => Number.parseInt(a, 10) - Number.parseInt(b, 10) || (a < b ? -1 : 1))
    .map((line) => `${line}\n`)
    .join('');

/** Devices that come and go with containers and tunnels, and Weir's own. */
const passingDevice = /^net\/ipv[46]\/conf\/(?:veth|weir|wm|cali|tap|tun|vnet|br-[0-9a-f]{12}\/)/;
const passingKeys = new Set(['net/netfilter/nf_conntrack_count']);

export const canonicalSysctls = (sysctls: Readonly<Record<string, string>>): string =>
  sortedLines(
    Object.entries(sysctls)
      .filter(([key]) => !passingKeys.has(key) && !passingDevice.test(key))
      .map(([key, value]) => `${key} = ${value.replace(/\s+/g, ' ')}`),
  );

const linesOf = (text: string): string[] => text.split('\n').filter((line) => line !== '');

function difference(now: string, wanted: string): { readonly gone: string[]; readonly fresh: string[] } {
  const [current, goal] = [new Set(linesOf(now)), new Set(linesOf(wanted))];
  return { gone: [...current].filter((line) => !goal.has(line)), fresh: [...goal].filter((line) => !current.has(line)) };
}

const plural = (count: number, word: string): string => `${count} ${word}${count === 1 ? '' : 's'}`;

/** In one batch of ip(8), which stops at the first that fails. What is reached directly comes first: gateways need it. */
export function routeSteps(family: '-4' | '-6', now: string, wanted: string): SettingsStep[] {
  const { gone, fresh } = difference(now, wanted);
  if (gone.length + fresh.length === 0) return [];
  const direct = fresh.filter((line) => !/ via /.test(line));
  const behind = fresh.filter((line) => / via /.test(line));
  const input = [...gone.map((line) => `route del ${line}`), ...[...direct, ...behind].map((line) => `route add ${line}`)].join(
    '\n',
  );
  const what = `ip ${family} route: ${plural(fresh.length, 'route')} added, ${gone.length} removed`;
  return [{ what, program: 'ip', args: [family, '-batch', '-'], input: `${input}\n` }];
}

/** Added before others are removed, so that no packet meets none. */
export function policyRuleSteps(family: '-4' | '-6', now: string, wanted: string): SettingsStep[] {
  const { gone, fresh } = difference(now, wanted);
  if (gone.length + fresh.length === 0) return [];
  const command = (verb: string, line: string): string => {
    const [, priority, rest] = /^(\d+): (.*)$/.exec(line) ?? ['', '', ''];
    return `rule ${verb} pref ${priority} ${rest}`;
  };
  const input = [...fresh.map((line) => command('add', line)), ...gone.map((line) => command('del', line))].join('\n');
  const what = `ip ${family} rule: ${plural(fresh.length, 'rule')} added, ${gone.length} removed`;
  return [{ what, program: 'ip', args: [family, '-batch', '-'], input: `${input}\n` }];
}

const keyPattern = /^net\/[A-Za-z0-9_./@:-]+$/;

/** Values that differ; of devices that are gone nothing can be put back. */
export function sysctlSteps(now: string, wanted: string): SettingsStep[] {
  const values = (text: string): Map<string, string> =>
    new Map(
      linesOf(text).flatMap((line) => {
        const at = line.indexOf(' = ');
        return at < 0 ? [] : [[line.slice(0, at), line.slice(at + 3)] as const];
      }),
    );
  const current = values(now);
  const steps: SettingsStep[] = [];
  // `forwarding` of all sets that of every device: it comes before them.
  const rank = (key: string): number => (/ip_forward$|\/conf\/all\//.test(key) ? 0 : /\/conf\/default\//.test(key) ? 1 : 2);
  for (const [key, value] of [...values(wanted)].sort(([a], [b]) => rank(a) - rank(b))) {
    const before = current.get(key);
    if (before === undefined || before === value || !keyPattern.test(key) || key.includes('..')) continue;
    steps.push({ what: `sysctl ${key}: ${before} -> ${value}`, program: 'tee', args: [`/proc/sys/${key}`], input: value });
  }
  return steps;
}
