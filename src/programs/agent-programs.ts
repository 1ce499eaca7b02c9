// The programs an agent has: the one that was installed, those that came over the link, and which of them is run. One small file
// names it; it is changed by a rename, so a crash leaves the former one or the new one. Any system, any user.

import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { open, readdir, rename, rm, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { ensureDirectory, readWhole, writeDurably } from '../base/durable-file.ts';
import { asWeirError, WeirError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import type { ProgramOffer } from './keeper-messages.ts';

/** Larger ones are not taken: the program has a few MiB. */
export const maxProgramBytes = 32 * 2 ** 20;
/** What stays free for records. */
const keepFreeBytes = 16 * 2 ** 20;

export interface AgentProgram {
  readonly path: string;
  readonly version: string;
  readonly sha256: string;
  readonly installed: boolean;
}

interface Named {
  readonly version: string;
  readonly sha256: string;
}

/** `current.json`. */
interface Pointer {
  readonly program: Named;
  readonly previous?: Named;
  /** Which installed program it stands for: when somebody installs another by hand, that one is meant. */
  readonly installed: string;
}

export const programDirectory = (data: string): string => join(data, 'program');

const fileName = ({ version, sha256 }: Named): string => `weir-agent-${version}-${sha256.slice(0, 12)}.mjs`;
const isOurs = (name: string): boolean => /^weir-agent-[0-9A-Za-z.+-]+-[0-9a-f]{12}\.mjs(\.arriving)?$/.test(name);

async function digestOf(path: string): Promise<string | undefined> {
  const hash = createHash('sha256');
  try {
    for await (const chunk of createReadStream(path)) hash.update(chunk as Buffer);
    return hash.digest('hex');
  } catch {
    return undefined;
  }
}

const isNamed = (value: unknown): value is Named => {
  const { version, sha256 } = (value ?? {}) as Record<string, unknown>;
  return (
    typeof version === 'string' &&
    /^[0-9A-Za-z.+-]{1,64}$/.test(version) &&
    typeof sha256 === 'string' &&
    /^[0-9a-f]{64}$/.test(sha256)
  );
};

function parsePointer(text: string): Pointer | undefined {
  try {
    const { program, previous, installed } = (JSON.parse(text) ?? {}) as Record<string, unknown>;
    if (!isNamed(program) || typeof installed !== 'string') return undefined;
    return { program, ...(isNamed(previous) ? { previous } : {}), installed };
  } catch {
    return undefined;
  }
}

/**
 * Takes a program from the link into its place, whole or not at all. Throws `bad-request` (not what was offered), `disk-full`,
 * and what the source ends with. One at a time.
 */
export async function stageProgram(data: string, offer: ProgramOffer, source: Readable): Promise<void> {
  const directory = programDirectory(data);
  const path = join(directory, fileName(offer));
  const arriving = `${path}.arriving`;
  // It may break before it is read; reading it tells.
  source.on('error', () => {});
  try {
    if (offer.bytes > maxProgramBytes)
      throw new WeirError('bad-request', `a program of ${offer.bytes} bytes is not taken: ${maxProgramBytes} at most`);
    await ensureDirectory(directory);
    const { bavail, bsize } = await statfs(directory);
    if (bavail * bsize < offer.bytes + keepFreeBytes)
      throw new WeirError('disk-full', `no room for a program of ${offer.bytes} bytes: ${bavail * bsize} are free`, {
        directory,
      });
    const hash = createHash('sha256');
    let bytes = 0;
    await rm(arriving, { force: true });
    const file = await open(arriving, 'wx', 0o600);
    try {
      for await (const chunk of source as AsyncIterable<Buffer>) {
        bytes += chunk.length;
        if (bytes > offer.bytes) throw new WeirError('bad-request', 'the program is longer than was offered');
        hash.update(chunk);
        await file.write(chunk);
      }
      await file.sync();
    } finally {
      await file.close();
    }
    if (bytes !== offer.bytes) throw new WeirError('bad-request', `the program has ${bytes} bytes, ${offer.bytes} were offered`);
    if (hash.digest('hex') !== offer.sha256)
      throw new WeirError('bad-request', 'the program is not the one that was offered: its SHA-256 differs');
    await rename(arriving, path);
  } catch (error) {
    await rm(arriving, { force: true }).catch(() => {});
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOSPC' || code === 'EDQUOT') throw new WeirError('disk-full', 'no room for the program', { directory }, error);
    throw error;
  } finally {
    source.destroy();
  }
}

/** The keeper's; one per data directory. Opens with `AgentPrograms.open`. */
export class AgentPrograms {
  readonly #data: string;
  readonly #installed: AgentProgram;
  readonly #log: Log;
  #current: AgentProgram;
  #previous: AgentProgram;

  private constructor(data: string, installed: AgentProgram, log: Log) {
    this.#data = data;
    this.#installed = installed;
    this.#log = log;
    this.#current = installed;
    this.#previous = installed;
  }

  /** `installed`: the file that was started. Never throws for what is wrong below `data`: then it is the installed program. */
  static async open(
    data: string,
    installed: { readonly path: string; readonly version: string },
    log: Log,
  ): Promise<AgentPrograms> {
    const sha256 = (await digestOf(installed.path)) ?? '';
    const programs = new AgentPrograms(data, { ...installed, sha256, installed: true }, log);
    try {
      await programs.#read();
      await programs.#sweep();
    } catch (error) {
      log.warn('which program is current cannot be read: the installed one is run', { error: asWeirError(error).message });
    }
    return programs;
  }

  get current(): AgentProgram {
    return this.#current;
  }

  /** What is run when the current one does not work: the one before it, at last the installed one. */
  get previous(): AgentProgram {
    return this.#previous;
  }

  /** A staged program, read again: what is run is what was offered. Undefined: it is not. */
  async find(offer: Named): Promise<AgentProgram | undefined> {
    const path = join(programDirectory(this.#data), fileName(offer));
    if ((await digestOf(path)) !== offer.sha256) return undefined;
    return { path, version: offer.version, sha256: offer.sha256, installed: false };
  }

  /** From now on, over restarts; durable when it resolves. Throws `disk-full`, `not-permitted`, `system-call`. */
  async commit(program: AgentProgram): Promise<void> {
    const before = this.#current;
    await this.#write(program, before);
    this.#previous = before;
    this.#current = program;
    await this.#sweep().catch(() => {});
  }

  /** The current one does not work: the one before it is current. In memory even when it cannot be written down. */
  async goBack(): Promise<void> {
    const bad = this.#current;
    this.#current = this.#previous.sha256 === bad.sha256 ? this.#installed : this.#previous;
    this.#previous = this.#installed;
    try {
      await this.#write(this.#current, this.#previous);
      await this.#sweep();
    } catch (error) {
      this.#log.error('the return to the former program could not be written down', { error: asWeirError(error).message });
    }
  }

  async #write(program: AgentProgram, previous: AgentProgram): Promise<void> {
    const directory = programDirectory(this.#data);
    const path = join(directory, 'current.json');
    if (program.installed) {
      await rm(path, { force: true });
      return;
    }
    await ensureDirectory(directory);
    const named = ({ version, sha256 }: AgentProgram): Named => ({ version, sha256 });
    const pointer: Pointer = {
      program: named(program),
      ...(previous.installed ? {} : { previous: named(previous) }),
      installed: this.#installed.sha256,
    };
    await writeDurably(path, `${JSON.stringify(pointer)}\n`);
  }

  async #read(): Promise<void> {
    const text = await readWhole(join(programDirectory(this.#data), 'current.json'));
    if (text === undefined) return;
    const pointer = parsePointer(text);
    if (!pointer) {
      this.#log.warn('current.json does not parse: the installed program is run');
      return;
    }
    if (pointer.installed !== this.#installed.sha256) {
      this.#log.info('another program was installed by hand: it is run', { version: this.#installed.version });
      return;
    }
    const previous = pointer.previous && (await this.find(pointer.previous));
    const current = await this.find(pointer.program);
    if (!current) this.#log.warn('the current program is damaged: the one before is run', { version: pointer.program.version });
    this.#current = current ?? previous ?? this.#installed;
    this.#previous = current ? (previous ?? this.#installed) : this.#installed;
  }

  /** What nobody names any more goes. */
  async #sweep(): Promise<void> {
    const directory = programDirectory(this.#data);
    const kept = new Set([this.#current, this.#previous].filter(({ installed }) => !installed).map(fileName));
    let names: string[];
    try {
      names = await readdir(directory);
    } catch {
      return;
    }
    for (const name of names) if (isOurs(name) && !kept.has(name)) await rm(join(directory, name), { force: true });
  }
}
