// `weir baseline`: what was agreed on, who reaches what and which rules, routes and sysctls hold, against what is. Here are options, files, exit
// codes and order; reading and judging is netops/baseline.

import path from 'node:path';
import type { Command } from 'commander';
import { asWeirError, WeirError } from '../base/errors.ts';
import { printable } from '../base/printable.ts';
import { parseDuration } from '../config/forms.ts';
import { type NetworkSettings, type SettingsPart, settingsParts } from '../model/network-settings.ts';
import { type AccessCheck, type AccessDifference, wayOf } from '../netops/baseline/matrix-check.ts';
import { parseMatrix, renderMatrix } from '../netops/baseline/matrix-file.ts';
import { diffSettings, incomparable } from '../netops/baseline/settings-diff.ts';
import { planRestore, returnErrorsFile, routeKeepers } from '../netops/baseline/settings-restore.ts';
import { SnapshotStore } from '../netops/baseline/snapshot-store.ts';
import type { BaselineActions } from './baseline-actions.ts';
import { changesJson, planLines, printAccessCheck, printChanges, printVersions, recordedJson } from './baseline-text.ts';
import type { CommandContext, CommonOptions } from './command-context.ts';
import { type Verb, verbCommand } from './verb.ts';
import { plural, renderInstant } from './wording.ts';

interface Options extends CommonOptions {
  readonly file?: string;
  readonly dir?: string;
  readonly force?: boolean;
  readonly alert?: boolean;
  readonly note?: string;
  readonly for?: string;
  readonly yes?: boolean;
  readonly confirmWithin?: string;
  readonly keep?: boolean;
  readonly only?: string;
}

const differsCode = 10;
const notMeasuredCode = 3;
const defaultConfirmMs = 60_000;

type Body = (context: CommandContext, options: Options, words: readonly string[]) => Promise<number>;

export const baselineVerb: Verb = (run) => {
  const verb = verbCommand(
    'baseline',
    'who may reach what, and the rules, routes and sysctls: agreed on, checked, brought back',
    [
      'weir baseline record',
      'weir baseline check',
      'weir baseline check --file /etc/weir/access.yaml --alert --json',
      'weir baseline snapshot --note "before the upgrade"',
      'weir baseline diff 3',
      'weir baseline restore 3 --yes && weir baseline confirm',
    ],
  );
  const add = (name: string, summary: string, example: string, body: Body): Command => {
    const command = verbCommand(name, summary, [example]).option(
      '--dir <folder>',
      'where it is kept (default: baseline/ in the data directory)',
    );
    command.action((...given: unknown[]) => {
      // Options all verbs have are taken by the verb, also behind the word.
      const options = (given.at(-1) as Command).optsWithGlobals<Options>();
      const words = given.slice(0, -2).filter((word): word is string => typeof word === 'string');
      return run(options, (context) => body(context, options, words));
    });
    verb.addCommand(command);
    return command;
  };
  const file = '--file <file>';
  add('record', 'writes down who reaches what now, as a file to read and edit', 'weir baseline record --file access.yaml', record)
    .option(file, 'the matrix (default: access.yaml among what is kept)')
    .option('--force', 'replace one that is there');
  add('check', 'who reaches what now, against what was written down; exit 10: it differs', 'weir baseline check --alert', check)
    .option(file, 'the matrix (default: access.yaml among what is kept)')
    .option('--alert', 'differences that the last check did not have become alerts in the record of the Weir on this machine');
  add(
    'snapshot',
    'keeps rules, routes and sysctls as a version',
    'weir baseline snapshot --note "before the upgrade"',
    snapshot,
  ).option('--note <text>', 'why', '');
  add(
    'watch',
    'keeps a version whenever something changes, with the programs that changed it',
    'weir baseline watch --for 30m',
    watch,
  ).option('--for <time>', 'so long, up to 1h: listening makes large changes of nftables dearer (default: 10m)');
  add('list', 'versions that are kept', 'weir baseline list', list);
  add('diff', 'what changed from one version to another, or to now; exit 10: something did', 'weir baseline diff 3 5', diff)
    .argument('<version>', 'number, start of its hash, or `last`')
    .argument('[other]', 'another one (default: as it is now)');
  add(
    'restore',
    'shows what would bring a version back; with --yes does it, and takes it back unless confirmed',
    'weir baseline restore 3 --yes',
    restore,
  )
    .argument('<version>', 'number, start of its hash, or `last`')
    .option('--only <parts>', `only these, with commas: ${settingsParts.join(', ')}`)
    .option('--yes', 'do it')
    .option('--confirm-within <time>', 'taken back unless `weir baseline confirm` comes in this time (default: 60s)')
    .option('--keep', 'it stays at once, without a confirmation');
  add('confirm', 'what was restored stays', 'weir baseline confirm', confirm);
  return verb;
};

async function folderOf(context: CommandContext, { dir }: Options): Promise<string> {
  if (dir !== undefined) return path.resolve(context.environment.cwd, dir);
  return path.join((await context.configuration()).data, 'baseline');
}

/** Of a Weir on this machine; a configuration that does not parse is no reason not to look. */
async function dataOf(context: CommandContext): Promise<string | undefined> {
  try {
    return (await context.configuration()).data;
  } catch (error) {
    if (error instanceof WeirError && error.code.startsWith('config-')) return undefined;
    throw error;
  }
}

const matrixFile = async (context: CommandContext, options: Options): Promise<string> =>
  options.file === undefined
    ? path.join(await folderOf(context, options), 'access.yaml')
    : path.resolve(context.environment.cwd, options.file);

const actionsOf = (context: CommandContext): BaselineActions => context.environment.actions.baseline;

const noteMissing = async (context: CommandContext, gaps: readonly string[]): Promise<void> => {
  for (const gap of gaps.slice(0, 50)) await context.note(`not measured: ${printable(gap, 400)}`);
  if (gaps.length > 50) await context.note(`not measured: and ${gaps.length - 50} more`);
};

async function record(context: CommandContext, options: Options): Promise<number> {
  const file = await matrixFile(context, options);
  if (!options.force && (await actionsOf(context).readFile(file)) !== undefined)
    throw new WeirError('bad-request', `${file} is there already`, {
      next: '`weir baseline check` compares with it; --force replaces it, --file names another',
    });
  const { matrix, notMeasured } = await actionsOf(context).readAccess();
  await actionsOf(context).writeFile(file, renderMatrix(matrix));
  if (context.json) await context.printJson(recordedJson(file, matrix, notMeasured));
  else {
    const ways = matrix.rows.reduce((sum, { reach }) => sum + reach.length, 0);
    await context.print(
      `${file}: ${plural(matrix.rows.length, 'service')} and ${plural(matrix.sources.length, 'source')}, ${plural(ways, 'way')} open. Read it, correct what should not be so.`,
    );
    await noteMissing(context, notMeasured);
  }
  return notMeasured.length > 0 ? notMeasuredCode : 0;
}

async function check(context: CommandContext, options: Options): Promise<number> {
  const file = await matrixFile(context, options);
  const text = await actionsOf(context).readFile(file);
  if (text === undefined)
    throw new WeirError('config-unreadable', `there is no ${file}`, { file, next: '`weir baseline record` writes one' });
  const matrix = parseMatrix(text, file);
  const found = await actionsOf(context).checkAccess(matrix);
  const { differences, notMeasured, compared } = found;
  if (context.json) {
    // One object, whatever becomes of the alerts.
    const failure = options.alert ? await alertNews(context, options, found).then(() => undefined, asWeirError) : undefined;
    await context.printJson({
      file,
      recorded: new Date(matrix.recordedAt).toISOString(),
      compared,
      differences,
      not_measured: notMeasured,
      ...(failure && { error: { code: failure.code, message: failure.message, details: failure.details } }),
    });
    if (failure) return 1;
  } else {
    await printAccessCheck(context, found);
    await noteMissing(context, notMeasured);
    // What was found is shown even where it cannot be written down.
    if (options.alert) await alertNews(context, options, found);
  }
  if (differences.length > 0) return differsCode;
  return notMeasured.length > 0 ? notMeasuredCode : 0;
}

/** Differences that are remembered as told. */
const maxTold = 20_000;

/** What was told already is no news, also where it was not come to meanwhile; what went away and comes back is. */
async function alertNews(context: CommandContext, options: Options, { differences, left, isCut }: AccessCheck): Promise<void> {
  const file = path.join(await folderOf(context, options), 'alerted.json');
  const keyOf = ({ kind, source, target, found }: AccessDifference): string => [kind, source, target, found].join(' | ');
  let told: unknown = [];
  try {
    told = JSON.parse((await actionsOf(context).readFile(file)) ?? '[]');
  } catch (error) {
    // Told twice is better than not at all.
    if (!(error instanceof SyntaxError)) throw error;
  }
  const known = new Set(Array.isArray(told) ? told : []);
  const news = differences.filter((difference) => !known.has(keyOf(difference)));
  if (news.length > 0) await actionsOf(context).alert((await context.configuration()).data, news, context.now);
  const isLeft = (key: string): boolean => {
    const [kind, source, target] = key.split(' | ');
    return left.has(wayOf(source, target)) || (isCut && (kind === 'unlisted' || kind === 'new-source'));
  };
  const keys = new Set(differences.map(keyOf));
  for (const key of known) if (keys.size < maxTold && typeof key === 'string' && isLeft(key)) keys.add(key);
  await actionsOf(context).writeFile(file, `${JSON.stringify([...keys])}\n`);
}

const storeOf = async (context: CommandContext, options: Options): Promise<SnapshotStore> =>
  new SnapshotStore(path.join(await folderOf(context, options), 'snapshots'), actionsOf(context));

const missingOf = ({ missing }: { readonly missing: readonly { readonly part: string; readonly why: string }[] }): string[] =>
  missing.map(({ part, why }) => `${part}: ${why}`);

async function snapshot(context: CommandContext, options: Options): Promise<number> {
  const settings = await actionsOf(context).readSettings(await dataOf(context));
  if (Object.keys(settings.parts).length === 0)
    throw new WeirError('not-permitted', 'nothing of rules, routes and sysctls could be read', { next: 'run it as root' });
  const { version, fresh } = await (await storeOf(context, options)).add(settings, printable(options.note ?? '', 200));
  const { number, id, takenAt } = version;
  const keepers = routeKeepers(settings);
  if (context.json)
    await context.printJson({
      number,
      id,
      taken: new Date(takenAt).toISOString(),
      fresh,
      missing: version.missing,
      routes_of_others: Object.fromEntries(keepers),
    });
  else {
    const since = renderInstant(takenAt * 1000);
    await context.print(
      fresh ? `Version ${number} (${id}) is kept.` : `Nothing changed since version ${number} (${id}) of ${since}.`,
    );
    for (const [keeper, count] of keepers)
      await context.note(`${plural(count, 'route')} of ${keeper}: kept by whoever made them, a restore leaves them alone`);
    await noteMissing(context, missingOf(settings));
  }
  return settings.missing.length > 0 ? notMeasuredCode : 0;
}

const longestWatchMs = 3_600_000;

async function watch(context: CommandContext, options: Options): Promise<number> {
  const forMs = options.for === undefined ? 600_000 : parseDuration(options.for);
  if (forMs === undefined || forMs < 1000 || forMs > longestWatchMs)
    throw new WeirError('bad-request', `--for: '${printable(options.for ?? '', 40)}' is not a time from 1s to 1h`, {
      next: 'write --for 30m',
    });
  const store = await storeOf(context, options);
  let before: NetworkSettings | undefined;
  let fresh = 0;
  const take = async (settings: NetworkSettings, authors: readonly string[] | undefined): Promise<void> => {
    const silent = ['not known: iptables-legacy, ipset and sysctls tell nobody'];
    const by = authors === undefined ? undefined : authors.length === 0 ? silent : authors;
    const added = await store.add(settings, by ? '' : 'watching begins', by);
    const changes = before && added.fresh ? diffSettings(before, settings) : [];
    before = settings;
    if (!by) return context.note(`watching, from version ${added.version.number} on`);
    if (!added.fresh) return;
    fresh += 1;
    const { number, takenAt } = added.version;
    const taken = new Date(takenAt).toISOString();
    if (context.json) await context.printJson({ number, taken, changed_by: by, ...changesJson(changes, [], []) });
    else {
      await context.print(`${renderInstant(takenAt * 1000)} version ${number}, by ${by.join(', ')}`);
      await printChanges(context, changes, []);
    }
  };
  const { signal } = context.environment;
  const overruns = await actionsOf(context).watch({ forMs, signal }, take, await dataOf(context));
  if (overruns > 0)
    await context.note(
      `not measured: ${plural(overruns, 'time')} there was more than could be listened to: authors may be missing`,
    );
  await context.note(`${plural(fresh, 'version')} kept`);
  return overruns > 0 ? notMeasuredCode : 0;
}

async function list(context: CommandContext, options: Options): Promise<number> {
  const versions = await (await storeOf(context, options)).versions();
  if (context.json)
    await context.printJsonLines(
      versions.map(({ number, id, takenAt, note, missing, changedBy }) => ({
        number,
        id,
        taken: new Date(takenAt).toISOString(),
        note,
        ...(changedBy === undefined ? {} : { changed_by: changedBy }),
        missing,
      })),
    );
  else if (versions.length === 0) await context.print('No version is kept: `weir baseline snapshot` takes one.');
  else await printVersions(context, versions);
  return 0;
}

async function diff(context: CommandContext, options: Options, [from, to]: readonly string[]): Promise<number> {
  const store = await storeOf(context, options);
  const first = await store.find(from);
  const before = await store.read(first);
  const second = to === undefined ? undefined : await store.find(to);
  const after = second ? await store.read(second) : await actionsOf(context).readSettings(await dataOf(context));
  const changes = diffSettings(before, after);
  const gaps = incomparable(before, after);
  const between = (await store.versions()).filter(
    ({ number }) => number > first.number && number <= (second?.number ?? Number.MAX_SAFE_INTEGER),
  );
  if (context.json) await context.printJson(changesJson(changes, between, gaps));
  else {
    await printChanges(context, changes, between);
    await noteMissing(context, gaps);
  }
  if (changes.length > 0) return differsCode;
  return gaps.length > 0 ? notMeasuredCode : 0;
}

function partsOf(text: string | undefined): ReadonlySet<SettingsPart> | undefined {
  if (text === undefined) return undefined;
  const parts = text.split(',').map((word) => word.trim());
  for (const part of parts)
    if (!settingsParts.some((known) => known === part))
      throw new WeirError('bad-request', `--only: there is no part ${printable(part, 40)}`, {
        next: `use ${settingsParts.join(', ')}`,
      });
  return new Set(parts as SettingsPart[]);
}

function confirmTimeOf({ confirmWithin, keep }: Options): number | undefined {
  if (keep && confirmWithin !== undefined)
    throw new WeirError('bad-request', '--keep or --confirm-within, not both', { next: 'leave --keep out to be safe' });
  if (keep) return undefined;
  const ms = confirmWithin === undefined ? defaultConfirmMs : parseDuration(confirmWithin);
  if (ms === undefined || ms < 1000 || ms > 3_600_000)
    throw new WeirError('bad-request', `--confirm-within: '${printable(confirmWithin ?? '', 40)}' is not a time from 1s to 1h`, {
      next: 'write --confirm-within 60s',
    });
  return ms;
}

async function restore(context: CommandContext, options: Options, [name]: readonly string[]): Promise<number> {
  const confirmWithinMs = confirmTimeOf(options);
  const only = partsOf(options.only);
  const store = await storeOf(context, options);
  const version = await store.find(name);
  const plan = planRestore(await actionsOf(context).readSettings(await dataOf(context)), await store.read(version), only);
  const { changes, steps, risks, left, kept } = plan;
  const applied = options.yes === true && steps.length > 0;
  const shown = planLines(plan);
  if (!context.json) {
    await printChanges(context, changes, []);
    if (shown.length > 0) await context.print(shown.join('\n'));
    for (const text of kept) await context.note(`left alone: ${text}`);
    await noteMissing(context, left);
  }
  if (applied) {
    const folder = path.join(await folderOf(context, options), 'restore');
    await actionsOf(context).restore(plan, folder, confirmWithinMs, await dataOf(context), context.environment.signal);
  }
  if (context.json)
    await context.printJson({
      version: version.number,
      ...changesJson(changes, [], left),
      steps: steps.map(({ what, program, args }) => ({ what, cmd: [program, ...args].join(' ') })),
      risks,
      left_alone: kept,
      applied,
      confirm_within_ms: applied ? (confirmWithinMs ?? null) : null,
    });
  else if (applied) {
    const equal = kept.length === 0 ? 'found equal' : 'found equal but for what is left alone';
    await context.print(
      confirmWithinMs === undefined
        ? `Version ${version.number} is back, read again and ${equal}.`
        : `Version ${version.number} is back, read again and ${equal}. It is taken back in ${confirmWithinMs / 1000} s unless you run \`weir baseline confirm\`.`,
    );
  } else if (steps.length > 0) await context.note('nothing was done: --yes does it');
  return applied || changes.length === 0 ? 0 : differsCode;
}

async function confirm(context: CommandContext, options: Options): Promise<number> {
  const folder = path.join(await folderOf(context, options), 'restore');
  const kept = await actionsOf(context).confirm(folder);
  const errors = kept ? '' : ((await actionsOf(context).readFile(path.join(folder, returnErrorsFile))) ?? '').trim();
  if (context.json) await context.printJson({ confirmed: kept, folder, ...(errors === '' ? {} : { return_errors: errors }) });
  else
    await context.print(
      kept
        ? 'Confirmed: what was restored stays.'
        : `Nothing waits for confirmation in ${folder}: there was no restore, it was confirmed, or it has been taken back.`,
    );
  if (errors !== '') await context.note(`when it was taken back, this failed: ${printable(errors, 600)}`);
  return kept ? 0 : 1;
}
