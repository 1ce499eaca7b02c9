import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { WeirError } from '../base/errors.ts';
import { silentLog } from '../base/log.ts';
import { readPersonas } from '../config/personas.ts';
import { RulesKeeper } from './rules-keeper.ts';

const personas = readPersonas(path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../../../rules'));
const digest = (text: string): string => createHash('sha256').update(text).digest('hex').slice(0, 12);
const rulesOf = (port: number): string =>
  JSON.stringify({
    version: 1,
    agent: 'branch-1',
    diversions: [{ name: 'ports', kind: 'agent', listen: { ports: [port] } }],
  });

interface Bed {
  readonly keeper: RulesKeeper;
  readonly offered: string;
  readonly kept: string;
  readonly asked: string[];
  answers: Record<string, () => unknown>;
  offer(text: string): string;
}

function bed(context: TestContext): Bed {
  const data = mkdtempSync(path.join(tmpdir(), 'weir-keeper-'));
  context.after(() => rmSync(data, { recursive: true }));
  mkdirSync(path.join(data, 'state'));
  const offered = path.join(data, 'offered.json');
  const asked: string[] = [];
  const made: Bed = {
    offered,
    kept: path.join(data, 'state/rules.json'),
    asked,
    answers: { plan: () => ({ changes: 1 }), pending: () => ({ state: 'none' }), confirm: () => ({ confirmed: true }) },
    offer: (text) => {
      writeFileSync(offered, text);
      return digest(text);
    },
    keeper: new RulesKeeper({
      data,
      offered,
      personas,
      log: silentLog,
      netd: async (verb, args) => {
        const { file, confirmWithinMs } = (args ?? {}) as { file?: string; confirmWithinMs?: number };
        asked.push([verb, ...(file ? [file.replace(data, '')] : []), ...(confirmWithinMs ? [confirmWithinMs] : [])].join(' '));
        return made.answers[verb]?.() ?? {};
      },
    }),
  };
  return made;
}

test('rules are tried, and kept for the next start only when the link was seen to live on', async (context) => {
  const { keeper, offer, asked, kept } = bed(context);
  await keeper.file();
  const before = readFileSync(kept, 'utf8');
  const text = rulesOf(23);
  assert.deepEqual(await keeper.take(offer(text)), { refused: [], pending: true });
  assert.deepEqual(asked, ['plan /state/rules-on-trial.json', 'apply 60000']);
  assert.equal(readFileSync(kept, 'utf8'), before);
  assert.equal(await keeper.confirm(), true);
  assert.equal(readFileSync(kept, 'utf8'), text);
  assert.equal(await keeper.confirm(), false);
  // The same again is no trial.
  assert.deepEqual(await keeper.take(offer(text)), { refused: [], pending: false });
});

test('a change that netd has taken back is not kept', async (context) => {
  const made = bed(context);
  await made.keeper.file();
  await made.keeper.take(made.offer(rulesOf(23)));
  made.answers.confirm = () => ({ confirmed: false });
  assert.equal(await made.keeper.confirm(), false);
  assert.doesNotMatch(readFileSync(made.kept, 'utf8'), /branch-1/);
});

test('what netd refuses is an answer with every reason, and what is kept stays', async (context) => {
  const made = bed(context);
  made.answers.plan = () => {
    throw new WeirError('lock-out', 'no', { mistakes: [{ mistake: 'eth0 holds your session', next: 'exclude it' }] });
  };
  const answer = await made.keeper.take(made.offer(rulesOf(23)));
  assert.deepEqual(answer, { refused: ['eth0 holds your session; exclude it'], pending: false });
  assert.ok(!existsSync(made.kept));
  assert.ok(!made.asked.some((one) => one.startsWith('apply')));
});

test('netd that goes away is no refusal for good: what it may have on trial stays on trial, what waits is confirmed later', async (context) => {
  const made = bed(context);
  await made.keeper.file();
  const gone = (): never => {
    throw new WeirError('not-running', 'nothing answers');
  };
  const rules = made.offer(rulesOf(23));
  made.answers.plan = gone;
  assert.deepEqual(await made.keeper.take(rules), { refused: ['nothing answers'], pending: false, again: true });
  // It dies as it applies; the next one finds the change on trial.
  made.answers.plan = () => ({ changes: 1 });
  made.answers.apply = gone;
  assert.equal((await made.keeper.take(rules)).again, true);
  made.answers.apply = () => ({});
  made.answers.pending = () => ({ state: 'pending' });
  const before = made.asked.length;
  assert.deepEqual(await made.keeper.take(rules), { refused: [], pending: true });
  assert.deepEqual(made.asked.slice(before), ['pending']);
  assert.doesNotMatch(readFileSync(made.kept, 'utf8'), /branch-1/);
  made.answers.confirm = gone;
  await assert.rejects(made.keeper.confirm(), { code: 'not-running' });
  made.answers.confirm = () => ({ confirmed: true });
  assert.equal(await made.keeper.confirm(), true);
  assert.match(readFileSync(made.kept, 'utf8'), /branch-1/);
});

test('root reads no link, nothing larger or other than announced, and no configuration that is nobody’s part', async (context) => {
  const { keeper, offered, offer, asked } = bed(context);
  const text = rulesOf(23);
  symlinkSync('/etc/hostname', offered);
  await assert.rejects(keeper.take(digest(readFileSync('/etc/hostname', 'utf8'))), { code: 'bad-request' });
  rmSync(offered);
  offer(text);
  await assert.rejects(keeper.take(digest(`${text} `)), { code: 'bad-request' });
  await assert.rejects(keeper.take('../../etc'), { code: 'bad-request' });
  const whole = JSON.stringify({ version: 1, diversions: [] });
  assert.match((await keeper.take(offer(whole))).refused.join(), /no rules for an agent/);
  assert.match(
    (await keeper.take(offer('{"version":1,"agent":"b","diversions":[{"kind":"nonsense"}]}'))).refused.join(),
    /nonsense/,
  );
  assert.deepEqual(asked, []);
});
