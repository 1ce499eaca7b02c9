// Where this very program runs from.

import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Installation } from './launch.ts';

/** The package this file was built into, and the node that runs it. */
export const ownInstallation = (): Installation => ({
  node: process.execPath,
  root: join(dirname(fileURLToPath(import.meta.url)), '../../..'),
});
