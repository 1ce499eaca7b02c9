// Bodies by the sha256 of their bytes: one file each, for the owner only and never executable, durable before their hash
// is given out. Which of them are still referenced is the store's knowledge; bytes here are never run or parsed.

import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, statSync } from 'node:fs';
import { open, readFile, rename, stat, unlink } from 'node:fs/promises';
import { join } from 'node:path';

const hashPattern = /^[0-9a-f]{64}$/;

export class BlobStore {
  readonly #directory: string;
  #bytes = 0;
  #temporary = 0;

  /** `directory` is made when missing, mode 0700. Files left half-written by a crash are removed by `sweep`. */
  constructor(directory: string) {
    this.#directory = directory;
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    for (const name of this.#files()) this.#bytes += statSync(this.#fileOf(name), { throwIfNoEntry: false })?.size ?? 0;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** The hash, once the bytes are on disk. Throws the system's error (a full disk); then nothing is left behind. */
  async put(bytes: Uint8Array): Promise<string> {
    const hash = createHash('sha256').update(bytes).digest('hex');
    const path = this.#pathOf(hash);
    if (existsSync(path)) return hash;
    const folder = join(this.#directory, hash.slice(0, 2));
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    this.#temporary += 1;
    const temporary = join(folder, `tmp-${process.pid}-${this.#temporary}`);
    try {
      const handle = await open(temporary, 'wx', 0o600);
      try {
        await handle.writeFile(bytes);
        await handle.sync();
      } finally {
        await handle.close();
      }
      await rename(temporary, path);
    } catch (error) {
      await unlink(temporary).catch(() => {});
      throw error;
    }
    const folderHandle = await open(folder, 'r');
    try {
      await folderHandle.sync();
    } finally {
      await folderHandle.close();
    }
    this.#bytes += bytes.length;
    return hash;
  }

  /** Undefined when there is no such body, or the file no longer holds what its name says. */
  async get(hash: string): Promise<Uint8Array | undefined> {
    if (!hashPattern.test(hash)) return undefined;
    try {
      const bytes = await readFile(this.#pathOf(hash));
      return createHash('sha256').update(bytes).digest('hex') === hash ? bytes : undefined;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw error;
    }
  }

  async remove(hash: string): Promise<void> {
    if (!hashPattern.test(hash)) return;
    const path = this.#pathOf(hash);
    const size = (await stat(path).catch(() => undefined))?.size;
    if (size === undefined) return;
    await unlink(path);
    this.#bytes -= size;
  }

  /** Removes every file that is not a body named in `referenced`. Only while nobody puts. */
  async sweep(referenced: ReadonlySet<string>): Promise<number> {
    let removed = 0;
    for (const name of this.#files()) {
      if (referenced.has(name)) continue;
      const path = this.#fileOf(name);
      const size = (await stat(path).catch(() => undefined))?.size ?? 0;
      await unlink(path).catch(() => {});
      this.#bytes -= size;
      removed += 1;
    }
    return removed;
  }

  #pathOf(hash: string): string {
    return join(this.#directory, hash.slice(0, 2), hash);
  }

  #fileOf(name: string): string {
    return name.includes('/') ? join(this.#directory, name) : this.#pathOf(name);
  }

  /** Hashes of bodies, and `folder/name` of anything else below the folders. */
  #files(): string[] {
    const names: string[] = [];
    for (const folder of readdirSync(this.#directory)) {
      if (!/^[0-9a-f]{2}$/.test(folder)) continue;
      for (const name of readdirSync(join(this.#directory, folder))) {
        names.push(hashPattern.test(name) && name.startsWith(folder) ? name : `${folder}/${name}`);
      }
    }
    return names;
  }
}
