// The main thread's side of the kernel-path thread: gives it sockets and who lives where, turns what it tells into recorded
// sessions, pays the credit back, and starts it anew should it ever die. Following flows is flow-tracker.ts.

import { Worker } from 'node:worker_threads';
import type { Log } from '../base/log.ts';
import { closeDescriptor } from '../kernel/libc.ts';
import type { NamedSocket } from '../kernel/named-socket.ts';
import type { ProbeRecord } from '../model/event.ts';
import type { SessionHandle, SessionSink } from '../model/session.ts';
import { sumCounters } from './counters.ts';
import type {
  FlowEvent,
  FromKernelPathWorker,
  KernelPathCounters,
  KernelPathData,
  KernelPathPort,
  ToKernelPathWorker,
} from './kernel-path-protocol.ts';
import type { IntakeNetwork } from './network.ts';
import { snapshotOf } from './packet-protocol.ts';

export interface KernelPathIntakeOptions {
  readonly sink: SessionSink;
  readonly networks: readonly IntakeNetwork[];
  readonly ports: readonly KernelPathPort[];
  readonly limits: KernelPathData['limits'];
  readonly log: Log;
  readonly onProbe: (record: ProbeRecord) => void;
}

const restartAfterMs = 100;

/** Costs nothing while there are no sockets: the thread runs only then. */
export class KernelPathIntake {
  readonly #options: KernelPathIntakeOptions;
  readonly #sessions = new Map<number, SessionHandle>();
  #networks: readonly IntakeNetwork[];
  #ports: readonly KernelPathPort[];
  #sockets: readonly NamedSocket[] = [];
  #leaving = new Set<number>();
  #worker: Worker | undefined;
  #restart: NodeJS.Timeout | undefined;
  #latest: KernelPathCounters | undefined;
  /** Of threads that died. */
  #past: KernelPathCounters | undefined;
  #restarts = 0;
  #reporting: (() => void)[] = [];
  #stopped: (() => void) | undefined;
  #closing: Promise<void> | undefined;

  constructor(options: KernelPathIntakeOptions) {
    this.#options = options;
    this.#networks = options.networks;
    this.#ports = options.ports;
  }

  /** Of all threads there were, at most a second old; undefined when no decoy was ever bound. */
  get counters(): (KernelPathCounters & { readonly workerRestarts: number }) | undefined {
    const all = this.#latest && this.#past ? sumCounters(this.#past, this.#latest) : (this.#latest ?? this.#past);
    return all && { ...all, workerRestarts: this.#restarts };
  }

  /** Fresh counters, or the latest known when the thread does not answer within the bound. */
  async report(boundMs = 1000): Promise<KernelPathIntake['counters']> {
    if (this.#worker)
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, boundMs);
        this.#reporting.push(() => {
          clearTimeout(timer);
          resolve();
        });
        this.#post({ type: 'report' });
      });
    return this.counters;
  }

  /** Takes effect with the next connection. */
  setNetworks(networks: readonly IntakeNetwork[], ports: readonly KernelPathPort[]): void {
    this.#networks = networks;
    this.#ports = ports;
    this.#post({ type: 'networks', networks: networks.map(snapshotOf), ports });
  }

  /** The `capture` and `conntrack` sockets to work with from now on; others are ignored. The descriptors are ours. */
  setSockets(sockets: readonly NamedSocket[]): void {
    const kept = sockets.filter(({ role }) => role === 'capture' || role === 'conntrack');
    const stays = new Set(kept.map(({ fd }) => fd));
    for (const { fd } of this.#sockets) if (!stays.has(fd)) this.#leaving.add(fd);
    this.#sockets = kept;
    if (this.#worker) this.#post({ type: 'sockets', sockets: kept });
    else {
      this.#closeLeaving();
      if (kept.length > 0 && !this.#restart) this.#start();
    }
  }

  /** Ends the thread as a fault in it would. */
  killWorkerForTest(): void {
    void this.#worker?.terminate();
  }

  /** Ends open sessions as `shutdown`, stops the thread, closes the sockets. Idempotent. */
  close(): Promise<void> {
    this.#closing ??= this.#stop();
    return this.#closing;
  }

  async #stop(): Promise<void> {
    clearTimeout(this.#restart);
    const worker = this.#worker;
    if (worker) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, 2000);
        this.#stopped = () => {
          clearTimeout(timer);
          resolve();
        };
        this.#post({ type: 'stop' });
      });
      this.#worker = undefined;
      await worker.terminate();
    }
    this.#endSessions('shutdown');
    for (const { fd } of this.#sockets) this.#leaving.add(fd);
    this.#sockets = [];
    this.#closeLeaving();
    for (const done of this.#reporting.splice(0)) done();
  }

  #closeLeaving(): void {
    for (const fd of this.#leaving) closeDescriptor(fd);
    this.#leaving.clear();
  }

  #endSessions(outcome: 'shutdown' | 'interrupted'): void {
    for (const handle of this.#sessions.values()) handle.close(outcome);
    this.#sessions.clear();
  }

  #post(message: ToKernelPathWorker): void {
    this.#worker?.postMessage(message);
  }

  #start(): void {
    this.#restart = undefined;
    const workerData: KernelPathData = {
      networks: this.#networks.map(snapshotOf),
      ports: this.#ports,
      sockets: this.#sockets,
      limits: this.#options.limits,
    };
    const worker = new Worker(new URL('./kernel-path-worker.js', import.meta.url), {
      workerData,
      name: 'kernel-path',
      resourceLimits: { maxOldGenerationSizeMb: 384 },
    });
    this.#worker = worker;
    worker.on('message', (message: FromKernelPathWorker) => {
      if (this.#worker === worker) this.#onMessage(message);
    });
    worker.on('error', (error) => this.#options.log.error('the kernel-path thread failed', { error: String(error) }));
    worker.on('exit', () => {
      if (this.#worker !== worker) return;
      this.#worker = undefined;
      this.#stopped?.();
      if (this.#closing) return;
      this.#restarts += 1;
      this.#keepCounters();
      // Connections go on in the kernel; what comes of them now is a session of its own.
      this.#endSessions('interrupted');
      this.#closeLeaving();
      this.#restart = setTimeout(() => this.#start(), restartAfterMs);
    });
  }

  /** What was open when a thread died is over as far as it could know. */
  #keepCounters(): void {
    const last = this.counters;
    this.#latest = undefined;
    if (!last) return;
    const { workerRestarts: _, ...counters } = last;
    this.#past = { ...counters, open: 0, closed: counters.opened };
  }

  #onMessage(message: FromKernelPathWorker): void {
    switch (message.type) {
      case 'flows':
        for (const event of message.events) this.#apply(event, message.bytes);
        this.#post({ type: 'credit', bytes: message.bytes.length, events: message.events.length, records: 0 });
        break;
      case 'probes':
        for (const record of message.records) this.#options.onProbe(record);
        this.#post({ type: 'credit', bytes: 0, events: 0, records: message.records.length });
        break;
      case 'released':
        for (const fd of message.fds) if (this.#leaving.delete(fd)) closeDescriptor(fd);
        break;
      case 'counters':
        this.#latest = message.counters;
        for (const done of this.#reporting.splice(0)) done();
        break;
      case 'stopped':
        this.#stopped?.();
    }
  }

  #apply(event: FlowEvent, bytes: Uint8Array): void {
    if (event.kind === 'open') {
      const handle = this.#options.sink.open(event.start);
      if (event.tags.length > 0) handle.find({ tags: event.tags });
      this.#sessions.set(event.flow, handle);
      return;
    }
    const handle = this.#sessions.get(event.flow);
    if (!handle) return;
    if (event.kind === 'chunk') handle.chunk(event.direction, bytes.subarray(event.from, event.from + event.length), event.at);
    else if (event.kind === 'skip') handle.skip(event.direction, event.count);
    else {
      handle.close(event.outcome, event.at);
      this.#sessions.delete(event.flow);
    }
  }
}
