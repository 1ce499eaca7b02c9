// The agent programs a gateway has to offer, one file for each version, taken in pieces and kept whole. Says nothing about who gets
// them: that is roll-out.ts.

import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { type FileHandle, open, readdir, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { ensureDirectory } from '../../base/durable-file.ts';
import { WeirError } from '../../base/errors.ts';

export interface ShelfProgram {
  readonly version: string;
  /** 64 hex digits. */
  readonly sha256: string;
  readonly bytes: number;
}

export const maxProgramBytes = 32 * 2 ** 20;
/** Versions kept; what came first goes first. */
const maxPrograms = 3;
/** An upload that does not go on for so long is given up. */
const uploadIdleMs = 60_000;

const namePattern = /^weir-agent-([0-9A-Za-z.+-]{1,64})\.mjs$/;
const fileName = (version: string): string => `weir-agent-${version}.mjs`;

interface Upload {
  readonly program: ShelfProgram;
  readonly file: FileHandle;
  readonly hash: ReturnType<typeof createHash>;
  have: number;
  timer: NodeJS.Timeout;
}

export class ProgramShelf {
  readonly #directory: string;
  /** In the order they came. */
  readonly #programs = new Map<string, ShelfProgram>();
  #upload: Upload | undefined;
  /** One piece after the other. */
  #work: Promise<unknown> = Promise.resolve();

  private constructor(directory: string) {
    this.#directory = directory;
  }

  /** `directory` is the gateway's own, made when absent. Throws `disk-full`, `not-permitted`, `system-call`. */
  static async open(directory: string): Promise<ProgramShelf> {
    const shelf = new ProgramShelf(directory);
    await ensureDirectory(directory);
    const found: { readonly program: ShelfProgram; readonly at: number }[] = [];
    for (const name of await readdir(directory)) {
      const path = join(directory, name);
      const version = namePattern.exec(name)?.[1];
      if (version === undefined) {
        if (name.endsWith('.mjs.arriving')) await rm(path, { force: true });
        continue;
      }
      const { size, mtimeMs } = await stat(path);
      if (size > maxProgramBytes) continue;
      const hash = createHash('sha256');
      for await (const chunk of createReadStream(path)) hash.update(chunk as Buffer);
      found.push({ program: { version, sha256: hash.digest('hex'), bytes: size }, at: mtimeMs });
    }
    for (const { program } of found.sort((a, b) => a.at - b.at)) shelf.#programs.set(program.version, program);
    return shelf;
  }

  get programs(): readonly ShelfProgram[] {
    return [...this.#programs.values()];
  }

  find(sha256: string): ShelfProgram | undefined {
    return this.programs.find((program) => program.sha256 === sha256);
  }

  /** Undefined: there is none of this version. */
  read(version: string): Readable | undefined {
    return this.#programs.has(version) ? createReadStream(join(this.#directory, fileName(version))) : undefined;
  }

  /**
   * The next piece of a program, which begins at `offset`; answers how much of it is here, `bytes` when it is there whole and
   * durably. A piece that begins elsewhere changes nothing. One upload at a time: another one ends it.
   * Throws `bad-request` (what came is not what was announced), `disk-full`, `system-call`.
   */
  put(program: ShelfProgram, offset: number, piece: Uint8Array): Promise<number> {
    const done = this.#work.then(() => this.#put(program, offset, piece));
    this.#work = done.catch(() => {});
    return done;
  }

  async close(): Promise<void> {
    await this.#work;
    await this.#giveUp();
  }

  async #put(program: ShelfProgram, offset: number, piece: Uint8Array): Promise<number> {
    const { version, sha256, bytes } = program;
    if (!namePattern.test(fileName(version)) || !/^[0-9a-f]{64}$/.test(sha256) || !Number.isSafeInteger(bytes) || bytes < 1)
      throw new WeirError('bad-request', 'a program has a version, a SHA-256 and a size');
    if (bytes > maxProgramBytes)
      throw new WeirError('bad-request', `a program has at most ${maxProgramBytes} bytes, this ${bytes}`);
    if (this.find(sha256)?.version === version) return bytes;
    try {
      const upload = await this.#uploadOf(program);
      if (offset !== upload.have) return upload.have;
      if (offset + piece.length > bytes) throw new WeirError('bad-request', 'the program is longer than was announced');
      await upload.file.write(piece);
      upload.hash.update(piece);
      upload.have += piece.length;
      upload.timer.refresh();
      if (upload.have === bytes) await this.#finish(upload);
      return upload.have;
    } catch (error) {
      await this.#giveUp();
      if (error instanceof WeirError) throw error;
      const { code, message } = error as NodeJS.ErrnoException;
      const full = code === 'ENOSPC' || code === 'EDQUOT';
      throw new WeirError(full ? 'disk-full' : 'system-call', `the program was not kept: ${message}`, {}, error);
    }
  }

  async #uploadOf(program: ShelfProgram): Promise<Upload> {
    const { version, sha256, bytes } = program;
    const before = this.#upload?.program;
    if (this.#upload && before?.version === version && before.sha256 === sha256 && before.bytes === bytes) return this.#upload;
    await this.#giveUp();
    const path = join(this.#directory, `${fileName(version)}.arriving`);
    await rm(path, { force: true });
    const file = await open(path, 'wx', 0o600);
    const timer = setTimeout(() => void this.#giveUp(), uploadIdleMs).unref();
    this.#upload = { program, file, hash: createHash('sha256'), have: 0, timer };
    return this.#upload;
  }

  async #finish({ program, file, hash, timer }: Upload): Promise<void> {
    const { version, sha256 } = program;
    if (hash.digest('hex') !== sha256)
      throw new WeirError('bad-request', 'the program is not the one that was announced: its SHA-256 differs');
    await file.sync();
    await file.close();
    clearTimeout(timer);
    this.#upload = undefined;
    const path = join(this.#directory, fileName(version));
    await rename(`${path}.arriving`, path);
    this.#programs.delete(version);
    this.#programs.set(version, program);
    for (const old of this.#programs.keys()) {
      if (this.#programs.size <= maxPrograms) break;
      this.#programs.delete(old);
      await rm(join(this.#directory, fileName(old)), { force: true });
    }
  }

  async #giveUp(): Promise<void> {
    const upload = this.#upload;
    if (!upload) return;
    this.#upload = undefined;
    clearTimeout(upload.timer);
    await upload.file.close().catch(() => {});
    await rm(join(this.#directory, `${fileName(upload.program.version)}.arriving`), { force: true }).catch(() => {});
  }
}
