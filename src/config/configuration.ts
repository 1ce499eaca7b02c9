// Text of weir.yaml -> Configuration or every mistake in it, with lines. Pure but for readConfiguration.
// Facts of the running machine (gateway, sessions, listeners) are checked by plan/guard.ts, not here.

import { readFileSync, statSync } from 'node:fs';
import { WeirError } from '../base/errors.ts';
import { type Address, parseAddress } from '../model/address.ts';
import type { Configuration, HostDiversion } from '../model/configuration.ts';
import type { Persona } from '../model/persona.ts';
import { populationModulus } from '../model/population.ts';
import { unitePorts } from '../model/port-set.ts';
import { DecoyGathering, defaultSeed } from './decoy-groups.ts';
import { Mistakes } from './issues.ts';
import { type Mistake, mistakesError, suggestion } from './mistake.ts';
import { checkShares, isMapping, mergePersona, type NamedPopulation, type PersonaLibrary, personaFrom } from './personas.ts';
import { type ConfigurationText, configurationFile, decoyEntry, hostDiversion, personaFile } from './schema.ts';
import { readYaml } from './yaml-source.ts';

/** Larger files are refused before they are read. */
const maxFileBytes = 64 * 2 ** 20;

export interface ParseContext {
  readonly personas: PersonaLibrary;
  /** The machine's interfaces, when they are known: a diversion on any other is a mistake. */
  readonly observed?: { readonly interfaces: readonly string[] };
}

export type ParseResult = { readonly configuration: Configuration } | { readonly mistakes: readonly Mistake[] };

/** Diversions of the design that this version does not have. */
const laterKinds: Readonly<Record<string, string>> = {
  network: 'segments over VLAN or VXLAN',
  agent: 'ports on another machine',
  proxy: 'connections with a PROXY header',
};

/** Pure. All mistakes at once, up to a bound; a result without mistakes is complete, checked and frozen. */
export function parseConfiguration(text: string, file: string, context: ParseContext): ParseResult {
  const source = readYaml(text);
  if (source.faults.length > 0)
    return {
      mistakes: source.faults.map(({ line, message }) => ({
        file,
        line,
        mistake: `this is not YAML: ${message}`,
        next: 'check indentation, quotes and brackets on this line and the one before',
      })),
    };
  const mistakes = new Mistakes(file, source);
  if (!isMapping(source.value)) {
    mistakes.add(
      [],
      source.value === null ? 'the file is empty' : 'this is not a mapping',
      'begin with `version: 1`; docs/configuration.md has examples',
    );
    return { mistakes: mistakes.list() };
  }
  const parsed = configurationFile.safeParse(source.value);
  if (!parsed.success) mistakes.addIssues(parsed.error, configurationFile, []);
  // Diversions are looked at even when something else is wrong: all mistakes at once.
  const written = parsed.success ? parsed.data : undefined;
  refuseLater(source.value, mistakes);
  const vocabulary = readVocabulary(source.value, context.personas, mistakes);
  if (!vocabulary) return { mistakes: mistakes.list() };
  const gathering = new DecoyGathering(vocabulary, mistakes, file);
  const list = source.value.diversions;
  const diversions =
    list === undefined || !Array.isArray(list)
      ? [ownDiversion(file, 0)]
      : readDiversions(list, gathering, mistakes, file, context);
  const lineOfDecoy = gathering.finish();
  if (mistakes.any || !written) return { mistakes: mistakes.list() };
  return {
    configuration: assemble(
      written,
      diversions.map((diversion) =>
        Object.freeze({
          ...diversion,
          placeOf: (address: Address) => ({ file, line: lineOfDecoy(address) || diversion.place.line }),
        }),
      ),
      vocabulary.personas,
      file,
    ),
  };
}

/** What holds without a file: all free ports of this machine's own addresses. */
export function defaultConfiguration(personas: PersonaLibrary): Configuration {
  const written = configurationFile.parse({ version: 1 });
  return assemble(written, [ownDiversion('(defaults)', 0)], personas.personas, undefined);
}

/**
 * With a path the configuration in that file, without one the defaults. Throws `config-unreadable`, or
 * `config-invalid` with all mistakes in `details.mistakes`.
 */
export function readConfiguration(path: string | undefined, context: ParseContext): Configuration {
  if (path === undefined) return defaultConfiguration(context.personas);
  let text: string;
  try {
    const { size } = statSync(path);
    if (size > maxFileBytes) throw new Error(`${size} bytes are more than the limit of ${maxFileBytes}`);
    text = readFileSync(path, 'utf8');
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new WeirError('config-unreadable', `cannot read ${path}: ${why}`, { file: path }, error);
  }
  const result = parseConfiguration(text, path, context);
  if ('mistakes' in result) throw mistakesError(result.mistakes);
  return result.configuration;
}

/** Undefined when personas or populations do not parse: what uses them cannot be judged then. */
function readVocabulary(
  value: Record<string, unknown>,
  library: PersonaLibrary,
  mistakes: Mistakes,
): { personas: ReadonlyMap<string, Persona>; populations: ReadonlyMap<string, NamedPopulation> } | undefined {
  const ownPersonas = configurationFile.shape.personas.safeParse(value.personas);
  const ownPopulations = configurationFile.shape.populations.safeParse(value.populations);
  if (!ownPersonas.success || !ownPopulations.success) return undefined;
  const personas = new Map(library.personas);
  const populations = new Map(library.populations);
  const texts = new Map(library.texts);
  const own = new Set<string>();
  for (const [index, item] of ownPersonas.data.entries()) {
    const at = ['personas', index];
    if (own.has(item.name))
      mistakes.add([...at, 'name'], `the persona \`${item.name}\` stands here twice`, 'give one of them another name');
    own.add(item.name);
    const model = item.like === undefined ? {} : texts.get(item.like);
    if (!model) {
      const guess = suggestion(item.like as string, texts.keys());
      mistakes.add(
        [...at, 'like'],
        `there is no persona \`${item.like}\``,
        guess ? `did you mean \`${guess}\`?` : 'name one that comes with Weir, or one above',
      );
      continue;
    }
    const merged = mergePersona(model, item);
    const parsed = personaFile.safeParse(merged);
    if (!parsed.success) mistakes.addIssues(parsed.error, personaFile, at);
    else {
      personas.set(item.name, personaFrom(parsed.data));
      texts.set(item.name, merged);
    }
  }
  for (const [index, item] of ownPopulations.data.entries()) {
    checkShares(item.shares, personas, ['populations', index, 'shares'], mistakes);
    populations.set(item.name, item);
  }
  return { personas, populations };
}

function refuseLater(value: Record<string, unknown>, mistakes: Mistakes): void {
  const next = 'remove it: the built-in catch-all answers every decoy';
  if (Array.isArray(value.services) && value.services.length > 0)
    mistakes.add(['services'], 'this version has no services besides the catch-all', next);
  for (const [index, binding] of Array.isArray(value.bindings) ? value.bindings.entries() : [])
    if (!isMapping(binding) || binding.service !== 'catch-all')
      mistakes.add(['bindings', index], 'this version binds decoys to `catch-all` only', next);
}

function readDiversions(
  list: unknown[],
  gathering: DecoyGathering,
  mistakes: Mistakes,
  file: string,
  context: ParseContext,
): HostDiversion[] {
  const diversions: HostDiversion[] = [];
  const names = new Map<string, number>();
  for (const [index, value] of list.entries()) {
    const at = ['diversions', index];
    const line = mistakes.lineOf(at);
    const kind = isMapping(value) ? value.kind : undefined;
    if (isMapping(value) && typeof value.name === 'string') {
      const before = names.get(value.name);
      if (before !== undefined)
        mistakes.add(
          [...at, 'name'],
          `the diversion \`${value.name}\` stands here and on line ${before}`,
          'give one of them another name',
        );
      else names.set(value.name, mistakes.lineOf([...at, 'name']));
    }
    if (typeof kind === 'string' && kind !== 'host') {
      const later = laterKinds[kind];
      const guess = suggestion(kind, ['host', ...Object.keys(laterKinds)]);
      mistakes.add(
        [...at, 'kind'],
        later === undefined
          ? `there is no kind of diversion \`${kind}\``
          : `this version has no diversions of kind \`${kind}\` (${later})`,
        guess !== undefined && later === undefined ? `did you mean \`${guess}\`?` : 'use `kind: host`, or remove this diversion',
      );
      continue;
    }
    const parsed = hostDiversion.safeParse(value);
    if (!parsed.success) {
      mistakes.addIssues(parsed.error, hostDiversion, at);
      // What parses is still checked against the rest.
      const decoys =
        isMapping(value) && Array.isArray(value.decoys) ? value.decoys.map((entry) => decoyEntry.safeParse(entry).data) : [];
      const link = isMapping(value) && typeof value.interface === 'string' ? value.interface : 'unknown';
      gathering.groupsOf({ name: 'unknown', interface: link, decoys }, at);
      continue;
    }
    const { name, interface: link, decoys } = parsed.data;
    const interfaces = context.observed?.interfaces;
    if (link !== undefined && interfaces && !interfaces.includes(link)) {
      const guess = suggestion(link, interfaces);
      mistakes.add(
        [...at, 'interface'],
        `this machine has no interface \`${link}\``,
        guess ? `did you mean \`${guess}\`?` : `it has ${interfaces.join(', ')}`,
      );
    }
    if (decoys.length === 0)
      mistakes.add(
        [...at, 'decoys'],
        'this diversion has no decoys',
        'add an entry with `addresses:` and `persona:`, or remove it',
      );
    const groups = gathering.groupsOf({ name, interface: link, decoys }, at);
    diversions.push({
      kind: 'host',
      name,
      ...(link === undefined ? {} : { interface: link }),
      groups: Object.freeze(groups),
      place: { file, line },
    });
  }
  return diversions;
}

function ownDiversion(file: string, line: number): HostDiversion {
  const name = 'own';
  const place = { file, line };
  const population = Object.freeze({
    seed: defaultSeed(name),
    shares: Object.freeze([{ persona: 'all-open', share: populationModulus }]),
  });
  return Object.freeze({
    kind: 'host',
    name,
    groups: Object.freeze([Object.freeze({ diversion: name, kind: 'own' as const, ranges: [], population, macs: {}, place })]),
    place,
  });
}

const isLoopback = (text: string): boolean => {
  const address = parseAddress(text);
  return address !== undefined && (address.family === 4 ? address.value >> 24n === 127n : address.value === 1n);
};

function assemble(
  written: ConfigurationText,
  diversions: readonly HostDiversion[],
  personas: ReadonlyMap<string, Persona>,
  file: string | undefined,
): Configuration {
  // A console for others to reach must stay reachable.
  const consolePorts = isLoopback(written.console.address) ? [] : [{ first: written.console.port, last: written.console.port }];
  return Object.freeze({
    version: 1,
    data: written.data,
    ...(file === undefined ? {} : { file }),
    retention: Object.freeze({ days: written.retention.days, sizeBytes: written.retention.size }),
    management: Object.freeze({
      ports: unitePorts([...written.management.ports, ...consolePorts]),
      sources: written.management.sources,
    }),
    console: Object.freeze(written.console),
    limits: Object.freeze({
      sessions: written.limits.sessions,
      sessionsPerSource: written.limits['sessions-per-source'],
      sessionBytes: written.limits['session-bytes'],
      idleTimeoutMs: written.limits['idle-timeout'],
      totalTimeoutMs: written.limits['total-timeout'],
      bannerDelayMs: written.limits['banner-delay'],
    }),
    probing: Object.freeze({ claimRate: written.probing['claim-rate'] }),
    diversions: Object.freeze(diversions),
    services: Object.freeze([]),
    bindings: Object.freeze([]),
    personas,
  });
}
