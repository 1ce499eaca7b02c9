// What is run to take a restore back, as text; real machines are test/kernel/netops-baseline.test.ts.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { NetworkSettings } from '../../model/network-settings.ts';
import { renderReturnScript } from './settings-restore.ts';

const settings = (routes: string): NetworkSettings => ({ takenAt: 0, parts: { routes }, missing: [] });

describe('what takes a restore back', () => {
  it('tries every route, also behind one that fails', () => {
    const script = renderReturnScript({ now: settings('10.1.0.0/16 dev a\n'), wanted: settings('10.2.0.0/16 dev a\n') });
    assert.match(script, /^'ip' '-force' '-4' '-batch' '-' /m);
    assert.match(script, /^route del 10\.2\.0\.0\/16 dev a\nroute add 10\.1\.0\.0\/16 dev a$/m);
  });
});
