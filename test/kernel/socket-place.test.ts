// Whether a socket or interface is still in the place it was opened for, told in real namespaces.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AF_INET, closeDescriptor, insideNetns, openSocket, SOCK_DGRAM } from '../../src/kernel/libc.ts';
import { netnsInode, readInterfaceIndex, socketNetnsInode } from '../../src/kernel/socket-place.ts';
import { createSegment, lacksKernelTests, withLab } from '../support/namespace.ts';

test('a socket and an interface are known by the namespace they are in, not by its name', {
  skip: lacksKernelTests(),
}, async () => {
  await withLab(async (lab) => {
    const { sensor, attacker } = await createSegment(lab);
    const fd = insideNetns(sensor.path, () => openSocket(AF_INET, SOCK_DGRAM, 0));
    try {
      assert.ok(netnsInode(sensor.path));
      assert.equal(socketNetnsInode(fd), netnsInode(sensor.path));
      assert.notEqual(netnsInode(sensor.path), netnsInode(attacker.path));
      assert.notEqual(netnsInode(sensor.path), netnsInode());
      const before = readInterfaceIndex('sv', sensor.path);
      assert.ok(before);
      await sensor.ip('link del sv\nlink add sv type veth peer name pv\n');
      assert.notEqual(readInterfaceIndex('sv', sensor.path), before);
      assert.equal(readInterfaceIndex('av', sensor.path), undefined);
      assert.equal(readInterfaceIndex('sv', `${sensor.path}-gone`), undefined);
    } finally {
      closeDescriptor(fd);
    }
    assert.equal(socketNetnsInode(fd), undefined);
    assert.equal(netnsInode(`${sensor.path}-gone`), undefined);
  });
});
