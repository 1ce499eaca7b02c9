// Routes and policy rules as text that stays the same while they do, and what brings them back. Pure. Routes the kernel makes of addresses,
// those of Weir (protocol 87) and those with a lifetime are no settings; those of a routing daemon are, but it puts them back itself.
// Sources: ip-route(8), ip-rule(8), ip-nexthop(8), /etc/iproute2/rt_protos, include/uapi/linux/rtnetlink.h (RTPROT_).

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
        // Numbers of nexthop objects are new each time a daemon starts; that there is one stays.
        .replace(/ nhid \d+(?= |$)/g, ' nhid')
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

const linesOf = (text: string): string[] => text.split('\n').filter((line) => line !== '');

function difference(now: string, wanted: string): { readonly gone: string[]; readonly fresh: string[] } {
  const [current, goal] = [new Set(linesOf(now)), new Set(linesOf(wanted))];
  return { gone: [...current].filter((line) => !goal.has(line)), fresh: [...goal].filter((line) => !current.has(line)) };
}

const plural = (count: number, word: string): string => `${count} ${word}${count === 1 ? '' : 's'}`;

/** Who makes routes and keeps them: routing daemons and clients of DHCP, by name and by number. */
const daemons: ReadonlyMap<string, string> = new Map(
  (
    '8 gated, 10 mrt, 11 zebra, 12 bird, 13 dnrouted, 14 xorp, 15 ntk, 16 dhcp, 17 mrouted, 18 keepalived, 42 babel, 84 ovn, ' +
    '99 openr, 186 bgp, 187 isis, 188 ospf, 189 rip, 192 eigrp'
  )
    .split(', ')
    .flatMap((word) => {
      const [number, name] = word.split(' ');
      return [
        [number, name],
        [name, name],
      ] as const;
    }),
);

/** Whose a line of canonicalRoutes is, where they will put it back themselves: `bird`, `dhcp`, `a nexthop object`; undefined: nobody's. */
export function routeKeeper(line: string): string | undefined {
  const daemon = daemons.get(/ proto (\S+)/.exec(line)?.[1] ?? '');
  // The object itself is no part of this text: what points to it cannot be made again from it.
  return daemon ?? (/ nhid(?: |$)/.test(line) ? 'a nexthop object' : undefined);
}

/** Two routes of one kind cannot be there at once, where all of these are the same. */
function routePlace(line: string): string {
  const [first, second] = line.split(' ');
  const isTyped = /^(?:unicast|blackhole|unreachable|prohibit|throw|nat)$/.test(first);
  const of = (word: string): string => new RegExp(` ${word} (\\S+)`).exec(line)?.[1] ?? '';
  return [isTyped ? second : first, of('table'), of('metric'), of('tos'), of('from')].join(' ');
}

/** Destination and table. */
const routeAim = (line: string): string => routePlace(line).split(' ', 2).join(' ');

export interface RouteLines {
  readonly gone: readonly string[];
  readonly fresh: readonly string[];
  /** Would go, but nothing else leads where a wanted route leads that only its keeper puts back. */
  readonly standing: readonly string[];
  /** Would come, but a route with a keeper holds its place: the kernel refuses the second (EEXIST). */
  readonly held: readonly string[];
}

/** What of the difference is done, and what is not because of routes with a keeper, which themselves are in none of these. */
export function divideRoutes(now: string, wanted: string): RouteLines {
  const all = difference(now, wanted);
  const isKept = (line: string): boolean => routeKeeper(line) !== undefined;
  const awaited = new Set(all.fresh.filter(isKept).map(routeAim));
  const taken = new Set(linesOf(now).filter(isKept).map(routePlace));
  const [goes, comes] = [all.gone, all.fresh].map((lines) => lines.filter((line) => !isKept(line)));
  const fresh = comes.filter((line) => !taken.has(routePlace(line)));
  const going = new Set(goes);
  const leads = linesOf(now).filter((line) => !going.has(line) && !/^(?:blackhole|unreachable|prohibit|throw) /.test(line));
  const covered = new Set([...leads, ...fresh].map(routeAim));
  const stands = (line: string): boolean => awaited.has(routeAim(line)) && !covered.has(routeAim(line));
  return {
    gone: goes.filter((line) => !stands(line)),
    fresh,
    standing: goes.filter(stands),
    held: comes.filter((line) => taken.has(routePlace(line))),
  };
}

/**
 * In one batch of ip(8), which stops at the first that fails. What is reached directly comes first: gateways need it. Others go only when
 * those that come are there, and one that takes the place of another replaces it: no packet meets none. Routes with a keeper stay.
 */
export function routeSteps(family: '-4' | '-6', now: string, wanted: string): SettingsStep[] {
  const { gone, fresh } = divideRoutes(now, wanted);
  if (gone.length + fresh.length === 0) return [];
  const count = (lines: readonly string[]): Map<string, number> => {
    const places = new Map<string, number>();
    for (const line of lines) places.set(routePlace(line), (places.get(routePlace(line)) ?? 0) + 1);
    return places;
  };
  const goneLines = new Set(gone);
  const [goes, comes, stays] = [count(gone), count(fresh), count(linesOf(now).filter((line) => !goneLines.has(line)))];
  // Where several are in one place (IPv6, multipath) it cannot be said which one is replaced.
  const isReplaced = (line: string): boolean => {
    const place = routePlace(line);
    return goes.get(place) === 1 && comes.get(place) === 1 && !stays.has(place);
  };
  const direct = fresh.filter((line) => !/ via /.test(line));
  const behind = fresh.filter((line) => / via /.test(line));
  const ordered = [...direct, ...behind];
  const input = [
    ...gone.filter((line) => !isReplaced(line) && comes.has(routePlace(line))).map((line) => `route del ${line}`),
    ...ordered.map((line) => `route ${isReplaced(line) ? 'replace' : 'add'} ${line}`),
    ...gone.filter((line) => !comes.has(routePlace(line))).map((line) => `route del ${line}`),
  ].join('\n');
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
