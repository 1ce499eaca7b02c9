// `weir exposure`: every service that listens, from where it can be reached and by which rule, what changed since the last run, and a
// ruleset that would close the rest, to read and apply oneself. The reasoning is netops/exposure.

import { existsSync } from 'node:fs';
import path from 'node:path';
import { WeirError } from '../base/errors.ts';
import { printable } from '../base/printable.ts';
import { parsePorts } from '../model/port-set.ts';
import type { Transport } from '../model/session.ts';
import {
  changesSince,
  type ExposureChange,
  isCutShort,
  isWider,
  parseRemembered,
  rememberExposure,
} from '../netops/exposure/exposure-changes.ts';
import { type ExposureGuard, type KeptPort, ownSession, planExposureGuard } from '../netops/exposure/exposure-guard.ts';
import {
  type DecidedBy,
  type ExposedService,
  type ExposureReport,
  type Reach,
  reachRank,
} from '../netops/exposure/exposure-report.ts';
import { parseSshConnection } from '../plan/guard.ts';
import type { CommandContext, CommonOptions } from './command-context.ts';
import type { Column } from './table.ts';
import { type Verb, verbCommand } from './verb.ts';
import { plural, renderEndpoint, renderInstant } from './wording.ts';

interface Options extends CommonOptions {
  readonly netns?: string;
  readonly all?: boolean;
  readonly outside?: string;
  readonly propose?: boolean;
  readonly allow?: string;
  readonly state?: string;
  readonly remember: boolean;
}

export const exposureVerb: Verb = (run) =>
  verbCommand('exposure', 'every listening port: from where it can be reached, by which rule, and what changed', [
    'weir exposure',
    'weir exposure --all --json',
    'weir exposure --propose --allow 443,53/udp > guard.nft',
  ])
    .option('--netns <name>', 'only services of this namespace or container')
    .option('--all', 'also services that only this machine can reach')
    .option('--outside <links>', 'these lead out, though their other end is on this machine; with commas')
    .option('--propose', 'a ruleset that closes what is reachable and not allowed; printed, never applied')
    .option('--allow <ports>', 'with --propose: stay open: 443, 53/udp, 8000-8100; with commas')
    .option('--state <file>', 'compare with, and remember in, this file (default: in the data directory)')
    .option('--no-remember', 'compare with the last run, but keep that one')
    .action((options: Options) => run(options, (context) => exposure(context, options)));

const widerCode = 10;
const notSeenCode = 3;

const words: Readonly<Record<Reach, string>> = {
  internet: 'the Internet',
  anywhere: 'anywhere that forwards to it',
  listed: 'listed addresses',
  lan: 'the LAN',
  containers: 'containers here',
  local: 'itself only',
};

function keptPorts(text: string | undefined, context: CommandContext): KeptPort[] {
  const kept: KeptPort[] = [];
  for (const item of text === undefined ? [] : text.split(',')) {
    const [ports, protocol = 'tcp'] = item.trim().split('/');
    const ranges = parsePorts(ports);
    if (!ranges || (protocol !== 'tcp' && protocol !== 'udp'))
      throw new WeirError('bad-request', `--allow: '${printable(item, 60)}' is not a port`, {
        next: 'write --allow 443,53/udp,8000-8100',
      });
    for (const range of ranges) kept.push({ transport: protocol as Transport, ports: range, why: 'asked for' });
  }
  const { SSH_CONNECTION: connection } = context.environment.variables;
  const port = Number(connection?.trim().split(/\s+/)[3]);
  if (parseSshConnection(connection) && Number.isInteger(port))
    kept.push({ transport: 'tcp', ports: { first: port, last: port }, why: ownSession });
  return kept;
}

/** Where the last run is kept; undefined where nobody said and there is no data directory. */
async function stateFile(context: CommandContext, { state }: Options): Promise<string | undefined> {
  if (state !== undefined) return path.resolve(context.environment.cwd, state);
  try {
    const folder = path.join((await context.configuration()).data, 'state');
    return existsSync(folder) ? path.join(folder, 'exposure.json') : undefined;
  } catch (error) {
    // What is exposed is worth knowing also with a configuration that does not parse.
    if (error instanceof WeirError && error.code.startsWith('config-')) return undefined;
    throw error;
  }
}

interface Comparison {
  readonly since: number;
  readonly changes: readonly ExposureChange[];
}

async function compare(context: CommandContext, report: ExposureReport, options: Options): Promise<Comparison | undefined> {
  const { exposure: actions } = context.environment.actions;
  const file = await stateFile(context, options);
  if (file === undefined) {
    await context.note('nothing is remembered for the next run: name a file with --state');
    return undefined;
  }
  try {
    const text = await actions.recall(file);
    const before = text === undefined ? undefined : parseRemembered(text);
    if (text !== undefined && !before) await context.note(`${file} is not what an earlier run left: nothing to compare with`);
    const isCut = isCutShort(report);
    if (isCut && options.remember)
      await context.note(
        before === undefined
          ? 'not every way was walked: nothing is remembered for the next run'
          : 'not every way was walked: the next run is compared with what was remembered before this one',
      );
    if (options.remember && !isCut) await actions.remember(file, `${JSON.stringify(rememberExposure(report))}\n`);
    return before && { since: before.takenAt, changes: changesSince(before, report) };
  } catch (error) {
    // Asked for by name it is a fault; by default it is a loss worth a line.
    if (options.state !== undefined || !(error instanceof WeirError)) throw error;
    await context.note(`nothing is remembered for the next run: ${error.message}`);
    return undefined;
  }
}

async function exposure(context: CommandContext, options: Options): Promise<number> {
  const { report, insideDevices, downDevices, diverts } = await context.environment.actions.exposure.read(
    options.outside?.split(',') ?? [],
  );
  // What changed is told of the whole machine.
  const comparison = options.netns === undefined ? await compare(context, report, options) : undefined;
  const guard = options.propose
    ? planExposureGuard(report, keptPorts(options.allow, context), insideDevices, diverts, downDevices)
    : undefined;
  const chosen = report.services.filter(
    ({ netns, container }) => options.netns === undefined || netns === options.netns || container === options.netns,
  );
  if (options.netns !== undefined && chosen.length === 0 && !isKnown(report, options.netns))
    throw new WeirError('not-found', `nothing listens in a namespace or container ${printable(options.netns, 80)}`, {
      next: '`weir exposure --all` shows all',
    });
  const shown = chosen.filter(({ reach, atWorst }) => options.all || (atWorst ?? reach) !== 'local');
  if (context.json) await context.printJson(asJson(report, shown, comparison, guard));
  else if (options.propose) await printGuard(context, guard);
  else {
    await printReport(context, report, chosen, shown, comparison, options.all === true);
    if (diverts) await context.note('Weir diverts every other port of its decoys to itself; `weir status` shows them');
  }
  if (comparison?.changes.some(isWider)) return widerCode;
  return report.notMeasured.length > 0 || report.unseen.some(({ what }) => /filter|namespace|listeners/.test(what))
    ? notSeenCode
    : 0;
}

const isKnown = ({ services, vantages }: ExposureReport, name: string): boolean =>
  services.some(({ netns }) => netns === name) || vantages.some(({ netns }) => netns === name);

const ruleJson = ({ rule, text }: DecidedBy): object => ({
  text,
  ...(rule
    ? { backend: rule.backend, family: rule.family, table: rule.table, chain: rule.chain, handle: rule.handle, owner: rule.owner }
    : {}),
});

function asJson(
  report: ExposureReport,
  services: readonly ExposedService[],
  comparison: Comparison | undefined,
  guard: ExposureGuard | undefined,
): object {
  return {
    '@timestamp': new Date(report.takenAt).toISOString(),
    services: services.map(({ paths, stoppedBy, atWorst, isWeir, notWalked, ...rest }) => ({
      ...rest,
      at_worst: atWorst ?? rest.reach,
      ...(notWalked === undefined ? {} : { not_walked: notWalked }),
      weir: isWeir,
      paths: paths.map(({ allowedBy, undecided, ...path }) => ({
        ...path,
        allowed_by: allowedBy.map(ruleJson),
        ...(undecided ? { undecided: ruleJson(undecided) } : {}),
      })),
      stopped_by: stoppedBy.map(({ by, ...where }) => ({ ...where, by: ruleJson(by) })),
    })),
    ...(comparison ? { since: new Date(comparison.since).toISOString(), changes: comparison.changes } : {}),
    ...(guard
      ? {
          proposal: {
            cmd: 'nft -f FILE',
            ruleset: guard.text,
            undo: guard.undo,
            closes: guard.closes.map(nameOf),
            keeps: guard.keeps.map(nameOf),
            risks: guard.risks,
          },
        }
      : {}),
    unseen: report.unseen,
    not_measured: report.notMeasured,
  };
}

const nameOf = ({ transport, address, port }: ExposedService): string => `${transport} ${renderEndpoint(address, port)}`;

const programOf = ({ processes, uid }: ExposedService): string => {
  const names = [...new Set(processes.map(({ comm, pid }) => `${comm}[${pid}]`))];
  return names.length === 0 ? `uid ${uid}` : names.slice(0, 3).join(', ');
};

function reachText({ reach, atWorst, notWalked, paths }: ExposedService): string {
  if (notWalked !== undefined && paths.length === 0) return 'not walked';
  return atWorst === undefined ? words[reach] : `${words[reach]}, perhaps ${words[atWorst]}`;
}

/** The widest way, and what let it in. */
function wayOf({ paths, notWalked }: ExposedService): string {
  const [path] = paths;
  const left = notWalked === undefined ? '' : `${plural(notWalked, 'way')} not walked`;
  if (!path) return left || '-';
  // A rule says more than that none is in the way.
  const allowed = (path.allowedBy.findLast(({ rule }) => rule !== undefined) ?? path.allowedBy.at(-1))?.text ?? '';
  const published = path.by === 'published' ? 'published, ' : path.by === 'routed' ? 'by routing to it, ' : '';
  const doubt = path.undecided ? ` unless ${path.undecided.text}` : '';
  return `${path.from.device} ${path.dialled}: ${published}${allowed}${doubt}${left === '' ? '' : `; ${left}`}`;
}

const placeOf = ({ container, netns }: ExposedService): string => container ?? (netns === '' ? '-' : netns);

async function printReport(
  context: CommandContext,
  report: ExposureReport,
  chosen: readonly ExposedService[],
  shown: readonly ExposedService[],
  comparison: Comparison | undefined,
  all: boolean,
): Promise<void> {
  const { style } = context;
  const paintReach = (text: string, { reach, atWorst }: ExposedService): string => {
    const rank = reachRank(atWorst ?? reach);
    if (rank <= 1) return style.red(text);
    return rank <= 3 ? style.yellow(text) : style.dim(text);
  };
  const columns: Column<ExposedService>[] = [
    {
      title: 'REACHED FROM',
      text: reachText,
      paint: paintReach,
    },
    { title: 'SERVICE', text: (service) => nameOf(service), paint: style.bold },
    { title: 'PROGRAM', text: (service) => printable(programOf(service), 60) },
    ...(shown.some((one) => placeOf(one) !== '-')
      ? [{ title: 'IN', text: (one: ExposedService) => printable(placeOf(one), 40) }]
      : []),
    { title: 'WAY, AND WHAT LETS IT IN', text: (service) => printable(wayOf(service), 400), flexible: true },
  ];
  if (shown.length > 0) await context.printTable(columns, shown);
  const wide = chosen.filter(({ reach }) => reach === 'internet').length;
  const open = chosen.filter(({ atWorst, reach }) => reachRank(atWorst ?? reach) <= reachRank('lan')).length;
  await context.note(
    `${plural(chosen.length, 'service')} listen: ${wide} reached from the Internet, ${open} from outside this machine in any way${all ? '' : '; --all shows those only this machine reaches'}`,
  );
  if (comparison) await printChanges(context, comparison);
  for (const { netns, what, why } of report.unseen)
    await context.note(`not seen: ${printable(what, 200)}${netns ? ` (netns ${netns})` : ''}: ${printable(why, 200)}`);
  for (const what of report.notMeasured) await context.note(`not measured: ${printable(what, 300)}`);
}

async function printChanges(context: CommandContext, { since, changes }: Comparison): Promise<void> {
  const { style } = context;
  const when = renderInstant(since * 1000);
  if (changes.length === 0) return context.note(`nothing changed since ${when}`);
  await context.print(`\nSince ${when}:`);
  for (const change of changes.slice(0, 200)) {
    const reach = [change.from, change.to].flatMap((one) => (one ? [words[one]] : [])).join(' -> ');
    const line = `  ${change.kind.padEnd(8)} ${printable(change.service, 200)}: ${reach}`;
    await context.print(isWider(change) ? style.red(line) : line);
  }
  if (changes.length > 200) await context.print(`  and ${changes.length - 200} more`);
}

/** As a file for `nft -f`: what is said beside it is a comment. */
async function printGuard(context: CommandContext, guard: ExposureGuard | undefined): Promise<void> {
  if (!guard) {
    await context.note('no link leads out of this namespace: there is nothing to close');
    return;
  }
  const line = (text: string): string => `# ${printable(text, 300)}\n`;
  const services = (list: readonly ExposedService[]): string =>
    list
      .map((service) =>
        line(`  ${nameOf(service)} ${programOf(service)} ${placeOf(service) === '-' ? '' : `in ${placeOf(service)}`}`.trimEnd()),
      )
      .join('');
  await context.print(
    [
      ...guard.risks.slice(0, 1).map(line),
      line('Proposed by weir exposure, applied by nobody. Read it, then: nft -f THIS-FILE'),
      line(`To take it back: ${guard.undo}`),
      ...guard.risks.slice(1).map(line),
      line(guard.closes.length === 0 ? 'It closes nothing that is open now.' : 'It closes:'),
      services(guard.closes),
      ...(guard.keeps.length === 0 ? [] : [line('It keeps open:'), services(guard.keeps)]),
      guard.text,
    ].join(''),
  );
}
