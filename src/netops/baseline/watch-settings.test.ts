// To which reading an author belongs, and who the author of a route is; real programs are test/kernel/netops-baseline.test.ts.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { nameRouteAuthor } from '../../kernel/settings/change-authors.ts';
import type { NetworkSettings } from '../../model/network-settings.ts';
import { type ChangeBell, followChanges, readQuietly } from './watch-settings.ts';

const settings = (routes: string): NetworkSettings => ({ takenAt: 0, parts: { routes }, missing: [] });

describe('a reading', () => {
  it('goes with the authors of what is in it: of a change under it another is taken', async () => {
    const told = [['ip[1]'], ['nft[2]'], []];
    let readings = 0;
    const {
      authors,
      isQuiet,
      settings: read,
    } = await readQuietly(async () => settings(String(++readings)), {
      take: () => told.shift() ?? assert.fail('asked too often'),
    });
    assert.deepEqual([authors, isQuiet, read.parts.routes], [['ip[1]', 'nft[2]'], true, '2']);
    // Who never rests is read all the same, and it is said that there is more to come.
    let busy = 0;
    const endless = await readQuietly(async () => settings(String(++busy)), { take: () => ['bird[3]'] });
    assert.deepEqual([busy, endless.isQuiet, endless.authors], [5, false, ['bird[3]']]);
  });
});

describe('a watch', () => {
  const watched = async (changesEveryMs: number, end: number, isQuiet: boolean): Promise<number[]> => {
    let now = 0;
    let waits = 0;
    const readings: number[] = [];
    const bell: ChangeBell = {
      changed: true,
      wait: async (ms) => {
        if (++waits > 1000) assert.fail('it waits without end');
        if (changesEveryMs < ms) bell.changed = true;
        now += Math.min(ms, changesEveryMs);
      },
    };
    await followChanges(bell, { end, signal: new AbortController().signal, now: () => now }, async () => {
      if (readings.push(now) > 1000) assert.fail('it reads without end');
      bell.changed = !isQuiet;
    });
    return readings;
  };

  it('ends in time and with a reading, however much changes, and reads in between', async () => {
    assert.deepEqual(await watched(300, 12_000, true), [5000, 10_300, 12_000]);
    assert.deepEqual((await watched(300, 12_000, false)).at(-1), 12_000);
    assert.deepEqual(await watched(Infinity, 900, false), [400, 800, 900]);
    // One change, then none: read when it is quiet, and at the end.
    assert.deepEqual(await watched(Infinity, 10_000, true), [400, 10_000]);
  });
});

describe('the author of a route', () => {
  const here = { netns: 'net:[7]', pidNamespace: 'pid:[1]' };

  it('is the process of that number only where both see the same network and the same numbers', () => {
    assert.equal(nameRouteAuthor(0, undefined, here), 'the kernel');
    assert.equal(nameRouteAuthor(12, { ...here, comm: 'ip' }, here), 'ip[12]');
    assert.match(nameRouteAuthor(12, undefined, here), /ended \(netlink port 12\)/);
    for (const other of [
      { ...here, netns: 'net:[8]', comm: 'sshd' },
      { ...here, pidNamespace: 'pid:[2]', comm: 'sshd' },
      { netns: undefined, pidNamespace: undefined, comm: 'sshd' },
    ])
      assert.doesNotMatch(nameRouteAuthor(12, other, here), /sshd/);
  });
});
