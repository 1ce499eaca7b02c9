// What ipset(8) prints of its sets as text that stays the same while they do, and what brings them back with no moment in which a set that rules
// look into is empty. Pure.

import type { SettingsStep } from '../../model/network-settings.ts';
import type { OrderedSteps, TextBlocks } from './canonical-rules.ts';

const lastsFor = (line: string): string | undefined => / timeout (\d+)/.exec(line.replace(/"[^"]*"/g, '""'))?.[1];
const isList = (head: string): boolean => / list:set( |$)/.test(head);

/** Of `ipset save -sorted`. Elements that expire are left out, as are sizes that grow by themselves. Lists keep their order: it counts. */
export function canonicalIpsets(saved: string): string {
  const blocks = new Map<string, { head: string; expires: boolean; elements: string[] }>();
  for (const line of saved.split('\n')) {
    const [verb, name] = line.split(' ', 2);
    if (verb === 'create')
      blocks.set(name, {
        head: line.replace(/ (?:initval|hashsize|bucketsize) \S+/g, '').trim(),
        expires: lastsFor(line) !== undefined,
        elements: [],
      });
    else if (verb === 'add') {
      const block = blocks.get(name);
      // Of a set that lets them expire those with 0 do not.
      if (block && (!block.expires || lastsFor(line) === '0'))
        block.elements.push(line.replace(/ (?:packets|bytes) \d+/g, '').trim());
    }
  }
  return [...blocks.values()]
    .sort((a, b) => (a.head < b.head ? -1 : 1))
    .map(({ head, elements }) => `${[head, ...(isList(head) ? elements : elements.sort())].join('\n')}\n`)
    .join('');
}

const ipsets = (text: string): TextBlocks =>
  new Map([...text.matchAll(/^create (\S+) [^\n]*\n(?:add [^\n]*\n)*/gm)].map(([block, name]) => [name, block]));

const linesOf = (block: string): { readonly head: string; readonly elements: readonly string[] } => {
  const [head, ...elements] = block.split('\n').filter((line) => line !== '');
  return { head, elements };
};

/** Built beside the old one, which it then changes places with. */
function exchange(name: string, { head, elements }: ReturnType<typeof linesOf>, index: number): string[] {
  const aside = `weir-aside-${index}`;
  const renamed = (line: string): string => line.replace(/^(create|add) \S+/, `$1 ${aside}`);
  return [renamed(head), ...elements.map(renamed), `swap ${aside} ${name}`, `destroy ${aside}`];
}

/** Only what differs: those that come first. */
function change(was: ReturnType<typeof linesOf>, is: ReturnType<typeof linesOf>): string[] {
  const entryOf = (line: string): string => line.split(' ').slice(0, 3).join(' ');
  const [old, fresh] = [new Set(was.elements), new Set(is.elements)];
  const entries = new Set(is.elements.map(entryOf));
  return [
    ...[...fresh].filter((line) => !old.has(line)).map((line) => `${line} -exist`),
    ...[...old]
      .filter((line) => !fresh.has(line) && !entries.has(entryOf(line)))
      .map((line) => `${entryOf(line).replace(/^add /, 'del ')} -exist`),
  ];
}

/** In two: sets must be there before rules that name them, and may go only after those. Lists come after their members, and go before them. */
export function ipsetSteps(now: string, wanted: string): OrderedSteps {
  const [current, goal] = [ipsets(now), ipsets(wanted)];
  const lists = new Set([...current, ...goal].flatMap(([name, block]) => (isList(linesOf(block).head) ? [name] : [])));
  const byOrder = (a: string, b: string): number => Number(lists.has(a)) - Number(lists.has(b));
  const names = [...goal.keys()].filter((name) => current.get(name) !== goal.get(name)).sort(byOrder);
  const made = names.flatMap((name, index) => {
    const [was, is] = [current.get(name), linesOf(goal.get(name) ?? '')];
    if (was === undefined) return [is.head, ...is.elements];
    const before = linesOf(was);
    return before.head === is.head && !isList(is.head) ? change(before, is) : exchange(name, is, index);
  });
  const gone = [...current.keys()].filter((name) => !goal.has(name)).sort((a, b) => byOrder(b, a));
  const step = (what: string, lines: readonly string[]): SettingsStep => ({
    what,
    program: 'ipset',
    args: ['restore'],
    input: `${lines.join('\n')}\n`,
  });
  return {
    before: names.length === 0 ? [] : [step(`ipset: ${names.join(', ')}`, made)],
    after:
      gone.length === 0
        ? []
        : [
            step(
              `ipset: remove ${gone.join(', ')}`,
              gone.map((name) => `destroy ${name}`),
            ),
          ],
  };
}
