// Which namespace is meant by what people type: any process in it and any path to it, not only the one it was found by.

import assert from 'node:assert/strict';
import { mkdtempSync, readlinkSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { findNamespaces, nameNamespace, selectNamespace } from './namespace-finder.ts';
import { isKernelThread, namespaceInode, readIsKernelThread, whyUnreadable } from './process-reader.ts';

test('a name, an inode, any process in it, any path to it', () => {
  const inode = namespaceInode(readlinkSync('/proc/self/ns/net')) ?? assert.fail();
  const own = { inode, firstPid: 1 };
  const found = [own, { inode: '7', path: '/run/netns/web', givenName: 'web', firstPid: 9 }];
  const directory = mkdtempSync(join(tmpdir(), 'weir-namespace-'));
  try {
    const link = join(directory, 'net');
    symlinkSync(`/proc/${process.pid}/ns/net`, link);
    for (const wanted of [inode, `pid:${process.pid}`, '/proc/self/ns/net', `/proc/${process.pid}/ns/net`, link])
      assert.equal(selectNamespace(found, wanted), own, wanted);
    assert.equal(selectNamespace(found, 'web'), found[1]);
    assert.equal(selectNamespace(found, '7'), found[1]);
    assert.deepEqual(selectNamespace([], '/proc/self/ns/net'), { inode, path: '/proc/self/ns/net' });
    for (const wanted of ['pid:0', 'pid:x', 'pid:4194999', '/proc/self/ns/mnt', '/proc/self', '/dev/null', 'wob', '', directory])
      assert.equal(selectNamespace(found, wanted), undefined, wanted);
  } finally {
    rmSync(directory, { recursive: true });
  }
});

test("a thread of the kernel gives no namespace its name: the machine's first one is called the host", () => {
  assert.equal(isKernelThread('7 (kworker/0:1H-) (x) I 2 0 0 0 -1 69238880 0 0'), true);
  assert.equal(isKernelThread('9 (a) (b 1 2 3) S 1 9 9 0 -1 4194560 0 0'), false);
  assert.equal(readIsKernelThread(process.pid), false);
  const host = { inode: '1', path: '/proc/2/ns/net', isHost: true };
  assert.equal(nameNamespace(host, undefined), 'the host');
  assert.equal(nameNamespace({ inode: '1', isHost: true }, undefined), '', 'the one looked from');
  const process7 = { pid: 7, comm: 'systemd', uid: 0, netns: '1' };
  assert.equal(nameNamespace({ ...host, firstPid: 7 }, process7), 'the host');
  assert.equal(nameNamespace({ inode: '1', path: '/proc/7/ns/net', firstPid: 7 }, process7), 'pid 7 (systemd)');
  for (const { firstPid } of findNamespaces().namespaces)
    if (firstPid !== undefined) assert.equal(readIsKernelThread(firstPid), false, `${firstPid}`);
  assert.match(whyUnreadable(0), /CAP_SYS_PTRACE/);
  assert.equal(whyUnreadable(1000), 'needs root');
});
