// What a slow scan needs over a restart: the touches of every source, in a file beside the store. It is written now and then
// and at the end; what is newer than the file is in the newest half hour of the store, which is looked at again anyway. Losing
// it loses no record: slow scans begin to count anew.

import { mkdir } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { Micros } from '../../base/clock.ts';
import { readWhole, writeDurably } from '../../base/durable-file.ts';
import { asWeirError } from '../../base/errors.ts';
import type { Log } from '../../base/log.ts';

/** One port of one decoy, as touch-list.ts keeps it. */
export interface RememberedTouch {
  readonly host: number;
  readonly port: number;
  readonly at: Micros;
  readonly hits: number;
  readonly flags: number;
  readonly record: string;
  readonly name: string;
}

export interface RememberedSource {
  /** Of the table of sources; and the address. */
  readonly key: string;
  readonly ip: string;
  readonly touches: readonly RememberedTouch[];
}

/** What can be remembered and told again. */
export interface Rememberer {
  /** Those that touched most first. */
  remembered(): Iterable<RememberedSource>;
  recall(sources: Iterable<RememberedSource>): void;
}

const format = 'weir-behaviour-1';
/** Those that do not fit are left out; those that touched most come first. */
const maxBytes = 16 * 2 ** 20;
const writeEveryMs = 5 * 60_000;

/** A line for each source. Pure. */
export function renderMemory(sources: Iterable<RememberedSource>, limit = maxBytes): string {
  const lines = [format];
  let length = format.length + 1;
  for (const { key, ip, touches } of sources) {
    const line = JSON.stringify([
      key,
      ip,
      ...touches.map(({ host, port, at, hits, flags, record, name }) => [host, port, at, hits, flags, record, name]),
    ]);
    length += line.length + 1;
    if (length > limit) break;
    lines.push(line);
  }
  return `${lines.join('\n')}\n`;
}

const isText = (value: unknown, most: number): value is string => typeof value === 'string' && value.length <= most;
const isWhole = (value: unknown, most: number): value is number =>
  typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 && value <= most;

function readTouch(value: unknown): RememberedTouch | undefined {
  if (!Array.isArray(value)) return undefined;
  const [host, port, at, hits, flags, record, name] = value as unknown[];
  const right =
    isWhole(host, 0xffffffff) &&
    isWhole(port, 0x3ffff) &&
    isWhole(at, Number.MAX_SAFE_INTEGER) &&
    isWhole(hits, 0xffffffff) &&
    isWhole(flags, 0xff) &&
    isText(record, 40) &&
    isText(name, 64);
  return right ? { host, port, at, hits, flags, record, name } : undefined;
}

/** What of it is right; a line that is not is left out and counted. Pure; never throws. */
export function parseMemory(text: string): { readonly sources: readonly RememberedSource[]; readonly wrong: number } {
  const [head, ...lines] = text.split('\n');
  if (head !== format) return { sources: [], wrong: 1 };
  const sources: RememberedSource[] = [];
  let wrong = 0;
  for (const line of lines) {
    if (line === '') continue;
    let value: unknown;
    try {
      value = JSON.parse(line);
    } catch {
      value = undefined;
    }
    const [key, ip, ...rest] = Array.isArray(value) ? (value as unknown[]) : [];
    const touches = rest.map(readTouch);
    if (isText(key, 64) && isText(ip, 64) && touches.every((touch) => touch !== undefined)) sources.push({ key, ip, touches });
    else wrong += 1;
  }
  return { sources, wrong };
}

export class BehaviourMemory {
  readonly #file: string;
  readonly #log: Log;
  readonly #known: readonly RememberedSource[];
  #rememberer: Rememberer | undefined;
  #timer: NodeJS.Timeout | undefined;
  #writing: Promise<void> = Promise.resolve();

  private constructor(file: string, log: Log, known: readonly RememberedSource[]) {
    this.#file = file;
    this.#log = log;
    this.#known = known;
  }

  /** Never throws: without the file, or with a damaged one, slow scans begin anew. */
  static async open(file: string, log: Log): Promise<BehaviourMemory> {
    try {
      const { sources, wrong } = parseMemory((await readWhole(file)) ?? `${format}\n`);
      if (wrong > 0) log.warn('what was remembered of sources is damaged in part', { file, wrong });
      return new BehaviourMemory(file, log, sources);
    } catch (error) {
      log.warn('what was remembered of sources cannot be read', { file, error: asWeirError(error).message });
      return new BehaviourMemory(file, log, []);
    }
  }

  /** Tells it what is known, once for each that begins, and writes what it knows from now on. */
  attend(rememberer: Rememberer): void {
    rememberer.recall(this.#rememberer ? [...this.#rememberer.remembered()] : this.#known);
    this.#rememberer = rememberer;
    this.#timer ??= setInterval(() => void this.#write(), writeEveryMs).unref();
  }

  /** Writes for the last time. */
  async close(): Promise<void> {
    clearInterval(this.#timer);
    await this.#write();
  }

  #write(): Promise<void> {
    this.#writing = this.#writing.then(async () => {
      const rememberer = this.#rememberer;
      if (!rememberer) return;
      try {
        await mkdir(dirname(this.#file), { recursive: true, mode: 0o700 });
        await writeDurably(this.#file, renderMemory(rememberer.remembered()));
      } catch (error) {
        this.#log.warn('what is remembered of sources could not be written', { error: asWeirError(error).message });
      }
    });
    return this.#writing;
  }
}
