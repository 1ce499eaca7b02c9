// Gives plans the doubts only a look at everybody's rules brings; see netops/preflight.ts.

import { readFile } from 'node:fs/promises';
import { asWeirError, WeirError } from '../base/errors.ts';
import { printable } from '../base/printable.ts';
import { type CommandRunner, createCommandRunner } from '../kernel/command.ts';
import { readPacketFilter } from '../kernel/filter/packet-filter-reader.ts';
import { parseDockerPools, readNetworkRoutes } from '../kernel/neighbourhood.ts';
import { type NftFeature, readMissingNftFeatures } from '../kernel/nft-features.ts';
import { planPreflight } from '../netops/preflight.ts';
import { planNetworkPreflight } from '../netops/preflight-networks.ts';
import type { DiversionControllerOptions } from '../plan/controller.ts';

const bridgeSysctl = '/proc/sys/net/bridge/bridge-nf-call-iptables';

/** For the namespace at this path; without it, for the one this process is in. Never rejects: a plan does not fail for a doubt. */
export const preflightOf =
  (netns?: string): Preflight =>
  async (desired, facts) => {
    try {
      return await lookForDoubts(desired, facts, netns);
    } catch (error) {
      return [`not known what else of this machine a plan should mind: ${printable(asWeirError(error).message, 300)}`];
    }
  };

type Preflight = NonNullable<DiversionControllerOptions['preflight']>;

async function lookForDoubts(
  desired: Parameters<Preflight>[0],
  facts: Parameters<Preflight>[1],
  netns: string | undefined,
): Promise<string[]> {
  const runner = createCommandRunner(netns);
  const filter = await readPacketFilter(runner);
  const bridgeCallsIptables = (await runner.readProc(bridgeSysctl))?.trim() === '1';
  const daemon = await readFile('/etc/docker/daemon.json', 'utf8').catch(() => '');
  const dockerPools = parseDockerPools(daemon);
  const { routes, complete } = readNetworkRoutes(netns);
  // Where rules of ours hold already, the kernel can do them.
  const missing = facts.ownTables === '' ? await triedFeatures(runner) : [];
  return [
    ...planPreflight({ desired, facts, filter, bridgeCallsIptables, ...(dockerPools ? { dockerPools } : {}) }),
    ...planNetworkPreflight({ desired, facts, filter, routes, missing: missing ?? [] }),
    ...(missing ? [] : ['not known whether this kernel has all parts of nftables that decoys need: none could be tried']),
    ...(complete ? [] : ['there are more routes than were compared with the decoys']),
  ];
}

/** Undefined: not measured, as where a tool for it is missing or may not run. */
async function triedFeatures(runner: CommandRunner): Promise<readonly NftFeature[] | undefined> {
  try {
    return await readMissingNftFeatures(runner);
  } catch (error) {
    if (error instanceof WeirError) return undefined;
    throw error;
  }
}
