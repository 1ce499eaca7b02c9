// Doors for agents and proxies in a real namespace: opened, kept, moved, taken back, and refused where somebody listens.

import assert from 'node:assert/strict';
import test from 'node:test';
import { openLog } from '../../src/base/log.ts';
import { createCommandRunner } from '../../src/kernel/command.ts';
import { closeDescriptor } from '../../src/kernel/libc.ts';
import { readSockets } from '../../src/kernel/observe-sockets.ts';
import { openPlainSocket } from '../../src/kernel/proxy-socket.ts';
import { type Address, parseAddress, renderAddress } from '../../src/model/address.ts';
import type { DesiredState } from '../../src/plan/desired-state.ts';
import { DoorsController } from '../../src/plan/doors-controller.ts';
import { planRelay } from '../../src/plan/relay-state.ts';
import { acceptText } from '../support/configuration-text.ts';
import { lacksKernelTests, withLab } from '../support/namespace.ts';

const log = openLog('test', 'error');
const state = (text: string): DesiredState =>
  ({ relay: planRelay(acceptText(`version: 1\n${text}`)) }) as unknown as DesiredState;
const front = (listen: string): string => `  - { name: front, kind: proxy, listen: "${listen}", allow: [192.0.2.10] }\n`;
const agents = 'agents: { listen: 0.0.0.0:7443 }\n';
const back = '  - { name: back, kind: proxy, listen: 127.0.0.1:7001, allow: [127.0.0.1] }\n';

test('doors open, stay, move and close', { skip: lacksKernelTests() }, () =>
  withLab(async (lab) => {
    const { path } = await lab.namespace('d');
    const runner = createCommandRunner(path);
    const listeners = async (): Promise<string[]> =>
      (await readSockets(runner)).listeners
        .map(({ transport, address, port }) => `${transport} ${renderAddress(address)} ${port}`)
        .sort();
    const doors = new DoorsController({ log, netns: path });
    const first = state(`${agents}diversions:\n${front('0.0.0.0:7000')}`);
    assert.equal((await doors.difference(first)).length, 2);
    await doors.apply(first);
    assert.deepEqual(await listeners(), ['tcp 0.0.0.0 7000', 'tcp 0.0.0.0 7443', 'udp 0.0.0.0 7000'].sort());
    assert.deepEqual(await doors.difference(first), []);
    const before = new Map(doors.sockets.map(({ name, fd }) => [name, fd]));

    await doors.apply(state(`${agents}diversions:\n${front('0.0.0.0:7000')}${back}`));
    for (const [name, fd] of before) assert.equal(doors.sockets.find((one) => one.name === name)?.fd, fd, `${name} is kept`);
    assert.ok((await listeners()).includes('tcp 127.0.0.1 7001'));

    // From all addresses to one, while the old socket is still in an offer on its way.
    await doors.apply(state(`${agents}diversions:\n${front('127.0.0.1:7000')}`));
    assert.ok((await listeners()).includes('tcp 0.0.0.0 7000'));
    doors.closeLeft();
    assert.deepEqual(await listeners(), ['tcp 127.0.0.1 7000', 'tcp 0.0.0.0 7443', 'udp 127.0.0.1 7000'].sort());

    const again = new DoorsController({ log, netns: path, existing: doors.sockets });
    await again.apply(state(`${agents}diversions:\n${front('127.0.0.1:7000')}`));
    assert.deepEqual(
      again.sockets.map(({ fd }) => fd),
      doors.sockets.map(({ fd }) => fd),
      'what a running gateway gave back serves on',
    );
    assert.equal(again.status().lines.length, 2);
    const ssh = 'services: [{ name: ssh, kind: external, address: "10.1.0.9:22" }]\n';
    await again.apply(state(`${agents}${ssh}diversions:\n${front('[::]:7000')}`));
    assert.deepEqual(again.status().lines, [
      'listening for front at [::]:7000',
      'listening for agents at 0.0.0.0:7443',
      'service ssh: 10.1.0.9:22, dialled directly',
    ]);

    await again.apply(undefined);
    again.closeLeft();
    assert.deepEqual(await listeners(), []);
  }),
);

test('where somebody listens nothing changes, and the mistake is told', { skip: lacksKernelTests() }, () =>
  withLab(async (lab) => {
    const { path } = await lab.namespace('e');
    const stranger = openStranger(path, parseAddress('127.0.0.1') as Address, 7443);
    const doors = new DoorsController({ log, netns: path });
    try {
      await doors.apply(state(`diversions:\n${front('0.0.0.0:7000')}`));
      const held = doors.sockets;
      await assert.rejects(doors.apply(state(`${agents}diversions:\n${front('0.0.0.0:7000')}${back}`)), {
        code: 'kernel-refused',
        message: /7443.* is taken by another program/,
      });
      assert.deepEqual(doors.sockets, held);
      const { listeners } = await readSockets(createCommandRunner(path));
      assert.equal(listeners.length, 3, 'what was opened on the way is closed');
    } finally {
      await doors.close();
      closeDescriptor(stranger);
    }
  }),
);

/** Somebody else's: shares its port with nobody. */
function openStranger(netns: string, address: Address, port: number): number {
  return openPlainSocket('tcp', { address, port, netns, shared: false });
}
