// Takes gzip (also members behind each other) and zstd apart, whichever the first bytes say, in pieces of bounded size. What
// could be read before the data ended is given, before it went wrong all but up to 16 KiB (zlib keeps what it is at); then it is said.

import { createGunzip, type Gunzip } from 'node:zlib';
import { Decompress } from 'fzstd';
import { ZstdFrames } from './zstd-frames.ts';

export interface Decompressor {
  /** What the piece gives, in order; throws DamagedData after the last of it. */
  push(bytes: Buffer): AsyncIterable<Buffer>;
  /** The last: throws DamagedData when the data ends in the middle. */
  end(): AsyncIterable<Buffer>;
  close(): void;
}

/** The message is for a person: what is wrong with the file. */
export class DamagedData extends Error {}

/** A piece decompresses to at most a thousand times its size: what is pushed at once decides what is held at once. */
export const maxPieceBytes = 16 * 1024;

/** By the first four bytes; undefined for bytes that are not compressed. Throws DamagedData for a kind that is not read. */
export function openDecompressor(start: Buffer): Decompressor | undefined {
  if (start.length >= 2 && start[0] === 0x1f && start[1] === 0x8b) return new GzipDecompressor();
  if (start.length >= 4) {
    const magic = start.readUInt32LE(0);
    if (magic === 0xfd2fb528 || (magic & 0xfffffff0) >>> 0 === 0x184d2a50) return new ZstdDecompressor();
    const other = others.find(({ bytes }) => start.subarray(0, bytes.length).equals(bytes));
    if (other) throw new DamagedData(`it is compressed with ${other.name}: decompress it first (${other.command})`);
  }
  return undefined;
}

const others = [
  { name: 'xz', command: 'xz -dc FILE | weir import FORMAT -', bytes: Buffer.from([0xfd, 0x37, 0x7a, 0x58]) },
  { name: 'bzip2', command: 'bzip2 -dc FILE | weir import FORMAT -', bytes: Buffer.from('BZh') },
  { name: 'zip', command: 'unzip -p FILE | weir import FORMAT -', bytes: Buffer.from([0x50, 0x4b, 0x03, 0x04]) },
];

class GzipDecompressor implements Decompressor {
  readonly #stream: Gunzip = createGunzip({ chunkSize: 16 * 1024 });
  #out: Buffer[] = [];
  #error: Error | undefined;
  /** The stream saw something behind the last member, and takes no more. */
  #ended = false;
  #settle: (() => void) | undefined;

  constructor() {
    // Flowing, so that nothing of what was decompressed before an error waits in the stream and is lost with it.
    this.#stream.on('data', (piece: Buffer) => this.#out.push(piece));
    this.#stream.on('error', (error) => {
      this.#error = error;
      this.#settle?.();
    });
    this.#stream.on('end', () => {
      this.#ended = true;
      this.#settle?.();
    });
  }

  push(bytes: Buffer): AsyncIterable<Buffer> {
    return this.#step((done) => this.#stream.write(bytes, () => done()));
  }

  async *end(): AsyncGenerator<Buffer> {
    if (this.#ended) throw new DamagedData('what follows the gzip data is no gzip data');
    yield* this.#step((_done) => this.#stream.end());
  }

  async *#step(work: (done: () => void) => void): AsyncGenerator<Buffer> {
    if (!this.#error && !this.#ended)
      await new Promise<void>((resolve) => {
        this.#settle = resolve;
        work(resolve);
      });
    const out = this.#out;
    this.#out = [];
    yield* out;
    if (this.#error) throw new DamagedData(reasonOf(this.#error));
  }

  close(): void {
    this.#stream.destroy();
  }
}

function reasonOf(error: Error): string {
  const ended = (error as NodeJS.ErrnoException).code === 'Z_BUF_ERROR';
  return ended ? 'the gzip data ends in the middle' : `the gzip data is damaged: ${error.message}`;
}

class ZstdDecompressor implements Decompressor {
  readonly #frames = new ZstdFrames();
  #out: Buffer[] = [];
  readonly #stream = new Decompress((piece) => {
    if (piece.length > 0) this.#out.push(Buffer.from(piece.buffer, piece.byteOffset, piece.byteLength));
  });

  async *push(bytes: Buffer): AsyncGenerator<Buffer> {
    const [out, error] = this.#attempt(() => {
      this.#frames.take(bytes);
      this.#stream.push(bytes);
    });
    yield* out;
    if (error !== undefined) throw new DamagedData(`the zstd data is damaged: ${error}`);
  }

  async *end(): AsyncGenerator<Buffer> {
    // The decoder waits for 18 bytes before it begins a frame: the last one may be shorter.
    const [out, error] = this.#attempt(() => this.#stream.push(new Uint8Array(0), true));
    yield* out;
    if (!this.#frames.whole) throw new DamagedData('the zstd data ends in the middle');
    if (error !== undefined) throw new DamagedData(`the zstd data is damaged: ${error}`);
  }

  #attempt(work: () => void): [Buffer[], string | undefined] {
    let error: string | undefined;
    try {
      work();
    } catch (thrown) {
      error = (thrown as Error).message;
    }
    const out = this.#out;
    this.#out = [];
    return [out, error];
  }

  close(): void {}
}
