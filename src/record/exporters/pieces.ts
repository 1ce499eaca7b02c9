// Gathers lines into pieces worth sending: one write for hundreds of lines. Pure but for what it draws from.

const pieceCharacters = 64 * 1024;

/** The same text in fewer parts, each of whole lines; the last may be short. */
export async function* pieces(lines: AsyncIterable<string>): AsyncGenerator<string, void, void> {
  let piece = '';
  for await (const line of lines) {
    piece += line;
    if (piece.length < pieceCharacters) continue;
    yield piece;
    piece = '';
  }
  if (piece !== '') yield piece;
}
