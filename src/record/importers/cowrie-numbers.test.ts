// Cowrie's text log where numbers mislead: restarts, logs that begin midway, a log given twice; and what long lines may keep.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { runImport } from '../../../test/support/import-bed.ts';
import { cowrieFormat } from './cowrie.ts';
import { isCowrieText } from './cowrie-text.ts';

const second = (value: number): string => `2021-07-19T04:04:${String(value).padStart(2, '0')}.916128Z`;
const connect = (at: number, id: string, port: number): string =>
  `${second(at)} [cowrie.ssh.factory.CowrieSSHFactory] New connection: 192.0.2.1:${port} (198.51.100.1:2222) [session: ${id}]`;
const say = (at: number, number: number, message: string): string =>
  `${second(at)} [HoneyPotSSHTransport,${number},192.0.2.1] ${message}`;
const attempt = (at: number, number: number, password: string): string =>
  say(at, number, `login attempt [root/${password}] failed`);

/** Passwords by source port, of every session. */
const passwords = (...files: readonly (readonly string[])[]): string[] =>
  runImport(cowrieFormat, ...files)
    .sessions.map(({ source, userName, password, credentials }) => {
      const all = credentials?.map((one) => one.password) ?? (userName === undefined ? [] : [password]);
      return `${source.port} ${all.join(' ')}`;
    })
    .sort();

test('a log that begins midway: two connections of one address at once are taken in their order', () => {
  const lines = [
    connect(1, 'aaaaaaaaaaaa', 1001),
    connect(2, 'bbbbbbbbbbbb', 1002),
    attempt(3, 40, 'one'),
    attempt(4, 41, 'two'),
  ];
  assert.deepEqual(passwords(lines), ['1001 one', '1002 two']);
});

test('a sensor that crashed and starts again: a number of before is another connection', () => {
  for (const started of ['Cowrie Version 2.3.0', 'Log opened.']) {
    const before = [connect(1, 'aaaaaaaaaaaa', 1001), attempt(2, 0, 'one')];
    const after = [`${second(3)} [-] ${started}`, connect(4, 'bbbbbbbbbbbb', 1002), attempt(5, 0, 'two')];
    assert.deepEqual(passwords([...before, ...after]), ['1001 one', '1002 two']);
  }
});

test('a text log that is given twice tells nothing twice, and what follows it goes where it belongs', () => {
  const log = [connect(1, 'aaaaaaaaaaaa', 1001), attempt(2, 7, 'one'), connect(3, 'bbbbbbbbbbbb', 1002), attempt(4, 8, 'two')];
  const rest = [
    connect(5, 'cccccccccccc', 1003),
    connect(6, 'dddddddddddd', 1004),
    attempt(7, 10, 'four'),
    attempt(8, 7, 'again'),
  ];
  assert.deepEqual(passwords(log, log, rest), ['1001 one again', '1002 two', '1003 ', '1004 four']);
});

test('an attempt whose password holds line ends is one attempt; without its end it is none', () => {
  const lines = [
    connect(1, 'aaaaaaaaaaaa', 1001),
    say(2, 7, 'login attempt [root/a'),
    '\tb',
    '\tc] failed',
    say(3, 7, 'login attempt [root/lost'),
    attempt(4, 7, 'last'),
    '\tof nobody] failed',
  ];
  const { sessions, counts } = runImport(cowrieFormat, lines);
  assert.deepEqual(counts, { lines: 7, sessions: 1, merged: 6, rejected: 0 });
  assert.deepEqual(
    sessions[0].credentials?.map(({ password }) => password),
    ['a\nb\nc', 'last'],
  );
});

test("another Twisted server's log is not taken for Cowrie's", () => {
  const of = (name: string): boolean => isCowrieText(`2021-07-19 04:04:01+0000 [${name},12,192.0.2.1] hello`);
  for (const name of ['SMTPTransport', 'SSHService ssh-userauth on SSHServerTransport', 'FooHoneyPotTransport'])
    assert.equal(of(name), false, name);
  for (const name of ['HoneyPotTransport', 'SSHService ssh-userauth on HoneyPotTransport', 'CowrieTelnetTransport'])
    assert.equal(of(name), true, name);
});

test('of lines of a mebibyte only what is told of them is kept', { timeout: 20_000 }, async () => {
  const modules = ['cowrie', 'heralding'].map((name) => new URL(`./${name}.js`, import.meta.url).href);
  const code = `(async () => {
    const { cowrieFormat } = await import(${JSON.stringify(modules[0])});
    const { heraldingFormat } = await import(${JSON.stringify(modules[1])});
    const context = { now: 0, zoneMinutes: 0, session() {}, probe() {}, unfinished() {}, note() {}, protocolOf() {} };
    const cowrie = cowrieFormat.open(context);
    const heralding = heraldingFormat.open(context);
    const time = '2021-07-19T04:04:04.000000Z';
    for (let index = 0; index < 60; index += 1) {
      const place = { file: 0, line: index };
      const id = index.toString(16).padStart(12, '0');
      const long = Buffer.alloc(1 << 20, 97 + (index % 20)).toString();
      const [source, uuid] = ['192.0.2.' + index, id.slice(4) + '-0000-4000-8000-' + id];
      cowrie.take(time + ' [x.SSHFactory] New connection: ' + source + ':1 (198.51.100.1:22) [session: ' + id + '] ' + long, place);
      cowrie.take(time + ' [HoneyPotSSHTransport,' + index + ',' + source + '] login attempt [root/a password of some length] failed' + long, place);
      cowrie.take(time + ' [HoneyPotSSHTransport,' + index + ',' + source + '] login attempt [root/' + long + '] failed', place);
      heralding.take('2022-05-28 08:07:10.836336,' + uuid + ',' + uuid + ',' + source + ',1,198.51.100.9,110,pop3,name of some length,' + long, place);
    }
  })().catch((error) => { throw error; });`;
  const worker = new Worker(code, { eval: true, resourceLimits: { maxOldGenerationSizeMb: 48 } });
  const ended = await new Promise((resolve, reject) => {
    worker.once('error', reject);
    worker.once('exit', resolve);
  });
  assert.equal(ended, 0);
});
