// `weir kill` as a whole command: what it asks for, that it only shows unless told, its words and exit codes.

import assert from 'node:assert/strict';
import { after, beforeEach, describe, it } from 'node:test';
import { CommandBed } from '../../test/support/command-bed.ts';
import type { KillReport } from '../netops/kill/kill-connections.ts';
import type { PacketActions } from './packet-actions.ts';

const item = {
  cookie: '17',
  tuple: '10.0.0.1:22-10.0.0.9:5000',
  netns: '',
  state: 'ESTABLISHED',
  transport: 'tcp',
  pid: 4,
  comm: 'x\u001b[2J',
};
const none: KillReport = {
  selector: 's',
  matched: 0,
  killed: 0,
  refused: [],
  results: [],
  would: [],
  dry_run: true,
  not_measured: [],
};

describe('weir kill', () => {
  const bed = new CommandBed();
  let asked: Parameters<PacketActions['kill']>[] = [];
  const answer = (report: Partial<KillReport>): void => {
    bed.packets = {
      async kill(...args) {
        asked.push(args);
        return { ...none, ...report };
      },
    };
  };
  beforeEach(() => {
    asked = [];
    return bed.reset();
  });
  after(() => bed.close());

  it('only shows unless told, with exit code 10', async () => {
    answer({ matched: 1, would: [item] });
    const { code, out, err } = await bed.run('kill peer=10.0.0.9 port=22');
    assert.equal(code, 10);
    assert.deepEqual([asked[0][0].yes, asked[0][0].max, asked[0][0].method, asked[0][1]], [false, 10, 'auto', undefined]);
    assert.match(out, /tcp 10\.0\.0\.1:22-10\.0\.0\.9:5000 +ESTABLISHED +here +x\\x1b\[2J \(4\) +17\n/);
    assert.match(
      err,
      /1 connection would be ended \(with any address port 22 at either end, with 10\.0\.0\.9 there\): say --yes/,
    );
  });

  it('ends them when told, and says what is not proven', async () => {
    const done = { ...item, method: 'sock-destroy', verified: true, ms: 1.5 } as const;
    answer({
      matched: 2,
      killed: 1,
      dry_run: false,
      results: [done, { ...done, verified: false, method: 'challenge-rst', detail: 'it still answers' }],
    });
    const { code, out } = await bed.run('kill cookie=17 --yes --max 3 --netns web --method path');
    assert.equal(code, 5);
    assert.deepEqual([asked[0][0].yes, asked[0][0].max, asked[0][0].method, asked[0][1]], [true, 3, 'path', 'web']);
    assert.match(out, /sock-destroy +proven[\s\S]*challenge-rst +NOT PROVEN[\s\S]*it still answers/);
    answer({ matched: 1, killed: 1, dry_run: false, results: [done] });
    const json = await bed.run('kill cookie=17 --yes --json');
    assert.equal(json.code, 0);
    const { selector, matched, killed, refused, results } = JSON.parse(json.out);
    assert.deepEqual([selector, matched, killed, refused], ['s', 1, 1, []]);
    for (const key of ['cookie', 'tuple', 'method', 'verified', 'ms']) assert.ok(key in results[0], key);
  });

  it('says when nothing matched, and refuses what is no selector', async () => {
    answer({ not_measured: ['sockets of namespace 7: needs root'] });
    const { code, err } = await bed.run('kill pid=7');
    assert.equal(code, 4);
    assert.match(err, /not seen: sockets of namespace 7[\s\S]*no connection matches: pid 7/);
    for (const wrong of ['kill everything', 'kill pid=1 --max 0', 'kill pid=1 --method gently', 'kill'])
      assert.equal((await bed.run(wrong)).code, 2, wrong);
    assert.equal(asked.length, 1);
  });
});
