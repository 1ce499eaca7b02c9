// A place to run whole commands in: an environment of its own directory, screens that keep what was written, a store in
// memory, actions that only note that they were called, and a recorder that answers what a test wants.

import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import http from 'node:http';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { parseMicros } from '../../src/base/clock.ts';
import { WeirError } from '../../src/base/errors.ts';
import type { ActionContext, Actions } from '../../src/cli/actions.ts';
import type { BaselineActions } from '../../src/cli/baseline-actions.ts';
import { runCommandLine } from '../../src/cli/command-line.ts';
import type { DoctorActions } from '../../src/cli/doctor-actions.ts';
import type { CommandEnvironment, CommandOutput } from '../../src/cli/environment.ts';
import type { ExposureActions } from '../../src/cli/exposure-actions.ts';
import type { PacketActions } from '../../src/cli/packet-actions.ts';
import type { Configuration } from '../../src/model/configuration.ts';
import { noPorts } from '../../src/model/port-set.ts';
import type { WhoReading } from '../../src/netops/who/traffic-watch.ts';
import { MemoryStore } from '../../src/record/memory-store.ts';
import { sampleEvents } from './sample-records.ts';

/** The present in every test of a command. */
export const now = parseMicros('2026-03-04T05:06:07.000000Z');

const persona = {
  name: 'linux-web',
  description: 'a web server',
  macPrefixes: ['00:0c:29'],
  tcp: {
    open: [
      { first: 22, last: 22 },
      { first: 80, last: 80 },
    ],
    otherwise: 'closed' as const,
  },
  udp: { open: noPorts, otherwise: 'closed' as const },
  answersEcho: true,
  ttl: 64,
  services: {},
  banners: {},
  hostname: 'web-{n}',
  operatingSystem: 'Debian 12',
};

const configurationOf = (data: string): Configuration =>
  ({
    version: 1,
    data,
    retention: { days: 90, sizeBytes: 1e9 },
    management: { ports: [{ first: 22, last: 22 }], sources: [] },
    console: { address: '127.0.0.1', port: 8443 },
    limits: {},
    probing: {},
    diversions: [
      {
        kind: 'host',
        name: 'dmz',
        interface: 'eth0',
        groups: [
          {
            diversion: 'dmz',
            kind: 'claimed',
            ranges: [{ family: 4, first: 0x0a420304n, last: 0x0a420307n }],
            population: { seed: 7, shares: [{ persona: 'linux-web', share: 10_000 }] },
            macs: { '10.66.3.7': '02:00:00:00:00:07' },
            place: { file: 'weir.yaml', line: 3 },
          },
        ],
        place: { file: 'weir.yaml', line: 1 },
      },
    ],
    services: [],
    bindings: [],
    personas: new Map([['linux-web', persona]]),
  }) as unknown as Configuration;

export class Screen implements CommandOutput {
  text = '';
  bytes: Buffer[] = [];
  closed = false;
  readonly isTerminal: boolean;
  onWrite: () => void = () => {};

  constructor(isTerminal: boolean) {
    this.isTerminal = isTerminal;
  }

  columns(): number {
    return 100;
  }

  async write(data: string | Uint8Array): Promise<void> {
    this.bytes.push(Buffer.from(data));
    this.text += typeof data === 'string' ? data : Buffer.from(data).toString('latin1');
    this.onWrite();
  }
}

export interface Outcome {
  readonly code: number;
  readonly out: string;
  readonly err: string;
  readonly bytes: Buffer;
}

/** Verbs that give an exit code themselves; the others give a result. */
const foreground = new Set(['up', 'demo', 'bench', 'test']);

export class CommandBed {
  readonly directory = mkdtempSync(path.join(tmpdir(), 'weir-cli-'));
  /** Undefined: nothing was ever recorded. */
  store: MemoryStore | undefined;
  /** Name, arguments and context of every action. */
  called: [string, unknown[], ActionContext][] = [];
  /** What an action throws instead, by its name. */
  readonly thrown = new Map<string, WeirError>();
  /** What the action `status` gives. */
  status: unknown;
  /** What an action about agents gives, by its name, from its arguments. */
  agentAnswers: Record<string, (...args: unknown[]) => unknown> = {};
  /** What actions about packets do; none: they are not to be asked. */
  packets: Partial<PacketActions> = {};
  /** What the doctor finds; none: it is not to be asked. */
  doctor: Partial<DoctorActions> = {};
  /** The same about what is exposed. */
  exposure: Partial<ExposureActions> = {};
  /** The same about what was agreed on. */
  baseline: Partial<BaselineActions> = {};
  /** Environment variables of commands. */
  variables: Record<string, string> = {};
  /** What `weir who` is given, one after the other. */
  readings: WhoReading[] = [];
  /** Changes to the configuration that commands read. */
  configured: Partial<Configuration> = {};

  constructor() {
    mkdirSync(path.join(this.directory, 'data', 'run'), { recursive: true });
  }

  /** A store with the sample records, nothing called, nothing thrown. */
  async reset(): Promise<void> {
    this.called = [];
    this.thrown.clear();
    this.status = undefined;
    this.agentAnswers = {};
    this.packets = {};
    this.doctor = {};
    this.exposure = {};
    this.variables = {};
    this.configured = {};
    this.readings = [];
    this.store = new MemoryStore();
    await this.store.apply(sampleEvents(now), {});
  }

  close(): void {
    rmSync(this.directory, { recursive: true });
  }

  environment(stdout: CommandOutput, stderr: CommandOutput, signal = new AbortController().signal): CommandEnvironment {
    return {
      version: '1.2.3',
      stdout,
      stderr,
      cwd: this.directory,
      variables: this.variables,
      clock: () => now,
      signal,
      readConfiguration: (file) => this.#read(file),
      rulesDirectory: path.join(this.directory, 'rules'),
      openStore: async (data) => {
        if (this.store === undefined) throw new WeirError('not-found', `no store below ${data}`);
        return this.store;
      },
      actions: {
        ...Object.fromEntries(
          ['up', 'down', 'plan', 'apply', 'confirm', 'rollback', 'demo', 'bench', 'test', 'status'].map((name) => [
            name,
            (...args: unknown[]) => this.#act(name, args),
          ]),
        ),
        who: async (wish: unknown, onReading: (reading: WhoReading) => Promise<boolean>, context: ActionContext) => {
          await this.#act('who', [wish, context]);
          for (const reading of this.readings) if (!(await onReading(reading))) return;
        },
        agents: Object.fromEntries(
          ['report', 'add', 'remove', 'touch', 'upgrade', 'stopUpgrade'].map((name) => [
            name,
            async (...args: unknown[]) => {
              await this.#act(`agents.${name}`, args);
              return this.agentAnswers[name]?.(...args);
            },
          ]),
        ),
        packets: this.packets,
        doctor: this.doctor,
        exposure: this.exposure,
        baseline: this.baseline,
      } as unknown as Actions,
    };
  }

  /** Words separated by single blanks, or a list of arguments. */
  async run(line: string | readonly string[], options: { readonly terminal?: boolean } = {}): Promise<Outcome> {
    const stdout = new Screen(options.terminal === true);
    const stderr = new Screen(options.terminal === true);
    const argv = typeof line === 'string' ? line.split(' ') : line;
    const code = await runCommandLine(argv, this.environment(stdout, stderr));
    return { code, out: stdout.text, err: stderr.text, bytes: Buffer.concat(stdout.bytes) };
  }

  /** Answers on `run/recorder.sock` while `use` runs. */
  async withRecorder(answer: http.RequestListener, use: () => Promise<void>): Promise<void> {
    const server = http.createServer(answer);
    await new Promise<void>((resolve) => server.listen(path.join(this.directory, 'data', 'run', 'recorder.sock'), resolve));
    try {
      await use();
    } finally {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    }
  }

  async #act(name: string, args: readonly unknown[]): Promise<unknown> {
    this.called.push([name, args.slice(0, -1), args.at(-1) as ActionContext]);
    const error = this.thrown.get(name);
    if (error) throw error;
    if (name === 'status') return this.status;
    if (foreground.has(name)) return 7;
    return { text: `${name} done`, json: { done: name }, ...(name === 'plan' ? { exitCode: 10 } : {}) };
  }

  #read(file: string | undefined): Configuration {
    if (file !== undefined && readFileSync(file, 'utf8').includes('broken'))
      throw new WeirError('config-invalid', 'two mistakes', {
        mistakes: [
          { file: 'weir.yaml', line: 12, mistake: 'unknown key `retenion`', next: 'did you mean `retention`?' },
          { file: 'weir.yaml', line: 20, mistake: '10.0.0.0/33 is not a range\u001b[2J', next: 'write 10.0.0.0/24' },
        ],
      });
    return { ...configurationOf(path.join(this.directory, 'data')), ...this.configured };
  }
}
