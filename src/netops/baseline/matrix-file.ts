// The access matrix as a file a person reads and edits, and back. Pure. Whatever was written by hand is checked with its line.

import { stringify } from 'yaml';
import { WeirError } from '../../base/errors.ts';
import { printable } from '../../base/printable.ts';
import { readYaml } from '../../config/yaml-source.ts';
import { type Address, parseAddress, renderAddress } from '../../model/address.ts';
import type { AccessMatrix, MatrixRow, MatrixSource, MatrixTarget } from './access-matrix.ts';

/** Longer files are refused. */
const maxFileBytes = 8 << 20;
const maxSources = 1024;
const maxRows = 20_000;
const maxAddresses = 64;

const head = `# Who may reach what on this machine. \`weir baseline check\` compares it with what the rules, routes and sockets let through.
# Edit it: a source is an example of a group, with the device it comes in by; a row says which sources must reach its target
# and which must not. A source left out of a row is not checked. What is reached and in no row at all is a difference.
`;

export function renderMatrix({ recordedAt, sources, rows }: AccessMatrix): string {
  const document = {
    version: 1,
    recorded: new Date(recordedAt).toISOString(),
    sources: sources.map(({ name, netns, device, addresses }) => ({
      name,
      ...(netns === '' ? {} : { netns }),
      device,
      addresses: addresses.map(renderAddress),
    })),
    access: rows.map(({ transport, address, port, service, reach, refuse, unknown }) => ({
      to: `${address.family === 6 ? `[${renderAddress(address)}]` : renderAddress(address)}:${port}`,
      protocol: transport,
      ...(service === undefined ? {} : { service }),
      ...(reach.length === 0 ? {} : { reach }),
      ...(refuse.length === 0 ? {} : { refuse }),
      ...(unknown.length === 0 ? {} : { unknown }),
    })),
  };
  return `${head}${stringify(document, { lineWidth: 140, flowCollectionPadding: false })}`;
}

interface Problem {
  readonly path: readonly (string | number)[];
  readonly mistake: string;
  readonly next: string;
}

type Fields = Readonly<Record<string, unknown>>;
const isFields = (value: unknown): value is Fields => typeof value === 'object' && value !== null && !Array.isArray(value);

/** Throws `config-invalid` with every mistake and its line. `file` is for messages. */
export function parseMatrix(text: string, file: string): AccessMatrix {
  if (Buffer.byteLength(text) > maxFileBytes) throw new WeirError('config-invalid', `${file} is larger than 8 MiB`, { file });
  const { value, faults, lineOf } = readYaml(text);
  const problems: Problem[] = [];
  const refuse = (path: readonly (string | number)[], mistake: string, next: string): void =>
    void problems.push({ path, mistake, next });
  const fields = isFields(value) ? value : {};
  if (faults.length === 0) {
    if (fields.version !== 1) refuse(['version'], 'it is no baseline of version 1', 'begin with `version: 1`');
    unknownKeys(fields, ['version', 'recorded', 'sources', 'access'], [], refuse);
  }
  const sources = listOf(fields.sources, ['sources'], maxSources, refuse).flatMap((item, index) =>
    parseSource(item, ['sources', index], refuse),
  );
  const names = new Set<string>();
  sources.forEach(({ name }, index) => {
    if (names.has(name)) refuse(['sources', index, 'name'], `source ${name} is here twice`, 'give each a name of its own');
    names.add(name);
  });
  const rows = listOf(fields.access, ['access'], maxRows, refuse).flatMap((item, index) =>
    parseRow(item, ['access', index], names, refuse),
  );
  const mistakes = [
    ...faults.map(({ line, message }) => ({ file, line, mistake: message, next: 'correct it' })),
    ...problems.map(({ path, mistake, next }) => ({ file, line: lineOf([...path]), mistake, next })),
  ];
  if (mistakes.length > 0)
    throw new WeirError(
      'config-invalid',
      `${file} holds ${mistakes.length === 1 ? 'a mistake' : `${mistakes.length} mistakes`}`,
      {
        mistakes: mistakes.slice(0, 20),
        count: mistakes.length,
      },
    );
  const recorded = typeof fields.recorded === 'string' ? Date.parse(fields.recorded) : Number.NaN;
  return { recordedAt: Number.isNaN(recorded) ? 0 : recorded, sources, rows };
}

type Refuse = (path: readonly (string | number)[], mistake: string, next: string) => void;

function listOf(value: unknown, path: readonly string[], most: number, refuse: Refuse): readonly unknown[] {
  if (value === undefined || value === null) return [];
  if (Array.isArray(value) && value.length <= most) return value;
  refuse(path, Array.isArray(value) ? `${path[0]} has more than ${most} entries` : `${path[0]} is no list`, 'write a list');
  return [];
}

function unknownKeys(fields: Fields, known: readonly string[], path: readonly (string | number)[], refuse: Refuse): void {
  for (const key of Object.keys(fields))
    if (!known.includes(key)) refuse([...path, key], `unknown key \`${printable(key, 60)}\``, `use one of: ${known.join(', ')}`);
}

const isName = (value: unknown): value is string => typeof value === 'string' && value.length > 0 && value.length <= 200;

function parseSource(item: unknown, path: readonly (string | number)[], refuse: Refuse): MatrixSource[] {
  if (!isFields(item)) {
    refuse(path, 'a source is no mapping', 'write `- { name: office, device: eth0, addresses: [10.0.0.7] }`');
    return [];
  }
  unknownKeys(item, ['name', 'netns', 'device', 'addresses'], path, refuse);
  const { name, netns = '', device, addresses } = item;
  if (!isName(name)) refuse([...path, 'name'], 'a source has no name', 'give it one');
  if (!isName(device) || device.length > 15)
    refuse([...path, 'device'], 'a source has no device', 'name the link it comes in by: `device: eth0`');
  if (typeof netns !== 'string') refuse([...path, 'netns'], 'netns is no name', 'leave it out for this namespace');
  const parsed: Address[] = [];
  const list = Array.isArray(addresses) ? addresses : [];
  if (list.length === 0 || list.length > maxAddresses)
    refuse([...path, 'addresses'], `a source has ${list.length} addresses`, `give it 1 to ${maxAddresses}`);
  else
    list.forEach((text, index) => {
      const address = typeof text === 'string' ? parseAddress(text) : undefined;
      if (address) parsed.push(address);
      else refuse([...path, 'addresses', index], `${printable(String(text), 60)} is no address`, 'write 10.0.0.7');
    });
  return isName(name) && isName(device) && typeof netns === 'string' ? [{ name, netns, device, addresses: parsed }] : [];
}

function parseTarget(to: unknown, protocol: unknown): MatrixTarget | undefined {
  const match = typeof to === 'string' ? /^(?:\[([^\]]+)\]|([^:[\]]+)):(\d{1,5})$/.exec(to) : null;
  const address = match ? parseAddress(match[1] ?? match[2]) : undefined;
  const port = Number(match?.[3]);
  if (!address || !(port >= 1 && port <= 65_535) || (protocol !== 'tcp' && protocol !== 'udp')) return undefined;
  return { address, port, transport: protocol };
}

function parseRow(item: unknown, path: readonly (string | number)[], names: ReadonlySet<string>, refuse: Refuse): MatrixRow[] {
  if (!isFields(item)) {
    refuse(path, 'a row is no mapping', 'write `- { to: "10.0.0.9:443", protocol: tcp, reach: [office] }`');
    return [];
  }
  unknownKeys(item, ['to', 'protocol', 'service', 'reach', 'refuse', 'unknown'], path, refuse);
  const { protocol = 'tcp', service } = item;
  const target = parseTarget(item.to, protocol);
  if (!target) refuse([...path, 'to'], 'a row has no target', 'write `to: 10.0.0.9:443` and `protocol: tcp` or `udp`');
  if (service !== undefined && typeof service !== 'string')
    refuse([...path, 'service'], 'service is no name', "write a process's name, or leave it out");
  const said = new Map<string, string>();
  const lists = (['reach', 'refuse', 'unknown'] as const).map((key) => {
    const list = item[key] ?? [];
    if (!Array.isArray(list)) {
      refuse([...path, key], `${key} is no list`, 'write names of sources in brackets');
      return [];
    }
    list.forEach((name, index) => {
      if (typeof name !== 'string' || !names.has(name))
        refuse([...path, key, index], `there is no source ${printable(String(name), 80)}`, 'add it to `sources`');
      else if (said.has(name))
        refuse([...path, key, index], `${name} is under ${said.get(name)} as well`, 'a source goes into one list of a row');
      else said.set(name, key);
    });
    return list as string[];
  });
  if (!target) return [];
  const [reach, refused, unknown] = lists;
  return [{ ...target, ...(typeof service === 'string' ? { service } : {}), reach, refuse: refused, unknown }];
}
