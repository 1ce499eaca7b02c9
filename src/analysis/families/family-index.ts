// Which family a payload belongs to: the most alike of its class, or a new one. Bounded; what was not met longest goes first. The
// order of payloads decides, never how they were cut into batches; known families are made again from what a store keeps.

import { hash as digestOf } from 'node:crypto';
import { printable } from '../../base/printable.ts';
import { RecencyMap } from '../../base/recency-map.ts';
import type { PayloadFamily } from '../../model/insight.ts';
import type { SessionView } from '../session-view.ts';
import { payloadForm } from './payload-form.ts';
import { hashText, parseSketch, renderSketch, similarity } from './sketch.ts';

export interface FamilyLimits {
  /** Families compared with; default 10,000. */
  readonly maxFamilies?: number;
  /** Of one class; default 256. */
  readonly maxPerClass?: number;
  /** Payloads remembered with their family; default 65,536. */
  readonly maxPayloads?: number;
}

export interface Assignment {
  /** Identifier of the family. */
  readonly family: string;
  /** Present once: when this payload founded it. */
  readonly founded?: PayloadFamily;
}

const exampleBytes = 256;
const labelLimit = 100;

interface Known {
  readonly id: string;
  readonly classHash: number;
  readonly groups: Uint32Array;
  /** False once it was let go. */
  alive: boolean;
}

export class FamilyIndex {
  readonly #limits: Required<FamilyLimits>;
  /** By class, oldest first. */
  readonly #classes = new Map<number, Known[]>();
  readonly #recent = new RecencyMap<string, Known>();
  /** By sha256 of the payload. */
  readonly #payloads = new RecencyMap<string, Known>();
  #evicted = 0;

  /** `known`: newest first, as a store gives them. */
  constructor(known: readonly PayloadFamily[] = [], limits: FamilyLimits = {}) {
    this.#limits = { maxFamilies: 10_000, maxPerClass: 256, maxPayloads: 65_536, ...limits };
    for (let index = Math.min(known.length, this.#limits.maxFamilies) - 1; index >= 0; index -= 1) {
      const sketch = parseSketch(known[index].sketch);
      if (sketch) this.#add({ id: known[index].id, alive: true, ...sketch });
    }
  }

  get size(): number {
    return this.#recent.size;
  }

  /** Families let go to make room: their next payload founds one again. */
  get evicted(): number {
    return this.#evicted;
  }

  /** Undefined for a session that sent nothing. */
  assign(view: SessionView): Assignment | undefined {
    const { input, session } = view;
    if (input.length === 0) return undefined;
    const bytes = Buffer.from(input.buffer, input.byteOffset, input.length);
    const hash = digestOf('sha256', bytes);
    const known = this.#payloads.get(hash);
    if (known?.alive) {
      this.#recent.set(known.id, known);
      return { family: known.id };
    }
    const form = payloadForm(bytes);
    const classHash = hashText(form.class);
    const best = this.#closest(classHash, form.groups, form.threshold);
    if (best) {
      this.#remember(hash, best);
      this.#recent.set(best.id, best);
      return { family: best.id };
    }
    const founder: Known = { id: hash.slice(0, 16), classHash, groups: form.groups, alive: true };
    this.#add(founder);
    this.#remember(hash, founder);
    const founded: PayloadFamily = {
      id: founder.id,
      firstSeen: session.start,
      payloadHash: hash,
      example: Uint8Array.from(bytes.subarray(0, exampleBytes)),
      sketch: renderSketch(classHash, form.groups),
      label: printable(form.label(), labelLimit),
    };
    return { family: founder.id, founded };
  }

  /** Of equals the oldest. */
  #closest(classHash: number, groups: Uint32Array, threshold: number): Known | undefined {
    let best: Known | undefined;
    let most = threshold;
    for (const known of this.#classes.get(classHash) ?? []) {
      const alike = similarity(known.groups, groups);
      if (alike > most || (alike === most && !best)) {
        best = known;
        most = alike;
      }
    }
    return best;
  }

  #add(known: Known): void {
    const before = this.#recent.get(known.id);
    if (before) this.#drop(before);
    const others = this.#classes.get(known.classHash);
    if (!others) this.#classes.set(known.classHash, [known]);
    else {
      if (others.length >= this.#limits.maxPerClass) this.#evict(others[0]);
      // Letting go of the last one takes the list away.
      const rest = this.#classes.get(known.classHash);
      if (rest) rest.push(known);
      else this.#classes.set(known.classHash, [known]);
    }
    this.#recent.set(known.id, known);
    if (this.#recent.size > this.#limits.maxFamilies) this.#evict((this.#recent.oldest as [string, Known])[1]);
  }

  #evict(known: Known): void {
    this.#evicted += 1;
    this.#drop(known);
  }

  #drop(known: Known): void {
    known.alive = false;
    this.#recent.delete(known.id);
    const rest = (this.#classes.get(known.classHash) ?? []).filter((one) => one !== known);
    if (rest.length === 0) this.#classes.delete(known.classHash);
    else this.#classes.set(known.classHash, rest);
  }

  #remember(hash: string, known: Known): void {
    this.#payloads.set(hash, known);
    if (this.#payloads.size > this.#limits.maxPayloads) this.#payloads.delete((this.#payloads.oldest as [string, Known])[0]);
  }
}
