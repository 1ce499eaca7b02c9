// Blocks of 1 MiB and more go back to the system when freed, also after larger ones were freed before them.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import koffi from 'koffi';
import { returnLargeBlocks } from './allocator.ts';

const report = process.report?.getReport() as { header?: { glibcVersionRuntime?: string } } | undefined;
const glibc = report?.header?.glibcVersionRuntime;
const mebibyte = 1024 * 1024;

test('a block of 2 MiB is mapped by itself after one of 16 MiB was freed', { skip: glibc === undefined }, () => {
  const library = koffi.load(null);
  const names = ['arena', 'ordblks', 'smblks', 'hblks', 'hblkhd', 'usmblks', 'fsmblks', 'uordblks', 'fordblks', 'keepcost'];
  const info = koffi.struct('weir_mallinfo2', Object.fromEntries(names.map((name) => [name, 'size_t'])));
  const mallinfo2 = library.func('mallinfo2', info, []) as () => { hblkhd: number };
  const malloc = library.func('void *malloc(size_t)') as (bytes: number) => unknown;
  const free = library.func('void free(void *)') as (block: unknown) => void;

  assert.equal(returnLargeBlocks(), true);
  free(malloc(16 * mebibyte));
  const before = Number(mallinfo2().hblkhd);
  const block = malloc(2 * mebibyte);
  assert.ok(Number(mallinfo2().hblkhd) >= before + 2 * mebibyte);
  free(block);
  assert.equal(Number(mallinfo2().hblkhd), before);
});
