// Boots one guest and runs every program of test/guest/inside/ in it: tests of what the kernel below may lack. Each test in
// there shows up as a test here. One boot for all: it takes seconds, and the guest is several times slower than the machine.

import assert from 'node:assert/strict';
import { existsSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { bootGuest } from '../support/guest.ts';
import { lacksGuest } from '../support/guest-lack.ts';
import { parseGuestOutput } from '../support/guest-reporter.ts';

const here = path.dirname(fileURLToPath(import.meta.url));
const reporter = path.join(here, '../support/guest-reporter.js');
/** Of one program inside, on a machine that does other things too; alone they take a third. */
const programBoundMs = 400_000;

test('a kernel with VLANs', { skip: lacksGuest() }, async (t) => {
  const guest = await bootGuest({ memoryMiB: 3072 });
  t.after(() => guest.end());
  t.diagnostic(`Linux ${guest.kernelVersion} booted in ${guest.bootMs} ms`);

  await t.test('runs commands: input, output, exit codes, a bound', async () => {
    assert.deepEqual(await guest.run(['sh', '-c', 'cat; echo "it\'s" >&2; exit 7'], { input: 'in\n', anyCode: true }), {
      code: 7,
      stdout: 'in\n',
      stderr: "it's\n",
    });
    const [slow, quick] = await Promise.all([
      guest.run(['sleep', '600'], { timeoutMs: 500, anyCode: true }),
      guest.run(['uname', '-r']),
    ]);
    assert.equal(slow.code, -1, 'what takes too long is killed');
    assert.equal(quick.stdout.trim(), guest.kernelVersion);
    await assert.rejects(guest.run(['false']), /false: exit 1/);
    const links = await guest.run(['ip', '-o', 'link']);
    assert.equal(links.stdout.trim().split('\n').length, 1, 'loopback alone: a guest has no way out');
    const trace = path.join(here, 'written-in-the-guest');
    await guest.run(['touch', trace]);
    assert.ok(!existsSync(trace), 'what a guest writes stays in its memory');
  });

  const programs = readdirSync(path.join(here, 'inside'))
    .filter((name) => name.endsWith('.js'))
    .sort();
  assert.ok(programs.length > 0);
  for (const program of programs)
    await t.test(path.basename(program, '.js'), async (inside) => {
      const { stdout, stderr, code } = await guest.run(
        ['node', `--test-reporter=${reporter}`, '--test-reporter-destination=stdout', path.join(here, 'inside', program)],
        { timeoutMs: programBoundMs, anyCode: true, environment: { WEIR_TESTS: 'required' } },
      );
      const { outcomes, said } = parseGuestOutput(stdout);
      for (const line of said.split('\n').filter((text) => text !== '')) inside.diagnostic(line);
      for (const { name, ms, error, skipped } of outcomes)
        await inside.test(name, (one) => {
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
    });
});
