// One file being read by its format, a piece at a time. Whatever a parser throws is a rejected line, never the end.

import { WeirError } from '../../base/errors.ts';
import type { ImportTally } from './import-tally.ts';
import { type ByteParser, type ImportFormat, type LineParser, rejected, type UnitTally } from './importer.ts';
import type { InputFile } from './input-file.ts';
import { maxLineBytes } from './line-splitter.ts';
import { UnitSplitter } from './unit-splitter.ts';

export class FileReading {
  readonly file: InputFile;
  readonly #pieces: AsyncGenerator<Buffer>;
  readonly #begin: () => void;
  readonly #take: (bytes: Buffer) => void;
  readonly #finish: () => void;
  #begun = false;

  constructor(file: InputFile, reads: ImportFormat['reads'], parser: LineParser | ByteParser, tally: ImportTally) {
    this.file = file;
    this.#pieces = file.pieces();
    this.#begin = () => parser.begin?.(file);
    if (reads === 'lines') {
      const lines = parser as LineParser;
      const splitter = linesInto(file, lines, tally);
      this.#take = (bytes) => splitter.push(bytes);
      this.#finish = () => {
        splitter.end();
        lines.finish?.(file);
      };
    } else {
      const units = unitsOf(file, tally);
      this.#take = (bytes) => (parser as ByteParser).take(bytes, units);
      this.#finish = () => (parser as ByteParser).finish?.(file, units);
    }
  }

  /** Reads on; false once the file is over. */
  async step(): Promise<boolean> {
    const { done, value } = await this.#pieces.next();
    const begins = !this.#begun;
    this.#begun = true;
    const whole = (!begins || this.#try(this.#begin)) && (done ? this.#try(this.#finish) : this.#try(() => this.#take(value)));
    if (!done && whole) return true;
    await this.#pieces.return(undefined);
    await this.file.close();
    return false;
  }

  /** False when the format failed: the rest of the file is not read. Lines that it failed for are counted one by one. */
  #try(work: () => void): boolean {
    try {
      work();
      return true;
    } catch (error) {
      // The disk is nobody's format.
      if (error instanceof WeirError) throw error;
      this.file.damage = `its importer is at fault: ${(error as Error).message.slice(0, 100)}`;
      return false;
    }
  }
}

function linesInto(file: InputFile, parser: LineParser, tally: ImportTally): UnitSplitter {
  return new UnitSplitter({
    line(text, line) {
      const place = { file: file.index, line };
      let outcome: ReturnType<LineParser['take']>;
      try {
        outcome = parser.take(text, place);
      } catch (error) {
        outcome = rejected(`its importer is at fault: ${(error as Error).message.slice(0, 100)}`);
      }
      tally.line(place, outcome, text);
    },
    tooLong(start, bytes, line) {
      tally.line({ file: file.index, line }, rejected(`${bytes} bytes long, more than ${maxLineBytes}`), start);
    },
  });
}

function unitsOf({ index: file }: InputFile, tally: ImportTally): UnitTally {
  let line = 0;
  return {
    session() {
      line += 1;
      const place = { file, line };
      tally.line(place, 'session', '');
      return place;
    },
    merged() {
      line += 1;
      tally.line({ file, line }, 'merged', '');
    },
    rejected(reason) {
      line += 1;
      tally.line({ file, line }, rejected(reason), '');
    },
  };
}
