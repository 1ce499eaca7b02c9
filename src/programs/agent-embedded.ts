// What an agent has with it beside its program: its version and the personas. Read from the installation here; in the
// single file that `weir agent build` makes, this module is replaced by one that holds them (agent-build.ts).

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { readPersonaFiles } from '../config/personas.ts';
import { ownInstallation } from './installation.ts';

export interface Embedded {
  readonly version: string;
  /** By name below `rules/`. */
  readonly personaFiles: ReadonlyMap<string, string>;
}

export function readEmbedded(): Embedded {
  const { root } = ownInstallation();
  const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string };
  return { version, personaFiles: readPersonaFiles(join(root, 'rules')) };
}
