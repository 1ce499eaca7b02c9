// Colours of human output: sixteen-colour codes only, and none at all unless a terminal asked for them.

import type { CommandEnvironment, CommandOutput } from './environment.ts';

export interface Style {
  readonly bold: (text: string) => string;
  readonly dim: (text: string) => string;
  readonly red: (text: string) => string;
  readonly green: (text: string) => string;
  readonly yellow: (text: string) => string;
  readonly cyan: (text: string) => string;
}

const plain = (text: string): string => text;
const code =
  (open: number, close: number) =>
  (text: string): string =>
    `\u001b[${open}m${text}\u001b[${close}m`;

/** https://no-color.org: a non-empty NO_COLOR wins. */
export function styleFor(output: CommandOutput, variables: CommandEnvironment['variables']): Style {
  const coloured = output.isTerminal && !variables.NO_COLOR && variables.TERM !== 'dumb';
  if (!coloured) return { bold: plain, dim: plain, red: plain, green: plain, yellow: plain, cyan: plain };
  return {
    bold: code(1, 22),
    dim: code(2, 22),
    red: code(31, 39),
    green: code(32, 39),
    yellow: code(33, 39),
    cyan: code(36, 39),
  };
}
