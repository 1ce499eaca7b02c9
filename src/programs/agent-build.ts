// `weir agent build`: the agent as one file that needs only Node. The built program, the two packages it stands on and the personas,
// joined by rolldown; the same bytes for the same source, with the licences of what is inside.

import { createHash } from 'node:crypto';
import { chmod, readdir, readFile, rename, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { WeirError } from '../base/errors.ts';
import { readPersonaFiles } from '../config/personas.ts';

export interface AgentBuild {
  /** As written, absolute. */
  readonly file: string;
  readonly version: string;
  readonly sha256: string;
  readonly bytes: number;
  /** What of others is inside, `name version (licence)`. */
  readonly packages: readonly string[];
}

const maxLicenceBytes = 64 * 1024;

/** The module that stands for agent-embedded.ts in the file. */
function renderEmbedded(root: string, version: string): string {
  const files = [...readPersonaFiles(path.join(root, 'rules'))];
  return `const personaFiles = new Map(${JSON.stringify(files)});
export const readEmbedded = () => ({ version: ${JSON.stringify(version)}, personaFiles });
`;
}

interface Manifest {
  readonly name: string;
  readonly version: string;
  readonly license?: string;
}

const readManifest = async (file: string): Promise<Manifest> => JSON.parse(await readFile(file, 'utf8')) as Manifest;

/** The package a module of node_modules belongs to; its directory. */
function packageOf(module: string): string | undefined {
  const at = module.lastIndexOf(`${path.sep}node_modules${path.sep}`);
  if (at < 0) return undefined;
  const from = at + '/node_modules/'.length;
  const [scope, name] = module.slice(from).split(path.sep);
  return module.slice(0, from) + (scope.startsWith('@') ? path.join(scope, name) : scope);
}

async function licenceOf(directory: string): Promise<{ readonly title: string; readonly text: string }> {
  const { name, version, license = 'no licence named' } = await readManifest(path.join(directory, 'package.json'));
  const file = (await readdir(directory)).sort().find((one) => /^licen[cs]e(\.|$)/i.test(one));
  const text = file === undefined ? '' : (await readFile(path.join(directory, file), 'utf8')).slice(0, maxLicenceBytes);
  return { title: `${name} ${version} (${license})`, text: text.trim() };
}

const asComment = (text: string): string => text.replaceAll('*/', '* /');

/** `root` is a built installation. Throws `tool-missing` where rolldown is not installed (`npm ci --omit=dev`). */
export async function buildAgent(root: string, output: string): Promise<AgentBuild> {
  let rolldown: typeof import('rolldown');
  try {
    rolldown = await import('rolldown');
  } catch (error) {
    throw new WeirError(
      'tool-missing',
      'the bundler rolldown is not installed here',
      { next: 'npm ci --ignore-scripts, in the folder of Weir' },
      error,
    );
  }
  const { version } = await readManifest(path.join(root, 'package.json'));
  const programs = path.join(root, 'dist/src/programs');
  const bundle = await rolldown.rolldown({
    cwd: root,
    input: path.join(programs, 'agent.js'),
    platform: 'node',
    logLevel: 'silent',
    treeshake: true,
    plugins: [
      {
        name: 'embedded',
        load: (id) => (id === path.join(programs, 'agent-embedded.js') ? renderEmbedded(root, version) : null),
      },
    ],
  });
  try {
    const { output: pieces } = await bundle.generate({
      format: 'esm',
      codeSplitting: false,
      sourcemap: false,
      minify: { mangle: false, compress: true, codegen: { removeWhitespace: true } },
      comments: false,
    });
    const [piece, ...more] = pieces;
    if (more.length > 0 || piece.type !== 'chunk') throw new WeirError('fault', `the agent became ${pieces.length} files`);
    const foreign = piece.imports.filter((name) => !name.startsWith('node:'));
    if (foreign.length > 0 || piece.dynamicImports.length > 0)
      throw new WeirError('fault', `the file would still need ${[...foreign, ...piece.dynamicImports].join(', ')}`);
    const directories = [...new Set(Object.keys(piece.modules).flatMap((module) => packageOf(module) ?? []))].sort();
    const licences = await Promise.all(directories.map(licenceOf));
    const own = await readFile(path.join(root, 'LICENSE'), 'utf8');
    const text = [
      '#!/usr/bin/env node',
      `// The agent of Weir ${version}, one file. Needs Node 20.19 or newer: node weir-agent.mjs --help`,
      piece.code.trimEnd(),
      '/*',
      `Weir ${version} (Apache-2.0)`,
      '',
      asComment(own.trim()),
      ...licences.flatMap(({ title, text: licence }) => ['', '', title, '', asComment(licence)]),
      '*/',
      '',
    ].join('\n');
    const file = path.resolve(output);
    await writeFile(`${file}.new`, text);
    await chmod(`${file}.new`, 0o755);
    await rename(`${file}.new`, file);
    return {
      file,
      version,
      sha256: createHash('sha256').update(text).digest('hex'),
      bytes: Buffer.byteLength(text),
      packages: licences.map(({ title }) => title),
    };
  } finally {
    await bundle.close();
  }
}
