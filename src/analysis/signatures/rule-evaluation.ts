// Decides whether a rule's conditions hold in the readings of a session, and what its captures take from them. Every step is taken
// from the session's meter.

import type { Meter } from './lazy-matcher.ts';
import type { Capture, Condition, PatternCondition, SignatureRule } from './rule-plan.ts';
import type { Text, TextPiece } from './session-texts.ts';

/** Of a captured value; see SignatureHit. */
const maxCaptured = 2048;
/** Bytes before and after the end of a match that its groups are looked for in. */
const captureReach = 4096;

/** To ask a condition of a reading costs as much as so many bytes of it, also where there is nothing to search. */
const askingCost = 8;

/** Any request. */
const anyRequest = -1;

export function ruleHolds(rule: SignatureRule, texts: readonly Text[], meter: Meter): boolean {
  if (!rule.perRequest) return holds(rule.condition, texts, anyRequest, meter);
  for (const request of requestsOf(texts)) {
    // What is left of nothing would be found nowhere: requests can be many, and so can rules.
    if (meter.left <= 0) {
      meter.curtailed = true;
      return false;
    }
    if (holds(rule.condition, texts, request, meter)) return true;
  }
  return false;
}

function requestsOf(texts: readonly Text[]): Set<number> {
  const requests = new Set<number>();
  for (const text of texts) for (const request of text.requests()) requests.add(request);
  return requests;
}

function holds(condition: Condition, texts: readonly Text[], request: number, meter: Meter): boolean {
  switch (condition.kind) {
    case 'all':
      for (const item of condition.items) if (!holds(item, texts, request, meter)) return false;
      return true;
    case 'any':
      for (const item of condition.items) if (holds(item, texts, request, meter)) return true;
      return false;
    case 'not':
      return !holds(condition.item, texts, request, meter);
    case 'pattern':
      return patternHolds(condition, texts, request, meter);
  }
}

function patternHolds(condition: PatternCondition, texts: readonly Text[], request: number, meter: Meter): boolean {
  const { view, part, header } = condition;
  meter.left -= askingCost * texts.length;
  for (const text of texts) {
    if (view !== 'any' && (view === 'decoded' ? text.view === 'raw' : text.view !== view)) continue;
    if (part === undefined) {
      if (holdsIn(condition, text.bytes, 0, text.bytes.length, meter)) return true;
      continue;
    }
    const pieces = text.piecesOf(part, header);
    if (request !== anyRequest) {
      if (holdsInOne(condition, text.bytes, pieces.get(request) ?? none, meter)) return true;
    } else for (const some of pieces.values()) if (holdsInOne(condition, text.bytes, some, meter)) return true;
  }
  return false;
}

const none: readonly TextPiece[] = [];

function holdsInOne(condition: PatternCondition, bytes: Buffer, pieces: readonly TextPiece[], meter: Meter): boolean {
  // An empty piece is a step too.
  meter.left -= pieces.length;
  for (const { start, end } of pieces) if (holdsIn(condition, bytes, start, end, meter)) return true;
  return false;
}

function holdsIn(
  { matcher, at, within, count }: PatternCondition,
  bytes: Buffer,
  start: number,
  end: number,
  meter: Meter,
): boolean {
  let from = start + (at ?? within?.[0] ?? 0);
  const to = within === undefined ? end : Math.min(end, start + within[1]);
  if (from > to) return false;
  for (let found = 0; found < count; found += 1) {
    const next = matcher.search(bytes, from, to, meter);
    if (next < 0) return false;
    // A match of nothing still has to get on.
    from = next > from ? next : from + 1;
    if (from > to) return found + 1 >= count;
  }
  return true;
}

/** The first value each capture finds; decoded readings come first, as they are what a person wants to read. */
export function captureAll(captures: readonly Capture[], texts: readonly Text[], meter: Meter): Readonly<Record<string, string>> {
  const values: Record<string, string> = {};
  for (const capture of captures)
    for (let index = texts.length - 1; index >= 0; index -= 1) {
      const value = captureIn(capture, texts[index].bytes, meter);
      if (value === undefined) continue;
      values[capture.name] = value;
      break;
    }
  return values;
}

function captureIn({ finder, groups }: Capture, bytes: Buffer, meter: Meter): string | undefined {
  const end = finder.search(bytes, 0, bytes.length, meter);
  if (end < 0) return undefined;
  const from = Math.max(0, end - captureReach);
  const slots = groups.match(bytes, from, Math.min(bytes.length, end + captureReach), meter);
  if (slots === undefined) return undefined;
  // The first group that took part, or the whole.
  let slot = 0;
  for (let index = 2; index < slots.length; index += 2)
    if (slots[index] >= 0 && slots[index + 1] > slots[index]) {
      slot = index;
      break;
    }
  const taken = bytes.subarray(slots[slot], slots[slot + 1]);
  return taken.length === 0 ? undefined : readable(taken);
}

/** UTF-8 where it is, else byte by byte. */
function readable(bytes: Buffer): string {
  const text = bytes.toString('utf8');
  return (text.includes('\ufffd') ? bytes.toString('latin1') : text).slice(0, maxCaptured);
}
