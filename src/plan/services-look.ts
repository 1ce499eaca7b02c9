// How the services network is doing, read from the kernel for `weir status`: services that do not answer, what they tried,
// how full the tables of connections are. What should be there is services-controller.ts.

import type { CommandRunner } from '../kernel/command.ts';
import { ownTableName } from '../kernel/nft-ruleset.ts';
import { readSysctl } from '../kernel/sysctl.ts';
import { renderAddress } from '../model/address.ts';
import type { AnnexStatus } from './annex.ts';
import type { wiredServices } from './dial-network.ts';
import { boundTableName } from './services-ruleset.ts';
import { describeUnanswered } from './services-words.ts';

/** Packets counted by rules of one chain, or of one table without what is in its sets. */
async function readCounted(runner: CommandRunner, what: readonly string[]): Promise<number> {
  const { stdout } = await runner.run('nft', ['-t', 'list', ...what], { anyCode: true });
  return [...stdout.matchAll(/counter packets (\d+)/g)].reduce((sum, [, packets]) => sum + Number(packets), 0);
}

/**
 * `inside` runs in the services namespace; `home` where the machine's own shortcuts are. Needs CAP_NET_ADMIN. What cannot be
 * read counts as nothing.
 */
export async function readServicesStatus(
  services: ReturnType<typeof wiredServices>,
  inside: CommandRunner,
  home: CommandRunner,
): Promise<AnnexStatus> {
  const { stdout } = await inside.run('ip', ['neigh', 'show', 'nud', 'failed'], { anyCode: true });
  const failed = new Set(stdout.split('\n').map((line) => line.split(' ')[0]));
  const reasons = services.filter(({ address }) => failed.has(renderAddress(address))).map(describeUnanswered);
  const unasked = await readCounted(inside, ['chain', 'inet', ownTableName, 'answer']);
  // The only counters there are of what found the map of five-tuples full.
  const table = ['table', 'netdev', boundTableName];
  const crowded = (await readCounted(home, table)) + (await readCounted(inside, table));
  const count = Number((await readSysctl(inside, 'net/netfilter/nf_conntrack_count')) ?? 0);
  const most = Number((await readSysctl(inside, 'net/netfilter/nf_conntrack_max')) ?? 0);
  if (most > 0 && count > most * 0.9)
    reasons.push(
      `the kernel follows ${count} connections to services of at most ${most}: beyond that new ones fail; raise net.netfilter.nf_conntrack_max`,
    );
  return {
    reasons,
    lines: [
      `${count} connections followed of at most ${most}`,
      ...(unasked > 0 ? [`${unasked} packets that services sent unasked were dropped`] : []),
      ...(crowded > 0
        ? [`${crowded} packets of attackers were dropped: more connections than the short way to services can know`]
        : []),
    ],
  };
}
