// What differs between two readings of settings, line by line, each line with the table and chain it stands in, and whose it looks like. Pure.

import { printable } from '../../base/printable.ts';
import { ruleOwner } from '../../kernel/filter/rule-owner.ts';
import { type NetworkSettings, type SettingsPart, settingsParts } from '../../model/network-settings.ts';

export interface SettingsChange {
  readonly part: SettingsPart;
  readonly sign: '+' | '-';
  /** `inet filter input`, `filter INPUT`; empty where it stands in nothing. */
  readonly place: string;
  readonly text: string;
  /** Who manages such a thing, by its name or protocol; a guess from words, no proof of who did it. */
  readonly looksLike?: string;
}

interface PlacedLine {
  readonly place: string;
  readonly text: string;
}

function placedLines(part: SettingsPart, text: string): PlacedLine[] {
  const lines = text.split('\n').filter((line) => line.trim() !== '');
  if (part === 'nft') return placedNft(lines);
  if (!part.includes('tables')) return lines.map((line) => ({ place: '', text: line }));
  let table = '';
  return lines.flatMap((line) => {
    if (line.startsWith('*')) table = line.slice(1);
    const chain = /^(?::|-A )(\S+)/.exec(line)?.[1];
    return chain === undefined ? [] : [{ place: `${table} ${chain}`, text: line }];
  });
}

function placedNft(lines: readonly string[]): PlacedLine[] {
  const placed: PlacedLine[] = [];
  let table = '';
  let inner = '';
  for (const line of lines) {
    const opened = /^table (\S+ \S+) \{/.exec(line)?.[1];
    if (opened !== undefined) table = opened;
    const block = /^\t(?:chain|set|map|flowtable|ct \w+|counter|quota|limit|synproxy|secmark) (\S+) \{/.exec(line)?.[1];
    if (block !== undefined) inner = block;
    const text = line.trim();
    if (text !== '}') placed.push({ place: opened === undefined ? `${table} ${inner}`.trim() : '', text });
    if (line === '\t}') inner = '';
    if (line === '}') table = '';
  }
  return placed;
}

/** More cells than these are not worth exactness: lines are compared as sets then. */
const maxCells = 4_000_000;

/** The longest common subsequence stays; both ends that are equal are cut off first. */
function diffLines(before: readonly string[], after: readonly string[]): { readonly gone: number[]; readonly fresh: number[] } {
  let start = 0;
  while (start < before.length && start < after.length && before[start] === after[start]) start += 1;
  let [endA, endB] = [before.length, after.length];
  while (endA > start && endB > start && before[endA - 1] === after[endB - 1]) [endA, endB] = [endA - 1, endB - 1];
  const [height, width] = [endA - start, endB - start];
  const gone: number[] = [];
  const fresh: number[] = [];
  if (height * width > maxCells) {
    const [known, now] = [new Set(before), new Set(after)];
    for (let at = start; at < endA; at += 1) if (!now.has(before[at])) gone.push(at);
    for (let at = start; at < endB; at += 1) if (!known.has(after[at])) fresh.push(at);
    return { gone, fresh };
  }
  const stride = width + 1;
  const lengths = new Uint32Array((height + 1) * stride);
  for (let a = height - 1; a >= 0; a -= 1)
    for (let b = width - 1; b >= 0; b -= 1)
      lengths[a * stride + b] =
        before[start + a] === after[start + b]
          ? lengths[(a + 1) * stride + b + 1] + 1
          : Math.max(lengths[(a + 1) * stride + b], lengths[a * stride + b + 1]);
  let [a, b] = [0, 0];
  while (a < height || b < width) {
    if (a < height && b < width && before[start + a] === after[start + b]) [a, b] = [a + 1, b + 1];
    else if (b >= width || (a < height && lengths[(a + 1) * stride + b] >= lengths[a * stride + b + 1])) {
      gone.push(start + a);
      a += 1;
    } else {
      fresh.push(start + b);
      b += 1;
    }
  }
  return { gone, fresh };
}

function ownerOf(part: SettingsPart, { place, text }: PlacedLine): string | undefined {
  if (part === 'routes' || part === 'routes6') return / proto (\S+)/.exec(text)?.[1];
  if (part === 'nft') {
    const [family = '', table = '', chain = ''] = (place || text.replace(/^table (\S+ \S+).*/, '$1')).split(' ');
    return ruleOwner({ backend: 'nft', family, table, chain, handle: 0, text });
  }
  if (part.includes('tables')) {
    const [table = '', chain = ''] = place.split(' ');
    return ruleOwner({ backend: 'legacy', family: 'ip', table, chain, handle: 0, text });
  }
  return undefined;
}

/** Parts that one of both lacks are not compared: see `incomparable`. */
export function diffSettings(before: NetworkSettings, after: NetworkSettings): SettingsChange[] {
  const changes: SettingsChange[] = [];
  for (const part of settingsParts) {
    const [was, is] = [before.parts[part], after.parts[part]];
    if (was === undefined || is === undefined || was === is) continue;
    const [old, now] = [placedLines(part, was), placedLines(part, is)];
    const key = ({ place, text }: PlacedLine): string => `${place}\0${text}`;
    const { gone, fresh } = diffLines(old.map(key), now.map(key));
    const take = (sign: '+' | '-', line: PlacedLine): void => {
      const looksLike = ownerOf(part, line);
      changes.push({ part, sign, ...line, ...(looksLike === undefined ? {} : { looksLike }) });
    };
    for (const at of gone) take('-', old[at]);
    for (const at of fresh) take('+', now[at]);
  }
  return changes;
}

/** Parts that cannot be compared, with the reason. */
export function incomparable(before: NetworkSettings, after: NetworkSettings): string[] {
  return settingsParts.flatMap((part) => {
    const missing = [before, after].flatMap((one) => one.missing.filter((lack) => lack.part === part));
    return missing.length === 0 ? [] : [`${part}: ${missing[0].why}`];
  });
}

export const renderChange = ({ sign, place, text, looksLike }: SettingsChange): string =>
  printable(`${sign} ${place === '' ? '' : `${place}: `}${text}${looksLike === undefined ? '' : `  [${looksLike}]`}`, 1000);
