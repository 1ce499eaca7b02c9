// What the kernel knows of its own clock: whether somebody keeps it right, and how far off it may be at most.
// Source: adjtimex(2), include/uapi/linux/timex.h.

import koffi from 'koffi';
import { callFailed } from './libc.ts';

const adjtimex = koffi.load(null).func('int adjtimex(void *)') as (buffer: Uint8Array) => number;
const STA_UNSYNC = 0x40;
const timexBytes = 208;

/** Reads only (modes 0). Throws `system-call`. */
export function readClock(): { synchronised: boolean; errorMs: number } {
  const bytes = new Uint8Array(timexBytes);
  if (adjtimex(bytes) < 0) throw callFailed('adjtimex', koffi.errno());
  const view = new DataView(bytes.buffer);
  // struct timex of 64-bit machines: modes, padding, offset, freq, maxerror, esterror, status.
  const maxErrorMicros = Number(view.getBigInt64(24, true));
  const status = view.getInt32(40, true);
  return { synchronised: (status & STA_UNSYNC) === 0, errorMs: Math.round(maxErrorMicros / 1000) };
}
