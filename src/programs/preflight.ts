// Gives plans the doubts only a look at everybody's rules brings; see netops/preflight.ts.

import { readFile } from 'node:fs/promises';
import { createCommandRunner } from '../kernel/command.ts';
import { readPacketFilter } from '../kernel/filter/packet-filter-reader.ts';
import { parseDockerPools, readNetworkRoutes } from '../kernel/neighbourhood.ts';
import { readMissingNftFeatures } from '../kernel/nft-features.ts';
import { planPreflight } from '../netops/preflight.ts';
import { planNetworkPreflight } from '../netops/preflight-networks.ts';
import type { DiversionControllerOptions } from '../plan/controller.ts';

const bridgeSysctl = '/proc/sys/net/bridge/bridge-nf-call-iptables';

/** For the namespace at this path; without it, for the one this process is in. Never rejects: a plan does not fail for a doubt. */
export const preflightOf =
  (netns?: string): NonNullable<DiversionControllerOptions['preflight']> =>
  async (desired, facts) => {
    const runner = createCommandRunner(netns);
    const filter = await readPacketFilter(runner);
    const bridgeCallsIptables = (await runner.readProc(bridgeSysctl))?.trim() === '1';
    const daemon = await readFile('/etc/docker/daemon.json', 'utf8').catch(() => '');
    const dockerPools = parseDockerPools(daemon);
    const { routes, complete } = readNetworkRoutes(netns);
    // Where rules of ours hold already, the kernel can do them.
    const missing = facts.ownTables === '' ? await readMissingNftFeatures(runner) : [];
    return [
      ...planPreflight({ desired, facts, filter, bridgeCallsIptables, ...(dockerPools ? { dockerPools } : {}) }),
      ...planNetworkPreflight({ desired, facts, filter, routes, missing }),
      ...(complete ? [] : ['there are more routes than were compared with the decoys']),
    ];
  };
