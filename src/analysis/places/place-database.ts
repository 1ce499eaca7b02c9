// A MaxMind DB file (format 2.0) as a source of countries or networks, in the shapes such files come in. A file that is
// damaged answers nothing rather than throw: attackers choose what is looked up.

import { readFile } from 'node:fs/promises';
import { Reader, type Response } from 'maxmind';
import { WeirError } from '../../base/errors.ts';
import type { Network } from './network-table.ts';

/** Larger than any database of its kind; it is held in memory. */
const sizeLimitBytes = 512 * 2 ** 20;
const nameLimit = 128;

export class PlaceDatabase {
  readonly #reader: Reader<Response>;
  #failures = 0;

  constructor(reader: Reader<Response>) {
    this.#reader = reader;
  }

  /** Throws `bad-request` when it is not one, `not-found` when there is none. */
  static async open(path: string): Promise<PlaceDatabase> {
    let bytes: Buffer;
    try {
      bytes = await readFile(path);
    } catch (error) {
      const missing = (error as NodeJS.ErrnoException).code === 'ENOENT';
      throw new WeirError(missing ? 'not-found' : 'not-permitted', `cannot read ${path}`, { path }, error);
    }
    if (bytes.length > sizeLimitBytes)
      throw new WeirError('bad-request', `${path} has more than ${sizeLimitBytes} bytes`, { path });
    try {
      return new PlaceDatabase(new Reader<Response>(bytes));
    } catch (error) {
      throw new WeirError('bad-request', `${path} is no MaxMind DB file, or damaged`, { path }, error);
    }
  }

  /** Look-ups that ended in damage. */
  get failures(): number {
    return this.#failures;
  }

  /** ISO 3166-1 alpha-2. MaxMind's `country.iso_code`, else where it is registered, else a flat `country_code` or `country`. */
  country(ip: string): string | undefined {
    const record = this.#get(ip);
    if (!record) return undefined;
    for (const code of [
      field(record.country, 'iso_code'),
      field(record.registered_country, 'iso_code'),
      record.country_code,
      record.country,
    ])
      if (typeof code === 'string' && code.length === 2) return code.toUpperCase();
    return undefined;
  }

  /** MaxMind's `autonomous_system_number` and `…_organization`, or a flat `asn` (a number, or `AS64500`) and a name. */
  network(ip: string): Network | undefined {
    const record = this.#get(ip);
    if (!record) return undefined;
    const asn = number(record.autonomous_system_number) ?? number(record.asn);
    if (asn === undefined) return undefined;
    for (const name of [record.autonomous_system_organization, record.organization, record.as_name, record.name, record.org])
      if (typeof name === 'string') return { asn, organization: name.slice(0, nameLimit) };
    return { asn, organization: '' };
  }

  #get(ip: string): Record<string, unknown> | undefined {
    try {
      const found: unknown = this.#reader.get(ip);
      return typeof found === 'object' && found !== null ? (found as Record<string, unknown>) : undefined;
    } catch {
      this.#failures += 1;
      return undefined;
    }
  }
}

const field = (value: unknown, name: string): unknown =>
  typeof value === 'object' && value !== null ? (value as Record<string, unknown>)[name] : undefined;

function number(value: unknown): number | undefined {
  const found = typeof value === 'string' ? Number(value.startsWith('AS') ? value.slice(2) : value) : value;
  return typeof found === 'number' && Number.isInteger(found) && found > 0 && found <= 0xffffffff ? found : undefined;
}
