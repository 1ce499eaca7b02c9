// One look at what is not as applied: tries to mend each object by itself, leaves alone what is held back, and keeps what
// came of it, in words for people and for the record. What is wrong is found by the changers; when to look is reconciler.ts.

import { asWeirError } from '../base/errors.ts';
import type { Repair } from './annex.ts';
import { describeClaim } from './claims.ts';
import type { Step } from './step.ts';

export interface RepairRequest {
  /** Networks to look at, '' for the machine's own; absent: all of them. */
  readonly networks?: ReadonlySet<string>;
  /** Whether to leave an object alone for now, by repairKey: somebody keeps changing it, or it just failed. */
  readonly isHeld: (key: string) => boolean;
}

export interface RepairOutcome {
  /** What was put back, in order. */
  readonly repairs: readonly Repair[];
  /** What could not be; the message says why. */
  readonly failures: readonly Repair[];
}

/** Which object a repair was about: the same text whenever it is the same object. */
export const repairKey = ({ network, object, subject }: Pick<Repair, 'network' | 'object' | 'subject'>): string =>
  `${network}/${object}/${subject ?? ''}`;

/** What is forgotten is held back later, that is all. */
const maxKnown = 256;

export class RepairRun implements RepairOutcome {
  readonly repairs: Repair[] = [];
  readonly failures: Repair[] = [];
  readonly #request: RepairRequest;

  constructor(request: RepairRequest) {
    this.#request = request;
  }

  concerns(network: string): boolean {
    return this.#request.networks?.has(network) ?? true;
  }

  /** False when the object is held back or could not be mended. */
  async attempt(repair: Repair, mend: () => void | Promise<void>): Promise<boolean> {
    if (this.#request.isHeld(repairKey(repair))) return false;
    try {
      await mend();
      this.repairs.push(repair);
      return true;
    } catch (error) {
      this.failures.push({ ...repair, message: `cannot be put back: ${repair.message} (${asWeirError(error).message})` });
      return false;
    }
  }

  /** What an object of its own brings along when it is made again: told only when it fails. */
  async follow(repair: Repair, mend: () => void | Promise<void>): Promise<boolean> {
    const mended = await this.attempt(repair, mend);
    if (mended) this.repairs.pop();
    return mended;
  }

  /** A part of the look that must not keep the other parts from theirs. */
  async guard<T>(part: string, look: () => Promise<T>): Promise<T | undefined> {
    try {
      return await look();
    } catch (error) {
      const message = `cannot look after the ${part}: ${asWeirError(error).message}`;
      this.failures.push({ network: '', object: 'process', subject: part, message });
      return undefined;
    }
  }

  /**
   * Somebody else's repairs, such as an annex's: one that failed, or one of whose objects is held back, rests as a whole.
   * `known` are the objects it repaired so far, kept by the caller.
   */
  async include(name: string, known: Set<string>, repair: () => Promise<readonly Repair[]>): Promise<void> {
    const whole = { network: '', object: 'process', subject: name } as const;
    for (const key of [repairKey(whole), ...known]) if (this.#request.isHeld(key)) return;
    const repairs = (await this.guard(name, repair)) ?? [];
    this.repairs.push(...repairs);
    if (known.size > maxKnown) known.clear();
    for (const one of repairs) known.add(repairKey(one));
  }
}

const some = (words: readonly string[]): string =>
  `${words.slice(0, 3).join(', ')}${words.length > 3 ? ` and ${words.length - 3} more` : ''}`;

/** What a step mends. `drift` says what of the rules was changed, where that is known. */
export function describeRepair(step: Step, drift: readonly string[] = []): Repair {
  const network = step.network ?? '';
  const where = network === '' ? '' : `${network}: `;
  const repair = (object: Repair['object'], subject: string, message: string): Repair => ({
    network,
    object,
    subject,
    message: `${where}${message}`,
  });
  switch (step.kind) {
    case 'ruleset': {
      const words = drift.length > 0 ? ` (${some(drift)})` : '';
      return step.from.length === 0
        ? repair('table', 'gone', 'the nft tables were gone: put back')
        : repair('table', 'changed', `somebody changed the nft tables${words}: put back`);
    }
    case 'routes': {
      const gone = step.add.map(({ destination }) => destination);
      const strange = step.remove.map(({ destination }) => destination);
      const words = [
        ...(gone.length > 0 ? [`local routes were gone: put back ${some(gone)}`] : []),
        ...(strange.length > 0 ? [`local routes with our mark were not ours: removed ${some(strange)}`] : []),
      ];
      return repair('route', '', words.join('; '));
    }
    case 'claims': {
      const words = [
        ...(step.add.length > 0 ? [`was gone: made again ${some(step.add.map(describeClaim))}`] : []),
        ...(step.remove.length > 0 ? [`was not ours: removed ${some(step.remove.map(describeClaim))}`] : []),
        ...(step.broken.length > 0 ? [`did not work: removed ${some(step.broken)}`] : []),
      ];
      return repair('address', 'claims', words.join('; '));
    }
    case 'sysctl':
      return repair('sysctl', step.key, `somebody set ${step.key} to ${step.from}: ${step.to} again`);
    case 'promiscuous':
      return repair('link', `${step.link} promiscuous`, `${step.link} was no longer promiscuous: it is again`);
    case 'netns':
      return repair('netns', step.add.join(), `network namespace ${step.add.join(', ')} was gone: made again`);
    case 'links': {
      const made = step.add.map(({ name, alias }) => `${name} (${alias})`);
      const strange = step.remove.map(({ name }) => name);
      return made.length > 0
        ? repair('link', 'made', `link ${made.join(', ')} was gone: made again, with its addresses, rules and settings`)
        : repair('link', 'strange', `link ${strange.join(', ')} was another than ours: removed`);
    }
    case 'wire':
      return repair('address', 'wire', `put back on ${step.line}`);
    case 'annex':
      return repair('link', step.annex, step.line);
  }
}
