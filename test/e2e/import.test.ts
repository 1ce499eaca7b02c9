// `weir import` as a whole: root's files read by nobody, with and without a recorder, and with one that is killed meanwhile.

import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { chmodSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { RecorderReader } from '../../src/cli/reader.ts';
import { readConfiguration } from '../../src/config/configuration.ts';
import { readPersonas } from '../../src/config/personas.ts';
import { ensureAccount } from '../../src/programs/account.ts';
import { generateLog } from '../../src/programs/bench/import-logs.ts';
import { ownInstallation } from '../../src/programs/installation.ts';
import { recorderSpecification } from '../../src/programs/launch.ts';
import { ensureReadableProgram } from '../../src/programs/program-files.ts';
import { recorderSettings } from '../../src/programs/settings.ts';
import { lendNetworks } from '../../src/programs/weir-lab.ts';
import { lacksKernelTests, until } from '../support/namespace.ts';

interface Answer {
  readonly files: readonly {
    readonly file: string;
    readonly format: string | null;
    readonly lines: number;
    readonly sessions: number;
    readonly probes: number;
    readonly merged: number;
    readonly rejected: number;
    readonly rejected_file: string | null;
    readonly error?: string;
  }[];
}

const { node, root } = ownInstallation();
const log = (format: string, lines: number): Buffer => Buffer.concat([...generateLog(format, lines)]);

/** Longer than a line may be, and no JSON. */
const hostile = `${'x'.repeat(3 << 20)}\n{"flow":\0\n`;

class Bench {
  readonly home = mkdtempSync(join(tmpdir(), 'weir-e2e-import-'));
  readonly data = join(this.home, 'data');
  readonly file = join(this.home, 'weir.yaml');
  #recorder: ChildProcess | undefined;

  constructor() {
    chmodSync(this.home, 0o755);
    lendNetworks(this.data);
    writeFileSync(this.file, `version: 1\ndata: ${this.data}\n`);
  }

  /** As only its owner may read it. */
  put(name: string, bytes: Buffer | string): string {
    const path = join(this.home, name);
    writeFileSync(path, bytes, { mode: 0o600 });
    return path;
  }

  start(argv: readonly string[]): { child: ChildProcess; ended: Promise<{ code: number | null; out: string; err: string }> } {
    const child = spawn(node, [join(root, 'dist/src/programs/weir.js'), ...argv, '-c', this.file], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const ended = (async () => {
      let [out, err] = ['', ''];
      child.stdout?.on('data', (piece) => {
        out += piece;
      });
      child.stderr?.on('data', (piece) => {
        err += piece;
      });
      const code = await new Promise<number | null>((resolve) => child.on('close', resolve));
      return { code, out, err };
    })();
    return { child, ended };
  }

  async import(files: readonly string[], code = 0): Promise<Answer['files']> {
    const result = await this.start(['import', 'auto', ...files, '--json']).ended;
    assert.equal(result.code, code, result.err + result.out);
    return checked(result.out);
  }

  async startRecorder(): Promise<ChildProcess> {
    const account = await ensureAccount();
    const installation = await ensureReadableProgram(ownInstallation(), account, this.data);
    const configuration = readConfiguration(this.file, { personas: readPersonas(join(root, 'rules')) });
    const settings = recorderSettings(configuration);
    const specification = recorderSpecification(
      { installation, account, data: this.data },
      JSON.stringify({ ...settings, console: { ...settings.console, address: '127.0.0.1', port: 0 } }),
    );
    const child = spawn(specification.command, [...specification.arguments], {
      stdio: ['pipe', 'ignore', 'inherit'],
      env: specification.environment,
    });
    this.#recorder = child;
    await until(
      'the recorder answers',
      () =>
        this.reader.counts({}).then(
          () => true,
          () => undefined,
        ),
      30_000,
    );
    return child;
  }

  get reader(): RecorderReader {
    return new RecorderReader(join(this.data, 'run/recorder.sock'));
  }

  /** Everything is in the store. */
  async counted(sessions: number): Promise<void> {
    await until(`${sessions} sessions`, async () => (await this.reader.counts({})).sessions === sessions || undefined, 60_000);
  }

  async close(): Promise<void> {
    const recorder = this.#recorder;
    if (recorder && recorder.exitCode === null && recorder.signalCode === null) {
      const gone = new Promise((resolve) => recorder.on('exit', resolve));
      recorder.kill('SIGTERM');
      await gone;
    }
    rmSync(this.home, { recursive: true, force: true });
  }
}

function checked(out: string): Answer['files'] {
  const { files } = JSON.parse(out) as Answer;
  for (const { file, lines, sessions, merged, rejected } of files) assert.equal(lines, sessions + merged + rejected, file);
  return files;
}

/** Of a process that was once `setpriv`. */
async function uidOfImporter(parent: number): Promise<number> {
  return until('the process that reads is there', () => {
    for (const pid of readFileSync(`/proc/${parent}/task/${parent}/children`, 'utf8').split(' ').filter(Boolean)) {
      const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8');
      if (command.includes('importer.js') && !command.startsWith('setpriv')) {
        const [, uid] = /^Uid:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? [];
        return Number(uid);
      }
    }
    return undefined;
  });
}

test('logs of others come in once, whether a recorder runs, none does, or it is killed meanwhile', {
  skip: lacksKernelTests(),
}, async () => {
  const bench = new Bench();
  try {
    const sensor = bench.put('tcppc.jsonl.gz', gzipSync(Buffer.concat([log('tcppc', 500), Buffer.from(hostile)])));
    const filter = bench.put('kern.log', log('netfilter-log', 500));
    const cowrie = bench.put('cowrie.json', log('cowrie', 500));
    const first = await bench.import([sensor, filter, cowrie]);
    assert.deepEqual(
      first.map(({ format, lines, rejected }) => [format, lines, rejected]),
      [
        ['tcppc', 502, 2],
        ['netfilter-log', 500, 0],
        ['cowrie', 500, 0],
      ],
    );
    // Every packet is the beginning of one of the sessions.
    assert.deepEqual([first[0].sessions, first[1].sessions, first[1].merged], [500, 0, 500]);
    const account = await ensureAccount();
    const path = first[0].rejected_file ?? '';
    const rejects = readFileSync(path, 'utf8').trim().split('\n');
    assert.match(rejects[0], /"line":501,"reason":"3145728 bytes long/);
    assert.deepEqual([rejects.length, statSync(path).uid], [2, account.uid]);

    // Again, and more, to a recorder that runs, and dies.
    const sessions = 500 + first[2].sessions;
    let recorder = await bench.startRecorder();
    await bench.counted(sessions);
    const ports = await bench.reader.top('ports', 'hits', { service: 'tcppc' });
    assert.ok(ports.length > 5 && !ports.some(({ key }) => key === '12345/tcp'), 'the true ports');
    const more = bench.put('heralding.json', log('heralding', 12_000));
    const { child, ended } = bench.start(['import', 'auto', cowrie, more, '--json']);
    assert.equal(await uidOfImporter(child.pid as number), account.uid);
    await until('it is on its way', async () => (await bench.reader.counts({})).sessions > sessions || undefined, 60_000);
    recorder.kill('SIGKILL');
    recorder = await bench.startRecorder();
    const result = await ended;
    assert.equal(result.code, 0, result.err);
    const [known, fresh] = checked(result.out);
    assert.deepEqual([known.sessions, known.merged], [0, 500]);
    // What was in the journal and acknowledged by nobody is known when it is sent again.
    assert.equal(fresh.sessions + fresh.merged, 12_000);
    await bench.counted(sessions + 12_000);
  } finally {
    await bench.close();
  }
});
