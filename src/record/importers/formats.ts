// The formats Weir imports, in the order they are listed. A new one is added here and nowhere else.

import { adbhoneyFormat } from './adbhoney.ts';
import { cowrieFormat } from './cowrie.ts';
import { dionaeaFormat } from './dionaea.ts';
import { eveFormat } from './eve.ts';
import { heraldingFormat } from './heralding.ts';
import { honeytrapFormat } from './honeytrap.ts';
import { honeytrapGoFormat } from './honeytrap-go.ts';
import type { ImportFormat, Sample } from './importer.ts';
import { netfilterLogFormat } from './netfilter-log.ts';
import { openCanaryFormat } from './opencanary.ts';
import { pcapFormat } from './pcap.ts';
import { tcppcFormat } from './tcppc.ts';
import { zeekFormat } from './zeek.ts';

export const importFormats: readonly ImportFormat[] = [
  tcppcFormat,
  netfilterLogFormat,
  cowrieFormat,
  honeytrapFormat,
  honeytrapGoFormat,
  dionaeaFormat,
  heraldingFormat,
  openCanaryFormat,
  adbhoneyFormat,
  eveFormat,
  zeekFormat,
  pcapFormat,
];

/** Less sure than this is not sure. */
const sureEnough = 0.3;

/** The format that recognises the sample with most confidence; undefined when none does. */
export function detectFormat(sample: Sample, formats = importFormats): ImportFormat | undefined {
  let best: ImportFormat | undefined;
  let bestScore = sureEnough;
  for (const format of formats) {
    const score = format.detect(sample);
    if (score > bestScore || (score === bestScore && !best)) {
      best = format;
      bestScore = score;
    }
  }
  return best;
}
