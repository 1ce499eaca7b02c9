// Versions of a machine's settings in a folder: texts by their hash, so that what did not change is kept once, and a list of versions, bounded.
// Reading the machine is kernel/settings/; files come in as functions.

import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { WeirError } from '../../base/errors.ts';
import { type NetworkSettings, type SettingsPart, settingsParts } from '../../model/network-settings.ts';

export interface SnapshotFiles {
  readFile(file: string): Promise<string | undefined>;
  writeFile(file: string, text: string): Promise<void>;
  list(folder: string): Promise<readonly string[]>;
  remove(file: string): Promise<void>;
}

export interface SnapshotVersion {
  /** From 1; never used again. */
  readonly number: number;
  /** Hash over all parts: equal settings have equal ones. */
  readonly id: string;
  readonly takenAt: number;
  readonly note: string;
  /** Programs seen changing something between the version before and this one, as `name[pid]`; absent: nobody watched. */
  readonly changedBy?: readonly string[];
  readonly parts: Readonly<Partial<Record<SettingsPart, string>>>;
  readonly missing: NetworkSettings['missing'];
}

/** The oldest beyond these are forgotten. */
export const maxVersions = 200;
const idLength = 16;

const hashOf = (text: string): string => createHash('sha256').update(text).digest('hex');

const damaged = (file: string, why: string): WeirError =>
  new WeirError('not-found', `${file} ${why}`, { file, next: 'move the folder away and take a new snapshot' });

export class SnapshotStore {
  readonly #folder: string;
  readonly #files: SnapshotFiles;

  /** One process at a time changes a folder. */
  constructor(folder: string, files: SnapshotFiles) {
    this.#folder = folder;
    this.#files = files;
  }

  /** Oldest first. Throws `not-found` when the list is not one of ours. */
  async versions(): Promise<readonly SnapshotVersion[]> {
    const file = join(this.#folder, 'versions.json');
    const text = await this.#files.readFile(file);
    if (text === undefined) return [];
    try {
      const parsed = JSON.parse(text) as { version?: unknown; versions?: unknown };
      if (parsed.version !== 1 || !Array.isArray(parsed.versions) || !parsed.versions.every(isVersion)) throw new SyntaxError();
      return parsed.versions;
    } catch (error) {
      if (error instanceof SyntaxError) throw damaged(file, 'is not a list of versions');
      throw error;
    }
  }

  /** The newest version; `fresh` false: everything is as in the one before, and nothing was added. */
  async add(
    settings: NetworkSettings,
    note: string,
    changedBy?: readonly string[],
  ): Promise<{ readonly version: SnapshotVersion; readonly fresh: boolean }> {
    const versions = await this.versions();
    const parts: Partial<Record<SettingsPart, string>> = {};
    for (const part of settingsParts) {
      const text = settings.parts[part];
      if (text !== undefined) parts[part] = hashOf(text);
    }
    const id = hashOf(JSON.stringify(settingsParts.map((part) => parts[part] ?? null))).slice(0, idLength);
    const last = versions.at(-1);
    if (last?.id === id) return { version: last, fresh: false };
    const there = new Set(await this.#files.list(join(this.#folder, 'texts')));
    for (const part of settingsParts) {
      const [hash, text] = [parts[part], settings.parts[part]];
      if (hash !== undefined && text !== undefined && !there.has(hash)) await this.#files.writeFile(this.#textFile(hash), text);
    }
    const version: SnapshotVersion = {
      number: (last?.number ?? 0) + 1,
      id,
      takenAt: settings.takenAt,
      note,
      ...(changedBy === undefined ? {} : { changedBy }),
      parts,
      missing: settings.missing,
    };
    const kept = [...versions, version].slice(-maxVersions);
    await this.#files.writeFile(join(this.#folder, 'versions.json'), `${JSON.stringify({ version: 1, versions: kept })}\n`);
    await this.#forget(kept);
    return { version, fresh: true };
  }

  /** Texts no version names any more. */
  async #forget(kept: readonly SnapshotVersion[]): Promise<void> {
    const named = new Set(kept.flatMap(({ parts }) => Object.values(parts)));
    for (const hash of await this.#files.list(join(this.#folder, 'texts')))
      if (/^[0-9a-f]{64}$/.test(hash) && !named.has(hash)) await this.#files.remove(this.#textFile(hash));
  }

  /** By number (`3`, `#3`), the start of its hash, or `last`. Throws `not-found`. */
  async find(name: string): Promise<SnapshotVersion> {
    const versions = await this.versions();
    const number = /^#?(\d{1,9})$/.exec(name)?.[1];
    const found =
      name === 'last'
        ? versions.at(-1)
        : (versions.find((one) => number !== undefined && one.number === Number(number)) ??
          (/^[0-9a-f]{4,}$/.test(name) ? versions.findLast(({ id }) => id.startsWith(name)) : undefined));
    if (!found)
      throw new WeirError('not-found', `there is no snapshot ${name}`, {
        next: '`weir baseline list` shows which there are, `weir baseline snapshot` takes one',
      });
    return found;
  }

  /** Throws `not-found` when a text of it is gone or is not what was written. */
  async read({ takenAt, parts, missing }: SnapshotVersion): Promise<NetworkSettings> {
    const texts: Partial<Record<SettingsPart, string>> = {};
    for (const part of settingsParts) {
      const hash = parts[part];
      if (hash === undefined) continue;
      const text = await this.#files.readFile(this.#textFile(hash));
      // What is restored as root must be what was read.
      if (text === undefined || hashOf(text) !== hash) throw damaged(this.#textFile(hash), 'is not what was written there');
      texts[part] = text;
    }
    return { takenAt, parts: texts, missing };
  }

  #textFile(hash: string): string {
    return join(this.#folder, 'texts', hash);
  }
}

function isVersion(value: unknown): value is SnapshotVersion {
  if (typeof value !== 'object' || value === null) return false;
  const { number, id, takenAt, note, parts, missing } = value as Record<string, unknown>;
  return (
    Number.isInteger(number) &&
    typeof id === 'string' &&
    typeof takenAt === 'number' &&
    typeof note === 'string' &&
    Array.isArray(missing) &&
    typeof parts === 'object' &&
    parts !== null &&
    Object.values(parts).every((hash) => typeof hash === 'string' && /^[0-9a-f]{64}$/.test(hash))
  );
}
