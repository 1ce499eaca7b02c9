// Which networks this machine has beyond those of its own links: its routes, and where Docker takes addresses for new networks from. Reads only.

import { type AddressRange, parseRange } from '../model/address.ts';
import type { MachineRoute } from '../model/machine.ts';
import { readMachineLinks } from './machine/link-reader.ts';
import { readMachineRoutes } from './machine/route-reader.ts';
import { withRouteSocket } from './route-socket.ts';

const maxRoutes = 4096;
const tableLocal = 255;

/** Of /etc/docker/daemon.json; undefined: it says nothing of pools, or is no JSON. */
export function parseDockerPools(text: string): AddressRange[] | undefined {
  try {
    const pools = (JSON.parse(text) as { 'default-address-pools'?: unknown })['default-address-pools'];
    if (!Array.isArray(pools)) return undefined;
    return pools.flatMap((pool: unknown) => {
      const base = typeof pool === 'object' && pool !== null && 'base' in pool ? pool.base : undefined;
      const range = typeof base === 'string' ? parseRange(base) : undefined;
      return range ? [range] : [];
    });
  } catch {
    return undefined;
  }
}

/** Unicast routes beside defaults and those of table local; `complete` false: there are more than are read. */
export function readNetworkRoutes(netns: string | undefined): { readonly routes: MachineRoute[]; readonly complete: boolean } {
  const { routes, complete } = withRouteSocket(netns, (socket) =>
    readMachineRoutes(socket, new Map(readMachineLinks(socket).map(({ index, name }) => [index, name]))),
  );
  const networks = routes.filter(
    ({ type, table, prefixLength }) => type === 'unicast' && table !== tableLocal && prefixLength > 0,
  );
  return { routes: networks.slice(0, maxRoutes), complete: complete && networks.length <= maxRoutes };
}
