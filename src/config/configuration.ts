// Text of weir.yaml -> Configuration or every mistake in it, with lines. Pure but for readConfiguration.
// Facts of the running machine (gateway, sessions, listeners) are checked by plan/guard.ts, not here.

import { readFileSync, statSync } from 'node:fs';
import { WeirError } from '../base/errors.ts';
import { type Address, parseAddress } from '../model/address.ts';
import type { Configuration, Diversion } from '../model/configuration.ts';
import type { Place } from '../model/decoy.ts';
import type { Persona } from '../model/persona.ts';
import { type PortSet, unitePorts } from '../model/port-set.ts';
import { nothingRelayed } from '../model/relayed-service.ts';
import { readBindings, readServices } from './bindings.ts';
import { DecoyGathering } from './decoy-groups.ts';
import { ownDiversion, readDiversions } from './diversions.ts';
import { Mistakes } from './issues.ts';
import { type Mistake, mistakesError, suggestion } from './mistake.ts';
import {
  addUnknownStack,
  checkShares,
  isMapping,
  mergePersona,
  type NamedPopulation,
  type PersonaLibrary,
  personaFrom,
} from './personas.ts';
import { type ConfigurationText, configurationFile, personaFile } from './schema.ts';
import { readYaml } from './yaml-source.ts';

/** Larger files are refused before they are read. */
const maxFileBytes = 64 * 2 ** 20;

export interface ParseContext {
  readonly personas: PersonaLibrary;
  /** The machine's interfaces, when they are known: a diversion on any other is a mistake. */
  readonly observed?: { readonly interfaces: readonly string[] };
}

export type ParseResult = { readonly configuration: Configuration } | { readonly mistakes: readonly Mistake[] };

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
  const vocabulary = readVocabulary(source.value, context.personas, mistakes);
  if (!vocabulary) return { mistakes: mistakes.list() };
  const gathering = new DecoyGathering(vocabulary, mistakes, file);
  const list = source.value.diversions;
  const diversions =
    list === undefined || !Array.isArray(list)
      ? [ownDiversion(file, 0)]
      : readDiversions(list, { gathering, mistakes, file, ...context.observed });
  const lineOfDecoy = gathering.finish();
  const listed = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : []);
  const services = readServices(listed(source.value.services), mistakes, file);
  const bindings = readBindings(listed(source.value.bindings), { diversions, services, written: list, mistakes, file });
  if (mistakes.any || !written) return { mistakes: mistakes.list() };
  const placed = diversions.map((diversion) => {
    const network = diversion.kind === 'network' ? diversion.name : undefined;
    const placeOf = (address: Address): Place => ({ file, line: lineOfDecoy(address, network) || diversion.place.line });
    return Object.freeze({ ...diversion, placeOf });
  });
  return { configuration: assemble(written, { diversions: placed, services, bindings, personas: vocabulary.personas }, file) };
}

/** What holds without a file: all free ports of this machine's own addresses. */
export function defaultConfiguration(personas: PersonaLibrary): Configuration {
  const written = configurationFile.parse({ version: 1 });
  const diversions = [ownDiversion('(defaults)', 0)];
  return assemble(written, { diversions, services: [], bindings: [], personas: personas.personas }, undefined);
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
    else if (!addUnknownStack(parsed.data, library.stacks, at, mistakes)) {
      personas.set(item.name, personaFrom(parsed.data, library.stacks));
      texts.set(item.name, merged);
    }
  }
  for (const [index, item] of ownPopulations.data.entries()) {
    checkShares(item.shares, personas, ['populations', index, 'shares'], mistakes);
    populations.set(item.name, item);
  }
  return { personas, populations };
}

/** RFC 4271, section 8. */
const bgpPort = 179;

const isLoopback = (text: string): boolean => {
  const address = parseAddress(text);
  return address !== undefined && (address.family === 4 ? address.value >> 24n === 127n : address.value === 1n);
};

/** Ports at which the network itself speaks to this machine: a console for others, VTEPs, BGP. They must stay reachable. */
function neededPorts(written: ConfigurationText, diversions: readonly Diversion[]): PortSet {
  const ports = isLoopback(written.console.address) ? [] : [written.console.port];
  for (const diversion of diversions)
    if (diversion.kind === 'network' && diversion.attachment.kind === 'vxlan')
      ports.push(diversion.attachment.port, ...(diversion.attachment.evpn ? [bgpPort] : []));
  return ports.map((port) => ({ first: port, last: port }));
}

function assemble(
  written: ConfigurationText,
  parts: Pick<Configuration, 'diversions' | 'services' | 'bindings' | 'personas'>,
  file: string | undefined,
): Configuration {
  return Object.freeze({
    version: 1,
    data: written.data,
    ...(file === undefined ? {} : { file }),
    retention: Object.freeze({ days: written.retention.days, sizeBytes: written.retention.size }),
    management: Object.freeze({
      ports: unitePorts([...written.management.ports, ...neededPorts(written, parts.diversions)]),
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
    diversions: Object.freeze(parts.diversions),
    services: Object.freeze(parts.services),
    bindings: Object.freeze(parts.bindings),
    ...nothingRelayed,
    personas: parts.personas,
  });
}
