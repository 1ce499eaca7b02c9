// Sets of ipset(8) from `ipset save`, as the model's: what each dimension of their type means, exceptions, time left. Pure.

import { printable } from '../../base/printable.ts';
import { parseRange } from '../../model/address.ts';
import type { FilterElement, FilterKey, FilterRange, FilterSet } from '../../model/packet-filter.ts';
import { protocolNumber } from './protocol-number.ts';
import { splitWords } from './save-line.ts';

/** `hash:net,port` -> `net`, `port`. */
export const dimensionsOf = (type: string): string[] => type.replace(/^[a-z]+:/, '').split(',');

const range = (first: bigint | number, last: bigint | number = first): FilterRange => ({
  first: BigInt(first),
  last: BigInt(last),
});

/** One dimension of an element; a port in a hash is two parts: protocol and number. */
function parsePart(dimension: string, text: string, isBitmap: boolean): FilterKey | undefined {
  switch (dimension) {
    case 'ip':
    case 'net': {
      const found = parseRange(text);
      return found && [range(found.first, found.last)];
    }
    case 'port': {
      const match = /^(?:([a-z0-9-]+):)?(\d+)(?:-(\d+))?$/.exec(text);
      if (!match) return undefined;
      const port = range(Number(match[2]), Number(match[3] ?? match[2]));
      if (isBitmap) return [port];
      const protocol = protocolNumber(match[1] ?? 'tcp');
      return protocol === undefined ? undefined : [range(protocol), port];
    }
    case 'mark':
      return /^(0x[0-9a-f]+|\d+)$/i.test(text) ? [range(BigInt(text))] : undefined;
    case 'mac':
      return /^([0-9a-f]{2}:){5}[0-9a-f]{2}$/i.test(text) ? [range(BigInt(`0x${text.replaceAll(':', '')}`))] : undefined;
    case 'iface':
      return text.startsWith('physdev:') ? undefined : [{ name: text, wildcard: false }];
    default:
      return dimension === 'set' ? [{ name: text, wildcard: false }] : undefined;
  }
}

/** Flags of an element that have a value. */
const valued = new Set(['timeout', 'packets', 'bytes', 'comment', 'skbmark', 'skbprio', 'skbqueue']);

function parseElement(type: string, words: readonly string[]): FilterElement | undefined {
  const dimensions = dimensionsOf(type);
  const texts = (words[0] ?? '').split(',');
  if (texts.length !== dimensions.length) return undefined;
  const flags = new Map<string, string>();
  for (let index = 1; index < words.length; index += 1)
    flags.set(words[index], valued.has(words[index]) ? (words[++index] ?? '') : '');
  const key: FilterRange[] = [];
  for (const [index, dimension] of dimensions.entries()) {
    const part = parsePart(dimension, texts[index], type.startsWith('bitmap'));
    if (!part) return undefined;
    key.push(...part.map((one) => ('name' in one && flags.has('wildcard') ? { ...one, wildcard: true } : one)));
  }
  const timeout = Number(flags.get('timeout') ?? Number.NaN);
  const comment = flags.get('comment');
  return {
    key,
    // 0 is for ever.
    ...(timeout > 0 ? { expires: timeout } : {}),
    ...(comment === undefined ? {} : { comment: printable(comment, 200) }),
    ...(flags.has('nomatch') ? { excluded: true } : {}),
  };
}

/** Past `maxElements` of one set its elements are left out and `truncated`; so are those of a form that is not known. */
export function parseIpsetSave(text: string, maxElements = 200_000): FilterSet[] {
  const sets = new Map<string, { set: FilterSet; elements: FilterElement[]; missed: boolean }>();
  for (const line of text.split('\n')) {
    const words = splitWords(line);
    const [verb, name, ...rest] = words;
    if (verb === 'create' && rest.length > 0) {
      const family = rest.includes('inet6') ? 'ip6' : 'ip';
      // A set that looks at part of an address only is another type of match.
      const masked = rest.includes('netmask') || rest.includes('bitmask');
      const type = masked ? `${rest[0]} masked` : rest[0];
      const set = { backend: 'legacy' as const, family, table: '', name, type, elements: [], truncated: masked };
      sets.set(name, { set, elements: [], missed: masked });
    } else if (verb === 'add') {
      const into = sets.get(name);
      if (!into) continue;
      const element = into.elements.length < maxElements ? parseElement(into.set.type, rest) : undefined;
      if (element) into.elements.push(element);
      else into.missed = true;
    }
  }
  return [...sets.values()].map(({ set, elements, missed }) => ({ ...set, elements, truncated: missed }));
}
