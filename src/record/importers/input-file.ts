// One file of an import as pieces of bytes, decompressed, each at most a few mebibytes; regular files are read by position, so
// that their beginning can be looked at first. What is wrong with it is kept in `damage`, never thrown.

import { close, constants, fstat, open, read } from 'node:fs';
import { Socket } from 'node:net';
import { basename } from 'node:path';
import type { Readable } from 'node:stream';
import { promisify } from 'node:util';
import { printable } from '../../base/printable.ts';
import { DamagedData, type Decompressor, maxPieceBytes, openDecompressor } from './decompress.ts';
import type { ImportedFile, Sample } from './importer.ts';
import { isObject, jsonStart, parseJsonLine } from './json-line.ts';
import { UnitSplitter } from './unit-splitter.ts';
import { fromUtf16 } from './utf16.ts';

/** A path, or a descriptor that stays the caller's, or a stream, or why there is none. `name` is what is shown. */
export interface InputSource {
  readonly name: string;
  readonly from:
    | { readonly path: string }
    | { readonly descriptor: number }
    | { readonly stream: Readable }
    | { readonly reason: string };
}

/** Opening a pipe does not wait for who writes into it: open(2), fifo(7). Of no effect on files. */
export const inputFlags = constants.O_RDONLY | constants.O_NONBLOCK;

const opening = promisify(open);
const reading = promisify(read);
const status = promisify(fstat);
const closing = promisify(close);

const plainPieceBytes = 256 * 1024;
const sampleBytes = 64 * 1024;
const sampleLines = 100;

export class InputFile implements ImportedFile {
  readonly index: number;
  /** Safe to show. */
  readonly name: string;
  /** As given, safe to show. */
  readonly shown: string;
  readonly #source: InputSource;
  #descriptor: number | undefined;
  /** Regular files are read at positions, and may be read again. */
  #isRegular = false;
  #stream: AsyncIterator<Buffer> | undefined;
  /** A pipe that has a name: waiting for who writes into it must not hold a thread. */
  #pipe: Socket | undefined;
  #interrupted = false;
  /** What was read to look at it, and not yet given; for what cannot be read again. */
  #ahead: Buffer[] = [];
  /** Of what cannot be read again: what was looked at, and the reading as it stands. */
  #rest: { kept: Buffer[]; pieces: AsyncGenerator<Buffer> } | undefined;
  #position = 0;
  modifiedAt: number | undefined;
  /** Undefined where it has no size: a pipe. */
  sizeBytes: number | undefined;
  /** Why reading ended early. */
  damage: string | undefined;

  constructor(source: InputSource, index: number) {
    this.#source = source;
    this.index = index;
    this.shown = printable(source.name, 1000);
    this.name = source.name === '-' ? '-' : printable(basename(source.name), 255);
  }

  /** Bytes of the file read so far, as they lie there. */
  get readBytes(): number {
    return this.#position;
  }

  /** The beginning, decompressed; nothing is lost for `pieces`. */
  async sample(): Promise<Sample> {
    const kept: Buffer[] = [];
    let bytes = 0;
    const pieces = this.pieces();
    while (bytes < sampleBytes) {
      const { done, value } = await pieces.next();
      if (done) break;
      kept.push(Buffer.from(value));
      bytes += value.length;
    }
    if (this.#isRegular) {
      await pieces.return(undefined);
      this.#position = 0;
      // What the reading itself will find again; a file of which nothing can be read stays as it is.
      if (bytes > 0) this.damage = undefined;
      await this.close();
    } else this.#rest = { kept, pieces };
    return sampleOf(Buffer.concat(kept).subarray(0, sampleBytes));
  }

  /** In UTF-8. Ends with `damage` set where the data goes wrong; a piece is valid until the next is asked for. */
  async *pieces(): AsyncGenerator<Buffer> {
    const rest = this.#rest;
    this.#rest = undefined;
    if (rest) {
      yield* rest.kept;
      yield* rest.pieces;
    } else yield* fromUtf16(this.#decompressed());
  }

  async *#decompressed(): AsyncGenerator<Buffer> {
    let decompressor: Decompressor | undefined;
    try {
      await this.#open();
      const start = await this.#start();
      decompressor = openDecompressor(start);
      for (let piece = await this.#read(decompressor ? maxPieceBytes : plainPieceBytes); piece; ) {
        if (decompressor) for (const part of parts(piece)) yield* decompressor.push(part);
        else yield piece;
        piece = await this.#read(decompressor ? maxPieceBytes : plainPieceBytes);
      }
      if (decompressor) yield* decompressor.end();
      if (this.sizeBytes !== undefined && this.#position < this.sizeBytes)
        this.damage ??= `it became shorter while it was read: ${this.#position} of ${this.sizeBytes} bytes were there`;
    } catch (error) {
      this.damage ??= error instanceof DamagedData ? error.message : reasonUnreadable(error);
    } finally {
      decompressor?.close();
    }
  }

  /** Ends waiting for what a pipe or standard input may still bring; files end by themselves. */
  interrupt(): void {
    this.#interrupted = true;
    this.#pipe?.destroy();
    if ('stream' in this.#source.from) this.#source.from.stream.destroy();
  }

  async close(): Promise<void> {
    this.#pipe?.destroy();
    const descriptor = this.#descriptor;
    this.#descriptor = undefined;
    if (descriptor !== undefined && 'path' in this.#source.from) await closing(descriptor).catch(() => {});
  }

  async #open(): Promise<void> {
    const { from } = this.#source;
    if (this.#descriptor !== undefined || this.#stream) return;
    if ('stream' in from) {
      this.#stream = from.stream[Symbol.asyncIterator]();
      return;
    }
    if ('reason' in from) throw new DamagedData(from.reason);
    const descriptor = 'path' in from ? await opening(from.path, inputFlags) : from.descriptor;
    this.#descriptor = descriptor;
    const stat = await status(descriptor);
    if (stat.isDirectory()) throw Object.assign(new Error('is a directory'), { code: 'EISDIR' });
    this.#isRegular = stat.isFile();
    if (stat.isFIFO()) {
      this.#pipe = new Socket({ fd: descriptor, readable: true, writable: false });
      this.#stream = this.#pipe[Symbol.asyncIterator]();
      // The socket closes it.
      this.#descriptor = undefined;
      if (this.#interrupted) this.#pipe.destroy();
    }
    if (!this.#isRegular) return;
    this.sizeBytes = stat.size;
    this.modifiedAt = Math.floor(stat.mtimeMs * 1000);
  }

  /** The first four bytes, which stay to be read. */
  async #start(): Promise<Buffer> {
    let start = Buffer.alloc(0);
    while (start.length < 4) {
      const piece = await this.#read(maxPieceBytes);
      if (!piece) break;
      start = Buffer.concat([start, piece]);
    }
    if (this.#isRegular) this.#position = 0;
    else if (start.length > 0) {
      this.#ahead.unshift(start);
      this.#position -= start.length;
    }
    return start.subarray(0, 4);
  }

  async #read(most: number): Promise<Buffer | undefined> {
    const ahead = this.#ahead.shift();
    if (ahead) {
      this.#position += ahead.length;
      return ahead;
    }
    if (this.#stream) {
      const { done, value } = await this.#stream.next();
      if (done) return undefined;
      this.#position += value.length;
      return value;
    }
    const position = this.#isRegular ? this.#position : null;
    const { bytesRead, buffer } = await reading(this.#descriptor as number, Buffer.allocUnsafe(most), 0, most, position);
    this.#position += bytesRead;
    return bytesRead === 0 ? undefined : buffer.subarray(0, bytesRead);
  }
}

function* parts(piece: Buffer): Generator<Buffer> {
  for (let at = 0; at < piece.length; at += maxPieceBytes) yield piece.subarray(at, at + maxPieceBytes);
}

/** Why a file cannot be opened or read, for a person. */
export function reasonUnreadable(error: unknown): string {
  const { code } = error as NodeJS.ErrnoException;
  if (code === 'ENOENT') return 'there is no such file';
  if (code === 'EACCES' || code === 'EPERM') return 'it may not be read: permission denied';
  if (code === 'EISDIR') return 'it is a directory: name the files in it';
  return `it cannot be read: ${printable((error as Error).message, 200)}`;
}

/** What detection looks at. Pure. */
export function sampleOf(bytes: Buffer): Sample {
  const lines: string[] = [];
  const objects: Readonly<Record<string, unknown>>[] = [];
  const behind: Readonly<Record<string, unknown>>[] = [];
  const splitter = new UnitSplitter({
    line(text) {
      if (lines.length >= sampleLines) return;
      lines.push(text);
      const start = jsonStart(text);
      if (start < 0) return;
      const object = parseJsonLine(text);
      if (isObject(object) && Object.getPrototypeOf(object) === Object.prototype) (start === 0 ? objects : behind).push(object);
    },
    tooLong() {},
  });
  // The last line may be cut: only a sample that is the whole file has it.
  const whole = bytes.length < sampleBytes;
  splitter.push(bytes);
  if (whole) splitter.end();
  // An object behind something else may be what an attacker had a line of another log say: of a log of objects most lines have one.
  if (behind.length * 2 >= lines.length) objects.push(...behind);
  return { bytes, lines, objects };
}
