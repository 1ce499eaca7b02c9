// YAML text as plain values that remember their lines, also for lists of tens of thousands of items.
// What the values mean is schema.ts. Pure.
//
// The full parser costs some 40 us an item, seconds for a list of all addresses of a /16. Long runs of items in one
// strict, unambiguous form are therefore read here and stand in the parsed text as one item; everything else, and
// every doubt, goes to the full parser. yaml-source.test.ts proves both readings equal.

import { type Document, isMap, isScalar, isSeq, LineCounter, type Node, parseDocument } from 'yaml';

export interface YamlFault {
  readonly line: number;
  readonly message: string;
}

export interface YamlSource {
  /** Plain objects, arrays and scalars; undefined when there are faults. */
  readonly value: unknown;
  readonly faults: readonly YamlFault[];
  /** Line (from 1) of the value at a path; of the nearest thing around it when the path leads nowhere. */
  lineOf(path: readonly PropertyKey[]): number;
  /** Line of a key in the mapping at a path. */
  lineOfKey(path: readonly PropertyKey[], key: string): number;
}

/** Shorter runs are not worth the second look. */
const shortestRun = 256;
const placeholderPrefix = 'weir-run-of-items-';

interface Run {
  readonly items: Record<string, string>[];
  readonly lines: number[];
}

const key = '[a-z][a-z-]*';
// Plain words that no YAML schema reads as a number, a truth value or null, or quoted ones without escapes.
const word = `"[^"\\\\\\n]*"|'[^'\\n]*'|[0-9A-Za-z][0-9A-Za-z._:/-]*[0-9A-Za-z]`;
const pair = new RegExp(`^(${key}): (${word})$`);
const comment = '(?: +#.*)?';
const inlineItem = new RegExp(`^( *)- \\{ ?((?:${key}: (?:${word}), )*${key}: (?:${word})) ?\\}${comment}$`);
const blockItem = new RegExp(`^( *)- (${key}: (?:${word}))${comment}$`);
const nextPair = new RegExp(`^ *(${key}: (?:${word}))${comment}$`);
const looksTyped = /^(?:[-+]?\d[\d_]*(?:\.\d*)?(?:[eE][-+]?\d+)?|0[xob][0-9a-fA-F]+|null|true|false|yes|no|on|off|y|n)$/i;

function readPair(text: string, into: Record<string, string>): boolean {
  const match = pair.exec(text);
  if (!match || Object.hasOwn(into, match[1])) return false;
  const raw = match[2];
  const quoted = raw[0] === '"' || raw[0] === "'";
  if (!quoted && looksTyped.test(raw)) return false;
  into[match[1]] = quoted ? raw.slice(1, -1) : raw;
  return true;
}

/** The item that starts at `lines[at]` and the line after it, when it has the strict form. */
function readItem(
  lines: readonly string[],
  at: number,
  indent: number,
): { item: Record<string, string>; next: number } | undefined {
  const item: Record<string, string> = {};
  const inline = inlineItem.exec(lines[at]);
  if (inline) {
    if (inline[1].length !== indent) return undefined;
    for (const part of inline[2].split(', ')) if (!readPair(part, item)) return undefined;
    return { item, next: at + 1 };
  }
  const block = blockItem.exec(lines[at]);
  if (!block || block[1].length !== indent || !readPair(block[2], item)) return undefined;
  const margin = ' '.repeat(indent + 2);
  let next = at + 1;
  while (next < lines.length && lines[next].startsWith(margin)) {
    const following = nextPair.exec(lines[next]);
    if (!following || lines[next][indent + 2] === ' ' || !readPair(following[1], item)) return undefined;
    next += 1;
  }
  return { item, next };
}

const indentOf = (line: string): number => {
  const dash = line.indexOf('- ');
  return dash >= 0 && line.trimStart().startsWith('- ') ? dash : -1;
};

/** Long runs, each replaced in the text by one placeholder and as many empty lines as it had. */
function foldRuns(text: string): { text: string; runs: Run[] } {
  const lines = text.split('\n');
  if (lines.length < shortestRun || text.includes(placeholderPrefix)) return { text, runs: [] };
  const runs: Run[] = [];
  let at = 0;
  while (at < lines.length) {
    const indent = indentOf(lines[at]);
    if (indent < 0) {
      at += 1;
      continue;
    }
    const run: Run = { items: [], lines: [] };
    let next = at;
    while (next < lines.length) {
      const read = readItem(lines, next, indent);
      if (!read) break;
      run.items.push(read.item);
      run.lines.push(next + 1);
      next = read.next;
    }
    // What follows must not continue the last item: a deeper line would belong to it.
    let after = next;
    while (after < lines.length && /^\s*(#.*)?$/.test(lines[after])) after += 1;
    const continued = after < lines.length && lines[after].search(/\S/) > indent;
    if (continued && run.items.length > 0) {
      next = (run.lines.pop() ?? 1) - 1;
      run.items.pop();
    }
    if (run.items.length >= shortestRun) {
      lines[at] = `${' '.repeat(indent)}- ${placeholderPrefix}${runs.length}`;
      for (let line = at + 1; line < next; line += 1) lines[line] = '';
      runs.push(run);
      at = next;
    } else at = Math.max(next, at + 1);
  }
  return runs.length === 0 ? { text, runs } : { text: lines.join('\n'), runs };
}

/** Puts the runs back where their placeholders are items of a list; false when one of them is anywhere else. */
function unfold(document: Document.Parsed, runs: readonly Run[], places: Map<unknown, number>): { value: unknown } | undefined {
  let found = 0;
  const seqs = new Set<unknown>();
  const count = (node: unknown): void => {
    if (isMap(node)) for (const item of node.items) count(item.value);
    else if (isSeq(node)) {
      for (const item of node.items) {
        if (isScalar(item) && typeof item.value === 'string' && item.value.startsWith(placeholderPrefix)) {
          seqs.add(node);
          found += 1;
        } else count(item);
      }
    }
  };
  count(document.contents);
  if (found !== runs.length) return undefined;
  const expand = (value: unknown): unknown => {
    if (Array.isArray(value)) {
      const out: unknown[] = [];
      for (const item of value) {
        const run =
          typeof item === 'string' && item.startsWith(placeholderPrefix)
            ? runs[Number(item.slice(placeholderPrefix.length))]
            : undefined;
        if (run) {
          for (let index = 0; index < run.items.length; index += 1) {
            places.set(run.items[index], run.lines[index]);
            out.push(run.items[index]);
          }
        } else out.push(expand(item));
      }
      return out;
    }
    if (typeof value === 'object' && value !== null)
      return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, expand(inner)]));
    return value;
  };
  return { value: expand(document.toJS()) };
}

/** Never throws. `folding: false` uses the full parser alone, for the test that compares both. */
export function readYaml(text: string, options: { folding?: boolean } = {}): YamlSource {
  const folded = options.folding === false ? { text, runs: [] } : foldRuns(text.replaceAll('\r\n', '\n'));
  const counter = new LineCounter();
  const document = parseDocument(folded.text, { lineCounter: counter, prettyErrors: false, version: '1.2' });
  const lineAt = (offset: number): number => counter.linePos(offset).line;
  const places = new Map<unknown, number>();
  // One broken bracket makes many errors: the first tells. Duplicate keys are told all.
  const broken = document.errors.find(({ code }) => code !== 'DUPLICATE_KEY');
  const faults = (broken ? [broken] : [...document.errors, ...document.warnings]).map((fault) => ({
    line: lineAt(fault.pos[0]),
    message: fault.message.split('\n')[0].trim(),
  }));
  let value: unknown;
  if (faults.length === 0) {
    try {
      if (folded.runs.length > 0) {
        const unfolded = unfold(document, folded.runs, places);
        if (!unfolded) return readYaml(text, { folding: false });
        value = unfolded.value;
      } else value = document.toJS();
    } catch (error) {
      faults.push({ line: 1, message: error instanceof Error ? error.message : String(error) });
    }
  } else if (folded.runs.length > 0) return readYaml(text, { folding: false });

  const startOf = (node: Node | null | undefined): number | undefined => (node?.range ? lineAt(node.range[0]) : undefined);
  const lineOf = (path: readonly PropertyKey[]): number => {
    let node: unknown = document.contents;
    let plain: unknown = value;
    let line = startOf(document.contents) ?? 1;
    for (const step of path) {
      plain = typeof plain === 'object' && plain !== null ? (plain as Record<PropertyKey, unknown>)[step] : undefined;
      const place = places.get(plain);
      if (place !== undefined) return place;
      if (isMap(node)) {
        const found = node.items.find((item) => isScalar(item.key) && String(item.key.value) === String(step));
        if (!found) return line;
        line = startOf(found.key as Node) ?? line;
        node = found.value;
      } else if (isSeq(node)) {
        // With a folded run the index into the value is not the index into the node.
        node = folded.runs.length > 0 ? nodeAt(node.items, step as number, folded.runs) : node.items[step as number];
        line = startOf(node as Node) ?? line;
      } else return line;
    }
    return line;
  };
  return {
    value: faults.length === 0 ? value : undefined,
    faults,
    lineOf,
    lineOfKey: (path, name) => lineOf([...path, name]),
  };
}

function nodeAt(items: readonly unknown[], index: number, runs: readonly Run[]): unknown {
  let left = index;
  for (const item of items) {
    const text = isScalar(item) && typeof item.value === 'string' ? item.value : '';
    const size = text.startsWith(placeholderPrefix) ? runs[Number(text.slice(placeholderPrefix.length))].items.length : 1;
    if (left < size) return item;
    left -= size;
  }
  return undefined;
}
