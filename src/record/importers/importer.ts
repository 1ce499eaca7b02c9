// What a format of other people's logs has to be: it recognises itself, and says of every line what became of it. The engine
// (import-run.ts) reads, bounds, counts and hands on; a format only understands. See docs/adding-an-importer.md.

import type { Micros } from '../../base/clock.ts';
import type { ProbeRecord } from '../../model/event.ts';
import type { SessionOutcome, SessionRecord, Transport } from '../../model/session.ts';

/** Where something stands in the input: which of the files, and which line (from 1), packet or other unit of it. */
export interface Place {
  readonly file: number;
  readonly line: number;
}

export class Rejection {
  /** For a person, a few words without the line's own bytes: `no source address`. */
  readonly reason: string;

  constructor(reason: string) {
    this.reason = reason;
  }
}

/**
 * What one line came to, exactly one of: it began a session or another record (`session`: the parser then owes exactly one
 * record with this line's place, at the latest when `end` is called); it belongs to one that began before, or is known to be
 * no traffic, such as a statistics row (`merged`); it was not understood. Hence lines = sessions + merged + rejected.
 */
export type LineOutcome = 'session' | 'merged' | Rejection;

export const rejected = (reason: string): Rejection => new Rejection(reason);

/**
 * A whole session. The engine checks addresses, ports and times, cuts what is too long, adds the tag `imported`, the diversion
 * `import`, the format's name as service where none is given, and the identifier; what it refuses counts as rejected at `place`.
 */
export interface ImportedSession
  extends Omit<
    SessionRecord,
    | 'id'
    | 'sequence'
    | 'firstChunk'
    | 'diversion'
    | 'service'
    | 'persona'
    | 'outcome'
    | 'sourceReliable'
    | 'truncated'
    | 'bytesIn'
    | 'bytesOut'
    | 'writer'
    | 'recordedAt'
  > {
  /** The place of the line whose outcome was `session`. */
  readonly place: Place;
  /**
   * Tells this session from all others of the format that start in the same microsecond, whatever file or order they come in:
   * the log's own session id, or its five-tuple. Same start and key: the same session, taken once.
   */
  readonly key: string;
  readonly service?: string;
  readonly outcome: Exclude<SessionOutcome, 'open'>;
  /** Default: true for TCP, false for UDP. */
  readonly sourceReliable?: boolean;
  /** Default: what the chunks hold. */
  readonly bytesIn?: number;
  readonly bytesOut?: number;
  readonly truncated?: boolean;
  /**
   * The sensor may have stood behind a REDIRECT that hid the true destination: packet filter lines of the same import tell it
   * (see log-join.ts). Set it for engines that listen on one port for all.
   */
  readonly redirected?: boolean;
}

/** A record of packets that became no session; as above. */
export interface ImportedProbe extends Omit<ProbeRecord, 'id' | 'diversion' | 'unlisted'> {
  readonly place: Place;
  readonly key: string;
}

/** What the engine gives to a parser; good for one import. */
export interface ImportContext {
  /** When the import began: what a time without a year is measured by. */
  readonly now: Micros;
  /** East of UTC, of times without a zone. */
  readonly zoneMinutes: number;
  /** No other file is imported with it. */
  readonly alone?: boolean;
  /** Of a file's first time without one, where somebody said. */
  readonly year?: number;
  /** Where files are joined: when the others begin. Tells the year of times without one. */
  readonly near?: Micros;
  /** When the machine of the log started, where somebody said: what times since then are measured by. */
  readonly bootedAt?: Micros;
  session(session: ImportedSession): void;
  probe(probe: ImportedProbe): void;
  /**
   * What `give` hands over has not ended as far as the log goes. What the log told of a moment before the import may still go on:
   * it is left for the next import, which finds all of it, and counts as merged.
   */
  unfinished(give: () => void): void;
  /** The protocol that the first bytes speak; undefined when nothing is recognised. */
  protocolOf(input: Uint8Array, port: number, transport: Transport): string | undefined;
  /** Tells the user something about a file as a whole, once however often it is said; of our words, not the file's. */
  note(file: number, text: string): void;
}

/** One of the files, as given. */
export interface ImportedFile {
  readonly index: number;
  /** Without directories; `-` for standard input. */
  readonly name: string;
  /** Last change, where it is a file. */
  readonly modifiedAt?: Micros;
}

/**
 * Understands a format's lines: one parser for all files of the format in one import, so that a session may go on in the next
 * file of a rotated log. Lines come in the order of the files; files of formats that are joined by time may take turns
 * (`place.file` tells). Never throws for what a line holds. Everything it keeps between lines has a bound: OpenSessions.
 */
export interface LineParser {
  begin?(file: ImportedFile): void;
  /** Without its line end; never blank, at most 1 MiB, invalid UTF-8 replaced. Blank lines are not lines. */
  take(line: string, place: Place): LineOutcome;
  /** The last line of the file was taken. */
  finish?(file: ImportedFile): void;
  /** No line comes any more: hands over every session still owed. */
  end(): void;
}

/** Counts the units (packets) of a file that has no lines; each call is one unit. */
export interface UnitTally {
  /** Gives the place of the record that is owed. */
  session(): Place;
  merged(): void;
  rejected(reason: string): void;
}

/** The same for files without lines (pcap). Bytes come in pieces of any size. */
export interface ByteParser {
  begin?(file: ImportedFile): void;
  take(bytes: Uint8Array, tally: UnitTally): void;
  /** The file ended here; what is half a unit is rejected. */
  finish?(file: ImportedFile, tally: UnitTally): void;
  end(): void;
}

/** The beginning of a file, decompressed. */
export interface Sample {
  /** At most 64 KiB. */
  readonly bytes: Uint8Array;
  /** Whole lines of it, blank ones left out, at most 100. */
  readonly lines: readonly string[];
  /** Those of `lines` that are a JSON object, parsed; behind a prefix only where most lines have one. */
  readonly objects: readonly Readonly<Record<string, unknown>>[];
}

interface FormatFacts {
  /** What people type, and the service of its sessions: `cowrie`. */
  readonly name: string;
  /** One line for `weir import --list`. */
  readonly title: string;
  /** Set where packet filter lines tell the true destination of sessions: which of both this one has (see log-join.ts). */
  readonly joins?: 'sessions' | 'packets';
  /** How sure it is that this is its own: 0 (no) to 1. The surest wins; below 0.3 nobody does. Pure. */
  detect(sample: Sample): number;
  /** Files that tell less of the same sessions are read behind those that tell more: by this number, default 0. Pure. */
  readRank?(sample: Sample): number;
}

export type ImportFormat =
  | (FormatFacts & { readonly reads: 'lines'; open(context: ImportContext): LineParser })
  | (FormatFacts & { readonly reads: 'bytes'; open(context: ImportContext): ByteParser });
