// How packets of the kernel path are copied to NFLOG: group, prefix and batches. Pure; the reader is kernel/flow-capture.ts.

import type { NftStatement } from '../kernel/nft-ruleset.ts';

/** NFLOG group of captured packets, in the services namespace and in the machine's own. */
export const captureGroup = 88;

/** Handed over in batches of this many packets; see tproxy-socket.ts. */
const captureThreshold = 64;

/**
 * `in` from the attacker, `out` from the service, `odd` what no connection can be made of. With the number of a port it is a
 * packet as it was on the link; without, one whose mark tells the port and that was routed already.
 */
export const captureOf = (direction: 'in' | 'out' | 'odd', port?: number): NftStatement => ({
  do: 'log',
  prefix: `weir:${direction}${port === undefined ? '' : `:${port}`}`,
  group: captureGroup,
  snaplen: 65_535,
  queueThreshold: captureThreshold,
});
