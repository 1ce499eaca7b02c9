// `-m set --match-set NAME src,dst` as conditions of the model: which field each dimension of the set's type means. Pure.

import type { FilterExpression, FilterMatch, FilterSet } from '../../model/packet-filter.ts';
import { dimensionsOf } from './ipset-save.ts';
import type { RuleOption } from './iptables-options.ts';

const field = (name: string): FilterExpression => ({ kind: 'field', field: name });

function fieldsOf(dimension: string, side: string, family: 'ip' | 'ip6', isBitmap: boolean): FilterExpression[] | undefined {
  const isSource = side === 'src';
  switch (dimension) {
    case 'ip':
    case 'net':
      return [field(`${family}.${isSource ? 'saddr' : 'daddr'}`)];
    case 'port': {
      const port = field(`th.${isSource ? 'sport' : 'dport'}`);
      return isBitmap ? [port] : [field('meta.l4proto'), port];
    }
    case 'mark':
      return [field('meta.mark')];
    case 'mac':
      return isSource ? [field('ether.saddr')] : undefined;
    case 'iface':
      return [field(isSource ? 'meta.iifname' : 'meta.oifname')];
    default:
      return undefined;
  }
}

const never: FilterMatch = { kind: 'any', of: [], inverted: false };

function memberMatch(set: FilterSet, sides: readonly string[], family: 'ip' | 'ip6'): FilterMatch | undefined {
  const dimensions = dimensionsOf(set.type);
  if (sides.length < dimensions.length) return undefined;
  if (set.family !== family && /ip|net/.test(set.type)) return never;
  const parts = dimensions.map((dimension, index) => fieldsOf(dimension, sides[index], family, set.type.startsWith('bitmap')));
  if (parts.includes(undefined)) return undefined;
  const flat = (parts as FilterExpression[][]).flat();
  const left: FilterExpression = flat.length === 1 ? flat[0] : { kind: 'concatenation', parts: flat };
  return { kind: 'set', left, set: `ipset:${set.name}`, inverted: false };
}

/** Undefined where the set is not there, or its type is not known. A list matches as soon as one of its sets does. */
export function setMatch(option: RuleOption, family: 'ip' | 'ip6', sets: readonly FilterSet[]): FilterMatch | undefined {
  const [name, directions = ''] = option.values;
  const sides = directions.split(',');
  const set = sets.find((candidate) => candidate.name === name);
  if (!set) return undefined;
  if (!set.type.startsWith('list:')) {
    const match = memberMatch(set, sides, family);
    return match?.kind === 'set'
      ? { ...match, inverted: option.negated }
      : match && { kind: 'any', of: [match], inverted: option.negated };
  }
  const members = set.elements.map(({ key: [part] }) =>
    'name' in part ? sets.find((candidate) => candidate.name === part.name) : undefined,
  );
  const of = members.map((member) => member && memberMatch(member, sides, family));
  return of.includes(undefined) || set.truncated ? undefined : { kind: 'any', of: of as FilterMatch[], inverted: option.negated };
}
