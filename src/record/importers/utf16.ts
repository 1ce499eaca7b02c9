// Logs that were copied by way of a Windows console are UTF-16: with a byte order mark they are read as what they are. Everything
// else passes as it is.

import { TextDecoder } from 'node:util';

/** Pieces of any size, of which each is used before the next is asked for; in UTF-8 where they began as UTF-16. */
export async function* fromUtf16(pieces: AsyncGenerator<Buffer>): AsyncGenerator<Buffer> {
  let decoder: TextDecoder | undefined;
  let held: Buffer = Buffer.alloc(0);
  let known = false;
  try {
    for await (const piece of pieces) {
      if (known && !decoder) {
        yield piece;
        continue;
      }
      if (known) {
        yield Buffer.from((decoder as TextDecoder).decode(piece, { stream: true }));
        continue;
      }
      held = Buffer.concat([held, piece]);
      if (held.length < 2) continue;
      known = true;
      decoder = decoderFor(held);
      yield decoder ? Buffer.from(decoder.decode(held, { stream: true })) : held;
    }
    const rest = known ? Buffer.from(decoder?.decode() ?? '') : held;
    if (rest.length > 0) yield rest;
  } finally {
    await pieces.return(undefined);
  }
}

function decoderFor(bytes: Buffer): TextDecoder | undefined {
  const mark = bytes.readUInt16BE(0);
  if (mark === 0xfffe) return new TextDecoder('utf-16le');
  return mark === 0xfeff ? new TextDecoder('utf-16be') : undefined;
}
