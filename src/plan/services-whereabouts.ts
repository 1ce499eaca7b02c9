// Where services are: the MACs by which their shortcuts lead to them, from the services namespace's own neighbours.

import { createCommandRunner } from '../kernel/command.ts';
import { resolveNeighbours } from '../kernel/services-namespace.ts';
import type { ServicesNetwork } from './services-network.ts';

/**
 * MACs by address. Asks for those that are not known, and waits so long for all of them; others go the long way until the
 * next look. The very map given when nothing is new. Needs root.
 */
export async function findServices(
  netns: string,
  { ports }: ServicesNetwork,
  before: ReadonlyMap<string, string>,
  waitMs: number,
): Promise<ReadonlyMap<string, string>> {
  const asked = new Map(ports.flatMap(({ ways }) => ways.map(({ via, leg }): [string, string] => [via, leg])));
  if (asked.size === 0) return new Map();
  const found = await resolveNeighbours(createCommandRunner(netns), asked, waitMs);
  const same = found.size === before.size && [...found].every(([address, mac]) => before.get(address) === mac);
  return same ? before : found;
}
