// What `weir import` says and how it ends, with the work itself replaced.

import assert from 'node:assert/strict';
import test from 'node:test';
import { WeirError } from '../base/errors.ts';
import type { Configuration } from '../model/configuration.ts';
import type { FileResult } from '../record/importers/import-run.ts';
import type { Actions, ImportText } from './actions.ts';
import { runCommandLine } from './command-line.ts';
import type { CommandEnvironment, CommandOutput } from './environment.ts';

const done: FileResult = {
  file: 'a.jsonl',
  format: 'tcppc',
  lines: 9,
  sessions: 6,
  probes: 0,
  merged: 2,
  rejected: 1,
  rejectedFile: '/d/imports/r.jsonl',
  notes: ['a note'],
};
const unknown: FileResult = {
  file: 'b\\x1b',
  lines: 0,
  sessions: 0,
  probes: 0,
  merged: 0,
  rejected: 0,
  error: 'its format is not known: it holds text',
  notes: [],
};

interface Run {
  readonly code: number;
  readonly out: string;
  readonly err: string;
  readonly wishes: readonly ImportText[];
}

async function weir(argv: readonly string[], files: readonly FileResult[] = [done], terminal = false): Promise<Run> {
  const written = { out: '', err: '' };
  const output = (to: 'out' | 'err'): CommandOutput => ({
    isTerminal: terminal,
    columns: () => 60,
    closed: false,
    async write(data) {
      written[to] += data.toString();
    },
  });
  const wishes: ImportText[] = [];
  const actions = {
    import: async (wish: ImportText, onProgress: (progress: never) => void) => {
      wishes.push(wish);
      onProgress({ file: 'a.jsonl', readBytes: 10, totalBytes: 100, lines: 5, sessions: 3 } as never);
      return { files, seconds: 1.25, running: false };
    },
  } as unknown as Actions;
  const environment: CommandEnvironment = {
    version: '0',
    stdout: output('out'),
    stderr: output('err'),
    cwd: '/',
    variables: {},
    clock: () => 0,
    signal: new AbortController().signal,
    readConfiguration: () => ({ data: '/d' }) as Configuration,
    rulesDirectory: '/nowhere',
    openStore: () => Promise.reject(new WeirError('not-found', 'none')),
    actions,
  };
  const code = await runCommandLine(['import', ...argv], environment);
  return { code, ...written, wishes };
}

test('one object with every file, as the contract has it', async () => {
  const { code, out } = await weir(['auto', 'a.jsonl', '--json']);
  assert.equal(code, 0);
  assert.deepEqual(JSON.parse(out), {
    files: [
      {
        file: 'a.jsonl',
        format: 'tcppc',
        lines: 9,
        sessions: 6,
        probes: 0,
        merged: 2,
        rejected: 1,
        rejected_file: '/d/imports/r.jsonl',
        notes: ['a note'],
      },
    ],
    seconds: 1.25,
  });
});

test('a table for people; what was not read is said, and the exit code is 1', async () => {
  const { code, out, err } = await weir(['auto', 'a.jsonl', 'b'], [done, unknown]);
  assert.equal(code, 1);
  assert.match(
    out,
    /FILE +FORMAT +LINES +SESSIONS +PROBES +MERGED +REJECTED\na\.jsonl +tcppc +9 +6 +0 +2 +1\n.* not read .*\nall +9 +6 +0 +2 +1\n/,
  );
  assert.match(err, /a\.jsonl: a note/);
  assert.match(err, /rejected lines are in \/d\/imports\/r\.jsonl/);
  assert.match(err, /its format is not known/);
  assert.match(err, /9 lines in 1\.3 s; no recorder runs/);
});

test('progress is drawn again on a terminal alone', async () => {
  const drawn = await weir(['auto', 'a'], [done], true);
  assert.ok(drawn.err.startsWith('\r\u001b[K10 B of 100 B, 5 lines'), drawn.err);
  assert.equal(drawn.err.split('\r\u001b[K').length, 3);
  const quiet = await weir(['auto', 'a']);
  assert.ok(!quiet.err.includes('\u001b') && !quiet.err.includes('10 B'));
});

test('options become what is wished', async () => {
  const { wishes } = await weir([
    'netfilter-log',
    'k',
    '-',
    '--zone',
    '-0530',
    '--year',
    '2024',
    '--booted',
    '2026-01-31T12:00:00Z',
    '--join-window',
    '2.5s',
  ]);
  assert.deepEqual(wishes, [
    {
      format: 'netfilter-log',
      files: ['k', '-'],
      zoneMinutes: -330,
      year: 2024,
      bootedAt: Date.UTC(2026, 0, 31, 12) * 1000,
      joinWindowMs: 2500,
    },
  ]);
});

test('what cannot be meant is refused before anything is read', async () => {
  const wrong: readonly (readonly [readonly string[], RegExp])[] = [
    [[], /which format/],
    [['auto'], /which files/],
    [['cowry', 'x'], /no import format.*\n.*cowrie/],
    [['auto', '-', '-'], /once/],
    [['auto', 'x', '--zone', 'CET'], /--zone/],
    [['auto', 'x', '--zone', '+99:00'], /--zone/],
    [['auto', 'x', '--year', '22'], /--year/],
    [['auto', 'x', '--booted', 'yesterday'], /--booted/],
    [['auto', 'x', '--join-window', '1e9'], /--join-window/],
  ];
  for (const [argv, message] of wrong) {
    const { code, err, wishes } = await weir(argv);
    assert.deepEqual([code, wishes], [2, []], argv.join(' '));
    assert.match(err, message);
  }
});

test('--list names every format', async () => {
  const { code, out } = await weir(['--list', '--json']);
  assert.equal(code, 0);
  const names = out
    .trim()
    .split('\n')
    .map((line) => (JSON.parse(line) as { name: string }).name);
  for (const name of ['tcppc', 'cowrie', 'netfilter-log', 'eve']) assert.ok(names.includes(name), name);
});

test('a file of another format than was said is told from one with bad lines', async () => {
  const all = { ...done, sessions: 0, merged: 0, rejected: 9 };
  assert.match((await weir(['cowrie', 'a.jsonl'], [all])).err, /a\.jsonl: not a line of it is cowrie: `weir import auto` tells/);
  assert.doesNotMatch((await weir(['cowrie', 'a.jsonl'])).err, /not a line/);
  assert.doesNotMatch((await weir(['auto', 'a.jsonl'], [all])).err, /not a line/);
});
