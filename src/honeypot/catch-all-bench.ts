// Measures the catch-all: sessions per second of one payload each against another acceptor in the same run, and memory per
// idle connection. Loopback only; bounded in count. Who calls it, with which sinks, and prints it is programs/ and cli/.

import { type ChildProcess, fork } from 'node:child_process';
import { createServer, type Server } from 'node:net';

/** Something that listens on 127.0.0.1 in this process and takes connections. */
export interface Contender {
  readonly name: string;
  listen(): Promise<{ readonly port: number; close(): Promise<void> }>;
}

export interface Round {
  readonly contender: string;
  readonly sessions: number;
  readonly seconds: number;
  readonly perSecond: number;
  /** Processor time of this process per session: the steadier figure on a shared machine. */
  readonly cpuMicros: number;
}

export interface BenchResult {
  readonly rounds: readonly Round[];
  /** Median of the rounds by contender. */
  readonly medians: Readonly<Record<string, number>>;
  readonly cpuMedians: Readonly<Record<string, number>>;
}

/** A bare acceptor: per connection it collects what comes and writes one JSON line when it ends. `write` gets the lines. */
export function bareContender(write: (line: string) => void): Contender {
  return {
    name: 'bare',
    async listen() {
      const server: Server = createServer((socket) => {
        const source = socket.remoteAddress;
        const sourcePort = socket.remotePort;
        const destination = socket.localAddress;
        const destinationPort = socket.localPort;
        const start = Date.now();
        const chunks: Buffer[] = [];
        socket.on('data', (chunk) => chunks.push(chunk));
        socket.on('error', () => {});
        socket.on('close', () =>
          write(
            `${JSON.stringify({ start, end: Date.now(), source, sourcePort, destination, destinationPort, data: Buffer.concat(chunks).toString('base64') })}\n`,
          ),
        );
      });
      await new Promise<void>((resolve, reject) => {
        server.once('error', reject);
        server.listen({ port: 0, host: '127.0.0.1', backlog: 4096 }, resolve);
      });
      const address = server.address();
      return {
        port: typeof address === 'object' && address ? address.port : 0,
        close: () => new Promise((resolve) => server.close(() => resolve())),
      };
    },
  };
}

/** What the client process is told; it answers with one number, the seconds it took. */
export interface ClientOrder {
  readonly port: number;
  readonly sessions: number;
  readonly concurrency: number;
  readonly payload: string;
}

const median = (values: readonly number[]): number => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;

/**
 * Runs the contenders one after the other in every round. `clientProgram` is the path of the built
 * catch-all-bench-client. Each session connects, sends `payload`, half-closes and waits for the end.
 */
export async function benchCatchAll(
  contenders: readonly Contender[],
  clientProgram: string,
  options: {
    readonly rounds?: number;
    readonly sessions?: number;
    readonly concurrency?: number;
    readonly payload?: Buffer;
  } = {},
): Promise<BenchResult> {
  const { rounds = 5, sessions = 5000, concurrency = 64, payload = Buffer.alloc(120, 0xf1) } = options;
  const results: Round[] = [];
  for (let round = 0; round < rounds; round += 1)
    for (const contender of round % 2 ? [...contenders].reverse() : contenders) {
      const listening = await contender.listen();
      try {
        const cpu = process.cpuUsage();
        const seconds = await runClient(clientProgram, {
          port: listening.port,
          sessions,
          concurrency,
          payload: payload.toString('base64'),
        });
        const spent = process.cpuUsage(cpu);
        const cpuMicros = (spent.user + spent.system) / sessions;
        results.push({ contender: contender.name, sessions, seconds, perSecond: sessions / seconds, cpuMicros });
      } finally {
        await listening.close();
      }
    }
  const by = (value: (round: Round) => number): Record<string, number> =>
    Object.fromEntries(
      contenders.map(({ name }) => [name, median(results.filter(({ contender }) => contender === name).map(value))]),
    );
  return { rounds: results, medians: by(({ perSecond }) => perSecond), cpuMedians: by(({ cpuMicros }) => cpuMicros) };
}

async function runClient(program: string, order: ClientOrder): Promise<number> {
  const child: ChildProcess = fork(program, [], { stdio: ['ignore', 'ignore', 'inherit', 'ipc'] });
  try {
    return await new Promise<number>((resolve, reject) => {
      child.once('error', reject);
      child.once('exit', (code) => reject(new Error(`the client ended early with ${code}`)));
      child.once('message', (seconds) => resolve(Number(seconds)));
      child.send(order);
    });
  } finally {
    child.removeAllListeners('exit');
    child.kill();
  }
}

/** Resident memory per connection held open and silent, in bytes. `dial` opens one and resolves when it is connected. */
export async function benchIdle(
  contender: Contender,
  count: number,
  dial: (port: number) => Promise<{ destroy(): void }>,
  accepted: () => number,
): Promise<{ readonly bytesPerConnection: number; readonly held: number }> {
  const listening = await contender.listen();
  const before = process.memoryUsage.rss();
  const held: { destroy(): void }[] = [];
  try {
    for (let index = 0; index < count; index += 1) held.push(await dial(listening.port));
    return { bytesPerConnection: (process.memoryUsage.rss() - before) / count, held: accepted() };
  } finally {
    for (const connection of held) connection.destroy();
    await listening.close();
  }
}
