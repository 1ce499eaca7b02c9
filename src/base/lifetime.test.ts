import assert from 'node:assert/strict';
import test from 'node:test';
import { Lifetime } from './lifetime.ts';
import { type Log, openLog, silentLog } from './log.ts';

test('everything is closed once, last opened first, and one failure does not stop the rest', async () => {
  const closed: string[] = [];
  const failures: unknown[] = [];
  const log: Log = { ...silentLog, error: (_, fields) => failures.push(fields?.name) };
  const lifetime = new Lifetime(log);
  const thing = lifetime.own('first', { close: () => void closed.push('first') });
  lifetime.onEnd('second', () => {
    closed.push('second');
    throw new Error('no');
  });
  lifetime.onEnd('third', async () => void closed.push('third'));
  assert.equal(lifetime.ending, false);
  const ended = lifetime.end();
  assert.equal(lifetime.ending, true);
  await Promise.all([ended, lifetime.end()]);
  assert.deepEqual(closed, ['third', 'second', 'first']);
  assert.deepEqual(failures, ['second']);
  assert.ok(thing);
});

test('what does not close in time is passed over', async () => {
  const failures: unknown[] = [];
  const closed: string[] = [];
  const lifetime = new Lifetime({ ...silentLog, error: (_, fields) => failures.push(fields?.error) }, 5);
  lifetime.onEnd('after', () => void closed.push('after'));
  lifetime.onEnd('stuck', () => new Promise(() => {}));
  await lifetime.end();
  assert.deepEqual(failures, ['not closed within 5 ms']);
  assert.deepEqual(closed, ['after']);
});

test('a log line is one line, whatever is in it', () => {
  const lines: string[] = [];
  const log = openLog('test', 'info', (line) => lines.push(line));
  log.debug('not shown');
  log.warn('hello\nworld', { text: 'a\x1b[31mb\n', object: { deep: ['\u202e'] }, none: undefined });
  assert.equal(lines.length, 1);
  assert.match(
    lines[0],
    /^\d{4}-[^ ]+Z warn {2}test: hello\\nworld text=a\\x1b\[31mb\\n object=\{"deep":\["\\u\{202e\}"\]\} none=undefined\n$/,
  );
});
