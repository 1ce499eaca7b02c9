// Which namespace is meant by what people type: any process in it and any path to it, not only the one it was found by.

import assert from 'node:assert/strict';
import { mkdtempSync, readlinkSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { selectNamespace } from './namespace-finder.ts';
import { namespaceInode } from './process-reader.ts';

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
