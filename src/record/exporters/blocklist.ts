// Sources that did harm, one address a line, newest first: what firewalls and `ipset` read. Comments only at the top. Pure.

import { type Micros, renderMicros } from '../../base/clock.ts';
import { parseAddress } from '../../model/address.ts';
import type { Indicators } from './indicators.ts';

/** Lines, newline included. Addresses that do not parse are left out: a list is read by programs. */
export function* renderBlocklist({ sources, left }: Indicators, made: Micros): Generator<string> {
  const addresses = sources.filter(({ ip }) => parseAddress(ip) !== undefined);
  yield `# Weir: sources that scanned, guessed or attacked decoys; made ${renderMicros(made)}\n`;
  yield `# ${addresses.length} addresses${left > 0 ? `, ${left} more left out` : ''}; none whose every packet may have been forged\n`;
  for (const { ip } of addresses) yield `${ip}\n`;
}
