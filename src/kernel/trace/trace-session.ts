// A trace instance of our own: some events enabled in it alone, its lines read as they come. Bounded by its ring in the kernel, whose
// losses are counted. Made and removed here; instances that a killed process of ours left are removed at the next start.
// Source: Documentation/trace/ftrace.rst, "Instances".

import {
  closeSync,
  constants,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  readSync,
  rmdirSync,
  writeFileSync,
} from 'node:fs';
import { WeirError } from '../../base/errors.ts';
import { readPacketClock } from '../libc.ts';
import { readProcessStart } from '../process-identity.ts';
import { openTracefs, type Tracefs } from './mount-tracefs.ts';
import { lostOfLine, parseTraceFormat, parseTraceLine, type TraceEvent } from './trace-line.ts';

export interface TraceRequest {
  /** `tcp:tcp_send_reset`. */
  readonly event: string;
  /** In the kernel's words: `protocol == 0x0800`. See Documentation/trace/events.rst. */
  readonly filter?: string;
  /** Go on without it where this kernel has none; it is then in `missing`. */
  readonly optional?: boolean;
}

export interface TraceSessionOptions {
  /** Of the ring, for each processor; default 1024. */
  readonly bufferKiB?: number;
}

/** Lines taken in one turn; the rest waits in the kernel. */
const linesPerTurn = 4096;
const followEveryMs = 50;
/** A line of the kernel is at most a page. */
const longestLine = 8192;

/** Looks at both clocks that may be interrupted in between, and how close they are to be. */
const clockLooks = 8;
const closeMicros = 50;

/**
 * Microseconds from the kernel's monotonic clock to the wall's. On a busy machine this process is put aside between looking at one and at the
 * other, for longer than a RST and its event are apart: the look with the least time in between counts.
 */
export function clockOffset(wall: () => number = readPacketClock, monotonic: () => bigint = process.hrtime.bigint): number {
  let best = { offset: 0, spread: Number.POSITIVE_INFINITY };
  for (let look = 0; look < clockLooks && best.spread > closeMicros; look += 1) {
    const before = Number(monotonic() / 1000n);
    const now = wall();
    const spread = Number(monotonic() / 1000n) - before;
    if (spread < best.spread) best = { offset: now - before - Math.floor(spread / 2), spread };
  }
  return best.offset;
}

let made = 0;

/** Who made an instance: its process-number namespace, process and that one's start, so that no living one is taken for dead. */
function ownName(): string {
  made += 1;
  return `weir-${pidNamespace()}-${process.pid}-${readProcessStart(process.pid) ?? 0}-${made}`;
}

const pidNamespace = (): string => /\d+/.exec(readlinkSync('/proc/self/ns/pid'))?.[0] ?? '0';

/** Ours, of a process that is gone. */
function isStale(name: string): boolean {
  const match = /^weir-(\d+)-(\d+)-(\d+)-\d+$/.exec(name);
  return match !== null && match[1] === pidNamespace() && readProcessStart(Number(match[2])) !== match[3];
}

function removeInstance(path: string): void {
  try {
    writeFileSync(`${path}/events/enable`, '0');
    rmdirSync(path);
  } catch {
    // Somebody reads it, or it is gone: the next start looks again.
  }
}

export class TraceSession {
  readonly #tracefs: Tracefs;
  readonly #path: string;
  readonly #pipe: number;
  readonly #chunk = Buffer.alloc(64 << 10);
  readonly #fields = new Map<string, readonly string[]>();
  readonly #missing: string[] = [];
  #rest = '';
  #timer: NodeJS.Timeout | undefined;
  #open = true;
  /** A signal may end the process where it stands. */
  readonly #atExit = (): void => this.close();
  /** Events of the kernel nobody read in time. */
  lost = 0;
  /** Lines that are no event: a program may choose its own name, line ends and all. */
  unparsed = 0;

  /**
   * Events are recorded from now on, in all network namespaces. Needs root. Throws `not-permitted`, `system-call`,
   * `kernel-missing` (no such event).
   */
  constructor(requests: readonly TraceRequest[], { bufferKiB = 1024 }: TraceSessionOptions = {}) {
    this.#tracefs = openTracefs();
    this.#path = `${this.#tracefs.path}/instances/${ownName()}`;
    try {
      const instances = `${this.#tracefs.path}/instances`;
      for (const name of readdirSync(instances)) if (isStale(name)) removeInstance(`${instances}/${name}`);
      mkdirSync(this.#path);
      this.#write('trace_clock', 'mono');
      this.#write('buffer_size_kb', String(bufferKiB));
      this.#pipe = openSync(`${this.#path}/trace_pipe`, constants.O_RDONLY | constants.O_NONBLOCK);
      for (const request of requests) this.#enable(request);
      process.once('exit', this.#atExit);
    } catch (error) {
      this.#remove();
      throw asTraceError(error);
    }
  }

  /** Names of events asked for as optional that this kernel lacks. */
  get missing(): readonly string[] {
    return this.#missing;
  }

  /** Names of an event's fields on this kernel; empty for one that was not asked for. */
  fieldsOf(event: string): readonly string[] {
    return this.#fields.get(event) ?? [];
  }

  /** What came since the last call, oldest first, at most `most` lines of it, with wall-clock times. Does not wait. */
  read(most = linesPerTurn): TraceEvent[] {
    const events: TraceEvent[] = [];
    const offset = clockOffset();
    while (this.#open && events.length < most) {
      const end = this.#rest.indexOf('\n');
      if (end < 0) {
        if (!this.#fill()) break;
        continue;
      }
      const line = this.#rest.slice(0, end);
      this.#rest = this.#rest.slice(end + 1);
      const event = parseTraceLine(line);
      if (event) events.push({ ...event, at: event.at + offset });
      else {
        const lost = lostOfLine(line);
        this.lost += lost;
        if (lost === 0 && line !== '') this.unparsed += 1;
      }
    }
    return events;
  }

  /** Calls back with what came, until `close`. */
  follow(onEvents: (events: readonly TraceEvent[]) => void): void {
    this.#timer ??= setInterval(() => {
      const events = this.read();
      if (events.length > 0) onEvents(events);
    }, followEveryMs);
  }

  /** Nothing of it is left in the kernel. Idempotent. */
  close(): void {
    if (!this.#open) return;
    this.#open = false;
    process.off('exit', this.#atExit);
    clearInterval(this.#timer);
    closeSync(this.#pipe);
    this.#remove();
  }

  #remove(): void {
    if (existsSync(this.#path)) removeInstance(this.#path);
    this.#tracefs.close();
  }

  #write(file: string, text: string): void {
    writeFileSync(`${this.#path}/${file}`, text);
  }

  #enable({ event, filter, optional }: TraceRequest): void {
    const folder = `events/${event.replace(':', '/')}`;
    if (!existsSync(`${this.#path}/${folder}/enable`)) {
      if (!optional) throw new WeirError('kernel-missing', `this kernel has no trace event ${event}`, { event });
      this.#missing.push(event);
      return;
    }
    this.#fields.set(event, parseTraceFormat(readFileSync(`${this.#path}/${folder}/format`, 'utf8')));
    if (filter !== undefined) this.#write(`${folder}/filter`, filter);
    this.#write(`${folder}/enable`, '1');
  }

  /** False when nothing is there. */
  #fill(): boolean {
    try {
      const got = readSync(this.#pipe, this.#chunk);
      if (got <= 0) return false;
      this.#rest += this.#chunk.toString('latin1', 0, got);
      if (this.#rest.length > longestLine + this.#chunk.length) this.#rest = '';
      return true;
    } catch (error) {
      // EINTR: a trace that is being changed; what is there comes with the next call.
      if (['EAGAIN', 'EINTR'].includes((error as NodeJS.ErrnoException).code ?? '')) return false;
      throw asTraceError(error);
    }
  }
}

function asTraceError(error: unknown): WeirError {
  if (error instanceof WeirError) return error;
  const { code = '', message = String(error) } = error as NodeJS.ErrnoException;
  const denied = code === 'EACCES' || code === 'EPERM';
  return new WeirError(denied ? 'not-permitted' : 'system-call', `tracing: ${message}`, { errno: code }, error);
}
