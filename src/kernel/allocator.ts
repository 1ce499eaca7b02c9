// What the C library's allocator of this process gives back. For programs whose buffers are large and short-lived; which those
// are is not decided here.

import koffi from 'koffi';

/** malloc.h of glibc. */
const M_MMAP_THRESHOLD = -3;
const thresholdBytes = 1024 * 1024;

/**
 * From now on blocks of 1 MiB and more go back to the system when they are freed. Left to itself, glibc keeps ever larger ones
 * for later, up to 32 MiB each, which may be a hundred megabytes nobody uses. False where the C library has no such choice
 * (musl, which always gives them back). Idempotent, for the whole process; no privilege. Source: mallopt(3).
 */
export function returnLargeBlocks(): boolean {
  try {
    const mallopt = koffi.load(null).func('int mallopt(int, int)') as (name: number, value: number) => number;
    return mallopt(M_MMAP_THRESHOLD, thresholdBytes) === 1;
  } catch {
    return false;
  }
}
