// Lines that were not understood, set aside beside the records: file, line number, reason and the line itself, escaped, as JSON
// lines. Bounded for each file and in all; what does not fit any more is counted. Made with the first line.

import { closeSync, mkdirSync, openSync, readdirSync, statSync, unlinkSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { type Micros, renderMicros } from '../../base/clock.ts';
import { WeirError } from '../../base/errors.ts';

/** Of one line, so much is kept. */
const maxTextLength = 4096;
const maxFileBytes = 16 << 20;
/** What earlier imports left is kept up to this much in all, the newest first. */
const maxKeptBytes = 256 << 20;
const maxKeptFiles = 1000;

/** Where an import's rejected lines go: `<data>/imports`. */
export class RejectDirectory {
  readonly #directory: string;
  readonly #stamp: string;
  #prepared = false;

  constructor(dataDirectory: string, now: Micros) {
    this.#directory = join(dataDirectory, 'imports');
    this.#stamp = renderMicros(now).replace(/[-:.]/g, '');
  }

  /** The file for the rejected lines of one input; nothing is on disk before the first line. */
  file(index: number, inputName: string): RejectFile {
    const safe = inputName.replace(/[^A-Za-z0-9._-]+/g, '_').slice(0, 80) || 'input';
    return new RejectFile(() => {
      this.#prepare();
      return join(this.#directory, `rejected-${this.#stamp}-${String(index + 1).padStart(4, '0')}-${safe}.jsonl`);
    }, inputName);
  }

  #prepare(): void {
    if (this.#prepared) return;
    this.#prepared = true;
    mkdirSync(this.#directory, { recursive: true, mode: 0o750 });
    let bytes = 0;
    const names = readdirSync(this.#directory).filter((name) => /^rejected-.*\.jsonl$/.test(name));
    // Names begin with their time.
    for (const [index, name] of names.sort().reverse().entries()) {
      const path = join(this.#directory, name);
      bytes += statSync(path, { throwIfNoEntry: false })?.size ?? 0;
      if (index >= maxKeptFiles || bytes > maxKeptBytes) unlinkSync(path);
    }
  }
}

export class RejectFile {
  readonly #place: () => string;
  readonly #inputName: string;
  #path: string | undefined;
  #descriptor: number | undefined;
  #waiting: string[] = [];
  #waitingBytes = 0;
  #bytes = 0;
  #closed = false;
  /** Lines that did not fit any more. */
  omitted = 0;

  constructor(place: () => string, inputName: string) {
    this.#place = place;
    this.#inputName = inputName;
  }

  /** Undefined while nothing was rejected. */
  get path(): string | undefined {
    return this.#path;
  }

  /** Throws `disk-full` or `not-permitted`: an import that cannot say what it left out does not go on. */
  add(line: number, reason: string, text: string): void {
    if (this.#bytes >= maxFileBytes) {
      this.omitted += 1;
      return;
    }
    const cut = text.length > maxTextLength;
    const entry = `${escaped(JSON.stringify({ file: this.#inputName, line, reason, text: cut ? text.slice(0, maxTextLength) : text, ...(cut && { cut: text.length }) }))}\n`;
    this.#bytes += entry.length;
    this.#waitingBytes += entry.length;
    this.#waiting.push(entry);
    if (this.#waitingBytes > 64 * 1024) this.#write();
  }

  /** Idempotent. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    if (this.omitted > 0) this.#waiting.push(`${JSON.stringify({ file: this.#inputName, omitted: this.omitted })}\n`);
    if (this.#waiting.length > 0) this.#write();
    if (this.#descriptor !== undefined) closeSync(this.#descriptor);
    this.#descriptor = undefined;
  }

  #write(): void {
    try {
      this.#path ??= this.#place();
      this.#descriptor ??= openSync(this.#path, 'wx', 0o640);
      writeSync(this.#descriptor, this.#waiting.join(''));
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException;
      const full = code === 'ENOSPC' || code === 'EDQUOT';
      throw new WeirError(full ? 'disk-full' : 'not-permitted', `rejected lines cannot be set aside: ${message}`, {}, error);
    }
    this.#waiting = [];
    this.#waitingBytes = 0;
  }
}

// JSON escapes control characters below U+0020 alone; what else turns a terminal or an editor around is escaped too.
const unsafe = /[\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff0-\uffff\ud800-\udfff]/g;
const escaped = (json: string): string =>
  json.replace(unsafe, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`);
