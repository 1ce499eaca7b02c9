// Entries of bridges' forwarding tables and of the neighbour tables beside them: read and written in batches, one process
// each however many there are. Which entries there should be is plan/fabric-entries.ts.

import type { CommandRunner } from './command.ts';

export interface ForwardingEntry {
  readonly mac: string;
  /** The port behind which it is. */
  readonly port: string;
  readonly vlan?: number;
  /** Put there by a routing daemon for a host behind another VTEP (NTF_EXT_LEARNED, linux/neighbour.h). */
  readonly far: boolean;
}

export interface NeighbourEntry {
  readonly address: string;
  readonly mac: string;
  readonly link: string;
  readonly far: boolean;
}

/** Unicast entries of ports of bridges that were put there, not those that are the ports' own MACs. One process. */
export async function readForwardingEntries(runner: CommandRunner): Promise<ForwardingEntry[]> {
  const { stdout } = await runner.run('bridge', ['fdb', 'show']);
  return parseForwardingEntries(stdout);
}

/** Pure: `00:0c:29:00:00:01 dev s10 vlan 2 extern_learn master b10 static`. */
export function parseForwardingEntries(text: string): ForwardingEntry[] {
  const entries: ForwardingEntry[] = [];
  for (const line of text.split('\n')) {
    const words = line.trim().split(/\s+/);
    if (words.length < 5 || words[1] !== 'dev' || !words.includes('master') || words.includes('permanent')) continue;
    const vlanAt = words.indexOf('vlan');
    entries.push({
      mac: words[0],
      port: words[2],
      ...(vlanAt > 0 ? { vlan: Number(words[vlanAt + 1]) } : {}),
      far: words.includes('extern_learn'),
    });
  }
  return entries;
}

/** Entries with a MAC that were put there by hand or by a routing daemon, of both families. One process. */
export async function readNeighbourEntries(runner: CommandRunner): Promise<NeighbourEntry[]> {
  const { stdout } = await runner.run('ip', ['neigh', 'show', 'nud', 'all']);
  return parseNeighbourEntries(stdout);
}

/** Pure: `192.168.1.5 dev b10 lladdr 00:0c:29:00:00:01 extern_learn NOARP proto zebra`. */
export function parseNeighbourEntries(text: string): NeighbourEntry[] {
  const entries: NeighbourEntry[] = [];
  for (const line of text.split('\n')) {
    const words = line.trim().split(/\s+/);
    const macAt = words.indexOf('lladdr');
    if (words[1] !== 'dev' || macAt < 0) continue;
    const far = words.includes('extern_learn');
    if (far || words.includes('PERMANENT')) entries.push({ address: words[0], mac: words[macAt + 1], link: words[2], far });
  }
  return entries;
}

export interface EntryBatch {
  readonly addMacs: readonly ForwardingEntry[];
  readonly removeMacs: readonly ForwardingEntry[];
  readonly addNeighbours: readonly NeighbourEntry[];
  readonly removeNeighbours: readonly NeighbourEntry[];
}

/**
 * Static entries neither age nor go when a port loses its carrier, and the host may still move elsewhere; permanent
 * neighbours are exempt from the table's limit (neigh_add(), net/core/neighbour.c). Idempotent. At most two processes.
 */
export async function applyEntries(runner: CommandRunner, batch: EntryBatch): Promise<void> {
  const where = ({ port, vlan }: ForwardingEntry): string => `dev ${port} master${vlan === undefined ? '' : ` vlan ${vlan}`}`;
  const macs = [
    ...batch.removeMacs.map((entry) => `fdb del ${entry.mac} ${where(entry)}\n`),
    ...batch.addMacs.map((entry) => `fdb replace ${entry.mac} ${where(entry)} static\n`),
  ].join('');
  // -force: an entry that went meanwhile is no fault; what is lacking shows in the next reading.
  if (macs) await runner.run('bridge', ['-force', '-batch', '-'], { input: macs, anyCode: true, timeoutMs: 60_000 });
  const neighbours = [
    ...batch.removeNeighbours.map(({ address, link }) => `neigh del ${address} dev ${link}\n`),
    ...batch.addNeighbours.map(({ address, mac, link }) => `neigh replace ${address} lladdr ${mac} dev ${link} nud permanent\n`),
  ].join('');
  if (neighbours) await runner.run('ip', ['-force', '-batch', '-'], { input: neighbours, anyCode: true, timeoutMs: 60_000 });
}

/** Whatever a routing daemon put into forwarding and neighbour tables, but not the lists of VTEPs to flood to. */
export async function removeFarEntries(runner: CommandRunner): Promise<void> {
  const { stdout } = await runner.run('bridge', ['fdb', 'show']);
  const macs = renderFarRemovals(stdout);
  if (macs.length > 0) await runner.run('bridge', ['-force', '-batch', '-'], { input: `${macs.join('\n')}\n`, anyCode: true });
  const neighbours = (await readNeighbourEntries(runner)).filter(({ far }) => far);
  const lines = neighbours.map(({ address, link }) => `neigh del ${address} dev ${link}\n`);
  if (lines.length > 0) await runner.run('ip', ['-force', '-batch', '-'], { input: lines.join(''), anyCode: true });
}

/** Pure: each far MAC is listed once as the bridge's and once as the VXLAN device's own, with the VTEP it is behind. */
export function renderFarRemovals(text: string): string[] {
  return text.split('\n').flatMap((line) => {
    const words = line.trim().split(/\s+/);
    if (words[1] !== 'dev' || !words.includes('extern_learn')) return [];
    const after = (word: string): string => {
      const at = words.indexOf(word);
      return at < 0 ? '' : ` ${word} ${words[at + 1]}`;
    };
    const where = words.includes('self') ? `${after('dst')}${after('src_vni')} self` : `${after('vlan')} master`;
    return [`fdb del ${words[0]} dev ${words[2]}${where}`];
  });
}
