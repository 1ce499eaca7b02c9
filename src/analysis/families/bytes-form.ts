// The form of binary payloads: bytes by their place near the start, where protocols have their headers, and by their neighbours
// further on; text inside as tokens. Bytes that show no pattern at all are one family for each size. Pure.

import { exactForm, type PayloadForm } from './exact-form.ts';
import { tokenize } from './payload-tokens.ts';
import { hashText, mix, SketchBuilder } from './sketch.ts';

/** Where a header may be expected. */
const headBytes = 48;
const bodyBytes = 2048;
const leastRun = 5;
/** Where a mark and a command say what it is, the rest may differ more. */
const markedThreshold = 0.25;
const threshold = 0.45;
const textWeight = 2;

export function bytesForm(bytes: Buffer): PayloadForm {
  const exact = modbusForm(bytes) ?? socksForm(bytes) ?? industrialForm(bytes);
  if (exact) return exact;
  const size = sizeName(bytes.length);
  if (looksRandom(bytes)) return exactForm(`random ${size}`, `Random bytes, ${size}`);
  const sketch = new SketchBuilder();
  const end = Math.min(bytes.length, bodyBytes);
  // Places are counted from the last text on, because texts differ in length.
  let piece = 0;
  let from = 0;
  for (let at = 0; at < end; ) {
    const run = printableEnd(bytes, at, end);
    if (run - at >= leastRun) {
      sketch.addTokens(tokenize(bytes.toString('latin1', at, run), 256), textWeight);
      at = run;
      from = run;
      piece += 1;
      continue;
    }
    if (at - from < headBytes) {
      // Zeros are everywhere and mark nothing.
      if (bytes[at] !== 0) sketch.add(mix((piece << 16) | ((at - from) << 8) | bytes[at]));
    } else if (at + 2 < end && (bytes[at] | bytes[at + 1] | bytes[at + 2]) !== 0)
      sketch.add(mix(0x1000000 | (bytes[at] << 16) | (bytes[at + 1] << 8) | bytes[at + 2]));
    at += 1;
  }
  sketch.add(hashText(size));
  const magic = magicOf(bytes);
  return {
    class: `bytes ${magic}`,
    groups: sketch.groups,
    threshold: magic === '' ? threshold : markedThreshold,
    label: () => labelOf(bytes),
  };
}

/** Modbus/TCP: a transaction by chance, protocol 0, the length of what follows, a unit, a function. */
function modbusForm(bytes: Buffer): PayloadForm | undefined {
  if (bytes.length < 8 || bytes.length > 260 || bytes.readUInt32BE(2) !== bytes.length - 6) return undefined;
  const name = `Modbus function ${bytes[7]}`;
  return exactForm(name, name);
}

/** SOCKS 4: version, command, port, address, a user that ends in a zero. */
function socksForm(bytes: Buffer): PayloadForm | undefined {
  if (bytes.length < 9 || bytes.length > 512 || bytes[0] !== 4 || bytes[1] === 0 || bytes[1] > 2) return undefined;
  if (bytes[bytes.length - 1] !== 0 || bytes.subarray(8).indexOf(0) < 0) return undefined;
  const name = `SOCKS 4 ${bytes[1] === 1 ? 'connect' : 'bind'}`;
  return exactForm(name, name);
}

/** S7 behind TPKT and COTP, IEC 60870-5-104, FINS: what is asked is one byte or two at a known place. */
function industrialForm(bytes: Buffer): PayloadForm | undefined {
  let name: string | undefined;
  if (bytes.length > 17 && bytes[0] === 3 && bytes[5] === 0xf0 && bytes[7] === 0x32)
    name = `S7 kind ${bytes[8]} function ${bytes[17]}`;
  else if (bytes.length >= 6 && bytes[0] === 0x68 && bytes[1] === bytes.length - 2)
    name = (bytes[2] & 1) === 0 && bytes.length > 6 ? `IEC 104 type ${bytes[6]}` : `IEC 104 control ${bytes[2]}`;
  else if (bytes.length >= 12 && bytes[0] === 0x80 && bytes[1] === 0 && bytes[2] === 2)
    name = `FINS command ${bytes[10]} ${bytes[11]}`;
  return name === undefined ? undefined : exactForm(name, name);
}

const printableEnd = (bytes: Buffer, from: number, end: number): number => {
  let at = from;
  while (at < end && bytes[at] >= 32 && bytes[at] < 127) at += 1;
  return at;
};

/** Marks that say what follows, whatever stands around them. */
const magics: readonly (readonly [offset: number, bytes: Buffer, name: string, more: number])[] = [
  [4, Buffer.from('ff534d42', 'hex'), 'SMB 1', 1],
  [4, Buffer.from('fe534d42', 'hex'), 'SMB 2', 0],
  [0, Buffer.from('4a524d49', 'hex'), 'Java RMI', 0],
  [0, Buffer.from('aced', 'hex'), 'Java object', 0],
  [0, Buffer.from('434e584e', 'hex'), 'ADB', 0],
];

/** SMB 1 has its command right behind the mark, SMB 2 eight bytes on. */
function magicOf(bytes: Buffer): string {
  for (const [offset, mark, name, more] of magics)
    if (bytes.subarray(offset, offset + mark.length).equals(mark)) {
      const command = name === 'SMB 2' ? bytes[16] : more > 0 ? bytes[offset + mark.length] : undefined;
      return command === undefined ? name : `${name} ${command}`;
    }
  return '';
}

function labelOf(bytes: Buffer): string {
  const magic = magicOf(bytes);
  let words = '';
  for (let at = 0; at < Math.min(bytes.length, 512) && words.length < 32; ) {
    const end = printableEnd(bytes, at, Math.min(bytes.length, 512));
    if (end - at >= leastRun) words += ` ${bytes.toString('latin1', at, Math.min(end, at + 32))}`;
    at = end + 1;
  }
  if (magic !== '') return `${magic}${words}`;
  return words === '' ? `Bytes ${bytes.subarray(0, 12).toString('hex')}` : `Bytes${words}`;
}

const sizeName = (length: number): string => {
  const least = 2 ** Math.floor(Math.log2(Math.max(1, length)));
  return `${least} to ${2 * least - 1} bytes`;
};

/** As many different values as chance would give, and neither zeros nor words: nothing in it repeats from one to the next. */
function looksRandom(bytes: Buffer): boolean {
  const length = Math.min(bytes.length, 256);
  if (length < 24) return false;
  const seen = new Uint8Array(256);
  let distinct = 0;
  let zeros = 0;
  let printable = 0;
  for (let at = 0; at < length; at += 1) {
    const byte = bytes[at];
    if (seen[byte] === 0) distinct += 1;
    seen[byte] = 1;
    if (byte === 0) zeros += 1;
    if (byte >= 32 && byte < 127) printable += 1;
  }
  const expected = 256 * (1 - (255 / 256) ** length);
  return distinct > expected * 0.85 && zeros * 32 <= length && printable * 10 < length * 6;
}
