// What a running Weir and its machine say of themselves, as checks.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { MachineNamespace } from '../../model/machine.ts';
import type { Status } from '../../model/status.ts';
import { parseOpenFilesLimit } from './machine-health.ts';
import { checkMachine, checkStatus, exitCodeOf, type WeirCheck } from './weir-check.ts';

const states = (checks: readonly WeirCheck[]): string => checks.map(({ name, state }) => `${name} ${state}`).join(', ');

test('programs, health, agents, losses and the journal', () => {
  assert.equal(states(checkStatus(undefined)), 'programs fail');
  const good: Status = { health: 'good', processes: [{ name: 'netd', state: 'running' }], journal: { lagMs: 10 } };
  assert.equal(states(checkStatus(good)), 'programs pass, health pass, losses pass, journal pass');
  const agent = { health: 'good', reasons: [] } as const;
  const odd = {
    health: 'degraded',
    reasons: ['netd is restarting'],
    processes: [{ name: 'netd', state: 'restarting' }],
    agents: [
      { ...agent, name: 'a', state: 'linked' },
      { ...agent, name: 'b', state: 'away' },
      { ...agent, name: 'c', state: 'waiting' },
      { ...agent, name: 'd', state: 'revoked' },
      { name: 'e', state: 'linked', health: 'degraded', reasons: ['its clock is wrong'] },
    ],
    drops: { 'sessions shed': 3, 'nothing here': 0 },
    journal: { lagMs: 90_000 },
  } as unknown as Status;
  assert.equal(
    states(checkStatus(odd)),
    'programs fail, health warn, agent a pass, agent b fail, agent c warn, agent d pass, agent e warn, losses warn, journal warn',
  );
});

test('clock, disk, limits, and rules in the way of bridges', () => {
  const home = (handed: string, policy: 'accept' | 'drop'): MachineNamespace =>
    ({
      links: [{ kind: 'bridge', name: 'br0' }],
      sysctls: { 'net/bridge/bridge-nf-call-iptables': handed },
      filter: {
        chains: [{ family: 'ip', table: 'filter', name: 'FORWARD', base: { hook: 'forward', policy } }],
        sets: [],
        unreadable: [],
      },
    }) as unknown as MachineNamespace;
  const disk = { path: '/data', freeBytes: 9e9, sizeBytes: 1e10 };
  const well = {
    clock: { synchronised: true, errorMs: 20 },
    disk,
    openFiles: { open: 5, limit: 100 },
    tracked: { count: 1, limit: 10 },
  };
  const names = 'clock, disk, open files, connection tracking, bridged frames'.split(', ');
  const judged = (...args: Parameters<typeof checkMachine>): string => states(checkMachine(...args));
  assert.equal(judged(well, home('0', 'drop')), names.map((name) => `${name} pass`).join(', '));
  assert.match(judged(well, home('1', 'drop')), /bridged frames warn/);
  assert.match(judged(well, home('1', 'accept')), /bridged frames pass/);
  assert.match(
    judged({ ...well, clock: { synchronised: false, errorMs: 1 } }, undefined),
    /clock warn.*bridged frames not-measured/,
  );
  assert.match(judged({ ...well, disk: { ...disk, freeBytes: 1e6 } }, undefined), /disk fail/);
  assert.match(
    judged({ ...well, openFiles: { open: 90, limit: 100 }, tracked: { count: 9, limit: 10 } }, undefined),
    /open files warn, connection tracking warn/,
  );
  assert.match(judged({}, undefined), /clock not-measured, disk not-measured, open files not-measured/);
  assert.equal(
    parseOpenFilesLimit('Max processes 1 1 p\nMax open files            1024                 524288               files\n'),
    1024,
  );
  assert.equal(parseOpenFilesLimit('nonsense'), undefined);
});

test('the worst decides, and what was not looked at is not well', () => {
  const check = (state: WeirCheck['state']): WeirCheck => ({ name: 'x', state, detail: '' });
  assert.equal(exitCodeOf([check('pass')]), 0);
  assert.equal(exitCodeOf([check('pass'), check('not-measured')]), 12);
  assert.equal(exitCodeOf([check('not-measured'), check('warn')]), 11);
  assert.equal(exitCodeOf([check('warn'), check('fail')]), 10);
});
