// Keeps netd, gateway and recorder running, and ends them in order.
// Decides nothing about decoys: plans and rules are netd's. Talking to a person is up.ts.

import { join } from 'node:path';
import { callControl } from '../api/control.ts';
import { systemClock } from '../base/clock.ts';
import { asWeirError, WeirError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { RecorderReader } from '../cli/reader.ts';
import type { EventSink } from '../model/event.ts';
import { createIdentifier } from '../model/identifier.ts';
import { Child, type ChildStatus } from './child.ts';
import { gatewaySpecification, type LaunchOptions, netdSpecification, recorderSpecification } from './launch.ts';

/** Bounds of an orderly end; the programs' are together below the ten seconds a user waits. */
const graceMs = { gateway: 6000, recorder: 6000, netd: 3000 };
/** Putting back a hundred segments takes a slow machine that long; what is cut short here is left behind. */
const downMs = 60_000;
/** Of one answer: a slow machine under load takes minutes for a hundred segments, and giving up means taking them down. */
const answerMs = 600_000;
/** A slow machine under load takes half of it for the programs' own start. */
const readyMs = 60_000;
/** A program that died so often will not be ready either. */
const hopelessRestarts = 6;

export class Supervisor {
  readonly #children: Readonly<Record<'netd' | 'gateway' | 'recorder', Child>>;
  readonly #data: string;
  readonly #log: Log;

  constructor(
    launch: LaunchOptions & { readonly operator?: string; readonly recorderSettings: string },
    events: EventSink,
    log: Log,
  ) {
    this.#data = launch.data;
    this.#log = log;
    const record = (name: string, message: string, details: Record<string, unknown>): void => {
      const at = systemClock();
      events.append({ kind: 'system', system: { id: createIdentifier(at), at, name, program: 'up', message, details } });
    };
    const childEvents = {
      started: (name: string, pid: number, restarts: number): void =>
        record('process-started', `${name} started`, { process: name, pid, restarts }),
      died: (name: string, pid: number, exit: string, restarts: number): void =>
        record('process-died', `${name} died: ${exit}`, { process: name, pid, exit, restarts }),
    };
    this.#children = {
      netd: new Child(netdSpecification(launch, launch.operator), childEvents, log),
      gateway: new Child(gatewaySpecification(launch), childEvents, log),
      recorder: new Child(recorderSpecification(launch, launch.recorderSettings), childEvents, log),
    };
  }

  /** Starts all three and waits until each answers. Throws `timeout` naming the one that does not. */
  async start(): Promise<void> {
    this.#children.netd.start();
    this.#children.recorder.start();
    await this.#ready('netd');
    // After netd, which would otherwise take it for one that outlived it and wait for its sockets.
    this.#children.gateway.start();
    await this.#ready('gateway');
    await this.#ready('recorder');
  }

  async #ready(name: 'netd' | 'gateway' | 'recorder'): Promise<void> {
    const begun = Date.now();
    const end = begun + readyMs;
    const path = join(this.#data, 'run', `${name}.sock`);
    for (;;) {
      try {
        if (name === 'recorder') await new RecorderReader(path).status();
        else await callControl(path, 'ready', null, 2000);
        return;
      } catch (error) {
        const { code } = asWeirError(error);
        if (code !== 'not-running' && code !== 'timeout' && code !== 'system-call') throw error;
        const { lastExit, restarts } = this.#children[name].status();
        if (Date.now() > end || restarts >= hopelessRestarts) {
          const seconds = Math.round((Date.now() - begun) / 1000);
          throw new WeirError(
            'timeout',
            `${name} does not answer after ${seconds} s${lastExit ? ` (last: ${lastExit})` : ''}`,
            {},
            error,
          );
        }
      }
      await new Promise((resolve) => setTimeout(resolve, 25));
    }
  }

  /** Asks netd; its faults arrive as they were thrown there. */
  netd(verb: string, args: unknown = null, timeoutMs = answerMs): Promise<unknown> {
    return callControl(join(this.#data, 'run/netd.sock'), verb, args, timeoutMs);
  }

  status(): ChildStatus[] {
    return Object.values(this.#children).map((child) => child.status());
  }

  /** Sessions are closed first, then the kernel is put back, then the rest ends. Each step is bounded and none stops the next. */
  async stop(): Promise<void> {
    const step = async (what: string, work: () => Promise<unknown>): Promise<void> => {
      try {
        await work();
      } catch (error) {
        this.#log.error(`${what} failed while stopping`, { error: asWeirError(error).message });
      }
    };
    await step('gateway', () => this.#children.gateway.stop(graceMs.gateway));
    await step('down', () => this.netd('down', null, downMs));
    await Promise.all([
      step('recorder', () => this.#children.recorder.stop(graceMs.recorder)),
      step('netd', () => this.#children.netd.stop(graceMs.netd)),
    ]);
  }
}
