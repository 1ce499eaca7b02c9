// The loop around repair: when it looks, at what, that runs do not overlap, and what it does with failures. No kernel.

import assert from 'node:assert/strict';
import test from 'node:test';
import { silentLog } from '../base/log.ts';
import type { ChangeKind } from '../kernel/change-watch.ts';
import type { Repair } from './annex.ts';
import { Reconciler, type ReconcilerOptions } from './reconciler.ts';
import type { RepairOutcome, RepairRequest } from './repair.ts';
import type { Trouble } from './repair-ledger.ts';

const lan: Repair = { network: 'a', object: 'link', subject: 'lan', message: 'link lan of a was gone: made again' };
const nothing: RepairOutcome = { repairs: [], failures: [] };

interface Stage {
  readonly reconciler: Reconciler;
  readonly requests: RepairRequest[];
  readonly repairs: Repair[];
  readonly troubles: Trouble[];
  readonly change: (network: string) => void;
  readonly open: Set<string>;
  /** Resolves at the end of the run after the next look at this network. */
  readonly looked: (count: number) => Promise<void>;
}

function stage(
  answer: (request: RepairRequest, count: number) => RepairOutcome | Promise<RepairOutcome>,
  more: Partial<ReconcilerOptions> = {},
): Stage {
  const requests: RepairRequest[] = [];
  const repairs: Repair[] = [];
  const troubles: Trouble[] = [];
  const open = new Set<string>();
  const listeners = new Map<string, (kinds: ReadonlySet<ChangeKind>) => void>();
  const waiting: { count: number; resolve: () => void }[] = [];
  const reconciler = new Reconciler({
    repairables: [
      {
        name: 'diversions',
        async repair(request) {
          requests.push(request);
          const outcome = await answer(request, requests.length);
          for (const one of waiting) if (requests.length >= one.count) setImmediate(one.resolve);
          return outcome;
        },
      },
    ],
    log: silentLog,
    onRepair: (repair) => repairs.push(repair),
    onTrouble: (trouble) => troubles.push(trouble),
    delayMs: 5,
    everyMs: 60_000,
    openWatch({ netns, onChange }) {
      const name = netns ?? '';
      open.add(name);
      listeners.set(name, onChange);
      return { overruns: 3, close: () => void open.delete(name) };
    },
    ...more,
  });
  const looked = (count: number): Promise<void> =>
    requests.length >= count
      ? new Promise((resolve) => setImmediate(resolve))
      : new Promise((resolve) => waiting.push({ count, resolve }));
  return {
    reconciler,
    requests,
    repairs,
    troubles,
    open,
    looked,
    change: (network) => listeners.get(network)?.(new Set(['link'])),
  };
}

const namesIn = ({ networks }: RepairRequest): string[] => [...(networks ?? ['all'])].sort();

test('changes are gathered into one look at the networks they were in', async () => {
  const { reconciler, requests, change, looked } = stage(() => nothing);
  reconciler.watch([{ name: '' }, { name: 'a', netns: '/nowhere/a' }, { name: 'b', netns: '/nowhere/b' }]);
  await looked(1);
  assert.deepEqual(namesIn(requests[0]), ['', 'a', 'b'], 'new ones are looked at');
  for (let count = 0; count < 100; count += 1) change('/nowhere/b');
  change('');
  await looked(2);
  assert.deepEqual(namesIn(requests[1]), ['', 'b']);
  await reconciler.lookNow();
  assert.equal(requests[2].networks, undefined);
  await reconciler.close();
});

test('runs do not overlap; what changes during one is looked at after it', async () => {
  let running = 0;
  let most = 0;
  let release: (() => void) | undefined;
  const { reconciler, requests, change, looked } = stage(async (_request, count) => {
    running += 1;
    most = Math.max(most, running);
    if (count === 1)
      await new Promise<void>((resolve) => {
        release = resolve;
      });
    running -= 1;
    return nothing;
  });
  reconciler.watch([{ name: '' }]);
  while (!release) await new Promise((resolve) => setImmediate(resolve));
  change('');
  change('');
  assert.equal(requests.length, 1);
  const now = reconciler.lookNow();
  release();
  await looked(2);
  await now;
  await looked(3);
  assert.equal(most, 1);
  await reconciler.close();
});

test('a repair is told and counted; a failure is told once, tried again by itself, and forgotten when it is gone', async () => {
  const { reconciler, repairs, troubles, looked } = stage((_request, count) =>
    count < 3
      ? { repairs: [], failures: [{ ...lan, message: 'the trunk is gone' }] }
      : count === 3
        ? { repairs: [lan], failures: [] }
        : nothing,
  );
  reconciler.watch([{ name: 'a', netns: '/nowhere/a' }]);
  await looked(1);
  assert.deepEqual(reconciler.status().reasons, ['the trunk is gone']);
  await looked(3);
  assert.deepEqual(repairs, [lan]);
  assert.deepEqual(
    troubles.map(({ name }) => name),
    ['repair-failed'],
  );
  const { reasons, failures, lastRepair } = reconciler.status();
  assert.deepEqual([reasons, failures, lastRepair?.message], [[], 2, lan.message]);
  await reconciler.close();
});

test('what failed in many networks at once is tried again in all of them at once', async () => {
  const names = Array.from({ length: 50 }, (_, index) => `n${index}`);
  let failing = true;
  const { reconciler, requests, repairs, looked } = stage((request) => {
    const found = namesIn(request).map((network): Repair => ({ ...lan, network }));
    return failing ? { repairs: [], failures: found } : { repairs: found, failures: [] };
  });
  reconciler.watch(names.map((name) => ({ name, netns: `/nowhere/${name}` })));
  await looked(1);
  failing = false;
  await looked(2);
  const runs = requests.length;
  while (repairs.length < names.length) await looked(requests.length + 1);
  assert.ok(requests.length <= runs + 2, `${requests.length} runs for ${names.length} networks`);
  await reconciler.close();
});

test('what throws counts as a failure of its own and does not keep the others from being looked after', async () => {
  const asked: string[] = [];
  const failing = {
    name: 'fabric',
    async repair(): Promise<RepairOutcome> {
      asked.push('fabric');
      throw new Error('no vtysh');
    },
  };
  let now = 1;
  const two = stage(() => nothing, {
    clock: () => now,
    repairables: [
      failing,
      {
        name: 'diversions',
        async repair() {
          asked.push('diversions');
          return nothing;
        },
      },
    ],
  });
  await two.reconciler.lookNow();
  await two.reconciler.lookNow();
  assert.deepEqual(asked, ['fabric', 'diversions', 'diversions'], 'the failing one rests');
  now += 600_000;
  await two.reconciler.lookNow();
  assert.match(two.troubles[0].message, /cannot look after the fabric: no vtysh/);
  await two.reconciler.close();
});

test('an object somebody keeps changing is held back: the repairable is told, and told others once', async () => {
  let held = 0;
  const { reconciler, troubles, repairs } = stage(
    ({ isHeld }) => {
      if (!isHeld('a/link/lan')) return { repairs: [lan], failures: [] };
      held += 1;
      return nothing;
    },
    { repairsPerMinute: 3 },
  );
  for (let count = 0; count < 6; count += 1) await reconciler.lookNow();
  assert.equal(repairs.length, 3);
  assert.equal(held, 3);
  assert.deepEqual(
    troubles.map(({ name }) => name),
    ['contended'],
  );
  await reconciler.close();
});

test('who is told of a repair may fail; the next look comes all the same', async () => {
  let told = 0;
  const { reconciler } = stage(() => ({ repairs: [lan], failures: [] }), {
    onRepair: () => {
      told += 1;
      throw new Error('no sockets');
    },
  });
  await reconciler.lookNow();
  await reconciler.lookNow();
  assert.equal(told, 2);
  await reconciler.close();
});

test('watches come and go with the networks, all are closed in the end, and their overruns are kept', async () => {
  const { reconciler, open } = stage(() => nothing);
  reconciler.watch([{ name: '' }, { name: 'a', netns: '/nowhere/a' }]);
  reconciler.watch([{ name: '' }, { name: 'b', netns: '/nowhere/b' }]);
  assert.deepEqual([...open].sort(), ['', '/nowhere/b']);
  assert.equal(reconciler.status().overruns, 9);
  await reconciler.close();
  assert.deepEqual([...open], []);
  reconciler.watch([{ name: '' }]);
  assert.deepEqual([...open], []);
});

test('the periodic look takes some networks at a time, in turn, and leaves none out', async () => {
  const networks = Array.from({ length: 60 }, (_, index) => ({ name: `n${index}`, netns: `/nowhere/n${index}` }));
  const { reconciler, requests, looked } = stage(() => nothing, { everyMs: 20 });
  reconciler.watch(networks);
  await looked(4);
  await reconciler.close();
  const later = requests.slice(1, 4).flatMap(namesIn);
  for (const request of requests.slice(1)) assert.ok(namesIn(request).length <= 50);
  assert.equal(new Set(later).size, 60);
});
