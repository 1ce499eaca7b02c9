// What differs between an access matrix that was agreed on and a machine as it was read, with the rule or reason behind each difference.
// Nothing here changes either.

import type { Machine } from '../../model/machine.ts';
import type { DecidedBy } from '../exposure/exposure-report.ts';
import type { RouteQuestioner } from '../exposure/path-walk.ts';
import { isPublic, notLookedFrom } from '../exposure/vantages.ts';
import {
  type AccessMatrix,
  AccessReader,
  type CellAnswer,
  isPassing,
  type MatrixRow,
  type MatrixSource,
  placesOf,
  renderTarget,
} from './access-matrix.ts';

/**
 * `closed`: must be reached and is not. `opened`: must not be reached and is. `unlisted`: reached, and in no row. `new-source`: reached
 * from a place the matrix does not know. `other-service`: another program answers.
 */
export interface AccessDifference {
  readonly kind: 'closed' | 'opened' | 'unlisted' | 'new-source' | 'other-service';
  readonly source: string;
  readonly target: string;
  readonly expected: string;
  readonly found: string;
  /** What stops it or lets it in. */
  readonly by: readonly DecidedBy[];
}

export interface AccessCheck {
  /** Cells that were compared. */
  readonly compared: number;
  readonly differences: readonly AccessDifference[];
  /** Cells whose answer cannot be told now, and other gaps, in words. */
  readonly notMeasured: readonly string[];
  /** Ways (`wayOf`) of which nobody can say now whether they differ. */
  readonly left: ReadonlySet<string>;
  /** Ways in no row were not all looked at. */
  readonly isCut: boolean;
}

export const wayOf = (source: string, target: string): string => `${source} | ${target}`;

const maxDifferences = 10_000;

/** Compares; reads nothing but `machine` and the kernel's routing decisions. */
export function checkAccess(matrix: AccessMatrix, machine: Machine, ask: RouteQuestioner, isOver?: () => boolean): AccessCheck {
  const reader = new AccessReader(machine, ask, isOver);
  const sources = new Map(matrix.sources.map((source) => [source.name, source]));
  const differences: AccessDifference[] = [];
  const notMeasured = new Set<string>();
  const left = new Set<string>();
  const add = (difference: AccessDifference): void => {
    if (differences.length < maxDifferences) differences.push(difference);
    else {
      notMeasured.add(`differences beyond the first ${maxDifferences}`);
      left.add(wayOf(difference.source, difference.target));
    }
  };
  let compared = 0;
  let late = 0;
  for (const row of matrix.rows) {
    const target = renderTarget(row);
    for (const name of row.unknown) notMeasured.add(`${name} to ${target}: it could not be decided when it was recorded`);
    for (const [expected, names] of [
      ['reach', row.reach],
      ['refuse', row.refuse],
    ] as const)
      for (const name of names) {
        const source = sources.get(name) as MatrixSource;
        if (reader.isDone) {
          late += 1;
          left.add(wayOf(name, target));
          continue;
        }
        const answer = reader.answer(source, row);
        if (!answer || answer.outcome === 'unknown') {
          notMeasured.add(`${name} to ${target}: ${reasonOf(answer)}`);
          left.add(wayOf(name, target));
          continue;
        }
        compared += 1;
        const difference = differenceOf(expected, answer, row.service);
        if (difference) add({ source: name, target, ...difference });
      }
  }
  if (late > 0) notMeasured.add(`${late} ways of the matrix: they are too many for the time there is`);
  const isCut = findUnlisted(matrix, machine, reader, add, (source, target, why) => {
    notMeasured.add(`${source} to ${target}, in no row: ${why}`);
    left.add(wayOf(source, target));
  });
  if (isCut) notMeasured.add('further ways that are in no row: they are too many for the time there is');
  for (const { what, why } of machine.unseen) notMeasured.add(`${what}: ${why}`);
  for (const namespace of machine.namespaces)
    for (const text of [...(namespace.filter?.unreadable ?? []), ...notLookedFrom(namespace)]) notMeasured.add(text);
  return { compared, differences, notMeasured: [...notMeasured], left, isCut };
}

const reasonOf = (answer: CellAnswer | undefined): string =>
  answer ? (answer.by[0]?.text ?? 'it cannot be told') : 'the source has no address of that family';

function differenceOf(
  expected: 'reach' | 'refuse',
  { outcome, by, service }: CellAnswer,
  served: string | undefined,
): Omit<AccessDifference, 'source' | 'target'> | undefined {
  if (expected === 'refuse')
    return outcome === 'reach'
      ? { kind: 'opened', expected: 'must not reach', found: `reaches ${service ?? 'it'}`, by }
      : undefined;
  if (outcome === 'decoy')
    return { kind: 'closed', expected: 'must reach', found: 'a decoy of Weir answers: the service is gone', by };
  if (outcome === 'refuse') return { kind: 'closed', expected: 'must reach', found: 'is stopped', by };
  if (served !== undefined && service !== undefined && served !== service)
    return { kind: 'other-service', expected: `must reach ${served}`, found: `reaches ${service}`, by };
  return undefined;
}

/** Ways that are there now and nobody agreed on; true: there are more than the time allowed. */
function findUnlisted(
  matrix: AccessMatrix,
  machine: Machine,
  reader: AccessReader,
  add: (difference: AccessDifference) => void,
  leave: (source: string, target: string, why: string) => void,
): boolean {
  const rows = new Map(matrix.rows.map((row) => [renderTarget(row), row]));
  const known = new Set(matrix.sources.map(({ netns, device }) => `${netns} ${device}`));
  const names = new Set(matrix.sources.map(({ name }) => name));
  /** Open to the Internet at a device: whoever a rule names there is no news. */
  const isOpen = ({ reach }: MatrixRow, device: string): boolean =>
    matrix.sources.some((one) => one.device === device && reach.includes(one.name) && one.addresses.some(isPublic));
  for (const { namespace, source, standpoints } of placesOf(machine)) {
    const isNamed = standpoints[0].zone === 'listed' && !names.has(source.name);
    const isNew = isNamed || !known.has(`${source.netns} ${source.device}`);
    for (const [key, target] of reader.targets(namespace, standpoints)) {
      const row = rows.get(key);
      if ((row && !isNew) || (row && isNamed && isOpen(row, source.device)) || isPassing(target, machine)) continue;
      if (reader.isDone) return true;
      const answer = reader.answer(source, target);
      if (!answer || answer.outcome === 'refuse' || answer.outcome === 'decoy') continue;
      if (answer.outcome === 'unknown') leave(source.name, key, reasonOf(answer));
      else
        add({
          kind: isNew ? 'new-source' : 'unlisted',
          source: source.name,
          target: key,
          expected: isNew ? 'nobody was known there' : 'in no row',
          found: `reaches ${answer.service ?? 'it'}`,
          by: answer.by,
        });
    }
  }
  return false;
}
