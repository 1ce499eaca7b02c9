// Where sources are: the countries of the atlas shaded by how many sources each had; those too small for it are dots.
// Reads the atlas once, at the first map; pure otherwise.

import { createRequire } from 'node:module';
import { geoCentroid, geoEqualEarth, geoPath } from 'd3-geo';
import type { Feature, FeatureCollection, Geometry } from 'geojson';
import { feature } from 'topojson-client';
import type { GeometryCollection, Topology } from 'topojson-specification';
import { countryNumber } from './countries.ts';
import type { ReportRow } from './report.ts';
import { at, bar, escapeMarkup, picture, renderWhole, text } from './svg.ts';

type Named = { readonly name: string };
type Atlas = Topology<{ readonly countries: GeometryCollection<Named> }>;
type Country = Feature<Geometry, Named>;

const width = 960;
const height = 470;
const shades = 6;

let atlas: { readonly coarse: readonly Country[]; readonly fine: ReadonlyMap<string, Country> } | undefined;

function readAtlas(): NonNullable<typeof atlas> {
  if (atlas) return atlas;
  const require = createRequire(import.meta.url);
  const read = (name: string): readonly Country[] => {
    const topology = require(`world-atlas/${name}.json`) as Atlas;
    return (feature(topology, topology.objects.countries) as FeatureCollection<Geometry, Named>).features;
  };
  atlas = {
    coarse: read('countries-110m'),
    fine: new Map(read('countries-50m').map((country) => [String(country.id), country])),
  };
  return atlas;
}

/** Upper ends of the shades' ranges, ascending: powers that reach from 1 to `most`, without doubles. */
export function shadeLimits(most: number): number[] {
  const limits = Array.from({ length: shades }, (_, index) => Math.ceil(most ** ((index + 1) / shades)));
  return [...new Set(limits)];
}

/** Rows with ISO 3166-1 alpha-2 keys; those that are no country of the atlas are left to the table beside it. */
export function renderWorldMap(rows: readonly ReportRow[]): string {
  const { coarse, fine } = readAtlas();
  const byNumber = new Map(
    rows.flatMap((row) => {
      const number = countryNumber(row.key);
      return number === undefined ? [] : [[number, row] as const];
    }),
  );
  const limits = shadeLimits(rows.reduce((most, { sources }) => Math.max(most, sources), 1));
  const shadeOf = (sources: number): string =>
    `shade${Math.round(((limits.findIndex((limit) => sources <= limit) + 1) / limits.length) * shades)}`;
  const projection = geoEqualEarth().fitExtent(
    [
      [4, 4],
      [width - 4, height - 4],
    ],
    { type: 'Sphere' },
  );
  const path = geoPath(projection).digits(1);
  const words = (row: ReportRow): string =>
    `<title>${escapeMarkup(row.label ?? row.key)}: ${renderWhole(row.sources)} sources, ${renderWhole(row.hits)} hits</title>`;
  const parts = [`<path d="${path({ type: 'Sphere' }) ?? ''}" class="sea"/>`];
  const drawn = new Set<string>();
  for (const country of coarse) {
    // Antarctica takes a fifth of the paper.
    if (country.id === '010') continue;
    const row = byNumber.get(String(country.id));
    drawn.add(String(country.id));
    parts.push(`<path d="${path(country) ?? ''}" class="${row ? shadeOf(row.sources) : 'land'}">${row ? words(row) : ''}</path>`);
  }
  for (const [number, row] of byNumber) {
    const country = drawn.has(number) ? undefined : fine.get(number);
    const place = country && projection(geoCentroid(country));
    if (!place) continue;
    parts.push(
      `<circle cx="${at(place[0])}" cy="${at(place[1])}" r="4" class="dot ${shadeOf(row.sources)}">${words(row)}</circle>`,
    );
  }
  let first = 1;
  limits.forEach((limit, index) => {
    const y = height - 20 - (limits.length - index) * 16;
    parts.push(bar({ x: 20, y, width: 18, height: 12 }, shadeOf(limit)));
    parts.push(
      text(first === limit ? renderWhole(limit) : `${renderWhole(first)} to ${renderWhole(limit)}`, { x: 44, y: y + 10 }),
    );
    first = limit + 1;
  });
  parts.push(text('sources', { x: 20, y: height - 26 - limits.length * 16 }));
  return picture(width, height, 'Countries by number of sources; the table below has the figures', parts);
}
