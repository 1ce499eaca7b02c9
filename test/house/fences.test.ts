// The rules of the house that a machine can hold: which room may import which, how files open, how long they are,
// what they are called, what is written down about them. CONTRIBUTING.md says why.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import path from 'node:path';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import { errorCodes } from '../../src/base/errors.ts';

const home = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../../..');

/** Rooms of src/ by layer, highest first. A file imports from its own room or from layers below. */
const layers = [
  ['programs'],
  ['api', 'cli'],
  ['relay', 'honeypot', 'analysis', 'ids', 'netops'],
  ['plan', 'record'],
  ['kernel'],
  ['config'],
  ['model'],
  ['base'],
];

/** Folders for anything belong to nobody. */
const forbiddenNames = /^(lib|utils?|helpers?|common|shared|misc|types|index)(\.[a-z]+)*$/;

function filesBelow(room: string): string[] {
  const directory = path.join(home, room);
  if (!existsSync(directory)) return [];
  return readdirSync(directory, { recursive: true, encoding: 'utf8' })
    .map((name) => path.posix.join(room, name))
    .filter((name) => statSync(path.join(home, name)).isFile())
    .sort();
}

const read = (file: string): string => readFileSync(path.join(home, file), 'utf8');
const sources = ['src', 'test', 'console']
  .flatMap(filesBelow)
  .filter((file) => file.endsWith('.ts') && !file.includes('node_modules'));

/** Rooms that hold a file. */
const rooms = [...new Set(sources.filter((file) => file.startsWith('src/')).map((file) => file.split('/')[1]))];

/** Specifiers of static and dynamic imports, re-exports, `require` and Worker files. */
function importsOf(text: string): string[] {
  const found: string[] = [];
  const patterns = [
    /^\s*(?:import|export)\b[^;'"]*?\bfrom\s*['"]([^'"]+)['"]/gm,
    /^\s*import\s*['"]([^'"]+)['"]/gm,
    /\bimport\(\s*['"]([^'"]+)['"]\s*\)/g,
    /\brequire\(\s*['"]([^'"]+)['"]\s*\)/g,
    /\bnew URL\(\s*['"](\.[^'"]+)['"]\s*,\s*import\.meta\.url\s*\)/g,
  ];
  for (const pattern of patterns) for (const match of text.matchAll(pattern)) found.push(match[1]);
  return found;
}

const layerOf = (room: string): number => layers.findIndex((rooms) => rooms.includes(room));

/** Why `file` may not import `specifier`; undefined when it may. */
function forbiddenImport(file: string, specifier: string): string | undefined {
  if (!specifier.startsWith('.')) return undefined;
  const target = path.posix.normalize(path.posix.join(path.posix.dirname(file), specifier));
  const [, room] = file.split('/');
  const [top, other] = target.split('/');
  // A contract is the part of a test that every implementation runs.
  const isTest = /(\.test|-contract)\.ts$/.test(file);
  if (top !== 'src') return isTest && top === 'test' ? undefined : `${file} imports ${target}, which is outside src/`;
  if (other === room) return undefined;
  if (layerOf(other) > layerOf(room)) return undefined;
  return `${file} imports ${target}: ${room} may not know ${other}`;
}

test('every room has a layer', () => {
  assert.deepEqual(
    rooms.filter((room) => layerOf(room) < 0),
    [],
  );
});

test('imports point down the list, and neighbours do not know each other', () => {
  const wrong = sources
    .filter((file) => file.startsWith('src/'))
    .flatMap((file) => importsOf(read(file)).map((specifier) => forbiddenImport(file, specifier)))
    .filter((why) => why !== undefined);
  assert.deepEqual(wrong, []);
});

test('the fence itself sees every way of importing', () => {
  const ways = [
    "import { a } from '../relay/a.ts';",
    "import type { A } from '../relay/a.ts';",
    "import {\n  a,\n  b,\n} from '../relay/a.ts';",
    "import '../relay/a.ts';",
    "export * from '../relay/a.ts';",
    "export { a } from '../relay/a.ts';",
    "const a = await import('../relay/a.ts');",
    "const a = require('../relay/a.ts');",
    "new Worker(new URL('../relay/a.ts', import.meta.url));",
  ];
  for (const way of ways)
    assert.ok(
      importsOf(way).some((one) => forbiddenImport('src/honeypot/x.ts', one)),
      way,
    );
  assert.equal(forbiddenImport('src/honeypot/x.ts', './y.ts'), undefined);
  assert.equal(forbiddenImport('src/honeypot/responders/x.ts', '../../base/log.ts'), undefined);
  assert.ok(forbiddenImport('src/base/x.ts', '../model/session.ts'));
  assert.ok(forbiddenImport('src/base/x.ts', '../../test/support/lab.ts'));
});

test('no import cycle within a room', () => {
  const graph = new Map(
    sources
      .filter((file) => file.startsWith('src/') && !file.endsWith('.test.ts'))
      .map((file) => {
        // Types vanish: they make no cycle at run time.
        const text = read(file).replace(/^\s*(?:import|export) type\b[^;]*;/gm, '');
        const targets = importsOf(text).filter((specifier) => specifier.startsWith('.'));
        return [file, targets.map((specifier) => path.posix.normalize(path.posix.join(path.posix.dirname(file), specifier)))];
      }),
  );
  const state = new Map<string, 'open' | 'done'>();
  const cycles: string[] = [];
  const visit = (file: string, trail: string[]): void => {
    if (state.get(file) === 'done') return;
    if (state.get(file) === 'open') {
      cycles.push([...trail.slice(trail.indexOf(file)), file].join(' -> '));
      return;
    }
    state.set(file, 'open');
    for (const next of graph.get(file) ?? []) visit(next, [...trail, file]);
    state.set(file, 'done');
  };
  for (const file of graph.keys()) visit(file, []);
  assert.deepEqual(cycles, []);
});

test('every source file opens with one to four lines of comment', () => {
  const wrong = sources
    .filter((file) => file.startsWith('src/') && !file.endsWith('.test.ts'))
    .filter((file) => {
      const lines = read(file).split('\n');
      const first = lines[0].startsWith('#!') ? 1 : 0;
      let count = 0;
      while (/^\/\/ \S/.test(lines[first + count])) count += 1;
      // A paragraph after an empty comment line explains more; the opening itself stays short.
      return count < 1 || count > 4;
    });
  assert.deepEqual(wrong, []);
});

test('no file is longer than 500 lines', () => {
  assert.deepEqual(
    sources.filter((file) => read(file).split('\n').length > 501),
    [],
  );
});

test('files are in kebab-case, and none is called after nothing', () => {
  const wrong = sources.filter(
    (file) =>
      file.split('/').some((part) => forbiddenNames.test(part)) ||
      !/^[a-z0-9]+(-[a-z0-9]+)*(\.(test|d))?\.ts$/.test(path.posix.basename(file)),
  );
  assert.deepEqual(wrong, []);
});

test('the environment is read in programs only', () => {
  const wrong = sources
    .filter((file) => file.startsWith('src/') && !file.startsWith('src/programs/') && !file.endsWith('.test.ts'))
    .filter((file) =>
      /\bprocess\.env\b|\bprocess\[['"]env|\{[^}]*\benv\b[^}]*\}\s*=\s*process\b|\benv\b[^;]*from 'node:process'/.test(
        read(file),
      ),
    );
  assert.deepEqual(wrong, []);
});

test('nothing is left to do, and nothing is switched off without a reason', () => {
  const wrong = sources.filter((file) =>
    /\b(TODO|FIXME|XXX|HACK)\b|@ts-ignore|@ts-nocheck|\b(test|it|describe)\.only\(/.test(read(file).replace(/\/\\b\(.*/g, '')),
  );
  assert.deepEqual(wrong, []);
});

test('ARCHITECTURE.md has a row for every folder', () => {
  const text = read('ARCHITECTURE.md');
  const folders = [
    ...rooms.map((room) => `src/${room}/`),
    ...['console', 'rules', 'test', 'docs', 'packaging']
      .filter((room) => existsSync(path.join(home, room)))
      .map((room) => `${room}/`),
  ];
  assert.deepEqual(
    folders.filter((room) => !text.includes(`| \`${room}\` |`)),
    [],
  );
});

test('every package Weir stands on has a decision that says why', () => {
  const manifest = JSON.parse(read('package.json')) as Record<'dependencies' | 'devDependencies', Record<string, string>>;
  const decisions = filesBelow('docs/decisions').map(read).join('\n');
  const packages = [...Object.keys(manifest.dependencies), ...Object.keys(manifest.devDependencies)];
  assert.deepEqual(
    packages.filter((name) => !new RegExp(`(^|[^a-z/-])${name}($|[^a-z/-])`, 'm').test(decisions)),
    [],
  );
  for (const version of Object.values({ ...manifest.dependencies, ...manifest.devDependencies }))
    assert.match(version, /^\d/, 'versions are exact');
});

test('the lock file has every optional package, so that `npm ci` works on every machine', () => {
  // npm leaves out those it could not fetch when it wrote the file, and then refuses the file for being incomplete.
  const { packages } = JSON.parse(read('package-lock.json')) as {
    packages: Record<string, { version?: string; optionalDependencies?: Record<string, string> }>;
  };
  const missing = Object.values(packages).flatMap(({ optionalDependencies }) =>
    Object.keys(optionalDependencies ?? {}).filter((name) => packages[`node_modules/${name}`]?.version === undefined),
  );
  assert.deepEqual(missing, []);
});

test('decisions are numbered without gaps or doubles', () => {
  const numbers = filesBelow('docs/decisions').map((file) => Number(/\/(\d{4})-[a-z0-9-]+\.md$/.exec(file)?.[1]));
  assert.deepEqual(
    numbers,
    numbers.map((_, index) => index + 1),
  );
});

test('every error code is used somewhere', () => {
  const code = sources
    .filter((file) => file.startsWith('src/') && file !== 'src/base/errors.ts')
    .map(read)
    .join('\n');
  assert.deepEqual(
    Object.keys(errorCodes).filter((name) => !code.includes(`'${name}'`)),
    [],
  );
});

test('documents link only to files that exist', () => {
  const wrong: string[] = [];
  const documents = [...filesBelow('docs'), ...readdirSync(home)].filter((file) => file.endsWith('.md'));
  for (const file of documents)
    for (const [, target] of read(file).matchAll(/\]\(([^)#\s]+)(?:#[^)]*)?\)/g))
      if (!/^[a-z]+:/.test(target) && !existsSync(path.join(home, path.dirname(file), target))) wrong.push(`${file}: ${target}`);
  assert.deepEqual(wrong, []);
});

test('scripts parse, and are executable', () => {
  for (const [file, shell] of [
    ['weir', 'sh'],
    ['.ci/run', 'bash'],
  ]) {
    execFileSync(shell, ['-n', path.join(home, file)]);
    assert.ok(statSync(path.join(home, file)).mode & 0o111, file);
  }
});
