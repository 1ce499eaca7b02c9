// A difference from the access matrix, which a whole Weir checks by itself, comes out as an alert of its record and in its status; decoys are no
// difference, and settings of the machine without Weir's own are the same with it and without.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { withWeirLab } from '../../src/programs/weir-lab.ts';
import { lacksKernelTests, until } from '../support/namespace.ts';

const configuration = `
baseline: { every: 1h }
diversions:
  - { name: dmz, kind: host, interface: eth0, decoys: [{ addresses: 10.64.0.0/24, persona: all-open }] }
`;

/** One check looks at all namespaces of the machine, also at those of tests beside it. */
const checkMs = 60_000;

test('a port that opens is an alert, decoys are none', { skip: lacksKernelTests(), timeout: 150_000 }, () =>
  withWeirLab({ configuration }, async (lab) => {
    const baseline = (...argv: string[]) => lab.weir(['baseline', ...argv, '--json'], { anyCode: true });
    await lab.sensor.nft('table inet shop { chain in { type filter hook input priority 0; tcp dport 6379 drop; }; }\n');
    const code = "require('node:net').createServer(s=>s.on('error',()=>{}).end()).listen(6379,()=>console.log('up'))";
    const server = lab.sensor.spawn([process.execPath, '-e', code]);
    await once(server.stdout ?? assert.fail(), 'data');
    await baseline('record');
    interface Shown {
      readonly kind: string;
      readonly target: string;
    }
    const ours = (stdout: string): Shown[] =>
      (JSON.parse(stdout).differences as Shown[]).filter(({ target }) => /:6379$| 10\.64\./.test(target));
    assert.deepEqual(ours((await baseline('check')).stdout), []);
    await lab.sensor.run(['nft', 'flush', 'chain', 'inet', 'shop', 'in']);
    assert.equal(JSON.parse((await baseline('snapshot')).stdout).number, 1);
    await lab.up();
    const said = await until(
      'the first check is over',
      async () => /^baseline +(?!the first| ).*$/m.exec((await lab.weir(['status'], { anyCode: true })).stdout)?.[0],
      checkMs,
    );
    assert.match(said, /baseline +\d+ differences: \d+ ways compared/);
    await until('the alert is on record', async () =>
      (await lab.records(['alerts'])).some((one) => JSON.stringify(one).includes('access-opened')),
    );
    const diff = await baseline('diff', '1');
    assert.deepEqual(JSON.parse(diff.stdout).changes, [], 'nothing of what Weir changed is counted');
    const found = ours((await baseline('check')).stdout);
    assert.ok(found.length > 0 && found.every(({ kind }) => kind === 'opened'), JSON.stringify(found));
  }),
);
