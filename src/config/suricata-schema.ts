// The keys below `suricata:`. The section alone switches Suricata on.

import { z } from 'zod';
import type { SuricataSettings } from '../model/suricata-settings.ts';
import * as forms from './forms.ts';
import { paths } from './paths-form.ts';
import { fallback, optional, required } from './schema-keys.ts';

const mebibyte = 2 ** 20;
const maxHopPorts = 16;

const hop = z.strictObject({
  interface: required(forms.interfaceName, 'interface', 'Where the hop can be seen, on this machine.'),
  ports: required(forms.ports, 'ports', 'Where its receiver listens; at most 16.'),
  diversion: optional(
    forms.name,
    'name',
    'The diversion these connections come in by: their sessions are shown to Suricata from the wire.',
  ),
  'without-header': fallback(
    forms.form((value) =>
      value === 'pass' || value === 'drop'
        ? (value as 'pass' | 'drop')
        : new forms.Wrong(`${forms.quoted(value)} is neither pass nor drop`, 'write one of them'),
    ),
    'drop',
    '`pass` or `drop`',
    'What becomes of connections without a header: shown as they are, or left out.',
  ),
});

export const suricataSection = z.strictObject({
  rules: fallback(
    paths,
    [],
    'paths',
    'Rule files of your own, besides those that come with Weir. `weir apply` reads them again.',
  ),
  memory: fallback(
    forms.size(16 * mebibyte, 2 ** 36),
    '64MiB',
    'size',
    'For the streams it puts together; with everything else it grows to about three times as much.',
  ),
  hops: z
    .array(hop, { error: () => 'this is not a list' })
    .max(16, { error: () => 'these are more than 16 hops' })
    .prefault([])
    .meta({
      form: 'list',
      description: 'Hops with a PROXY header that can only be watched: the header is taken off for Suricata.',
    }),
});

const portsOf = (ranges: readonly { readonly first: number; readonly last: number }[]): number[] => {
  const ports: number[] = [];
  for (const { first, last } of ranges)
    for (let port = first; port <= last && ports.length <= maxHopPorts; port += 1) ports.push(port);
  return ports;
};

export type SuricataText = z.output<typeof suricataSection>;

/** What the schema cannot say: by hop, in words. */
export function suricataMistakes(
  written: SuricataText,
  diversions: readonly string[],
): { hop: number; key: string; mistake: string; next: string }[] {
  return written.hops.flatMap((one, index) => [
    ...(portsOf(one.ports).length > maxHopPorts
      ? [
          {
            hop: index,
            key: 'ports',
            mistake: `these are more than ${maxHopPorts} ports`,
            next: 'name those where PROXY headers arrive',
          },
        ]
      : []),
    ...(one.diversion !== undefined && !diversions.includes(one.diversion)
      ? [
          {
            hop: index,
            key: 'diversion',
            mistake: `there is no diversion \`${one.diversion}\``,
            next: 'name one of `diversions`, or leave it out',
          },
        ]
      : []),
  ]);
}

/** As the plan takes it. */
export const suricataSettings = ({ rules, memory, hops }: SuricataText): SuricataSettings =>
  Object.freeze({
    rules: Object.freeze(rules),
    memoryBytes: memory,
    hops: Object.freeze(
      hops.map((one) =>
        Object.freeze({
          interface: one.interface,
          ports: portsOf(one.ports),
          ...(one.diversion === undefined ? {} : { diversion: one.diversion }),
          withoutHeader: one['without-header'],
        }),
      ),
    ),
  });
