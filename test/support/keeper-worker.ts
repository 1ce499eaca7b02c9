// A program for an agent's keeper to run: the real worker of agent-worker.ts around a house of one TCP port and one file that may
// have one owner. Behaves well, or as badly as its file says.

import { createReadStream, readFileSync, rmSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { join } from 'node:path';
import { WeirError } from '../../src/base/errors.ts';
import { silentLog } from '../../src/base/log.ts';
import type { WorkerState } from '../../src/programs/agent-trial.ts';
import { type HouseHooks, type OpenHouse, serveKeeper } from '../../src/programs/agent-worker.ts';
import { hasKeeper, type ProgramOffer } from '../../src/programs/keeper-messages.ts';

export type Behaviour =
  | 'good'
  | 'exits'
  | 'hangs'
  | 'another-version'
  | 'dies-on-open'
  | 'hangs-on-open'
  | 'no-link'
  | 'bad-health'
  | 'will-not-close'
  | 'dies-after-commit';

export interface WorkerText {
  readonly version: string;
  readonly behaviour: Behaviour;
}

/** The text of a program; `module` is this file, built. */
export const renderWorker = (module: string, text: WorkerText, filling = ''): string =>
  `import { work } from ${JSON.stringify(module)};\nawait work(${JSON.stringify(text)});\n//${filling}\n`;

const hang = (): never => {
  for (;;) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1000);
};

/** One process at a time has it, as with a journal. */
function takeLock(path: string): void {
  try {
    writeFileSync(path, String(process.pid), { flag: 'wx' });
  } catch {
    const holder = Number(readFileSync(path, 'utf8'));
    let lives = true;
    try {
      process.kill(holder, 0);
    } catch {
      lives = false;
    }
    if (lives && holder !== process.pid) throw new WeirError('already-running', 'another has it');
    writeFileSync(path, String(process.pid));
  }
}

/** `argv`: the port to listen on, the port of the test, which stands for the gateway. */
function openHouse({ version, behaviour }: WorkerText, data: string, hooks: HouseHooks): Promise<OpenHouse> {
  const [port, gatewayPort] = process.argv.slice(2, 4).map(Number);
  if (behaviour === 'dies-on-open') process.exit(7);
  if (behaviour === 'hangs-on-open') hang();
  const lock = join(data, 'lock');
  takeLock(lock);
  const server = net.createServer((socket) => {
    socket.on('error', () => {});
    socket.end(`${version} ${process.pid}\n`);
  });
  const gateway = net.connect(gatewayPort, '127.0.0.1');
  gateway.on('error', () => {});
  const say = (line: unknown): boolean => gateway.write(`${JSON.stringify(line)}\n`);
  const state = (linked: boolean): WorkerState => ({
    linked: linked && behaviour !== 'no-link',
    health: behaviour === 'bad-health' ? 'bad' : 'good',
    reasons: behaviour === 'bad-health' ? ['it is broken'] : [],
    refused: 0,
    ruled: true,
  });
  gateway.on('connect', () => {
    say({ hello: version, pid: process.pid });
    hooks.onState(state(true));
  });
  gateway.on('close', () => hooks.onState(state(false)));
  let heard = '';
  let files = new Map<string, string>();
  gateway.on('data', (bytes) => {
    heard += String(bytes);
    const lines = heard.split('\n');
    heard = lines.pop() ?? '';
    for (const line of lines) {
      const { offer, file } = JSON.parse(line) as { offer: ProgramOffer; file: string };
      files = new Map([[offer.version, file]]);
      hooks.onOffer(offer);
    }
  });
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, '127.0.0.1', () =>
      resolve({
        state: () => state(gateway.readyState === 'open'),
        tellUpgrade: (news) => {
          if (gateway.readyState !== 'open') return false;
          say({ news });
          if (behaviour === 'dies-after-commit' && news.state === 'committed') setImmediate(() => process.exit(9));
          return true;
        },
        fetchProgram: (wanted) => createReadStream(files.get(wanted) ?? '/nonexistent'),
        close: async () => {
          if (behaviour === 'will-not-close') hang();
          await new Promise<void>((done) => server.close(() => done()));
          await new Promise<void>((done) => gateway.end(() => done()));
          gateway.destroy();
          rmSync(lock, { force: true });
        },
      }),
    );
  });
}

export async function work(text: WorkerText): Promise<void> {
  const data = process.argv[4];
  if (!hasKeeper(process.env)) throw new Error('no keeper');
  if (text.behaviour === 'exits') process.exit(5);
  if (text.behaviour === 'hangs') hang();
  // Once committed it does not even start any more.
  if (text.behaviour === 'dies-after-commit') {
    const mark = join(data, 'died');
    try {
      writeFileSync(mark, '', { flag: 'wx' });
    } catch {
      process.exit(8);
    }
  }
  const version = text.behaviour === 'another-version' ? '9.9.9' : text.version;
  await serveKeeper({ version, data, log: silentLog, open: (hooks) => openHouse(text, data, hooks) });
  process.exit(0);
}
