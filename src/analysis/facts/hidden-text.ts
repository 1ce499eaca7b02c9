// One piece of an attacker's text looked at plainly and through its disguises, a few layers deep, within a budget: URLs,
// commands and hashes go to the list. Pure; what it costs is bounded by the budget.

import { viewBytes } from '../session-view.ts';
import { addHashes } from './command-facts.ts';
import { findCalls, findCommands } from './command-scan.ts';
import { decodeEscapes, decodePercent, findBase64, findWideText, foldLookups } from './decoding.ts';
import type { FactList } from './fact-list.ts';
import { findUrls } from './url-scan.ts';

/** What is left to look at of one session. */
export interface HiddenText {
  bytes: number;
  pieces: number;
}

const layers = 3;

/** Three times what is looked at of a session at all: most have no layers. */
export const textBudget = (): HiddenText => ({ bytes: 3 * viewBytes, pieces: 512 });

/**
 * `value`: somebody wrote it into a request on purpose. `described`: a header that names web pages by habit. `command`: where a
 * command is expected as it stands. `stream`: a whole dialogue, in which commands stand where a shell would see them. `shell`: whose
 * commands were taken line by line; what they hide is left.
 */
export type TextKind = 'value' | 'described' | 'command' | 'stream' | 'shell';

/** One byte to a character. */
export function takeText(kind: TextKind, text: string, into: FactList, left: HiddenText, depth = 0): void {
  // Nothing that is worth finding is shorter: `id` and the like are looked for where a command is expected.
  if (text.length < (kind === 'command' ? 2 : 6) || left.pieces === 0 || left.bytes <= 0) return;
  left.pieces -= 1;
  const piece = text.length > left.bytes ? text.slice(0, left.bytes) : text;
  left.bytes -= piece.length;
  const plain = foldLookups(piece);
  findUrls(plain, into, kind !== 'described' || depth > 0);
  if (kind !== 'shell') findCommands(plain, into, kind !== 'stream' && kind !== 'described');
  if (kind !== 'shell') findCalls(plain, into);
  addHashes(plain, into);
  if (depth === layers) return;
  const inner = plain.includes('%') || plain.includes('\\') ? decodeEscapes(decodePercent(plain)) : plain;
  if (inner !== plain) takeText(kind, inner, into, left, depth + 1);
  const wide = findWideText(plain);
  if (wide !== '') takeText(kind, wide, into, left, depth + 1);
  for (const decoded of findBase64(plain)) takeText('command', decoded, into, left, depth + 1);
}
