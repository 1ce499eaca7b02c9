// Where captured packets are kept: one pcapng file, or a ring of them of which the oldest goes. Owns the files; bounded by size. Only
// their owner may read them: what passes by holds secrets.

import { closeSync, constants, fchmodSync, fstatSync, ftruncateSync, openSync, unlinkSync, writeSync } from 'node:fs';
import path from 'node:path';
import type { Micros } from '../../base/clock.ts';
import { WeirError } from '../../base/errors.ts';
import {
  type CaptureInterface,
  type CapturePacket,
  fillPacket,
  packetBytes,
  renderInterface,
  renderPacket,
  renderSection,
  renderStatistics,
} from '../../record/pcapng-writer.ts';

export interface RingShape {
  readonly files: number;
  /** Of each file. */
  readonly bytes: number;
}

/** Makes the files: a ring's next one may need more privilege than packets are read with. Who asks is not trusted with how many there are. */
export interface FileMaker {
  /** The next one, empty, for writing; closed by who asked. Throws as the constructor of CaptureFiles does. */
  open(): { readonly fd: number; readonly name: string };
  /** The oldest that is there. */
  remove(): void;
}

export interface CaptureFileOptions {
  readonly file: string;
  /** Default: this process makes them. */
  readonly maker?: FileMaker;
  /** `weir 1.2.3`. */
  readonly application: string;
  readonly comments: readonly string[];
  readonly ring?: RingShape;
}

/** Written at once when so much has come together, or by `flush`; longer than any packet. */
const bufferBytes = 1 << 20;

/** Who looks at the file meanwhile sees what is older. */
const flushEveryMs = 500;

/** `trace.pcapng` and 3: `trace.00003.pcapng`. */
export function ringFileName(file: string, number: number): string {
  const { dir, name, ext } = path.parse(file);
  return path.join(dir, `${name}.${String(number).padStart(5, '0')}${ext || '.pcapng'}`);
}

/**
 * Files of this process's user, by the name that was typed: one, which is made once, or those of a ring, never more than it has and the one
 * that is begun. What is there under such a name is overwritten, as `-w` means it, and nothing else is.
 */
export class OwnFiles implements FileMaker {
  readonly #file: string;
  readonly #ringFiles: number | undefined;
  readonly #kept: string[] = [];
  #number = 0;

  /** `ringFiles`: of how many a ring is; undefined: it is one file. */
  constructor(file: string, ringFiles: number | undefined) {
    this.#file = file;
    this.#ringFiles = ringFiles;
  }

  /** Throws `bad-request` for another one where there is no ring. */
  open(): { readonly fd: number; readonly name: string } {
    if (this.#ringFiles === undefined && this.#number > 0)
      throw new WeirError('bad-request', 'there is one file, and it was made', { file: this.#file });
    while (this.#kept.length > (this.#ringFiles ?? 0)) this.remove();
    this.#number += 1;
    const name = this.#ringFiles === undefined ? this.#file : ringFileName(this.#file, this.#number);
    const fd = openOwn(name);
    this.#kept.push(name);
    return { fd, name };
  }

  /** Throws `bad-request` where there is no ring. */
  remove(): void {
    if (this.#ringFiles === undefined) throw new WeirError('bad-request', 'a file that is alone stays', { file: this.#file });
    const oldest = this.#kept.shift();
    if (oldest !== undefined) removeFile(oldest);
  }
}

export class CaptureFiles {
  readonly #options: CaptureFileOptions;
  readonly #maker: FileMaker;
  readonly #interfaces: CaptureInterface[] = [];
  readonly #kept: string[] = [];
  #fd: number;
  readonly #pending = Buffer.allocUnsafe(bufferBytes);
  #pendingBytes = 0;
  #flushedAt = performance.now();
  #fileBytes = 0;
  /** Of all files, removed ones with them. */
  bytes = 0;
  packets = 0;
  /** Packets in files the ring has removed. */
  overwritten = 0;
  #inFile: number[] = [0];

  /** Overwrites a file of ours. Throws `not-permitted` for another's, `system-call` where it cannot be made. */
  constructor(options: CaptureFileOptions) {
    this.#options = options;
    this.#maker = options.maker ?? new OwnFiles(options.file, options.ring?.files);
    this.#fd = this.#begin();
  }

  /** Those there are, oldest first. */
  get files(): readonly string[] {
    return this.#kept;
  }

  /** The number of the interface in the files. */
  addInterface(one: CaptureInterface): number {
    this.#interfaces.push(one);
    this.#append(renderInterface(one));
    return this.#interfaces.length - 1;
  }

  packet(packet: CapturePacket): void {
    const block = packet.comments && packet.comments.length > 0 ? renderPacket(packet) : undefined;
    const length = block?.length ?? packetBytes(packet.bytes.length, packet.outgoing !== undefined);
    const { ring } = this.#options;
    if (ring && this.#fileBytes + length > ring.bytes && (this.#inFile.at(-1) ?? 0) > 0) this.#next(ring);
    if (block) this.#append(block);
    else {
      if (this.#pendingBytes + length > bufferBytes) this.flush();
      fillPacket(this.#pending, this.#pendingBytes, packet);
      this.#count(length);
    }
    this.packets += 1;
    const now = performance.now();
    if (now - this.#flushedAt > flushEveryMs) {
      this.#flushedAt = now;
      this.flush();
    }
    this.#inFile[this.#inFile.length - 1] += 1;
  }

  statistics(number: number, at: Micros, received: number, dropped: number, comments: readonly string[] = []): void {
    this.#append(renderStatistics(number, at, received, dropped, comments));
  }

  flush(): void {
    if (this.#pendingBytes === 0) return;
    const bytes = this.#pending.subarray(0, this.#pendingBytes);
    this.#pendingBytes = 0;
    try {
      for (let at = 0; at < bytes.length; ) at += writeSync(this.#fd, bytes, at);
    } catch (error) {
      throw writeFault(error, this.#kept.at(-1) ?? this.#options.file);
    }
  }

  /** Everything is written. */
  close(): void {
    try {
      this.flush();
    } finally {
      closeSync(this.#fd);
    }
  }

  #append(bytes: Buffer): void {
    if (this.#pendingBytes + bytes.length > bufferBytes) this.flush();
    bytes.copy(this.#pending, this.#pendingBytes);
    this.#count(bytes.length);
  }

  #count(length: number): void {
    this.#pendingBytes += length;
    this.#fileBytes += length;
    this.bytes += length;
  }

  #begin(): number {
    const { application, comments } = this.#options;
    const { fd, name } = this.#maker.open();
    this.#kept.push(name);
    this.#fileBytes = 0;
    const head = [renderSection(application, comments), ...this.#interfaces.map((one) => renderInterface(one))];
    for (const bytes of head) this.#append(bytes);
    return fd;
  }

  #next(ring: RingShape): void {
    this.flush();
    const before = this.#fd;
    this.#fd = this.#begin();
    closeSync(before);
    this.#inFile.push(0);
    while (this.#kept.length > ring.files) {
      this.#kept.shift();
      this.overwritten += this.#inFile.shift() ?? 0;
      this.#maker.remove();
    }
  }
}

/**
 * Emptied, readable by its owner alone, and ours: a file that somebody else made for us to write to is refused, and so is what is none. Of
 * what is there nothing is lost before that is known.
 */
function openOwn(name: string): number {
  let fd: number | undefined;
  try {
    // A link somebody else put there is not followed, a pipe is not waited for.
    fd = openSync(name, constants.O_WRONLY | constants.O_CREAT | constants.O_NOFOLLOW | constants.O_NONBLOCK, 0o600);
    const status = fstatSync(fd);
    const next = 'name another file, or remove it';
    if (!status.isFile()) throw new WeirError('not-permitted', `${name} is no file`, { file: name, next });
    if (status.uid !== process.geteuid?.())
      throw new WeirError('not-permitted', `${name} is somebody else's: who owns it would read what is kept`, {
        file: name,
        next,
      });
    fchmodSync(fd, 0o600);
    ftruncateSync(fd);
    return fd;
  } catch (error) {
    if (fd !== undefined) closeSync(fd);
    throw error instanceof WeirError ? error : writeFault(error, name);
  }
}

/** Somebody may have taken it away before. */
function removeFile(file: string): void {
  try {
    unlinkSync(file);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw writeFault(error, file);
  }
}

function writeFault(error: unknown, file: string): WeirError {
  const { code = '' } = error as NodeJS.ErrnoException;
  if (code === 'ENOSPC' || code === 'EDQUOT') return new WeirError('disk-full', `no room for ${file}`, { file }, error);
  if (code === 'EACCES' || code === 'EPERM') return new WeirError('not-permitted', `${file} may not be written`, { file }, error);
  return new WeirError('system-call', `cannot write ${file}: ${code}`, { file, errno: code }, error);
}
