// netd's sockets where interfaces come and go.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { silentLog } from '../../src/base/log.ts';
import { closeDescriptor, insideNetns } from '../../src/kernel/libc.ts';
import { IntakeDoor } from '../../src/programs/intake-door.ts';
import { lacksKernelTests, withLab } from '../support/namespace.ts';

test(
  'an interface of the machine that is gone takes no socket of the others with it, and gets its own when it is back',
  {
    skip: lacksKernelTests(),
  },
  () =>
    withLab(async (lab) => {
      const machine = await lab.namespace('m');
      await machine.ip('link add here type veth peer name there\n');
      const interfaces = ['here', 'unplugged'].map((name) => ({ name, promiscuous: true }));
      const door = insideNetns(machine.path, () => new IntakeDoor([], silentLog));
      const open = (): string[] => {
        insideNetns(machine.path, () => door.open([{ name: '', interfaces }]));
        door.closeLeft();
        return door.sockets.map(({ name }) => name).sort();
      };
      try {
        const without = open();
        assert.ok(without.includes('tcp4') && without.includes('neighbour-here'));
        await machine.ip('link set there name unplugged\n');
        assert.deepEqual(open(), [...without, 'neighbour-unplugged'].sort());
        await machine.ip('link del unplugged\n');
        assert.deepEqual(
          open(),
          without.filter((name) => name !== 'neighbour-here'),
        );
      } finally {
        for (const { fd } of door.sockets) closeDescriptor(fd);
      }
    }),
);
