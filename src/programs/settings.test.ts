// What a change of weir.yaml does not reach while Weir runs, told key by key.

import assert from 'node:assert/strict';
import path from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { parseConfiguration } from '../config/configuration.ts';
import { readPersonas } from '../config/personas.ts';
import { startSettings, waitingKeys } from './settings.ts';

const personas = readPersonas(path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../../../rules'));
const parsed = (text: string) => {
  const result = parseConfiguration(`version: 1\n${text}`, 'weir.yaml', { personas });
  return 'configuration' in result ? result.configuration : assert.fail(JSON.stringify(result));
};

test('keys that only a start reads are named when they changed, and others never', () => {
  const running = startSettings(parsed('retention: { days: 30 }'));
  assert.deepEqual(waitingKeys(parsed('retention: { days: 30 }\nmanagement: { ports: [22] }'), running), []);
  assert.deepEqual(
    waitingKeys(
      parsed('baseline: { every: 1h }\nanalysis: { behaviour: { scan-ports: 16 } }\nlimits: { sessions: 99 }'),
      running,
    ),
    ['retention', 'limits', 'baseline', 'analysis'],
  );
  assert.deepEqual(waitingKeys(parsed('console: { port: 8444 }'), startSettings(parsed(''))), ['console']);
});
