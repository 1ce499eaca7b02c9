// Indicators as a STIX 2.1 bundle (OASIS Standard, 10 June 2021): one indicator for each source and URL, attack patterns with
// their ATT&CK references, relationships between them. Identifiers are derived, so the same indicator has the same one. Pure.

import { createHash } from 'node:crypto';
import { type Micros, renderMicros } from '../../base/clock.ts';
import type { Indicators, SourceIndicator } from './indicators.ts';

/** A namespace of our own, so that our identifiers meet nobody else's. */
const namespace = Buffer.from('7b1f6d1e5c0a4f0b9c55d1a70f3e9a11', 'hex');

/** RFC 9562 version 5. */
export function derivedUuid(name: string): string {
  const digest = createHash('sha1').update(namespace).update(name).digest().subarray(0, 16);
  digest[6] = (digest[6] & 0x0f) | 0x50;
  digest[8] = (digest[8] & 0x3f) | 0x80;
  const hex = digest.toString('hex');
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-');
}

/** STIX wants milliseconds. */
const stixTime = (at: Micros): string => new Date(Math.floor(at / 1000)).toISOString();
/** A string inside a pattern. */
const quoted = (text: string): string => `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`;

const identity = `identity--${derivedUuid('identity weir')}`;

function indicator(source: SourceIndicator): Record<string, unknown> {
  const kind = source.ip.includes(':') ? 'ipv6-addr' : 'ipv4-addr';
  const tried = source.behaviours.some((behaviour) => behaviour === 'exploitation' || behaviour === 'brute-force');
  return {
    type: 'indicator',
    spec_version: '2.1',
    id: `indicator--${derivedUuid(`source ${source.ip}`)}`,
    created_by_ref: identity,
    created: stixTime(source.firstSeen),
    modified: stixTime(source.lastSeen),
    name: `${source.ip} touched decoys`,
    description: `${source.behaviours.join(', ')}; ${source.hits} hits${source.tools.length > 0 ? `; ${source.tools.join(', ')}` : ''}`,
    indicator_types: [tried ? 'malicious-activity' : 'anomalous-activity'],
    pattern: `[${kind}:value = ${quoted(source.ip)}]`,
    pattern_type: 'stix',
    valid_from: stixTime(source.firstSeen),
    ...(source.cves.length > 0
      ? { external_references: source.cves.map((id) => ({ source_name: 'cve', external_id: id })) }
      : {}),
  };
}

function* objects({ sources, urls }: Indicators, made: Micros): Generator<Record<string, unknown>> {
  const time = stixTime(made);
  const common = { spec_version: '2.1', created_by_ref: identity };
  yield {
    type: 'identity',
    spec_version: '2.1',
    id: identity,
    created: '2026-01-01T00:00:00.000Z',
    modified: '2026-01-01T00:00:00.000Z',
    name: 'Weir',
    identity_class: 'system',
  };
  const techniques = new Set<string>();
  for (const source of sources) {
    const made = indicator(source);
    yield made;
    for (const technique of source.techniques) {
      techniques.add(technique);
      yield {
        type: 'relationship',
        ...common,
        id: `relationship--${derivedUuid(`${source.ip} indicates ${technique}`)}`,
        created: stixTime(source.firstSeen),
        modified: stixTime(source.lastSeen),
        relationship_type: 'indicates',
        source_ref: made.id,
        target_ref: `attack-pattern--${derivedUuid(`technique ${technique}`)}`,
      };
    }
  }
  for (const technique of techniques)
    yield {
      type: 'attack-pattern',
      ...common,
      id: `attack-pattern--${derivedUuid(`technique ${technique}`)}`,
      created: '2026-01-01T00:00:00.000Z',
      modified: '2026-01-01T00:00:00.000Z',
      name: technique,
      external_references: [
        {
          source_name: 'mitre-attack',
          external_id: technique,
          url: `https://attack.mitre.org/techniques/${technique.replace('.', '/')}`,
        },
      ],
    };
  for (const url of urls)
    yield {
      type: 'indicator',
      ...common,
      id: `indicator--${derivedUuid(`url ${url}`)}`,
      created: time,
      modified: time,
      name: 'named by a payload, never fetched',
      indicator_types: ['malicious-activity'],
      pattern: `[url:value = ${quoted(url)}]`,
      pattern_type: 'stix',
      valid_from: time,
    };
}

/** Pieces of one JSON document. */
export function* renderStix(indicators: Indicators, made: Micros): Generator<string> {
  yield `{"type":"bundle","id":"bundle--${derivedUuid(`bundle ${renderMicros(made)}`)}","objects":[`;
  let first = true;
  for (const object of objects(indicators, made)) {
    yield `${first ? '' : ','}\n${JSON.stringify(object)}`;
    first = false;
  }
  yield '\n]}\n';
}
