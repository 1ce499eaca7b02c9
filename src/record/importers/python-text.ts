// Byte strings as Python shows them (`b'GET \x00\r\n'`), which some logs hold instead of the bytes. Pure.
// Source: the Python language reference, section 2.4.1, as far as repr() writes it.

const letters: Readonly<Record<string, number>> = {
  n: 10,
  r: 13,
  t: 9,
  '\\': 92,
  "'": 39,
  '"': 34,
  '0': 0,
  a: 7,
  b: 8,
  f: 12,
  v: 11,
};

/** The bytes it shows; text that is not such a literal is taken as it is. */
export function parsePythonBytes(text: string): Buffer {
  const from = text.startsWith("b'") || text.startsWith('b"') ? 2 : text.startsWith("'") || text.startsWith('"') ? 1 : 0;
  if (from === 0 || text.length <= from || text.at(-1) !== text[from - 1]) return Buffer.from(text);
  const parts: Buffer[] = [];
  const end = text.length - 1;
  let plain = from;
  for (let at = from; at < end; at += 1) {
    if (text[at] !== '\\') continue;
    if (at > plain) parts.push(Buffer.from(text.slice(plain, at)));
    const hex = text[at + 1] === 'x' ? text.slice(at + 2, at + 4) : '';
    if (/^[0-9a-f]{2}$/i.test(hex) && at + 3 < end) {
      parts.push(Buffer.from([Number.parseInt(hex, 16)]));
      at += 3;
    } else {
      const code = letters[text[at + 1]];
      parts.push(code === undefined ? Buffer.from(text.slice(at, at + 2)) : Buffer.from([code]));
      at += 1;
    }
    plain = at + 1;
  }
  if (plain < end) parts.push(Buffer.from(text.slice(plain, end)));
  return Buffer.concat(parts);
}

/** The same where what is meant is text. */
export const parsePythonText = (text: string): string => {
  const shown = /^b?(['"])/.test(text);
  return shown ? parsePythonBytes(text).toString() : text;
};
