// Agent programs for tests of upgrades: the single file as it is built, in other versions, and broken in ways a release may be.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildAgent } from '../../src/programs/agent-build.ts';
import type { ShelfProgram } from '../../src/relay/agents/program-shelf.ts';

const home = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../../..');

export type Break = 'exits' | 'hangs' | 'bad-health';

export interface BuiltProgram {
  readonly program: ShelfProgram;
  readonly file: string;
  readonly text: string;
}

function replaced(text: string, from: string | RegExp, to: string): string {
  const changed = text.replace(from, to);
  assert.notEqual(changed, text, `the program has no ${from}`);
  return changed;
}

const breaks: Record<Break, (text: string) => string> = {
  exits: (text) => replaced(text, /^\/\/ The agent.*$/m, '$&\nprocess.exit(5);'),
  hangs: (text) =>
    replaced(text, /^\/\/ The agent.*$/m, '$&\nfor (;;) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1000);'),
  'bad-health': (text) => replaced(text, /reasons\.length>0\?(["'`])degraded\1:(["'`])good\2/, '"bad"'),
};

export class AgentPrograms {
  readonly directory = mkdtempSync(path.join(tmpdir(), 'weir-programs-'));
  #text = '';
  #version = '';

  static async open(): Promise<AgentPrograms> {
    const programs = new AgentPrograms();
    const { file, version } = await buildAgent(home, path.join(programs.directory, 'built.mjs'));
    programs.#text = readFileSync(file, 'utf8');
    programs.#version = version;
    return programs;
  }

  make(version: string, broken?: Break): BuiltProgram {
    const own = this.#version.replaceAll('.', '\\.');
    const titled = replaced(this.#text, `Weir ${this.#version}, one file`, `Weir ${version}, one file`);
    const named = replaced(titled, new RegExp(`version:(["'\`])${own}\\1`), `version:"${version}"`);
    const text = broken ? breaks[broken](named) : named;
    const file = path.join(this.directory, `weir-agent-${version}${broken ? `-${broken}` : ''}.mjs`);
    writeFileSync(file, text);
    const bytes = Buffer.byteLength(text);
    return { program: { version, sha256: createHash('sha256').update(text).digest('hex'), bytes }, file, text };
  }

  close(): void {
    rmSync(this.directory, { recursive: true });
  }
}
