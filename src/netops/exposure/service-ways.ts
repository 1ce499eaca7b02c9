// The ways to one service as they are found: each said once, bounded, those that were left out counted. What is walked is
// exposed-services.ts.

import { type Address, renderAddress } from '../../model/address.ts';
import type { DecidedBy, ExposedService, ExposurePath, Reach, Vantage } from './exposure-report.ts';
import { reachRank } from './exposure-report.ts';
import type { PathAnswer } from './path-walk.ts';
import { isPublic, publicSources, type Standpoint } from './vantages.ts';

/** Of one service: more are not kept, the widest are. */
export const maxPaths = 256;
const maxStops = 24;
const maxCounted = 4096;

const certainties = ['proven', 'limited', 'unknown'] as const;
type Certainty = ExposurePath['certainty'];
const doubt = (certainty: Certainty): number => certainties.indexOf(certainty);

export const reachOf = (zone: Vantage['zone'], dialled: Address): Reach => {
  if (zone === 'public') return isPublic(dialled) ? 'internet' : 'anywhere';
  if (zone === 'listed') return 'listed';
  return zone === 'container' ? 'containers' : 'lan';
};

export const vantageOf = ({ netns, device, zone, source, range }: Standpoint): Vantage => ({
  netns,
  device,
  zone,
  source,
  ...(range === undefined ? {} : { range }),
});

const wayKey = ({ from, dialled, by }: ExposurePath): string =>
  [from.netns, from.device, from.zone, from.range ?? '', dialled, by].join(' ');

/** Ways from the narrowest to the widest: what a rule may stop is less than what is let in. */
const isWiderWay = (a: ExposurePath, b: ExposurePath): boolean =>
  reachRank(a.reach) - reachRank(b.reach) < 0 || (a.reach === b.reach && doubt(a.certainty) < doubt(b.certainty));

export interface DialledWay {
  readonly destination: Address;
  readonly port: number;
  readonly direct: boolean;
}

export class ServiceWays {
  readonly #paths = new Map<string, ExposurePath>();
  /** By way: how sure it is that each public source comes through. */
  readonly #publicSources = new Map<string, Map<string, Certainty>>();
  readonly #stops = new Map<string, ExposedService['stoppedBy'][number]>();
  readonly #beyond = new Set<string>();
  #notWalked = 0;
  #widestNotWalked: Reach = 'local';

  /** Ways found beyond `maxPaths`. */
  get beyond(): number {
    return this.#beyond.size;
  }

  get notWalked(): number {
    return this.#notWalked;
  }

  /** As far as those that were not walked would reach. */
  get widestNotWalked(): Reach {
    return this.#widestNotWalked;
  }

  get stoppedBy(): ExposedService['stoppedBy'] {
    return [...this.#stops.values()];
  }

  get paths(): ExposurePath[] {
    return [...this.#paths.values()].map((path) => this.#onlySome(path));
  }

  found(from: Standpoint, { destination, port, direct }: DialledWay, answer: Omit<PathAnswer, 'kind'>): void {
    const text = renderAddress(destination);
    const { undecided } = answer;
    const { limited: _, ...doubted } = undecided ?? { limited: false, text: '' };
    const path: ExposurePath = {
      from: vantageOf(from),
      dialled: `${text.includes(':') ? `[${text}]` : text}:${port}`,
      by: answer.tproxied ? 'tproxy' : answer.translated ? 'published' : direct ? 'routed' : 'direct',
      certainty: undecided === undefined ? 'proven' : undecided.limited ? 'limited' : 'unknown',
      reach: reachOf(from.zone, destination),
      allowedBy: answer.allowedBy,
      ...(undecided === undefined ? {} : { undecided: doubted }),
    };
    this.#noteSource(path);
    // Several public sources that come to the same are one way; a way that is sure for one and doubtful for another is two.
    const key = `${wayKey(path)} ${path.certainty}`;
    if (this.#paths.has(key)) return;
    if (this.#paths.size < maxPaths) {
      this.#paths.set(key, path);
      return;
    }
    const [narrowest, kept] = [...this.#paths].reduce((so, one) => (isWiderWay(so[1], one[1]) ? one : so));
    const isKept = isWiderWay(path, kept);
    if (isKept) {
      this.#paths.delete(narrowest);
      this.#paths.set(key, path);
    }
    if (this.#beyond.size < maxCounted) this.#beyond.add(isKept ? narrowest : key);
  }

  stopped({ zone, device }: Standpoint, by: DecidedBy): void {
    if (this.#stops.size < maxStops) this.#stops.set(`${zone} ${device} ${by.text}`, { zone, device, by });
  }

  left(reach: Reach): void {
    this.#notWalked += 1;
    if (reachRank(reach) < reachRank(this.#widestNotWalked)) this.#widestNotWalked = reach;
  }

  #noteSource(path: ExposurePath): void {
    if (path.from.zone !== 'public') return;
    const sources = this.#publicSources.get(wayKey(path)) ?? new Map<string, Certainty>();
    const known = sources.get(path.from.source);
    if (known === undefined || doubt(path.certainty) < doubt(known)) sources.set(path.from.source, path.certainty);
    if (this.#publicSources.size < maxCounted) this.#publicSources.set(wayKey(path), sources);
  }

  /** What lets in only some of the public hosts it was tried with is a list, whatever made it one. Who comes in surely comes in perhaps, too. */
  #onlySome(path: ExposurePath): ExposurePath {
    const known = this.#publicSources.get(wayKey(path));
    if (path.from.zone !== 'public' || known === undefined) return path;
    const sources = [...known].flatMap(([source, certainty]) => (doubt(certainty) <= doubt(path.certainty) ? [source] : []));
    const family = path.from.source.includes(':') ? 6 : 4;
    if (sources.length >= publicSources.filter((one) => one.family === family).length) return path;
    const range = `some public addresses, ${sources.join(', ')} among them`;
    return { ...path, reach: 'listed', from: { ...path.from, zone: 'listed', range } };
  }
}
