import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import test from 'node:test';
import { gzipSync } from 'node:zlib';
import { DamagedData, maxPieceBytes, openDecompressor } from './decompress.ts';

/** What comes out, and what was wrong. */
async function through(bytes: Buffer, pieceBytes = maxPieceBytes): Promise<{ out: Buffer; damage?: string }> {
  const decompressor = openDecompressor(bytes.subarray(0, 4));
  assert.ok(decompressor);
  const out: Buffer[] = [];
  try {
    for (let at = 0; at < bytes.length; at += pieceBytes)
      for await (const piece of decompressor.push(bytes.subarray(at, at + pieceBytes))) out.push(Buffer.from(piece));
    for await (const piece of decompressor.end()) out.push(Buffer.from(piece));
    return { out: Buffer.concat(out) };
  } catch (error) {
    assert.ok(error instanceof DamagedData, String(error));
    return { out: Buffer.concat(out), damage: error.message };
  } finally {
    decompressor.close();
  }
}

const text = Buffer.from(Array.from({ length: 30_000 }, (_, index) => `line ${index} ${(index * 7919) % 1000}\n`).join(''));
/** Stored blocks: a frame that any writer could have made, without a compressor. RFC 8878, 3.1.1.2. */
function zstdFrame(content: Buffer, windowByte = 0x38): Buffer {
  const parts: Buffer[] = [Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0x00, windowByte])];
  for (let at = 0; at === 0 || at < content.length; at += 100_000) {
    const block = content.subarray(at, at + 100_000);
    const header = Buffer.alloc(3);
    header.writeUIntLE((block.length << 3) | (at + 100_000 >= content.length ? 1 : 0), 0, 3);
    parts.push(header, block);
  }
  return Buffer.concat(parts);
}

test('gzip, in pieces of any size, and members behind each other', async () => {
  for (const size of [1000, maxPieceBytes]) assert.ok((await through(gzipSync(text), size)).out.equals(text));
  const two = await through(Buffer.concat([gzipSync(text), gzipSync(Buffer.from('more\n'))]), 7777);
  assert.ok(two.out.equals(Buffer.concat([text, Buffer.from('more\n')])));
  assert.equal(two.damage, undefined);
});

test('gzip that ends in the middle gives what there is, then says so', async () => {
  const whole = gzipSync(text);
  const { out, damage } = await through(whole.subarray(0, whole.length - 1000));
  assert.match(damage ?? '', /ends in the middle/);
  assert.ok(out.length > text.length / 2 && out.equals(text.subarray(0, out.length)));
});

test('damaged gzip gives what stands before the damage', async () => {
  const whole = Buffer.from(gzipSync(text));
  whole.fill(0xff, whole.length - 2000, whole.length - 1900);
  const { out, damage } = await through(whole);
  assert.match(damage ?? '', /damaged/);
  assert.ok(out.length > text.length / 2);
  const ok = 200 * Math.floor(out.length / 400);
  assert.ok(out.subarray(0, ok).equals(text.subarray(0, ok)));
});

test('what follows the last member is said, however long it is', async () => {
  const { out, damage } = await through(Buffer.concat([gzipSync(text), Buffer.alloc(100_000, 'x')]));
  assert.ok(out.length > text.length - 16_384 && out.equals(text.subarray(0, out.length)));
  assert.match(damage ?? '', /gzip data/);
});

test('zstd frames behind each other, skippable ones between, in pieces of any size', async () => {
  const skippable = Buffer.from([0x53, 0x2a, 0x4d, 0x18, 5, 0, 0, 0, 1, 2, 3, 4, 5]);
  const bytes = Buffer.concat([skippable, zstdFrame(text), zstdFrame(Buffer.from('x')), skippable, zstdFrame(text)]);
  for (const size of [100, 5001, maxPieceBytes]) {
    const { out, damage } = await through(bytes, size);
    assert.equal(damage, undefined);
    assert.ok(out.equals(Buffer.concat([text, Buffer.from('x'), text])));
  }
  const cut = await through(bytes.subarray(0, bytes.length - 5));
  assert.match(cut.damage ?? '', /ends in the middle/);
  assert.ok(cut.out.length > text.length);
});

test('zstd as the program of that name writes it', async (context) => {
  let packed: Buffer;
  try {
    packed = execFileSync('zstd', ['-q', '-c'], { input: text });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return context.skip('no zstd program');
    throw error;
  }
  const { out, damage } = await through(packed, 999);
  assert.equal(damage, undefined);
  assert.ok(out.equals(text));
});

test('a zstd window beyond the bound gets no memory', async () => {
  const before = process.memoryUsage().arrayBuffers;
  const { damage } = await through(zstdFrame(text, 0xa0));
  assert.match(damage ?? '', /window/);
  assert.ok(process.memoryUsage().arrayBuffers - before < 32 << 20);
});

test('garbage under a known magic is said', async () => {
  for (const magic of ['1f8b0800', '28b52ffd', '502a4d18'])
    for (const fill of [0, 0x41, 0xff]) {
      const { damage } = await through(Buffer.concat([Buffer.from(magic, 'hex'), Buffer.alloc(50_000, fill)]));
      assert.ok(damage !== undefined || magic.startsWith('50'), `${magic} ${fill}`);
    }
});

test('other kinds are named with the way out; plain text is none', () => {
  assert.throws(() => openDecompressor(Buffer.from('fd377a58', 'hex')), /xz -dc/);
  assert.throws(() => openDecompressor(Buffer.from('BZh9')), /bzip2/);
  assert.equal(openDecompressor(Buffer.from('{"a"')), undefined);
  assert.equal(openDecompressor(Buffer.alloc(0)), undefined);
});
