// Bytes as offset, hexadecimal and ASCII, sixteen to a line, the layout everyone knows from hexdump -C. Pure.

/** Lines without newlines. `base` is the offset of the first byte. */
export function renderHexDump(bytes: Uint8Array, base = 0): string[] {
  const lines: string[] = [];
  for (let at = 0; at < bytes.length; at += 16) {
    let hex = '';
    let ascii = '';
    for (let index = 0; index < 16; index += 1) {
      if (index === 8) hex += ' ';
      if (at + index < bytes.length) {
        const byte = bytes[at + index];
        hex += `${byte.toString(16).padStart(2, '0')} `;
        ascii += byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : '.';
      } else hex += '   ';
    }
    lines.push(`${(base + at).toString(16).padStart(8, '0')}  ${hex} |${ascii}|`);
  }
  return lines;
}

/** Bytes as text in lines, each line ended where the sender ended it; unsafe bytes escaped, tabs and line ends shown as such. */
export function renderTextLines(bytes: Uint8Array): string[] {
  const lines: string[] = [];
  let line = '';
  for (const byte of bytes) {
    if (byte === 0x0a) {
      lines.push(line);
      line = '';
    } else if (byte === 0x09) line += '\\t';
    else if (byte === 0x0d) line += '\\r';
    else if (byte === 0x5c) line += '\\\\';
    else if (byte >= 0x20 && byte < 0x7f) line += String.fromCharCode(byte);
    else line += `\\x${byte.toString(16).padStart(2, '0')}`;
  }
  if (line !== '') lines.push(line);
  return lines.map((text) => (text.endsWith('\\r') ? text.slice(0, -2) : text));
}
