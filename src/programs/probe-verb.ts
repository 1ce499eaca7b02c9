// What netd asks whoever may read packets before it claims a range: who lives there. Checked like any request.

import { WeirError } from '../base/errors.ts';
import { probeLiveHosts } from '../kernel/arp-prober.ts';
import { parseRange, renderRange } from '../model/address.ts';

/** `{link, ranges, rate}`; the answer lists ranges as text. */
export async function answerProbe(args: unknown): Promise<string[]> {
  const { link, ranges, rate } = (args ?? {}) as { link?: unknown; ranges?: unknown; rate?: unknown };
  if (typeof link !== 'string' || !Array.isArray(ranges) || typeof rate !== 'number')
    throw new WeirError('bad-request', 'probe needs {link, ranges, rate}');
  const parsed = ranges.map((text) => {
    const range = typeof text === 'string' ? parseRange(text) : undefined;
    if (!range) throw new WeirError('bad-request', `not an address range: ${String(text).slice(0, 64)}`);
    return range;
  });
  const found = await probeLiveHosts({ interface: link, ranges: parsed, ratePerSecond: rate });
  return found.live.map(renderRange);
}
