// The launcher in small checkouts of the test's own: a program of one line, this project's compiler.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  realpathSync,
  rmSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import test from 'node:test';
import { fileURLToPath } from 'node:url';

const home = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../../..');

interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

function run(command: string, argv: readonly string[], options: { cwd?: string; env?: NodeJS.ProcessEnv } = {}): Promise<Ended> {
  return new Promise((resolve) => {
    execFile(command, argv, { timeout: 120_000, cwd: '/', ...options }, (error, stdout, stderr) =>
      resolve({ code: error === null ? 0 : typeof error.code === 'number' ? error.code : -1, stdout, stderr }),
    );
  });
}

const program = 'process.stdout.write(JSON.stringify(process.argv.slice(2)));\n';

/** A checkout in a folder with spaces in its name. */
function checkout(t: { after(run: () => void): void }): string {
  const directory = mkdtempSync(path.join(tmpdir(), 'weir launcher '));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  for (const file of ['weir', 'package.json', 'package-lock.json', 'tsconfig.json'])
    copyFileSync(path.join(home, file), path.join(directory, file));
  symlinkSync(realpathSync(path.join(home, 'node_modules')), path.join(directory, 'node_modules'));
  mkdirSync(path.join(directory, 'src/programs'), { recursive: true });
  writeFileSync(path.join(directory, 'src/programs/weir.ts'), program);
  return directory;
}

test('it builds once, passes arguments on as they are, and says nothing when nothing changed', async (t) => {
  const directory = checkout(t);
  const weir = path.join(directory, 'weir');
  const first = await run(weir, ['a b', '', '--x=*', '$HOME']);
  assert.deepEqual(first, { code: 0, stdout: JSON.stringify(['a b', '', '--x=*', '$HOME']), stderr: 'weir: building\n' });
  const second = await run(weir, ['x']);
  assert.deepEqual(second, { code: 0, stdout: '["x"]', stderr: '' });
});

test('it works through a symbolic link, from any directory', async (t) => {
  const directory = checkout(t);
  const link = path.join(directory, 'elsewhere');
  symlinkSync('weir', path.join(directory, 'again'));
  symlinkSync(path.join(directory, 'again'), link);
  const { code, stdout } = await run(link, ['1'], { cwd: tmpdir() });
  assert.deepEqual([code, stdout], [0, '["1"]']);
});

test('a changed source is built, a deleted one does not run on', async (t) => {
  const directory = checkout(t);
  const weir = path.join(directory, 'weir');
  const extra = path.join(directory, 'src/programs/extra.ts');
  writeFileSync(extra, 'export {};\n');
  assert.equal((await run(weir, [])).code, 0);
  const built = path.join(directory, 'dist/src/programs/extra.js');
  assert.ok(existsSync(built));
  unlinkSync(extra);
  writeFileSync(path.join(directory, 'src/programs/weir.ts'), "process.stdout.write('new');\n");
  assert.equal((await run(weir, [])).stdout, 'new');
  assert.ok(!existsSync(built));
});

test('a build that fails is said, runs nothing, and is tried again', async (t) => {
  const directory = checkout(t);
  const weir = path.join(directory, 'weir');
  writeFileSync(path.join(directory, 'src/programs/weir.ts'), "const wrong: number = 'text';\n");
  const failed = await run(weir, []);
  assert.equal(failed.code, 1);
  assert.match(failed.stderr, /the build failed/);
  writeFileSync(path.join(directory, 'src/programs/weir.ts'), program);
  assert.equal((await run(weir, ['ok'])).stdout, '["ok"]');
});

test('many at once build once and all run', async (t) => {
  const directory = checkout(t);
  const all = await Promise.all(Array.from({ length: 6 }, (_, index) => run(path.join(directory, 'weir'), [`${index}`])));
  assert.deepEqual(
    all.map(({ code, stdout }) => [code, stdout]),
    all.map((_, index) => [0, `["${index}"]`]),
  );
  assert.equal(all.filter(({ stderr }) => stderr.includes('building')).length, 1);
});

test('the exit code and the signal are those of the program', async (t) => {
  const directory = checkout(t);
  writeFileSync(path.join(directory, 'src/programs/weir.ts'), 'process.exitCode = Number(process.argv[2]);\n');
  assert.equal((await run(path.join(directory, 'weir'), ['10'])).code, 10);
});

/** A folder to stand first in PATH, with scripts in place of programs. */
function pathWith(directory: string, scripts: Record<string, string>): NodeJS.ProcessEnv {
  const bin = path.join(directory, 'bin of the test');
  mkdirSync(bin, { recursive: true });
  for (const [name, body] of Object.entries(scripts)) {
    writeFileSync(path.join(bin, name), `#!/bin/sh\n${body}\n`);
    chmodSync(path.join(bin, name), 0o755);
  }
  return { ...process.env, PATH: `${bin}:${process.env.PATH}` };
}

test('a Node that is too old, or none at all, is named with what to do', async (t) => {
  const directory = checkout(t);
  const weir = path.join(directory, 'weir');
  for (const version of ['v18.20.4', 'v20.18.3', 'v4.0.0']) {
    const { code, stderr } = await run(weir, [], { env: pathWith(directory, { node: `echo ${version}` }) });
    assert.equal(code, 1);
    assert.match(
      stderr,
      new RegExp(`Node ${version.replaceAll('.', '\\.')} .*is too old: Weir needs 20\\.19 or newer.*https://nodejs\\.org`),
    );
  }
  const bin = path.join(directory, 'bare');
  mkdirSync(bin);
  for (const tool of ['readlink', 'sh', 'id']) symlinkSync(`/usr/bin/${tool}`, path.join(bin, tool));
  const none = await run('/bin/sh', [weir], { env: { PATH: bin } });
  // The launcher adds the administration folders to PATH; a node there would be found.
  if (!['/usr/local/sbin', '/usr/sbin', '/sbin'].some((folder) => existsSync(path.join(folder, 'node')))) {
    assert.equal(none.code, 1);
    assert.match(none.stderr, /Node is not installed/);
  }
});

test('a missing tool is named with its package; without root nothing is installed', async (t) => {
  const directory = checkout(t);
  const weir = path.join(directory, 'weir');
  assert.equal((await run(weir, ['--version'])).code, 0);
  // Everything the launcher needs but nft, in one folder.
  const bin = path.join(directory, 'no-nft');
  mkdirSync(bin);
  for (const tool of ['readlink', 'sh', 'cmp', 'find', 'rm', 'cat', 'env', 'ip', 'setpriv'])
    symlinkSync(
      ['/usr/bin', '/bin', '/usr/sbin', '/sbin'].map((folder) => path.join(folder, tool)).find(existsSync) ?? `/usr/bin/${tool}`,
      path.join(bin, tool),
    );
  symlinkSync(process.execPath, path.join(bin, 'node'));
  // The launcher looks into these folders on its own account: an image of the script that does not.
  const blind = path.join(directory, 'weir-blind');
  copyFileSync(weir, blind);
  const { stdout: text } = await run('sed', ['s#^PATH=.*#PATH="$PATH"#', weir]);
  writeFileSync(blind, text);
  const as = async (uid: number): Promise<Ended> => {
    writeFileSync(path.join(bin, 'id'), `#!/bin/sh\necho ${uid}\n`);
    chmodSync(path.join(bin, 'id'), 0o755);
    writeFileSync(path.join(bin, 'apt-get'), `#!/bin/sh\necho "apt-get $*" >>"${directory}/asked"\n`);
    chmodSync(path.join(bin, 'apt-get'), 0o755);
    writeFileSync(path.join(bin, 'chmod'), '#!/bin/sh\n');
    chmodSync(path.join(bin, 'chmod'), 0o755);
    return run('/bin/sh', [blind, 'up'], { env: { PATH: bin } });
  };
  const user = await as(1000);
  assert.equal(user.code, 3);
  assert.match(
    user.stderr,
    /packages are missing: nftables\. Install them: sudo apt-get install --no-install-recommends nftables/,
  );
  assert.ok(!existsSync(path.join(directory, 'asked')));
  const help = await run('/bin/sh', [blind, 'up', '--help'], { env: { PATH: bin } });
  assert.equal(help.code, 0, 'help needs nothing');
});

test('the test runner ends with the count, fails when a test fails, and knows patterns', async (t) => {
  const directory = checkout(t);
  for (const name of ['run-tests.ts', 'test-order.ts'])
    copyFileSync(path.join(home, 'src/programs', name), path.join(directory, 'src/programs', name));
  mkdirSync(path.join(directory, 'src/base'));
  const file = (name: string, body: string): void =>
    writeFileSync(
      path.join(directory, `src/base/${name}.test.ts`),
      `import * as runner from 'node:test';\nconst { test, suite } = runner;\nvoid [test, suite];\n${body}`,
    );
  file(
    'good',
    "test('one', () => {});\nsuite('group', () => { test('two', () => {}); test('left out', { skip: 'why' }, () => {}); });\n",
  );
  file('bad', "suite('group', () => { test('three', () => { throw new Error('no'); }); });\n");
  file('broken', "throw new Error('at once');\n");
  assert.equal((await run(path.join(directory, 'weir'), [])).code, 0);
  // Inside a test, node:test would take the runner for one of its own children.
  const { NODE_TEST_CONTEXT: _, ...env } = process.env;
  const tests = (pattern: string): Promise<Ended> =>
    run(process.execPath, [path.join(directory, 'dist/src/programs/run-tests.js'), pattern], { env });
  const last = (text: string): string => text.trimEnd().split('\n').at(-1) ?? '';
  const all = await tests('base');
  assert.equal(last(all.stdout), '2 passed, 2 failed', all.stdout);
  assert.equal(all.code, 1);
  assert.match(all.stdout, /failed: src\/base\/bad\.test\.js: three\n/);
  assert.match(all.stdout, /failed: src\/base\/broken\.test\.js/);
  assert.match(all.stdout, /1 skipped/);
  const good = await tests('good');
  assert.deepEqual([last(good.stdout), good.code], ['2 passed, 0 failed', 0]);
  const byName = await tests('three');
  assert.deepEqual([/failed: .*three/.test(byName.stdout), byName.code], [true, 1]);
  const nothing = await tests('no such thing');
  assert.equal(nothing.code, 1);
});
