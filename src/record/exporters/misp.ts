// Indicators as one MISP event (MISP core format): an attribute for each source and URL, tagged with behaviour and ATT&CK
// technique. Identifiers are derived, so that the same event imported again is the same. Pure.

import type { Micros } from '../../base/clock.ts';
import type { Indicators } from './indicators.ts';
import { derivedUuid } from './stix.ts';

const seconds = (at: Micros): string => String(Math.floor(at / 1e6));
const day = (at: Micros): string => new Date(Math.floor(at / 1000)).toISOString().slice(0, 10);
const tag = (name: string): { name: string } => ({ name });

function* attributes({ sources, urls }: Indicators, made: Micros): Generator<Record<string, unknown>> {
  for (const source of sources)
    yield {
      uuid: derivedUuid(`misp source ${source.ip}`),
      type: 'ip-src',
      category: 'Network activity',
      to_ids: true,
      timestamp: seconds(source.lastSeen),
      first_seen: new Date(source.firstSeen / 1000).toISOString(),
      last_seen: new Date(source.lastSeen / 1000).toISOString(),
      value: source.ip,
      comment: `${source.behaviours.join(', ')}; ${source.hits} hits on decoys`,
      Tag: [
        ...source.behaviours.map((behaviour) => tag(`weir:behaviour="${behaviour}"`)),
        ...source.techniques.map((technique) => tag(`weir:attack-technique="${technique}"`)),
      ],
    };
  for (const url of urls)
    yield {
      uuid: derivedUuid(`misp url ${url}`),
      type: 'url',
      category: 'Payload delivery',
      to_ids: true,
      timestamp: seconds(made),
      value: url,
      comment: 'named by a payload, never fetched',
    };
}

/** Pieces of one JSON document. */
export function* renderMisp(indicators: Indicators, made: Micros): Generator<string> {
  const head = {
    uuid: derivedUuid(`misp event ${day(made)}`),
    info: `Weir: what touched decoys, ${day(made)}`,
    date: day(made),
    timestamp: seconds(made),
    threat_level_id: '3',
    analysis: '2',
    distribution: '0',
    published: false,
    Orgc: { name: 'Weir', uuid: derivedUuid('identity weir') },
    Tag: [tag('tlp:amber')],
  };
  yield `{"Event":${JSON.stringify(head).slice(0, -1)},"Attribute":[`;
  let first = true;
  for (const attribute of attributes(indicators, made)) {
    yield `${first ? '' : ','}\n${JSON.stringify(attribute)}`;
    first = false;
  }
  yield '\n]}}\n';
}
