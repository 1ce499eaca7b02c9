// Sources with what they share as numbers, and how rare each shared thing is: what half the Internet has binds nobody. Pure.

import type { SourceFeatures } from '../../record/analysis-store.ts';
import { hashText } from '../families/sketch.ts';

/** A host is of a URL; a name stands alone, as what was looked up, pinged or asked for. */
export type BondKind = 'host' | 'url' | 'name' | 'credentials' | 'family' | 'fingerprint' | 'network' | 'time';

/** Something at least two sources have. */
export interface Bond {
  readonly kind: BondKind;
  /** The host, the URL, three attempts in their order, a family's identifier, …; an attacker may have chosen it. */
  readonly value: string;
  /** Places of the sources that have it, ascending. */
  readonly holders: readonly number[];
}

export interface SourceIndex {
  /** In the order of their addresses' text, so that nothing hangs on the order they came in. */
  readonly sources: readonly SourceFeatures[];
  readonly bonds: readonly Bond[];
  /** Of each source, the bonds it has. */
  readonly bondsOf: readonly (readonly number[])[];
  /** A small store is judged as if there were others, who have none of it. */
  readonly population: number;
}

const leastPopulation = 500;
/** Of one source. Of a list of credentials so many triples stand for all: those that hash lowest, the same ones for the same list. */
const limits = { urls: 32, families: 32, fingerprints: 32, credentials: 64, triples: 8, times: 96 };

type Values = readonly (readonly [kind: BondKind, values: readonly (string | number)[]])[];

/** Each source once; of two rows of one source the first counts. */
export function indexSources(features: readonly SourceFeatures[]): SourceIndex {
  const rows = new Map<string, SourceFeatures>();
  for (const row of features) if (!rows.has(row.source)) rows.set(row.source, row);
  const sources = [...rows.values()].sort((a, b) => (a.source < b.source ? -1 : 1));
  // A map for each kind, so that no key has to be put together.
  const byKind = new Map<BondKind, Map<string | number, Bond & { readonly holders: number[] }>>();
  for (const [place, row] of sources.entries())
    for (const [kind, values] of readRow(row)) {
      let known = byKind.get(kind);
      if (!known) {
        known = new Map();
        byKind.set(kind, known);
      }
      for (const value of values) {
        const bond = known.get(value);
        if (bond) bond.holders.push(place);
        else known.set(value, { kind, value: String(value), holders: [place] });
      }
    }
  const bonds = [...byKind.values()].flatMap((known) => [...known.values()].filter(({ holders }) => holders.length > 1));
  const bondsOf: number[][] = sources.map(() => []);
  for (const [number, bond] of bonds.entries()) for (const holder of bond.holders) bondsOf[holder].push(number);
  return { sources, bonds, bondsOf, population: Math.max(leastPopulation, sources.length) };
}

function readRow(row: SourceFeatures): Values {
  const urls = distinct(row.urls.slice(0, limits.urls));
  const hosts = new Set(urls.filter(hasScheme).map(hostOf));
  const names = urls.filter((url) => !hasScheme(url)).map((name) => name.toLowerCase());
  return [
    ['host', distinct([...hosts])],
    ['url', urls.filter(hasScheme)],
    ['name', distinct(names).filter((name) => !hosts.has(name))],
    ['credentials', attemptsInOrder(row.credentials.slice(0, limits.credentials))],
    ['family', distinct(row.families.slice(0, limits.families))],
    ['fingerprint', distinct(row.fingerprints.slice(0, limits.fingerprints))],
    ['network', row.place?.asn === undefined ? [] : [String(row.place.asn)]],
    // Who is always here is with everybody.
    ['time', row.halfHours.length > limits.times ? [] : [...new Set(row.halfHours)]],
  ];
}

const hasScheme = (url: string): boolean => url.includes('://');
const distinct = (values: readonly string[]): string[] => [...new Set(values)].filter((value) => value !== '');

/** Three attempts that follow one another: single ones are everybody's, their order is a list's. */
function attemptsInOrder(credentials: readonly string[]): string[] {
  const triples = new Map<string, number>();
  for (let at = 0; at + 2 < credentials.length; at += 1) {
    const triple = credentials.slice(at, at + 3).join('\n');
    triples.set(triple, hashText(triple));
  }
  if (triples.size <= limits.triples) return [...triples.keys()];
  return [...triples]
    .sort((a, b) => a[1] - b[1] || (a[0] < b[0] ? -1 : 1))
    .slice(0, limits.triples)
    .map(([triple]) => triple);
}

/** Lower case, without user and port. */
function hostOf(url: string): string {
  let end = url.indexOf('://') + 3;
  const start = end;
  while (end < url.length && url[end] !== '/' && url[end] !== '?' && url[end] !== '#') end += 1;
  const authority = url.slice(start, end);
  const host = authority.slice(authority.lastIndexOf('@') + 1);
  const colon = host.lastIndexOf(':');
  return (colon > 0 && host.indexOf(':') === colon ? host.slice(0, colon) : host).toLowerCase();
}

/** Two numbers out of a text, as 16 hex digits. */
export const digestOf = (text: string): string =>
  hashText(text).toString(16).padStart(8, '0') + hashText(text, 0x1b873593).toString(16).padStart(8, '0');
