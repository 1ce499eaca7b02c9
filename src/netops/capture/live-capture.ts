// A live capture from its beginning to its end: a filter compiled for each kind of frame, a socket for each interface, limits that
// always end it, and an account of what the kernel had no room for. What is done with a packet is the caller's.

import { WeirError } from '../../base/errors.ts';
import { CaptureSocket, type LiveFrame, linkTypeOfHardware, readHardwareTypes } from '../../kernel/capture/capture-socket.ts';
import { compileFilter, type FilterProgram } from '../../kernel/capture/filter-program.ts';
import { createCommandRunner } from '../../kernel/command.ts';
import { errnoName } from '../../kernel/libc.ts';

export interface CaptureLimits {
  readonly durationMs: number;
  readonly packets: number;
  /** Of frames kept. */
  readonly bytes: number;
}

/** Where nothing was said: a capture somebody forgets ends by itself. */
export const defaultLimits: CaptureLimits = { durationMs: 60_000, packets: 100_000, bytes: 100 << 20 };

export interface LiveCaptureOptions {
  readonly expression: string;
  /** Names; empty: every interface of the namespace. */
  readonly interfaces: readonly string[];
  /** Path of a network namespace. */
  readonly netns?: string;
  readonly limits: CaptureLimits;
  readonly promiscuous: boolean;
  readonly snap?: number;
  readonly signal?: AbortSignal;
}

export interface CapturedOn {
  readonly interface: string;
  readonly linkType: number;
}

export type CaptureEnd = 'packets' | 'time' | 'size' | 'stopped' | 'interface-gone';

export interface CaptureAccount {
  readonly packets: number;
  readonly bytes: number;
  readonly seconds: number;
  readonly ended: CaptureEnd;
  readonly filters: readonly FilterProgram[];
  /** What passed the filter in the kernel, and what of it was lost, for each interface. */
  readonly interfaces: readonly (CapturedOn & { readonly received: number; readonly dropped: number })[];
  /** Interfaces of the namespace that were not listened on, and why. */
  readonly left: readonly { readonly interface: string; readonly why: string }[];
  /** Interfaces that were down at some time: nothing passed them then. */
  readonly down: readonly string[];
  /** True only when nothing was lost and nothing left out: then what was not seen was not there. */
  readonly complete: boolean;
}

/** More sockets at once cost more memory than a look is worth. */
const maxInterfaces = 64;

interface Opened {
  readonly socket: CaptureSocket;
  readonly on: CapturedOn;
}

export class LiveCapture {
  readonly #options: LiveCaptureOptions;
  readonly #opened: Opened[] = [];
  readonly #filters = new Map<number, FilterProgram>();
  readonly #left: { interface: string; why: string }[] = [];
  #packets = 0;
  #bytes = 0;

  private constructor(options: LiveCaptureOptions) {
    this.#options = options;
  }

  /**
   * Frames gather from now on. Needs CAP_NET_RAW. Throws `bad-request` (the expression), `not-permitted`, `not-found` (no such interface),
   * `tool-missing`.
   */
  static async open(options: LiveCaptureOptions): Promise<LiveCapture> {
    const capture = new LiveCapture(options);
    try {
      await capture.#open();
    } catch (error) {
      capture.close();
      if (!(error instanceof WeirError) || error.code !== 'not-permitted') throw error;
      throw new WeirError('not-permitted', 'listening on interfaces needs CAP_NET_RAW, and CAP_SYS_ADMIN in another namespace', {
        ...error.details,
        next: 'run it with sudo; a file (-r) and --explain need no privilege',
      });
    }
    return capture;
  }

  /** What is listened on, in the order that `onFrame` numbers it. */
  get interfaces(): readonly CapturedOn[] {
    return this.#opened.map(({ on }) => on);
  }

  get filters(): readonly FilterProgram[] {
    return [...this.#filters.values()];
  }

  /** To its end; then it is closed. `onFrame` gets the number of the interface; a frame is valid during the call. */
  async run(onFrame: (frame: LiveFrame, number: number) => void): Promise<CaptureAccount> {
    const begun = performance.now();
    const { limits, signal } = this.#options;
    try {
      const ended = await new Promise<CaptureEnd>((resolve, reject) => {
        const finish = (how: CaptureEnd): void => {
          clearTimeout(timer);
          clearInterval(watch);
          signal?.removeEventListener('abort', stop);
          // The rest of this turn's frames does not count any more.
          over = true;
          resolve(how);
        };
        let over = false;
        const takers: (() => void)[] = [];
        /** What came before it ends is in the sockets. */
        const end = (how: 'stopped' | 'time'): void => {
          for (const take of takers) if (!over) take();
          if (!over) finish(how);
        };
        const stop = (): void => end('stopped');
        const timer = setTimeout(() => end('time'), limits.durationMs);
        const watch = setInterval(() => {
          if (this.#opened.every(({ socket }) => socket.failed !== undefined)) finish('interface-gone');
        }, 200);
        for (const [number, { socket }] of this.#opened.entries()) {
          const take = (frame: LiveFrame): void => {
            if (over) return;
            this.#packets += 1;
            this.#bytes += frame.end - frame.start;
            try {
              onFrame(frame, number);
            } catch (error) {
              // The first of them counts.
              reject(error);
              finish('stopped');
              return;
            }
            if (this.#packets >= limits.packets) finish('packets');
            else if (this.#bytes >= limits.bytes) finish('size');
          };
          takers.push(() => socket.read(take));
          socket.follow(take);
        }
        if (signal?.aborted) finish('stopped');
        else signal?.addEventListener('abort', stop, { once: true });
      });
      return this.#account(ended, (performance.now() - begun) / 1000);
    } finally {
      this.close();
    }
  }

  /** Lost so far, of all interfaces. */
  get dropped(): number {
    return this.#opened.reduce((sum, { socket }) => sum + socket.statistics.dropped, 0);
  }

  /** Idempotent. */
  close(): void {
    for (const { socket } of this.#opened) socket.close();
  }

  #account(ended: CaptureEnd, seconds: number): CaptureAccount {
    const interfaces = this.#opened.map(({ socket, on }) => ({ ...on, ...socket.statistics }));
    const gone = this.#opened.filter(({ socket }) => socket.failed !== undefined);
    const left = [
      ...this.#left,
      ...gone.map(({ on, socket }) => ({ interface: on.interface, why: `it went away (${errnoName(socket.failed ?? 0)})` })),
    ];
    return {
      packets: this.#packets,
      bytes: this.#bytes,
      seconds: Math.round(seconds * 1000) / 1000,
      ended,
      filters: this.filters,
      interfaces,
      left,
      down: this.#opened.filter(({ socket }) => socket.failed === undefined && socket.wasDown).map(({ on }) => on.interface),
      complete: left.length === 0 && interfaces.every(({ dropped }) => dropped === 0),
    };
  }

  async #open(): Promise<void> {
    const { interfaces, netns } = this.#options;
    const named = interfaces.length > 0;
    const links = readHardwareTypes(netns);
    const wanted = named ? interfaces : [...links.keys()];
    for (const name of wanted) {
      const hardware = links.get(name);
      const linkType = hardware === undefined ? undefined : linkTypeOfHardware(hardware);
      if (hardware === undefined)
        throw new WeirError('not-found', `there is no interface ${name}`, {
          known: [...links.keys()],
          next: `one of: ${[...links.keys()].join(', ')}`,
        });
      if (linkType === undefined || this.#opened.length >= maxInterfaces) {
        const why =
          linkType === undefined ? `frames of hardware type ${hardware} are not read` : `more than ${maxInterfaces} interfaces`;
        if (named) throw new WeirError('kernel-missing', `${name}: ${why}`);
        this.#left.push({ interface: name, why });
        continue;
      }
      const program = await this.#filterFor(linkType);
      const { promiscuous, snap } = this.#options;
      const socket = new CaptureSocket({
        interface: name,
        ...(netns === undefined ? {} : { netns }),
        program,
        promiscuous,
        ...(snap === undefined ? {} : { snap }),
      });
      this.#opened.push({ socket, on: { interface: name, linkType } });
    }
    if (this.#opened.length === 0) throw new WeirError('not-found', 'there is no interface to listen on');
  }

  async #filterFor(linkType: number): Promise<FilterProgram> {
    const { expression, netns, snap } = this.#options;
    const known = this.#filters.get(linkType);
    const program = known ?? (await compileFilter(createCommandRunner(netns), expression, linkType, snap));
    this.#filters.set(linkType, program);
    return program;
  }
}
