// Boots one guest and runs every program of test/guest/inside/ in it: tests of what the kernel below may lack. Each test in
// there shows up as a test here. One boot for all but those with a test file of their own name beside this one.

import assert from 'node:assert/strict';
import { existsSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { bootGuest } from '../support/guest.ts';
import { lacksGuest } from '../support/guest-lack.ts';
import { insideFolder, runGuestTests } from '../support/guest-tests.ts';

const here = path.dirname(fileURLToPath(import.meta.url));

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
    // Modules may bring fallback devices of their own, which are down: `sit0`, `bond0`.
    const links = await guest.run(['ip', '-o', 'link', 'show', 'up']);
    assert.match(links.stdout, /^1: lo: .*\n$/, 'loopback alone: a guest has no way out');
    const trace = path.join(here, 'written-in-the-guest');
    await guest.run(['touch', trace]);
    assert.ok(!existsSync(trace), 'what a guest writes stays in its memory');
  });

  const programs = readdirSync(insideFolder)
    .filter((name) => name.endsWith('.js'))
    .map((name) => path.basename(name, '.js'))
    .filter((name) => !existsSync(path.join(here, `${name}.test.js`)))
    .sort();
  assert.ok(programs.length > 0);
  for (const program of programs) await t.test(program, (inside) => runGuestTests(inside, guest, program));
});
