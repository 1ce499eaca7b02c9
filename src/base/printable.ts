// Makes hostile bytes safe to show: no control characters, no escape sequences, no bidirectional overrides.
// Everything an attacker wrote passes here before it reaches a terminal, a log line or a title.

// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what this removes
const unsafe = /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff0-\uffff]/g;

/** Text with each unsafe character as `\xNN` or `\u{N}`; at most `maxLength` characters, then `…`. */
export function printable(text: string, maxLength = 4096): string {
  const cut = text.length > maxLength ? `${text.slice(0, maxLength)}…` : text;
  return cut.replace(unsafe, (character) => {
    if (character === '\n') return '\\n';
    if (character === '\r') return '\\r';
    if (character === '\t') return '\\t';
    const code = character.codePointAt(0) ?? 0;
    return code < 256 ? `\\x${code.toString(16).padStart(2, '0')}` : `\\u{${code.toString(16)}}`;
  });
}

/** Bytes as latin-1 text with everything outside printable ASCII escaped as `\xNN`. */
export function printableBytes(bytes: Uint8Array, maxLength = 4096): string {
  let text = '';
  const end = Math.min(bytes.length, maxLength);
  for (let index = 0; index < end; index += 1) {
    const byte = bytes[index];
    if (byte === 0x0a) text += '\\n';
    else if (byte === 0x0d) text += '\\r';
    else if (byte === 0x09) text += '\\t';
    else if (byte === 0x5c) text += '\\\\';
    else if (byte >= 0x20 && byte < 0x7f) text += String.fromCharCode(byte);
    else text += `\\x${byte.toString(16).padStart(2, '0')}`;
  }
  return bytes.length > maxLength ? `${text}…` : text;
}
