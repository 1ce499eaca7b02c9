// Puts our tables into the kernel, or takes them out, each in one nft transaction: readers of the ruleset see the
// old tables or the new ones, never neither. Other tables are never named. Needs CAP_NET_ADMIN.

import { WeirError } from '../base/errors.ts';
import { type CommandRunner, firstLines } from './command.ts';
import { runNftInProcess } from './nft-library.ts';
import { renderRemoval, renderTables } from './nft-render.ts';
import { type NftFamily, type NftTable, ownTableFamilies, ownTableName } from './nft-ruleset.ts';

const ours = ownTableFamilies.map((family) => ({ family, name: ownTableName }));

const rendered = new WeakMap<readonly NftTable[], string>();

/** The whole transaction that replaces every table of ours by these. Remembered per list: it can be megabytes. */
export function renderReplacement(tables: readonly NftTable[]): string {
  let text = rendered.get(tables);
  if (text === undefined) {
    text = renderRemoval(ours) + renderTables(tables);
    rendered.set(tables, text);
  }
  return text;
}

/** Longer texts take long enough for a program of their own: this process has others to serve. */
const maxInProcess = 96 << 10;

/** Runs a transaction. Throws `kernel-refused` with nft's message; then nothing of it was applied. */
export async function applyTransaction(runner: CommandRunner, text: string): Promise<void> {
  if (text === '') return;
  const words = text.length <= maxInProcess ? runNftInProcess(runner.netns, text) : undefined;
  if (words === undefined) await runner.run('nft', ['-f', '-'], { input: text, timeoutMs: 60_000 });
  else if (words !== '') throw new WeirError('kernel-refused', `nft: ${firstLines(words)}`, { program: 'nft' });
}

/** Whether the kernel would take it, without taking it: undefined, or nft's words. */
export async function checkTransaction(runner: CommandRunner, text: string): Promise<string | undefined> {
  const { code, stderr } = await runner.run('nft', ['-c', '-f', '-'], { input: text, timeoutMs: 60_000, anyCode: true });
  return code === 0 ? undefined : stderr.trim();
}

/** Removes our tables in these families; silent about those that are not there. */
export async function removeTables(runner: CommandRunner, families: readonly NftFamily[] = ownTableFamilies): Promise<void> {
  await applyTransaction(runner, renderRemoval(families.map((family) => ({ family, name: ownTableName }))));
}

/** Text that adds elements to a set of one of our tables; the elements are addresses already rendered. */
export const renderAddition = (family: NftFamily, set: string, elements: readonly string[]): string =>
  elements.length === 0 ? '' : `add element ${family} ${ownTableName} ${set} { ${elements.join(', ')} }\n`;
