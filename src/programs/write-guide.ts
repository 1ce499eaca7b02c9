// `npm run guide`: writes docs/configuration.md. What stands in it is config/guide.ts.

import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { renderGuide } from '../config/guide.ts';
import { readPersonas } from '../config/personas.ts';

const home = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../../..');
writeFileSync(path.join(home, 'docs/configuration.md'), renderGuide(readPersonas(path.join(home, 'rules'))));
