// All readings of what one side of a session sent: the bytes themselves and what they are when escapes, encodings and compression are
// undone, one within another. Bounded in number, depth and bytes; made only where the literal index saw a sign of them.

import {
  type Decoder,
  decodeBase64,
  decodeEscapes,
  decodeForm,
  decodeHex,
  decodeHtml,
  decodePercent,
  decodeShell,
  decodeWide,
  Marks,
  type Run,
  stripTelnet,
} from './decoders.ts';
import { type HttpPart, joinChunks, type Piece, parseRequests } from './http-requests.ts';
import { type InflateWork, inflate, mayInflate } from './inflate.ts';
import { foldLookups } from './lookups.ts';

export const viewNames = ['raw', 'url', 'base64', 'hex', 'body', 'html', 'escape', 'lookup', 'shell', 'telnet', 'wide'] as const;
export type ViewName = (typeof viewNames)[number];

/** Beside HTTP's parts: what the session's own findings say. */
export type FindingPart = 'user' | 'password' | 'server-name' | 'client-ja3' | 'client-ja4';
export type TextPart = HttpPart | FindingPart;

/** A stretch that can be asked for by name. */
export interface TextPiece extends Omit<Piece, 'part'> {
  readonly part: TextPart;
}

/** Decodings within decodings. */
export const maxDepth = 3;
/** Of all texts of one side of a session together. */
export const maxTextBytes = 256 * 1024;
const maxTexts = 24;
/** Compressed data that grows more than this is a bomb: the rest is not looked at. */
const maxGrowth = 100;
/** Of all that is inflated for one side of a session, whether it turns out to be new or not. */
const maxInflatedBytes = 256 * 1024;
/** Twice what 64 KiB of text take, compressed as well as can be. */
export const maxInflateWork = 100_000;
/** For each try: what it takes to begin. */
const inflateCost = 256;
const maxPieces = 1024;

/** Literals that are a sign of a view; each is one bit. */
const signs = {
  percent: 1,
  plus: 2,
  html: 4,
  escape: 8,
  lookup: 16,
  shell: 32,
  telnet: 64,
  wide: 128,
  chunked: 256,
  compressed: 512,
  deflate: 1024,
} as const;
const allSigns = Object.values(signs).reduce((all, sign) => all | sign, 0);

/** In lower case, as the literal index has them. */
export const signLiterals: readonly (readonly [literal: string, sign: number])[] = [
  ['%', signs.percent],
  ['+', signs.plus],
  ['&#', signs.html],
  ['&lt', signs.html],
  ['&gt', signs.html],
  ['&quot', signs.html],
  ['&amp', signs.html],
  ['&apos', signs.html],
  ['\\x', signs.escape],
  ['\\u', signs.escape],
  ['\\/', signs.escape],
  ['\\"', signs.escape],
  ['\\0', signs.escape],
  ['\\1', signs.escape],
  ['\\n', signs.escape],
  ['${', signs.lookup],
  ['$ifs', signs.shell],
  ['${ifs', signs.shell],
  ...Array.from({ length: 15 }, (_, index) => [`\u00ff${String.fromCharCode(0xf0 + index)}`, signs.telnet] as const),
  ['e\0', signs.wide],
  ['a\0', signs.wide],
  ['t\0', signs.wide],
  ['o\0', signs.wide],
  ['i\0', signs.wide],
  ['s\0', signs.wide],
  ['chunked', signs.chunked],
  ['\u001f\u008b\u0008', signs.compressed],
  ['deflate', signs.deflate],
];

export interface Text {
  readonly view: ViewName;
  readonly depth: number;
  readonly bytes: Buffer;
  /** Parts by name; found when first asked for. */
  pieces(): readonly TextPiece[];
  /** Those of one part, or of `header` those of one name, by their request. */
  piecesOf(part: TextPart, header: string | undefined): ReadonlyMap<number, readonly TextPiece[]>;
  /** Numbers of the requests it has parts of. */
  requests(): ReadonlySet<number>;
}

const noPieces: ReadonlyMap<number, readonly TextPiece[]> = new Map();

/** Says what is in a text: reports rules to whom it concerns, and returns the signs of views. */
export type Scan = (bytes: Buffer) => number;

class LazyText implements Text {
  readonly view: ViewName;
  readonly depth: number;
  readonly bytes: Buffer;
  readonly #find: () => readonly TextPiece[];
  #pieces: readonly TextPiece[] | undefined;
  #byName: Map<string, Map<number, TextPiece[]>> | undefined;
  #requests: ReadonlySet<number> | undefined;

  constructor(view: ViewName, depth: number, bytes: Buffer, find: () => readonly TextPiece[]) {
    this.view = view;
    this.depth = depth;
    this.bytes = bytes;
    this.#find = find;
  }

  pieces(): readonly TextPiece[] {
    this.#pieces ??= this.#find();
    return this.#pieces;
  }

  piecesOf(part: TextPart, header: string | undefined): ReadonlyMap<number, readonly TextPiece[]> {
    this.#byName ??= byName(this.pieces());
    return this.#byName.get(nameOf(part, header)) ?? noPieces;
  }

  requests(): ReadonlySet<number> {
    this.#requests ??= new Set(this.pieces().map(({ request }) => request));
    return this.#requests;
  }
}

const nameOf = (part: TextPart, header: string | undefined): string => (header === undefined ? part : `header ${header}`);

/** Looked up by every rule: a text may have thousands. */
function byName(pieces: readonly TextPiece[]): Map<string, Map<number, TextPiece[]>> {
  const found = new Map<string, Map<number, TextPiece[]>>();
  for (const piece of pieces) {
    const name = nameOf(piece.part, piece.header);
    let requests = found.get(name);
    if (!requests) {
      requests = new Map();
      found.set(name, requests);
    }
    const list = requests.get(piece.request);
    if (list) list.push(piece);
    else requests.set(piece.request, [piece]);
  }
  return found;
}

const asBuffer = (bytes: Uint8Array): Buffer =>
  Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);

export class SessionTexts {
  readonly all: Text[] = [];
  /** True once something was not decoded for want of room. */
  curtailed = false;
  #left = maxTextBytes;
  #inflatedLeft = maxInflatedBytes;
  /** Below zero once something was left out. */
  readonly inflateWork: InflateWork = { left: maxInflateWork };
  readonly #scan: Scan;
  readonly #signs: number[] = [];

  constructor(scan: Scan) {
    this.#scan = scan;
  }

  /** What was sent. */
  addPayload(bytes: Uint8Array): void {
    const buffer = asBuffer(bytes);
    this.#add(new LazyText('raw', 0, buffer, () => parseRequests(buffer)));
  }

  /** A finding of the session's, as a text of its own. */
  addFinding(part: FindingPart, value: string): void {
    const bytes = Buffer.from(value.slice(0, 1024), 'utf8');
    this.#add(new LazyText('raw', 0, bytes, () => [{ part, request: 0, start: 0, end: bytes.length }]));
  }

  /** Everything that can be made of what was added, level by level. */
  decode(): void {
    for (let index = 0; index < this.all.length; index += 1) {
      const text = this.all[index];
      if (text.depth < maxDepth) this.#decodeOne(text, this.#signs[index] & allSigns);
    }
  }

  #decodeOne(text: Text, found: number): void {
    const { bytes } = text;
    if ((found & signs.percent) !== 0 || ((found & signs.plus) !== 0 && plusIsInForm(bytes)))
      this.#whole(text, 'url', plusIsInForm(bytes) ? decodeForm : decodePercent);
    if ((found & signs.lookup) !== 0) this.#whole(text, 'lookup', foldLookups);
    if ((found & signs.html) !== 0) this.#whole(text, 'html', decodeHtml);
    if ((found & signs.escape) !== 0) this.#whole(text, 'escape', decodeEscapes);
    if ((found & signs.shell) !== 0) this.#whole(text, 'shell', decodeShell);
    if ((found & signs.telnet) !== 0) this.#whole(text, 'telnet', stripTelnet);
    if ((found & signs.wide) !== 0) this.#whole(text, 'wide', decodeWide);
    if ((found & (signs.chunked | signs.deflate | signs.compressed)) !== 0) this.#bodies(text, found);
    if (bytes.length >= 20) {
      this.#runs(text, 'base64', decodeBase64(bytes));
      this.#runs(text, 'hex', decodeHex(bytes));
    }
  }

  /** True when it was taken. */
  #add(text: Text): boolean {
    const { bytes } = text;
    if (bytes.length === 0) return false;
    if (this.all.length >= maxTexts || bytes.length > this.#left) {
      this.curtailed = true;
      return false;
    }
    for (const other of this.all) if (other.bytes.length === bytes.length && other.bytes.equals(bytes)) return false;
    this.#left -= bytes.length;
    this.all.push(text);
    this.#signs.push(this.#scan(bytes));
    return true;
  }

  #whole(parent: Text, view: ViewName, decode: Decoder): void {
    const bytes = decode(parent.bytes);
    if (bytes === undefined) return;
    this.#add(new LazyText(view, parent.depth + 1, bytes, () => movedPieces(parent, decode)));
  }

  #runs(parent: Text, view: ViewName, runs: readonly Run[]): void {
    if (runs.length === 0) return;
    const starts: number[] = [];
    const parts: Buffer[] = [];
    let length = 0;
    for (const run of runs) {
      starts.push(length);
      parts.push(run.bytes, newline);
      length += run.bytes.length + 1;
    }
    const bytes = Buffer.concat(parts);
    this.#add(
      new LazyText(view, parent.depth + 1, bytes, () => {
        const pieces: TextPiece[] = [];
        runs.forEach((run, index) => {
          for (const piece of parent.pieces())
            if (piece.start <= run.start && run.end <= piece.end && pieces.length < maxPieces)
              pieces.push({ ...piece, start: starts[index], end: starts[index] + run.bytes.length });
        });
        return pieces;
      }),
    );
  }

  /** Chunked and compressed bodies, and compressed data that stands alone. */
  #bodies(parent: Text, found: number): void {
    const bodies = parent.pieces().filter((piece) => piece.part === 'body');
    for (const piece of bodies) {
      const body = parent.bytes.subarray(piece.start, piece.end);
      const joined = (found & signs.chunked) === 0 ? undefined : joinChunks(body);
      if (joined !== undefined) this.#body(parent, piece, joined);
      this.#inflated(parent, piece, joined ?? body, (found & signs.deflate) !== 0);
    }
    if (bodies.length === 0) {
      const at = parent.bytes.indexOf(gzipMagic);
      if (at >= 0) this.#inflated(parent, undefined, parent.bytes.subarray(at), false);
    }
  }

  #inflated(parent: Text, piece: TextPiece | undefined, bytes: Buffer, bare: boolean): void {
    if (!mayInflate(bytes, bare)) return;
    const limit = this.all.length >= maxTexts ? 0 : Math.min(this.#left, this.#inflatedLeft, bytes.length * maxGrowth);
    if (limit === 0 || this.inflateWork.left < 0) {
      this.curtailed = true;
      return;
    }
    this.inflateWork.left -= inflateCost;
    const result = inflate(bytes, limit, bare, this.inflateWork);
    if (this.inflateWork.left < 0) this.curtailed = true;
    if (result === undefined) return;
    this.#inflatedLeft -= result.bytes.length;
    if (!result.whole) this.curtailed = true;
    this.#body(parent, piece, result.bytes);
  }

  #body(parent: Text, piece: TextPiece | undefined, bytes: Buffer): void {
    const pieces = piece === undefined ? [] : [{ ...piece, start: 0, end: bytes.length }];
    this.#add(new LazyText('body', parent.depth + 1, bytes, () => pieces));
  }
}

const newline = Buffer.from('\n');
const gzipMagic = Buffer.from([0x1f, 0x8b, 0x08]);
const formType = Buffer.from('x-www-form-urlencoded');
const tab = 9;
const carriageReturn = 13;

/** In a request's target, and in forms, `+` is a space; elsewhere (`application/xhtml+xml`, chance in a TLS hello) it is itself. */
function plusIsInForm(bytes: Buffer): boolean {
  const first = bytes.indexOf(0x2b);
  return first >= 0 && (isText(bytes, first) || bytes.includes(formType));
}

/** Whether it is one line of text up to there: a request's target is, and binary bytes are not for long. */
function isText(bytes: Buffer, end: number): boolean {
  for (let at = 0; at < end; at += 1) if (bytes[at] < 0x20 && bytes[at] !== tab && bytes[at] !== carriageReturn) return false;
  return true;
}

/** The parent's pieces where its decoded bytes are: the decoding is run again, with an eye on their ends. */
function movedPieces(parent: Text, decode: Decoder): readonly TextPiece[] {
  const pieces = parent.pieces();
  if (pieces.length === 0) return pieces;
  const offsets = [...new Set(pieces.flatMap(({ start, end }) => [start, end]))].sort((a, b) => a - b);
  const marks = new Marks(offsets);
  decode(parent.bytes, marks);
  const moved = new Map(offsets.map((offset, index) => [offset, marks.to[index]]));
  return pieces.map((piece) => ({ ...piece, start: moved.get(piece.start) as number, end: moved.get(piece.end) as number }));
}
