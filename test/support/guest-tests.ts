// Runs a program of test/guest/inside/ in a guest and makes each test in there a test out here.

import assert from 'node:assert/strict';
import path from 'node:path';
import type { TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { Guest } from './guest.ts';
import { parseGuestOutput } from './guest-reporter.ts';

const here = path.dirname(fileURLToPath(import.meta.url));
export const insideFolder = path.join(here, '../guest/inside');
const reporter = path.join(here, 'guest-reporter.js');
/** Of one program, on a machine that does other things too; alone they take a third. */
const programBoundMs = 500_000;

/** `program` without its extension; `environment` is for it. What it prints is shown; a test that is skipped in there failed. */
export async function runGuestTests(
  t: TestContext,
  guest: Guest,
  program: string,
  environment: Readonly<Record<string, string>> = {},
): Promise<void> {
  const { stdout, stderr, code } = await guest.run(
    [
      'node',
      '--enable-source-maps',
      `--test-reporter=${reporter}`,
      '--test-reporter-destination=stdout',
      path.join(insideFolder, `${program}.js`),
    ],
    { timeoutMs: programBoundMs, anyCode: true, environment: { WEIR_TESTS: 'required', ...environment } },
  );
  const { outcomes, said } = parseGuestOutput(stdout);
  for (const line of said.split('\n').filter((text) => text !== '')) t.diagnostic(line);
  for (const { name, ms, error, skipped } of outcomes)
    await t.test(name, (one) => {
      one.diagnostic(`${ms} ms in the guest`);
      assert.ok(!skipped, 'a guest has all that its tests need');
      if (error !== undefined) throw new Error(error);
    });
  assert.ok(outcomes.length > 0, `no test ran: ${stderr}`);
  assert.equal(
    code === 0,
    outcomes.every(({ error }) => error === undefined),
    `exit ${code}: ${stderr}`,
  );
}
