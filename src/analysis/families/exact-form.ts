// What is known of a payload once what changes from copy to copy is gone. Data, and the simplest one.

import { SketchBuilder } from './sketch.ts';

export interface PayloadForm {
  readonly class: string;
  readonly groups: Uint32Array;
  /** How alike a payload of the class must be. */
  readonly threshold: number;
  /** Not yet safe to show; worked out only when a family is founded. */
  readonly label: () => string;
}

/** One class is one family: everything that counts is in its name. */
export const exactForm = (name: string, text: string): PayloadForm => ({
  class: name,
  groups: new SketchBuilder().groups,
  threshold: 0,
  label: () => text,
});
