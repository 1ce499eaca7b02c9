// Where an address is: country and AS, offline. From the packages' public tables, or files the user named. What is missing
// or damaged is said once, and the rest answers. Who asks is analyser.ts.

import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { asWeirError } from '../../base/errors.ts';
import type { Log } from '../../base/log.ts';
import { RecencyMap } from '../../base/recency-map.ts';
import { parseAddress, parseIpv4Number } from '../../model/address.ts';
import type { Place } from '../../model/insight.ts';
import { ipv6Words, type NetworkFiles, openNetworkTable } from './network-source.ts';
import type { Network, NetworkTable } from './network-table.ts';
import { PlaceDatabase } from './place-database.ts';
import { carriedIpv4, isSpecialIpv4, isSpecialIpv6 } from './special-address.ts';

export interface PlacesOptions {
  /** The user's own MaxMind DB files; absent: the packages' tables. */
  readonly country?: string;
  readonly asn?: string;
  /** Where the packed table of networks is kept; absent: it is made at every start, which takes a second. */
  readonly cacheDirectory?: string;
  readonly log: Log;
  /** Where the packages' files are, for tests. */
  readonly bundled?: { readonly country: string; readonly networks: NetworkFiles };
}

const cacheEntries = 65_536;

/** What can be asked once it is open; synchronous. */
interface Sources {
  readonly countries?: PlaceDatabase;
  readonly networks?: PlaceDatabase;
  readonly table?: NetworkTable;
  /** The user's own files may know his private networks; public tables know nothing of them. */
  readonly ownCountries: boolean;
}

const nowhere: Omit<Place, 'ip'> = {};

export class Places {
  readonly #sources: Sources;
  readonly #log: Log;
  readonly #cache = new RecencyMap<string, Place>();
  /** What does not work, for the status; at most one line for each source. */
  readonly problems: string[];

  private constructor(sources: Sources, problems: string[], log: Log) {
    this.#sources = sources;
    this.problems = problems;
    this.#log = log;
  }

  /** Never throws: without any database every place is just its address. Needs to read its files, and to write `cacheDirectory`. */
  static async open(options: PlacesOptions): Promise<Places> {
    const { log } = options;
    const problems: string[] = [];
    const say = (message: string): void => {
      problems.push(message);
      log.warn(message);
    };
    const attempt = async <T>(what: string, make: () => Promise<T>): Promise<T | undefined> => {
      try {
        return await make();
      } catch (error) {
        say(`${what} stay unknown: ${asWeirError(error).message}`);
        return undefined;
      }
    };
    const bundled = options.bundled ?? findBundled();
    const [countries, networks, table] = await Promise.all([
      attempt('countries', () => PlaceDatabase.open(options.country ?? bundled.country)),
      options.asn === undefined ? undefined : attempt('networks', () => PlaceDatabase.open(options.asn as string)),
      options.asn === undefined
        ? attempt('networks', () => openNetworkTable(bundled.networks, options.cacheDirectory, say))
        : undefined,
    ]);
    return new Places({ countries, networks, table, ownCountries: options.country !== undefined }, problems, log);
  }

  /** Fields that are not known are absent; `ip` comes back as it was given. */
  of(ip: string): Place {
    const known = this.#cache.get(ip);
    if (known) return known;
    const place = { ip, ...this.#find(ip) };
    this.#cache.set(ip, place);
    if (this.#cache.size > cacheEntries) this.#cache.delete((this.#cache.oldest as [string, Place])[0]);
    return place;
  }

  #find(ip: string): Omit<Place, 'ip'> {
    const ipv4 = parseIpv4Number(ip);
    if (ipv4 >= 0) return this.#findIpv4(ip, ipv4);
    const address = parseAddress(ip);
    if (!address) return nowhere;
    const carried = address.family === 4 ? Number(address.value) : carriedIpv4(address);
    if (carried !== undefined) return this.#findIpv4(quad(carried), carried);
    const special = isSpecialIpv6(address);
    return this.#answer(ip, special, special ? undefined : this.#sources.table?.findIpv6(ipv6Words(address)));
  }

  #findIpv4(ip: string, value: number): Omit<Place, 'ip'> {
    const special = isSpecialIpv4(value);
    return this.#answer(ip, special, special ? undefined : this.#sources.table?.findIpv4(value));
  }

  #answer(ip: string, special: boolean, announced: Network | undefined): Omit<Place, 'ip'> {
    const { countries, networks, ownCountries } = this.#sources;
    const country = special && !ownCountries ? undefined : countries?.country(ip);
    const network = announced ?? networks?.network(ip);
    this.#watch('countries', countries);
    this.#watch('networks', networks);
    return {
      ...(country === undefined ? {} : { country }),
      ...(network === undefined ? {} : { asn: network.asn }),
      ...(network === undefined || network.organization === '' ? {} : { organization: network.organization }),
    };
  }

  /** Said at the first failure of each. */
  #watch(what: string, database: PlaceDatabase | undefined): void {
    const message = `some ${what} stay unknown: the database is damaged`;
    if (!database?.failures || this.problems.includes(message)) return;
    this.problems.push(message);
    this.#log.warn(message, { failures: database.failures });
  }
}

const quad = (value: number): string => [24, 16, 8, 0].map((shift) => (value >>> shift) & 255).join('.');

/** The packages as they are installed; one that is missing gives a path that is not there, which is said when it is opened. */
function findBundled(): { readonly country: string; readonly networks: NetworkFiles } {
  const require = createRequire(import.meta.url);
  const folder = (name: string): string => {
    for (const root of require.resolve.paths(name) ?? []) if (existsSync(join(root, name))) return join(root, name);
    return join(dirname(import.meta.filename), name);
  };
  const asn = folder('@ip-location-db/asn');
  return {
    country: join(folder('@ip-location-db/geo-whois-asn-country-mmdb'), 'geo-whois-asn-country.mmdb'),
    networks: { ipv4: join(asn, 'asn-ipv4-num.csv'), ipv6: join(asn, 'asn-ipv6.csv') },
  };
}
