// A fix for a moment: applied, looked at, and taken back, by a process of its own that takes it back at the end of its input: when it is
// told to, when its time is up, and when whoever started it is killed.

import { type ChildProcess, spawn } from 'node:child_process';
import { WeirError } from '../../base/errors.ts';
import { printable } from '../../base/printable.ts';
import type { DiagnosisFix } from '../../model/diagnosis.ts';

export interface FixTrial {
  /**
   * Takes the fix back and waits for that; whether it lasted until then, or its time was up before. Throws `kernel-refused` when the undo failed,
   * with its words. Idempotent.
   */
  end(): Promise<{ readonly lasted: boolean }>;
}

/** Exit code where the time was up before the input ended. */
const timeUp = 7;
/** How a fix for another namespace begins; its path as a shell reads it. */
const elsewhere = /^nsenter --net=((?:[^\s'"\\$`]|'[^']*'|\\')+) -- /;
const held = 'nsenter --net=/proc/self/fd/9 -- ';
const unquoted = (text: string): string => text.replace(/'([^']*)'|\\'/g, (_, plain: string | undefined) => plain ?? "'");
/**
 * Applies in a shell of its own, waits for the end of input or of its time, undoes. Undoes only what it applied, where it applied it: a namespace
 * is opened once, and stays as long as this shell does.
 */
const script = `[ -z "$4" ] || exec 9<"$4" || exit 9; sh -c "$2" || exit 9; echo applied; timeout "$1" cat >/dev/null && told=1; sh -c "$3" || exit 8; [ -n "$told" ] || exit ${timeUp}`;
const environment = { PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C' };
const mostWords = 4000;

export const canTry = ({ when, cmd, undo }: DiagnosisFix): boolean => when === 'now' && !cmd.startsWith('#') && undo !== '';

/** Needs root. Throws `kernel-refused` (nothing was changed then). */
export async function tryFix({ cmd, undo }: DiagnosisFix, forMs: number): Promise<FixTrial> {
  const seconds = String(Math.max(1, Math.ceil(forMs / 1000)));
  const [prefix = '', path = ''] = elsewhere.exec(cmd) ?? [];
  const inHeld = (text: string): string => (prefix !== '' && text.startsWith(prefix) ? held + text.slice(prefix.length) : text);
  const child = spawn('sh', ['-c', script, 'weir-doctor', seconds, inHeld(cmd), inHeld(undo), unquoted(path)], {
    detached: true,
    stdio: ['pipe', 'pipe', 'pipe'],
    env: environment,
  });
  let words = '';
  child.stderr.on('data', (bytes: Buffer) => {
    words = (words + bytes.toString()).slice(-mostWords);
  });
  child.stdin.on('error', () => {});
  const ended = endOf(child);
  const applied = await new Promise<boolean>((resolve, reject) => {
    let said = '';
    child.stdout.on('data', (bytes: Buffer) => {
      said = (said + bytes.toString()).slice(-mostWords);
      if (/^applied$/m.test(said)) resolve(true);
    });
    child.once('error', reject);
    void ended.then(() => resolve(false));
  });
  if (!applied) throw new WeirError('kernel-refused', `the fix was not applied: ${printable(words.trim(), 500)}`, { cmd });
  return {
    async end() {
      child.stdin.end();
      const code = await ended;
      if (code !== 0 && code !== timeUp)
        throw new WeirError('kernel-refused', `the fix was not taken back: ${printable(words.trim(), 500)}`, {
          undo,
          next: `run it by hand: ${undo}`,
        });
      return { lasted: code === 0 };
    },
  };
}

const endOf = (child: ChildProcess): Promise<number> =>
  new Promise((resolve) => {
    child.once('close', (code) => resolve(code ?? -1));
    child.once('error', () => resolve(-1));
  });
