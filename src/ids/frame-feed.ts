// Puts frames onto the wire that Suricata watches, never more than it keeps up with: now and then a frame of ours goes along
// that a rule of ours answers, and only so much goes out beyond the last one answered. So nothing is lost to a full ring or a
// full socket, and whether the whole way works is known at any time. What cannot wait (live captures) has a bounded queue.

import { BoundedQueue } from '../base/bounded-queue.ts';
import { FlowFrames, frameEnd } from '../model/flow-frames.ts';
import { markerEnds, markerSignature, markerTag } from '../model/suricata-settings.ts';
import type { EveAlert } from './eve-alert.ts';

export interface FrameFeedOptions {
  /** Puts one frame out; false where the device refuses. */
  readonly write: (frame: Uint8Array) => boolean;
  /** A secret of this run, in the frames a rule answers: nobody else can answer for Suricata. Printable, 16 to 64 characters. */
  readonly token: string;
  /** How long an answer may take before it is asked again; default 2 s. */
  readonly patienceMs?: number;
}

export interface FrameFeedCounters {
  readonly frames: number;
  readonly bytes: number;
  /** Frames the device refused. */
  readonly refused: number;
  /** Live frames for which there was no room. */
  readonly shed: number;
  /** Questions Suricata did not answer in time. */
  readonly unanswered: number;
  /** Milliseconds since the last answer; absent before the first. */
  readonly answeredMsAgo?: number;
}

const firstMarkerPort = 1024;
const markerPorts = 1024;

/** Beyond the last answer. The ring holds several times as much. */
const windowFrames = 2048;
const windowBytes = 4 << 20;
/** A marker goes along after so much. */
const markerFrames = 256;
const markerBytes = 512 << 10;
const maxMarkers = 64;
const liveFrames = 8192;
const liveBytes = 16 << 20;
const heartbeatMs = 5000;
/** Alerts about frames come within seconds of them. */
const delayKeptMs = 60_000;

interface Marker {
  readonly port: number;
  /** Written up to and with it. */
  readonly frames: number;
  readonly bytes: number;
  readonly sentAt: number;
  readonly onAnswered: (() => void) | undefined;
}

/** Nothing goes out before `start`; after `reset` it waits for `start` again. */
export class FrameFeed {
  readonly #options: FrameFeedOptions;
  readonly #patienceMs: number;
  readonly #live = new BoundedQueue<{ readonly frame: Uint8Array; readonly since: number }>(liveFrames, liveBytes);
  #liveDelay = { ms: 0, at: 0 };
  #markers: Marker[] = [];
  #nextPort = 0;
  #running = false;
  #frames = 0;
  #bytes = 0;
  #answeredFrames = 0;
  #answeredBytes = 0;
  #markedFrames = 0;
  #markedBytes = 0;
  #refused = 0;
  #unanswered = 0;
  #silentMarkers = 0;
  #answeredAt: number | undefined;
  #lastSent = 0;
  #waiting: (() => void)[] = [];
  #timer: NodeJS.Timeout | undefined;

  constructor(options: FrameFeedOptions) {
    this.#options = options;
    this.#patienceMs = options.patienceMs ?? 2000;
  }

  /** Suricata is there: it is asked until it answers, and frames go out from then on. */
  start(): void {
    if (this.#running) return;
    this.#running = true;
    this.#timer = setInterval(() => this.#tick(), Math.min(250, this.#patienceMs));
    this.#mark(undefined);
  }

  /** It went: what it has not answered for is void, and nobody waits for room any more. */
  reset(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
    this.#running = false;
    this.#markers = [];
    this.#silentMarkers = 0;
    this.#answeredAt = undefined;
    this.#answeredFrames = this.#markedFrames = this.#frames;
    this.#answeredBytes = this.#markedBytes = this.#bytes;
    this.#wake();
  }

  /** Idempotent. */
  close(): void {
    this.reset();
  }

  /** Suricata answered at least once and not too long ago. */
  get isHeard(): boolean {
    return this.#running && this.#answeredAt !== undefined && this.#silentMarkers < 3;
  }

  /** True while more may go out. */
  get hasRoom(): boolean {
    return (
      this.#running &&
      this.#answeredAt !== undefined &&
      this.#frames - this.#answeredFrames < windowFrames &&
      this.#bytes - this.#answeredBytes < windowBytes
    );
  }

  /** Resolves when there may be room, or when `reset` made it void: ask `hasRoom` again. */
  room(): Promise<void> {
    if (this.hasRoom) return Promise.resolve();
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  /** One frame, at once: the caller looks at `hasRoom` between records, not between the frames of one. */
  write(frame: Uint8Array): void {
    this.#put(frame);
    if (this.#frames - this.#markedFrames >= markerFrames || this.#bytes - this.#markedBytes >= markerBytes)
      this.#mark(undefined);
  }

  /** One of a live capture: when there is room, else later, else never, and counted. */
  offer(frame: Uint8Array): void {
    if (this.#live.length === 0 && this.hasRoom) this.write(frame);
    else this.#live.push({ frame, since: performance.now() }, frame.length);
    if (this.#live.length === 0) this.#markSoon();
  }

  /** Calls back once everything so far is judged; not at all when a `reset` comes first. */
  mark(onAnswered: () => void): void {
    if (this.#running) this.#mark(onAnswered);
  }

  /** True when the alert was about a marker; then it is no alert, whatever rule was meant. */
  takeAnswer(alert: Pick<EveAlert, 'signature' | 'source' | 'vlan'>): boolean {
    if (alert.vlan !== markerTag) return false;
    if (alert.signature.id !== markerSignature) return true;
    const index = this.#markers.findIndex(({ port }) => port === alert.source.port);
    if (index < 0) return true;
    const answered = this.#markers.splice(0, index + 1);
    const last = answered[answered.length - 1];
    this.#answeredFrames = last.frames;
    this.#answeredBytes = last.bytes;
    this.#answeredAt = performance.now();
    this.#silentMarkers = 0;
    for (const { onAnswered } of answered) onAnswered?.();
    this.#drainLive();
    if (this.hasRoom) this.#wake();
    return true;
  }

  /** The longest that live frames waited which went out in the last minute. */
  get liveDelayMs(): number {
    return performance.now() - this.#liveDelay.at < delayKeptMs ? this.#liveDelay.ms : 0;
  }

  counters(): FrameFeedCounters {
    return {
      frames: this.#frames,
      bytes: this.#bytes,
      refused: this.#refused,
      shed: this.#live.dropped,
      unanswered: this.#unanswered,
      ...(this.#answeredAt === undefined ? {} : { answeredMsAgo: Math.round(performance.now() - this.#answeredAt) }),
    };
  }

  #put(frame: Uint8Array): void {
    this.#frames += 1;
    this.#bytes += frame.length;
    if (!this.#options.write(frame)) this.#refused += 1;
  }

  #drainLive(): void {
    while (this.#live.length > 0 && this.hasRoom) {
      const next = this.#live.shift();
      if (!next) return;
      const now = performance.now();
      this.#liveDelay = { ms: Math.max(this.liveDelayMs, now - next.since), at: now };
      this.write(next.frame);
    }
  }

  #wake(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const resolve of waiting) resolve();
  }

  /** What a quiet moment leaves behind is asked for by the timer. */
  #markSoon(): void {
    this.#lastSent = Math.min(this.#lastSent, performance.now() - heartbeatMs + this.#patienceMs / 4);
  }

  #mark(onAnswered: (() => void) | undefined): void {
    // Too many open questions: the newest one takes what the oldest promised.
    const dropped = this.#markers.length >= maxMarkers ? this.#markers.shift() : undefined;
    const port = firstMarkerPort + this.#nextPort;
    this.#nextPort = (this.#nextPort + 1) % markerPorts;
    this.#put(markerFrame(port, this.#options.token));
    this.#markedFrames = this.#frames;
    this.#markedBytes = this.#bytes;
    this.#lastSent = performance.now();
    const both = dropped?.onAnswered;
    this.#markers.push({
      port,
      frames: this.#frames,
      bytes: this.#bytes,
      sentAt: this.#lastSent,
      onAnswered:
        both === undefined
          ? onAnswered
          : () => {
              both();
              onAnswered?.();
            },
    });
  }

  #tick(): void {
    const now = performance.now();
    const oldest = this.#markers.at(0);
    const newest = this.#markers.at(-1);
    if (newest && now - newest.sentAt >= (this.#answeredAt === undefined ? 200 : this.#patienceMs)) {
      if (oldest && now - oldest.sentAt >= this.#patienceMs) {
        this.#unanswered += 1;
        this.#silentMarkers += 1;
      }
      this.#mark(undefined);
    } else if (!newest && now - this.#lastSent >= heartbeatMs) this.#mark(undefined);
  }
}

function markerFrame(port: number, token: string): Uint8Array {
  const client = frameEnd(markerEnds.source, port, undefined, 64, 1);
  const server = frameEnd(markerEnds.destination, markerEnds.port, undefined, 64, 2);
  let made = new Uint8Array(0);
  if (client && server) {
    const flow = new FlowFrames({ transport: 'udp', client, server, sequences: [port, 0], vlan: markerTag }, (frame) => {
      made = new Uint8Array(frame);
    });
    flow.chunk(0, 'in', Buffer.from(token));
  }
  return made;
}
