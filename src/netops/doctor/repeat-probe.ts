// Whose packets moved a counter: it is read while nothing of ours is under way, and again around one packet of ours, a few times over. Where it stands
// still without and moves by one with it, it was this flow.

import { asWeirError } from '../../base/errors.ts';
import { insideNetns } from '../../kernel/libc.ts';
import { readMachine } from '../../kernel/machine/machine-reader.ts';
import { readCounters } from '../../kernel/machine/proc-tables.ts';
import type { MachineNamespace } from '../../model/machine.ts';
import { ruleAt } from './filter-hop.ts';
import type { WalkHop } from './hop.ts';
import type { ProbeRun, Repetition } from './probe-run.ts';
import { readFilterOf } from './reading.ts';
import type { Meter } from './signals.ts';

const rounds = 3;
/** Less than the second a SYN waits before it is sent again: each round is one packet. */
const roundMs = 120;

/** Undefined where it cannot be read, or is not there any more. */
export async function readMeter({ path, inode }: MachineNamespace, meter: Meter): Promise<number | undefined> {
  if (meter.kind === 'counter') return insideNetns(path, readCounters)[meter.name] ?? 0;
  if (meter.kind === 'rule') {
    const filter = await readFilterOf(path);
    return filter && ruleAt(filter, meter.place)?.packets;
  }
  const { namespaces } = await readMachine({ namespaces: 'one', netns: inode, parts: ['qdiscs'] });
  return namespaces[0]?.qdiscs.find(({ device, kind }) => device === meter.device && kind === meter.qdisc)?.drops;
}

/** Never throws for what it measures: what cannot be read again is not exact. `read` and `pause` are for tests. */
export async function repeatProbe(
  again: NonNullable<ProbeRun['again']>,
  { hop, meter }: { readonly hop: WalkHop; readonly meter: Meter },
  read: () => Promise<number | undefined> = () => readMeter(hop.namespace, meter),
  pause: () => Promise<void> = () => new Promise((resolve) => setTimeout(resolve, roundMs)),
): Promise<Repetition> {
  const inexact = (text: string): Repetition => ({ hop, exact: false, text });
  try {
    for (let round = 1; round <= rounds; round += 1) {
      const before = await read();
      await pause();
      const quiet = await read();
      if (before === undefined || quiet === undefined) return inexact('it could not be read again');
      if (quiet !== before) return inexact(`it moved by ${quiet - before} without the probe too: others move it`);
      await again(roundMs);
      const moved = ((await read()) ?? quiet) - quiet;
      if (moved !== 1) return inexact(`it moved by ${moved} with one more packet: others move it, or not every packet does`);
    }
    return {
      hop,
      exact: true,
      text: `${rounds} times more: it stood still without the probe, and moved by 1 with its one packet`,
    };
  } catch (error) {
    return inexact(`the probe could not be repeated: ${asWeirError(error).message}`);
  }
}
