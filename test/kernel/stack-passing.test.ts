// A decoy bound to a service by kernel path shows the service's TCP/IP, whatever stack its persona would wear; its
// neighbours that are not bound wear theirs.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { silentLog } from '../../src/base/log.ts';
import { createCommandRunner } from '../../src/kernel/command.ts';
import { applyTransaction, renderReplacement } from '../../src/kernel/nft-apply.ts';
import { planRuleset } from '../../src/plan/ruleset.ts';
import { ServicesController } from '../../src/plan/services-controller.ts';
import { personaLibrary } from '../support/diversion-bed.ts';
import { lacksKernelTests, until, withLab } from '../support/namespace.ts';
import { layServicesBed, serveBothEnds, talk } from '../support/services-bed.ts';

test('what passes by kernel path keeps its own stack', { skip: lacksKernelTests() }, () =>
  withLab(async (lab) => {
    const bed = await layServicesBed(lab);
    const controller = new ServicesController({
      tag: `${process.pid.toString(16).slice(-3)}p`,
      log: silentLog,
      netns: bed.home.path,
    });
    const stack = personaLibrary().stacks.get('windows-10');
    assert.ok(stack);
    const [visitor] = bed.attackers;
    const { inside } = bed.desired.segments[0];
    const personas = inside.personas.map((persona) => ({ ...persona, stack, ttl: stack.ttl }));
    await applyTransaction(
      createCommandRunner(bed.segments[0].path),
      renderReplacement(planRuleset({ ...inside, personas }, [], [])),
    );
    try {
      await serveBothEnds(bed.service, 80);
      await controller.apply(bed.desired);
      const capture = visitor.spawn([
        'tcpdump',
        '-i',
        'eth0',
        '-n',
        '-v',
        '-l',
        '--immediate-mode',
        'src net 10.50.0.0/24 and tcp',
      ]);
      let heard = '';
      for (const stream of [capture.stdout, capture.stderr])
        stream?.on('data', (data) => {
          heard += String(data);
        });
      await until('tcpdump listens', () => heard.includes('listening'));
      assert.match(await talk(visitor, '10.50.0.70', 80, 42001), /^real /);
      assert.equal(await talk(visitor, '10.50.0.20', 81, 42002), 'refused');
      const packets = (): string[] => heard.split(/\n(?=\S)/);
      const bound = await until('the service answers', () =>
        packets().find((text) => /10\.50\.0\.70\.80 > .*\[S\.\]/.test(text)),
      );
      assert.match(bound, /ttl 64,/);
      assert.match(bound, /\[mss \d+,sackOK,TS val \d+ ecr \d+,nop,wscale \d+\]/);
      const worn = await until('the decoy refuses', () => packets().find((text) => /10\.50\.0\.20\.81 > .*\[R\.\]/.test(text)));
      assert.match(worn, /ttl 128,/);
    } finally {
      await controller.apply(undefined);
    }
  }),
);
