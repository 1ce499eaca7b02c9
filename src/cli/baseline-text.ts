// What `weir baseline` shows: differences with their reasons, versions, changes line by line, the plan of a restore. For people and as JSON.

import { printable } from '../base/printable.ts';
import type { AccessMatrix } from '../netops/baseline/access-matrix.ts';
import type { AccessCheck, AccessDifference } from '../netops/baseline/matrix-check.ts';
import { renderChange, type SettingsChange } from '../netops/baseline/settings-diff.ts';
import type { RestorePlan } from '../netops/baseline/settings-restore.ts';
import type { SnapshotVersion } from '../netops/baseline/snapshot-store.ts';
import type { CommandContext } from './command-context.ts';
import { plural, renderInstant } from './wording.ts';

const maxLines = 500;
const maxSteps = 100;

const worse: ReadonlySet<AccessDifference['kind']> = new Set(['opened', 'unlisted', 'new-source', 'other-service']);

export async function printAccessCheck(
  context: CommandContext,
  { compared, differences, notMeasured }: AccessCheck,
): Promise<void> {
  const { style } = context;
  for (const { kind, source, target, expected, found, by } of differences.slice(0, maxLines)) {
    const line = `${kind.padEnd(13)} ${source} -> ${target}: ${expected}, ${found}`;
    const reasons = by.map(({ text, rule }) => {
      const place = rule ? `${rule.backend} ${rule.family} ${rule.table} ${rule.chain} ${rule.handle}: ` : '';
      return style.dim(printable(`    by ${place}${text}`, 600));
    });
    await context.print([(worse.has(kind) ? style.red : style.yellow)(printable(line, 400)), ...reasons].join('\n'));
  }
  if (differences.length > maxLines) await context.print(`and ${differences.length - maxLines} more`);
  await context.note(
    differences.length === 0
      ? `${notMeasured.length > 0 ? 'nothing else than agreed was found' : 'as agreed'}: ${plural(compared, 'way')} compared`
      : `${plural(differences.length, 'difference')}; ${plural(compared, 'way')} compared`,
  );
}

export const recordedJson = (file: string, { sources, rows }: AccessMatrix, notMeasured: readonly string[]): object => ({
  file,
  sources: sources.length,
  rows: rows.length,
  not_measured: notMeasured,
});

export async function printVersions(context: CommandContext, versions: readonly SnapshotVersion[]): Promise<void> {
  await context.printTable(
    [
      { title: 'VERSION', align: 'right', text: ({ number }) => String(number) },
      { title: 'ID', text: ({ id }) => id },
      { title: 'TAKEN', text: ({ takenAt }) => renderInstant(takenAt * 1000) },
      { title: 'CHANGED BY', text: ({ changedBy }) => printable(changedBy?.join(', ') ?? '-', 100) },
      { title: 'NOTE', text: ({ note }) => printable(note, 200), flexible: true },
    ],
    versions,
  );
}

/** Versions between, newest last: who was seen changing something there. */
export async function printChanges(
  context: CommandContext,
  changes: readonly SettingsChange[],
  between: readonly SnapshotVersion[],
): Promise<void> {
  const { style } = context;
  let part = '';
  for (const change of changes.slice(0, maxLines)) {
    if (change.part !== part) await context.print(style.bold(`${change.part}:`));
    part = change.part;
    await context.print((change.sign === '+' ? style.green : style.red)(`  ${renderChange(change)}`));
  }
  if (changes.length > maxLines) await context.print(`and ${changes.length - maxLines} more lines`);
  for (const { number, changedBy } of between)
    if (changedBy !== undefined)
      await context.note(
        `before version ${number} changes were made by ${printable(changedBy.join(', ') || 'nobody seen', 300)}`,
      );
  const unwatched = between.filter(({ changedBy }) => changedBy === undefined).length;
  if (changes.length > 0 && unwatched > 0)
    await context.note('who made the changes is not known: nobody watched; `weir baseline watch` does');
  if (changes.length === 0) await context.note('nothing differs');
}

export const changesJson = (
  changes: readonly SettingsChange[],
  between: readonly SnapshotVersion[],
  gaps: readonly string[],
): object => ({
  changes: changes.map(({ part, sign, place, text, looksLike }) => ({
    part,
    sign,
    place,
    text,
    ...(looksLike === undefined ? {} : { looks_like: looksLike }),
  })),
  changed_by: between.map(({ number, changedBy }) => ({ version: number, by: changedBy ?? null })),
  not_measured: gaps,
});

export const planLines = ({ steps, risks }: RestorePlan): string[] =>
  steps.length === 0
    ? []
    : [
        'Steps:',
        ...steps.slice(0, maxSteps).map(({ what }) => `  ${printable(what, 400)}`),
        ...(steps.length > maxSteps ? [`  and ${steps.length - maxSteps} more: --json has all`] : []),
        ...risks.map((risk) => `  ! ${risk}`),
      ];
