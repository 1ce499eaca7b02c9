// Whether a condition of a rule holds for a packet: true, false, or not to be told. Sets are looked up by an index made once. Pure.

import type {
  FilterElement,
  FilterExpression,
  FilterKey,
  FilterMatch,
  FilterRange,
  FilterSet,
  PacketFilter,
  RulePlace,
} from '../model/packet-filter.ts';
import { expressionValues, type FilterValue, type Sight } from './filter-value.ts';

/** Undefined: cannot be told. */
export type Truth = boolean | undefined;

const not = (truth: Truth): Truth => (truth === undefined ? undefined : !truth);

function rangeHolds(range: FilterRange, value: FilterValue): Truth {
  if (value.kind === 'unknown') return 'first' in range && range.first === 0n && range.last >= 1n << 127n ? true : undefined;
  if (value.kind === 'absent') return false;
  if (value.kind === 'name') {
    if ('name' in range) return range.wildcard ? value.name.startsWith(range.name) : value.name === range.name;
    // Whatever it is, or a device by its index.
    return range.first === 0n && range.last >= 1n << 127n ? true : undefined;
  }
  if ('name' in range) return undefined;
  const within = (one: bigint): boolean => one >= range.first && one <= range.last;
  if (value.kind === 'number') return within(value.value);
  if (value.kind === 'among') {
    if (value.values.every(within)) return true;
    return value.values.some(within) ? undefined : false;
  }
  // Some bits: what differs in one of them is another value.
  if (range.first === range.last) return ((range.first ^ value.value) & value.known) !== 0n ? false : undefined;
  return undefined;
}

function keyHolds(key: FilterKey, values: readonly FilterValue[]): Truth {
  let truth: Truth = true;
  for (const [index, range] of key.entries()) {
    const value = values[index];
    const holds = value === undefined ? undefined : rangeHolds(range, value);
    if (holds === false) return false;
    if (holds === undefined) truth = undefined;
  }
  return truth;
}

function orderHolds(operator: '<' | '>' | '<=' | '>=', value: FilterValue, range: FilterRange | undefined): Truth {
  if (value.kind !== 'number' || range === undefined || !('first' in range)) return undefined;
  if (operator === '<') return value.value < range.first;
  if (operator === '>') return value.value > range.last;
  return operator === '<=' ? value.value <= range.last : value.value >= range.first;
}

/**
 * Of the elements of a set: those that are one value each by that value, blocks of a power of two by their size, others as a list;
 * nft's `*` apart: one part, however many the key has, and the answer where no other element is.
 */
interface SetIndex {
  readonly exact: ReadonlyMap<string, FilterElement>;
  readonly blocks: readonly { readonly size: bigint; readonly byFirst: ReadonlyMap<bigint, FilterElement> }[];
  readonly rest: readonly FilterElement[];
  readonly catchAll?: FilterElement;
}

const indexes = new WeakMap<readonly FilterElement[], SetIndex>();

const partText = (part: FilterRange): string | undefined => {
  if ('name' in part) return part.wildcard ? undefined : `n${part.name}`;
  return part.first === part.last ? part.first.toString(36) : undefined;
};

function exactText(key: FilterKey): string | undefined {
  const texts = key.map(partText);
  return texts.includes(undefined) ? undefined : texts.join(' ');
}

const valueText = (value: FilterValue): string | undefined =>
  value.kind === 'number' ? value.value.toString(36) : value.kind === 'name' ? `n${value.name}` : undefined;

const isCatchAll = ({ key: [part, ...more] }: FilterElement): boolean =>
  more.length === 0 && part !== undefined && 'first' in part && part.first === 0n && part.last === (1n << 128n) - 1n;

function makeIndex(elements: readonly FilterElement[]): SetIndex {
  const catchAll = elements.find(isCatchAll);
  const exact = new Map<string, FilterElement>();
  const blocks = new Map<bigint, Map<bigint, FilterElement>>();
  const rest: FilterElement[] = [];
  for (const element of elements) {
    if (element === catchAll) continue;
    const text = exactText(element.key);
    const [part] = element.key;
    if (text !== undefined) exact.set(text, element);
    else if (element.key.length === 1 && 'first' in part) {
      const size = part.last - part.first + 1n;
      if ((size & (size - 1n)) === 0n && part.first % size === 0n) {
        const bySize = blocks.get(size) ?? new Map<bigint, FilterElement>();
        bySize.set(part.first, element);
        blocks.set(size, bySize);
      } else rest.push(element);
    } else rest.push(element);
  }
  const sorted = [...blocks.entries()].sort(([a], [b]) => (a < b ? -1 : 1)).map(([size, byFirst]) => ({ size, byFirst }));
  const spread = ({ key }: FilterElement): bigint =>
    key.reduce((sum, part) => sum + ('first' in part ? part.last - part.first : part.wildcard ? 1n : 0n), 0n);
  rest.sort((a, b) => (spread(a) < spread(b) ? -1 : spread(a) > spread(b) ? 1 : 0));
  return { exact, blocks: sorted, rest, ...(catchAll ? { catchAll } : {}) };
}

/** The element that holds these values, the narrowest where several do; `undecided` where that cannot be told. */
export function findElement(
  elements: readonly FilterElement[],
  values: readonly FilterValue[],
): FilterElement | 'undecided' | undefined {
  if (elements.length === 0) return undefined;
  let index = indexes.get(elements);
  if (!index) {
    index = makeIndex(elements);
    indexes.set(elements, index);
  }
  const texts = values.map(valueText);
  if (!texts.includes(undefined)) {
    const exact = index.exact.get(texts.join(' '));
    if (exact) return exact;
    const [value] = values;
    if (values.length === 1 && value.kind === 'number')
      for (const { size, byFirst } of index.blocks) {
        const found = byFirst.get(value.value - (value.value % size));
        if (found) return found;
      }
    let unsure = false;
    for (const element of index.rest) {
      const holds = keyHolds(element.key, values);
      if (holds) return unsure ? 'undecided' : element;
      if (holds === undefined) unsure = true;
    }
    return unsure ? 'undecided' : index.catchAll;
  }
  if (values.some(({ kind }) => kind === 'absent')) return undefined;
  const { catchAll } = index;
  return elements.some((one) => one !== catchAll && keyHolds(one.key, values) !== false) ? 'undecided' : catchAll;
}

/** Finds sets: of nft in the rule's own table, of ipset in the whole namespace. */
export class SetFinder {
  readonly #sets = new Map<string, FilterSet>();

  constructor(filter: PacketFilter) {
    for (const set of filter.sets)
      this.#sets.set(set.backend === 'legacy' ? `ipset:${set.name}` : `${set.family} ${set.table} ${set.name}`, set);
  }

  find(place: RulePlace, name: string): FilterSet | undefined {
    return this.#sets.get(name.startsWith('ipset:') ? name : `${place.family} ${place.table} ${name}`);
  }
}

/** Values of an expression, maps looked up. */
export function valuesOf(sight: Sight, expression: FilterExpression, place: RulePlace, sets: SetFinder): readonly FilterValue[] {
  return expressionValues(sight, expression, (map) => {
    const values = valuesOf(sight, map.key, place, sets);
    if (values.some(({ kind }) => kind === 'absent')) return [{ kind: 'absent' }];
    const element = elementOf(map.map, values, place, sets);
    if (element === 'undecided') return [{ kind: 'unknown', why: 'what its map says' }];
    if (element === undefined) return [{ kind: 'absent' }];
    return (element.value ?? []).map((part): FilterValue => {
      if ('name' in part) return { kind: 'name', name: part.name };
      return part.first === part.last ? { kind: 'number', value: part.first } : { kind: 'unknown', why: 'which one of a range' };
    });
  });
}

/** What a named or anonymous map holds for these values. */
export function elementOf(
  map: string | readonly FilterElement[],
  values: readonly FilterValue[],
  place: RulePlace,
  sets: SetFinder,
): FilterElement | 'undecided' | undefined {
  if (typeof map !== 'string') return findElement(map, values);
  const set = sets.find(place, map);
  if (!set) return 'undecided';
  const found = findElement(set.elements, values);
  // What was not read may be narrower.
  if (set.truncated && (found === undefined || (found !== 'undecided' && isCatchAll(found)))) return 'undecided';
  return found;
}

/** Why it cannot be told, for people; the first reason in the values. */
export const whyUnknown = (values: readonly FilterValue[]): string | undefined =>
  values.flatMap((value) =>
    value.kind === 'unknown'
      ? [value.why]
      : value.kind === 'number' || value.kind === 'name'
        ? []
        : ['an address or state not known'],
  )[0];

/** Whether a condition holds. An absent field fails it whatever is asked of it, as in the kernel. */
export function matchHolds(
  sight: Sight,
  match: FilterMatch,
  place: RulePlace,
  sets: SetFinder,
): { readonly truth: Truth; readonly why?: string } {
  if (match.kind === 'undecided') return { truth: undefined, why: match.text };
  if (match.kind === 'any') {
    let truth: Truth = false;
    let why: string | undefined;
    for (const one of match.of) {
      const answer = matchHolds(sight, one, place, sets);
      if (answer.truth) return { truth: !match.inverted };
      if (answer.truth === undefined) {
        truth = undefined;
        why ??= answer.why;
      }
    }
    return { truth: match.inverted ? not(truth) : truth, ...(why === undefined ? {} : { why }) };
  }
  const values = valuesOf(sight, match.left, place, sets);
  if (values.some(({ kind }) => kind === 'absent')) return { truth: false };
  const truth = truthOf(match, values, place, sets);
  const why = whyUnknown(values) ?? 'a set that is not known whole';
  return truth === undefined ? { truth, why } : { truth };
}

function truthOf(
  match: FilterMatch & { kind: 'compare' | 'bits' | 'set' },
  values: readonly FilterValue[],
  place: RulePlace,
  sets: SetFinder,
): Truth {
  if (match.kind === 'set') {
    const element = elementOf(match.set, values, place, sets);
    const truth = element === 'undecided' ? undefined : element !== undefined && element.excluded !== true;
    return match.inverted ? not(truth) : truth;
  }
  if (match.kind === 'bits') return bitsHold(match.mask, match.any, values[0]);
  if (match.operator !== '==' && match.operator !== '!=') return orderHolds(match.operator, values[0], match.right[0]?.[0]);
  let truth: Truth = false;
  for (const key of match.right) {
    const holds = keyHolds(key, values);
    if (holds) {
      truth = true;
      break;
    }
    if (holds === undefined) truth = undefined;
  }
  return match.operator === '==' ? truth : not(truth);
}

function bitsHold(mask: bigint, any: boolean, value: FilterValue | undefined): Truth {
  let truth: Truth;
  if (value?.kind === 'number') truth = (value.value & mask) !== 0n;
  else if (value?.kind === 'bits')
    truth = (value.value & value.known & mask) !== 0n ? true : (mask & ~value.known) === 0n ? false : undefined;
  return any ? truth : not(truth);
}
