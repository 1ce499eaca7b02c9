// Reads rules/personas/*.yaml and rules/populations/*.yaml (stacks by stacks.ts), and the personas of weir.yaml that build on them.
// What a persona means is model/persona.ts.

import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { WeirError } from '../base/errors.ts';
import type { Persona } from '../model/persona.ts';
import { populationModulus } from '../model/population.ts';
import { linuxStack, type TcpStack } from '../model/tcp-stack.ts';
import { Mistakes } from './issues.ts';
import { type Mistake, mistakesError, suggestion } from './mistake.ts';
import { namedPopulation, type PersonaText, personaFile } from './schema.ts';
import { parseStack } from './stacks.ts';
import { readYaml } from './yaml-source.ts';

/** Shares in units of 1/10,000 of all addresses, by persona. */
export interface NamedPopulation {
  readonly name: string;
  readonly description: string;
  readonly shares: Readonly<Record<string, number>>;
}

export interface PersonaLibrary {
  readonly personas: ReadonlyMap<string, Persona>;
  readonly populations: ReadonlyMap<string, NamedPopulation>;
  readonly stacks: ReadonlyMap<string, TcpStack>;
  /** As written, for personas that are `like` another. */
  readonly texts: ReadonlyMap<string, Readonly<Record<string, unknown>>>;
}

/** What a persona has that names no stack: the one that has its TTL most often. */
const usualStack = (ttl: number | undefined): string => (ttl === 128 ? 'windows-10' : linuxStack.name);

/** The persona's stack exists: see addUnknownStack. */
export function personaFrom(written: PersonaText, stacks: ReadonlyMap<string, TcpStack>): Persona {
  const stack = stacks.get(written.stack ?? usualStack(written.ttl)) ?? linuxStack;
  return Object.freeze({
    name: written.name,
    description: written.description,
    macPrefixes: written['mac-prefixes'],
    tcp: written.tcp,
    udp: written.udp,
    answersEcho: written['answers-echo'],
    ttl: written.ttl ?? stack.ttl,
    stack,
    services: written.services,
    banners: written.banners,
    hostname: written.hostname,
    operatingSystem: written['operating-system'],
  });
}

/** True when the persona names a stack there is not; then the mistake is told. */
export function addUnknownStack(
  written: PersonaText,
  stacks: ReadonlyMap<string, TcpStack>,
  at: readonly PropertyKey[],
  mistakes: Mistakes,
): boolean {
  if (written.stack === undefined || stacks.has(written.stack)) return false;
  const guess = suggestion(written.stack, stacks.keys());
  mistakes.add(
    [...at, 'stack'],
    `there is no stack \`${written.stack}\``,
    guess === undefined ? `use one of ${[...stacks.keys()].join(', ')}` : `did you mean \`${guess}\`?`,
  );
  return true;
}

const mappings = new Set(['tcp', 'udp', 'services', 'banners']);

/** The keys of `written` over those of its model; `tcp`, `udp`, `services` and `banners` are merged key by key. */
export function mergePersona(
  model: Readonly<Record<string, unknown>>,
  written: Readonly<Record<string, unknown>>,
): Record<string, unknown> {
  const merged: Record<string, unknown> = { ...model };
  for (const [key, value] of Object.entries(written)) {
    if (key === 'like') continue;
    const before = merged[key];
    merged[key] = mappings.has(key) && isMapping(before) && isMapping(value) ? { ...before, ...value } : value;
  }
  return merged;
}

export const isMapping = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** Checks that a population's personas exist and that its shares are at most the whole. */
export function checkShares(
  shares: Readonly<Record<string, number>>,
  personas: ReadonlyMap<string, Persona>,
  at: readonly PropertyKey[],
  mistakes: Mistakes,
): void {
  for (const persona of Object.keys(shares))
    if (!personas.has(persona)) addUnknownPersona(persona, personas, [...at, persona], mistakes);
  const sum = Object.values(shares).reduce((total, part) => total + part, 0);
  if (Object.keys(shares).length === 0) mistakes.add(at, 'this population has no persona', 'give at least one persona a share');
  if (sum > populationModulus)
    mistakes.add(at, `the shares sum to ${sum / 100}%`, 'make them 100% or less; what is left over is dead');
}

export function addUnknownPersona(
  name: string,
  personas: ReadonlyMap<string, Persona>,
  at: readonly PropertyKey[],
  mistakes: Mistakes,
): void {
  const guess = suggestion(name, personas.keys());
  mistakes.add(
    at,
    `there is no persona \`${name}\``,
    guess === undefined
      ? `use one of ${[...personas.keys()].join(', ')}, or define it below \`personas\``
      : `did you mean \`${guess}\`?`,
  );
}

/** One persona file. `name` must be the file's own name. */
export function parsePersona(
  text: string,
  file: string,
  stacks: ReadonlyMap<string, TcpStack>,
): { persona: Persona; text: Record<string, unknown> } | { mistakes: Mistake[] } {
  const source = readYaml(text);
  const mistakes = new Mistakes(file, source);
  if (source.faults.length > 0)
    return { mistakes: source.faults.map(({ line, message }) => ({ file, line, mistake: message, next: 'correct the YAML' })) };
  const parsed = personaFile.safeParse(source.value);
  if (!parsed.success) mistakes.addIssues(parsed.error, personaFile, []);
  else if (`${parsed.data.name}.yaml` !== path.basename(file))
    mistakes.add(['name'], `the file is not named after \`${parsed.data.name}\``, `rename it to ${parsed.data.name}.yaml`);
  else if (!addUnknownStack(parsed.data, stacks, [], mistakes))
    return { persona: personaFrom(parsed.data, stacks), text: source.value as Record<string, unknown> };
  return { mistakes: mistakes.list() };
}

/** Of files such as `stacks/linux.yaml`, `personas/nas.yaml`, `populations/plant.yaml`; pure. Throws `config-invalid` with all mistakes. */
export function parsePersonas(files: ReadonlyMap<string, string>, root = 'rules'): PersonaLibrary {
  const mistakes: Mistake[] = [];
  const inFolder = (folder: string): { file: string; text: string }[] =>
    [...files]
      .filter(([name]) => name.startsWith(`${folder}/`) && name.endsWith('.yaml'))
      .map(([name, text]) => ({ file: path.join(root, name), text }))
      .sort((a, b) => (a.file < b.file ? -1 : 1));
  const stacks = new Map<string, TcpStack>();
  for (const { file, text } of inFolder('stacks')) {
    const result = parseStack(text, file);
    if ('mistakes' in result) mistakes.push(...result.mistakes);
    else stacks.set(result.stack.name, result.stack);
  }
  const personas = new Map<string, Persona>();
  const texts = new Map<string, Record<string, unknown>>();
  for (const { file, text } of inFolder('personas')) {
    const result = parsePersona(text, file, stacks);
    if ('mistakes' in result) mistakes.push(...result.mistakes);
    else {
      personas.set(result.persona.name, result.persona);
      texts.set(result.persona.name, result.text);
    }
  }
  const populations = new Map<string, NamedPopulation>();
  for (const { file, text } of inFolder('populations')) {
    const source = readYaml(text);
    const found = new Mistakes(file, source);
    for (const { line, message } of source.faults) mistakes.push({ file, line, mistake: message, next: 'correct the YAML' });
    if (source.faults.length > 0) continue;
    const parsed = namedPopulation.safeParse(source.value);
    if (!parsed.success) found.addIssues(parsed.error, namedPopulation, []);
    else {
      checkShares(parsed.data.shares, personas, ['shares'], found);
      if (`${parsed.data.name}.yaml` !== path.basename(file))
        found.add(['name'], `the file is not named after \`${parsed.data.name}\``, `rename it to ${parsed.data.name}.yaml`);
      populations.set(parsed.data.name, parsed.data);
    }
    mistakes.push(...found.list());
  }
  if (mistakes.length > 0) throw mistakesError(mistakes);
  return { personas, populations, stacks, texts };
}

const folders = ['stacks', 'personas', 'populations'];

/** The files of `rules/` that parsePersonas takes. Throws `config-unreadable` when they are not there. */
export function readPersonaFiles(directory: string): Map<string, string> {
  const files = new Map<string, string>();
  for (const folder of folders) {
    const at = path.join(directory, folder);
    try {
      for (const name of readdirSync(at).sort())
        if (name.endsWith('.yaml')) files.set(`${folder}/${name}`, readFileSync(path.join(at, name), 'utf8'));
    } catch (error) {
      throw new WeirError('config-unreadable', `cannot read ${at}`, { directory: at }, error);
    }
  }
  return files;
}

/** `directory` is `rules/`. Throws `config-invalid` with all mistakes, `config-unreadable` when it is not there. */
export const readPersonas = (directory: string): PersonaLibrary => parsePersonas(readPersonaFiles(directory), directory);
