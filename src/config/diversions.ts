// The list of diversions: names, kinds, host diversions. Those of kind `network` are network-diversions.ts, their decoys
// decoy-groups.ts.

import type { Diversion, HostDiversion } from '../model/configuration.ts';
import { populationModulus } from '../model/population.ts';
import { type DecoyGathering, defaultSeed } from './decoy-groups.ts';
import type { Mistakes } from './issues.ts';
import { suggestion } from './mistake.ts';
import { NetworkReading } from './network-diversions.ts';
import { isMapping } from './personas.ts';
import { decoyEntry, hostDiversion } from './schema.ts';

/** Diversions of the design that this version does not have. */
const laterKinds: Readonly<Record<string, string>> = {
  agent: 'ports on another machine',
  proxy: 'connections with a PROXY header',
};

export interface DiversionContext {
  readonly gathering: DecoyGathering;
  readonly mistakes: Mistakes;
  readonly file: string;
  /** The machine's interfaces, when they are known. */
  readonly interfaces?: readonly string[];
}

/** Those that could be read; the mistakes say why the others could not. */
export function readDiversions(list: readonly unknown[], context: DiversionContext): Diversion[] {
  const { mistakes } = context;
  const networks = new NetworkReading(context.gathering, mistakes, context.file);
  const diversions: Diversion[] = [];
  const names = new Map<string, number>();
  for (const [index, value] of list.entries()) {
    const at = ['diversions', index];
    let space = `unnamed ${index}`;
    if (isMapping(value) && typeof value.name === 'string') {
      const before = names.get(value.name);
      if (before !== undefined)
        mistakes.add(
          [...at, 'name'],
          `the diversion \`${value.name}\` stands here and on line ${before}`,
          'give one of them another name',
        );
      else {
        names.set(value.name, mistakes.lineOf([...at, 'name']));
        space = value.name;
      }
    }
    const kind = isMapping(value) ? value.kind : undefined;
    if (typeof kind === 'string' && kind !== 'host' && kind !== 'network') addUnknownKind(kind, at, mistakes);
    else {
      const network = isMapping(value) && (kind === 'network' || (kind === undefined && ('vlan' in value || 'vxlan' in value)));
      const diversion = network ? networks.read(value, space, at) : readHostDiversion(value, context, at);
      if (diversion) diversions.push(diversion);
    }
  }
  return diversions;
}

function addUnknownKind(kind: string, at: readonly PropertyKey[], mistakes: Mistakes): void {
  const later = laterKinds[kind];
  const guess = suggestion(kind, ['host', 'network', ...Object.keys(laterKinds)]);
  mistakes.add(
    [...at, 'kind'],
    later === undefined
      ? `there is no kind of diversion \`${kind}\``
      : `this version has no diversions of kind \`${kind}\` (${later})`,
    guess !== undefined && later === undefined
      ? `did you mean \`${guess}\`?`
      : 'use `kind: host` or `kind: network`, or remove this diversion',
  );
}

function readHostDiversion(value: unknown, context: DiversionContext, at: readonly PropertyKey[]): HostDiversion | undefined {
  const { gathering, mistakes, file, interfaces } = context;
  const parsed = hostDiversion.safeParse(value);
  if (!parsed.success) {
    mistakes.addIssues(parsed.error, hostDiversion, at);
    // What parses is still checked against the rest.
    const decoys =
      isMapping(value) && Array.isArray(value.decoys) ? value.decoys.map((entry) => decoyEntry.safeParse(entry).data) : [];
    const link = isMapping(value) && typeof value.interface === 'string' ? value.interface : 'unknown';
    gathering.groupsOf({ name: 'unknown', interface: link, decoys }, at);
    return undefined;
  }
  const { name, interface: link, decoys } = parsed.data;
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
  const groups = gathering.groupsOf({ name, ...(link === undefined ? {} : { interface: link }), decoys }, at);
  return {
    kind: 'host',
    name,
    ...(link === undefined ? {} : { interface: link }),
    groups: Object.freeze(groups),
    place: { file, line: mistakes.lineOf(at) },
  };
}

/** All free ports of this machine's own addresses: what holds where no diversions are written. */
export function ownDiversion(file: string, line: number): HostDiversion {
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
