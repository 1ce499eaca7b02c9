// Who is ended for hanging, and who is not: slow beginnings, other runs, and no process at all.

import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { type IdsHearing, type IdsProcessName, IdsWatch } from './ids-watch.ts';

const silent: IdsHearing = { connected: true, heard: false };
const absent: IdsHearing = { connected: false, heard: false };
const well: IdsHearing = { connected: true, heard: true };

function bed(t: TestContext) {
  const ended: string[] = [];
  const runs: Record<IdsProcessName, number | undefined> = { suricata: 1, ids: 2 };
  let hearing: IdsHearing | undefined = well;
  const watch = new IdsWatch({
    ask: async () => {
      if (!hearing) throw new Error('timeout');
      return hearing;
    },
    runOf: (who) => runs[who],
    end: (who, why) => void ended.push(`${who}: ${why}`),
    lookMs: 3_600_000,
  });
  t.after(() => watch.close());
  const look = async (times: number, next: IdsHearing | undefined): Promise<string[]> => {
    hearing = next;
    for (let count = 0; count < times; count += 1) await watch.look();
    return ended.splice(0);
  };
  return { look, runs };
}

test('a Suricata that judges nothing for twelve looks in a row is ended, once for each twelve', async (t) => {
  const { look } = bed(t);
  assert.deepEqual(await look(100, well), []);
  assert.deepEqual(await look(11, silent), []);
  assert.deepEqual(await look(1, well), []);
  assert.deepEqual(await look(11, silent), []);
  assert.deepEqual(await look(1, silent), ['suricata: it judges nothing']);
  assert.deepEqual(await look(12, silent), ['suricata: it judges nothing']);
});

test('one that only began has its time again, and one that is slow to begin has more of it', async (t) => {
  const { look, runs } = bed(t);
  await look(11, silent);
  runs.suricata = 3;
  assert.deepEqual(await look(12, silent), ['suricata: it judges nothing']);
  runs.suricata = 4;
  assert.deepEqual(await look(119, absent), []);
  assert.deepEqual(await look(1, absent), ['suricata: it does not open its command socket']);
});

test('a feeder that does not answer is ended late, and says nothing about Suricata', async (t) => {
  const { look, runs } = bed(t);
  await look(5, silent);
  assert.deepEqual(await look(119, undefined), []);
  assert.deepEqual(await look(1, undefined), ['ids: it does not answer']);
  runs.ids = undefined;
  assert.deepEqual(await look(500, undefined), []);
});
