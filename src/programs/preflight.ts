// Gives plans the doubts only a look at everybody's rules brings; see netops/preflight.ts.

import { createCommandRunner } from '../kernel/command.ts';
import { readPacketFilter } from '../kernel/filter/packet-filter-reader.ts';
import { planPreflight } from '../netops/preflight.ts';
import type { DiversionControllerOptions } from '../plan/controller.ts';

const bridgeSysctl = '/proc/sys/net/bridge/bridge-nf-call-iptables';

/** For the namespace at this path; without it, for the one this process is in. Never rejects: a plan does not fail for a doubt. */
export const preflightOf =
  (netns?: string): NonNullable<DiversionControllerOptions['preflight']> =>
  async (desired, facts) => {
    const runner = createCommandRunner(netns);
    const filter = await readPacketFilter(runner);
    const bridgeCallsIptables = (await runner.readProc(bridgeSysctl))?.trim() === '1';
    return planPreflight({ desired, facts, filter, bridgeCallsIptables });
  };
