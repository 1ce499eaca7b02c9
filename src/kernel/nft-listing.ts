// What the kernel says one of our tables is, as a digest, by the nft program: to tell whether anybody changed it.

import { createHash } from 'node:crypto';
import type { CommandRunner } from './command.ts';
import type { NftTable } from './nft-ruleset.ts';

/** Empty when it is not there. What rules themselves put into sets is no part of it. Needs CAP_NET_ADMIN. */
export async function readTableDigest(
  runner: CommandRunner,
  { family, name, sets }: Pick<NftTable, 'family' | 'name' | 'sets'>,
): Promise<string> {
  const steady = sets.filter(({ dynamic }) => dynamic === undefined);
  const terse = steady.length < sets.length;
  const commands = [
    `list table ${family} ${name}`,
    ...(terse ? steady.map((set) => `list ${set.data ? 'map' : 'set'} ${family} ${name} ${set.name}`) : []),
  ];
  const digest = createHash('sha256');
  for (const [index, command] of commands.entries()) {
    const flags = terse && index === 0 ? ['-s', '-n', '-t'] : ['-s', '-n'];
    const { stdout, code } = await runner.run('nft', [...flags, command], { anyCode: true });
    if (code !== 0) return '';
    digest.update(stdout);
  }
  return digest.digest('hex');
}
