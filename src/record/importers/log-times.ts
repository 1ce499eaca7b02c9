// When a syslog line was written, in whichever way its front says it. A time without a year is the nearest to the sessions it is
// joined with, else the latest that is not after the file's last change; a time since boot needs to be told when that was. Each
// guess is said.

import type { Micros } from '../../base/clock.ts';
import type { ImportContext, ImportedFile } from './importer.ts';
import { parseLogTime } from './json-line.ts';

const months = ['jan', 'feb', 'mar', 'apr', 'may', 'jun', 'jul', 'aug', 'sep', 'oct', 'nov', 'dec'];
const day = 86_400e6;
const noTime = 'no valid time';

// After `<4>` or `<4>1 `, which RFC 3164 and RFC 5424 put in front.
const iso = /^(?:<\d{1,3}>)?(?:1 )?(\d{4}([-/])\d\d\2\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d{1,12})?(?:Z|[+-]\d\d:?\d\d)?)[\s,]/;
const classic = /^(?:<\d{1,3}>)?([A-Z][a-z]{2}) {1,2}(\d{1,2}) (?:(\d{4}) )?(\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?[\s:]/;
/** `dmesg -T`, OpenWrt's logread and `journalctl -o short-full`. */
const human = /^\[?[A-Z][a-z]{2} ([A-Z][a-z]{2}) {1,2}(\d{1,2}) (\d\d):(\d\d):(\d\d) (\d{4})[\]\s]/;
/** Syslog's with the year before it. */
const yearFirst = /^(?:<\d{1,3}>)?(\d{4}) ([A-Z][a-z]{2}) {1,2}(\d{1,2}) (\d\d):(\d\d):(\d\d)[\s:]/;
/** `grep` puts the file's name and the line's number before what it found, in several files and with `-n`. */
const found = /^[\w./-]{1,255}:(?:\d{1,9}:)?/;
const full = /^[A-Z][a-z]{2} (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d{1,9})?) (UTC|[+-]\d\d:?\d\d|[A-Z]{2,5})\s/;
const unix = /^(\d{9,10})\.(\d{1,9})\s/;
const sinceBoot = /^(?:<\d{1,3}>)?\[\s*(\d{1,10})\.(\d{1,6})\]/;

export class LogTimes {
  readonly #context: ImportContext;
  /** Latest moment a line of the file can be of. */
  readonly #until = new Map<number, Micros>();
  /** Of files whose first line has a year, said or found: the last line's time. */
  readonly #previous = new Map<number, Micros>();
  /** Why the last line had no time. */
  reason: string = noTime;

  constructor(context: ImportContext) {
    this.#context = context;
  }

  begin(file: ImportedFile): void {
    this.#until.set(file.index, Math.min(file.modifiedAt ?? this.#context.now, this.#context.now) + day);
  }

  /** NaN when the line does not begin with one; `reason` says why. `beside`: about when it was, which tells the year. */
  of(line: string, file: number, beside?: Micros): Micros {
    this.reason = noTime;
    const at = this.#stamp(line, file, beside);
    const bare = Number.isNaN(at) && this.reason === noTime ? line.replace(found, '') : line;
    return bare.length < line.length ? this.#stamp(bare, file, beside) : at;
  }

  #stamp(line: string, file: number, beside: Micros | undefined): Micros {
    const { zoneMinutes, bootedAt } = this.#context;
    let match = classic.exec(line);
    if (match) {
      const [, month, date, year, hour, minute, second, fraction = ''] = match;
      const local = (inYear: number): Micros => civil(inYear, month, date, hour, minute, second, fraction) - zoneMinutes * 60e6;
      return year === undefined ? this.#withoutYear(local, file, beside) : local(Number(year));
    }
    match = iso.exec(line);
    if (match) return parseLogTime(match[1].replaceAll('/', '-'), zoneMinutes);
    match = sinceBoot.exec(line);
    if (match) {
      if (bootedAt === undefined) this.reason = 'its time counts from boot: say when that was with --booted';
      return bootedAt === undefined ? Number.NaN : bootedAt + Number(match[1]) * 1e6 + Number(match[2].padEnd(6, '0'));
    }
    match = human.exec(line);
    if (match) return civil(Number(match[6]), match[1], match[2], match[3], match[4], match[5], '') - zoneMinutes * 60e6;
    match = yearFirst.exec(line);
    if (match) return civil(Number(match[1]), match[2], match[3], match[4], match[5], match[6], '') - zoneMinutes * 60e6;
    match = full.exec(line);
    if (match) return parseLogTime(`${match[1]}${/^[A-Z]/.test(match[2]) && match[2] !== 'UTC' ? '' : match[2]}`, zoneMinutes);
    match = unix.exec(line);
    return match ? Number(match[1]) * 1e6 + Number(match[2].slice(0, 6).padEnd(6, '0')) : Number.NaN;
  }

  #withoutYear(inYear: (year: number) => Micros, file: number, beside: Micros | undefined): Micros {
    const { now, year, near } = this.#context;
    if (beside !== undefined && year === undefined) return nearestYear(inYear, beside);
    const anchor = this.#previous.get(file) ?? (year === undefined ? near : undefined);
    if (anchor !== undefined || year !== undefined) {
      const at = anchor === undefined ? inYear(year as number) : nearestYear(inYear, anchor);
      if (Number.isNaN(at)) return at;
      this.#previous.set(file, at);
      if (year === undefined)
        this.#context.note(file, `its times have no year: it is that of the sessions it is joined with (--year says another)`);
      return at;
    }
    const until = this.#until.get(file) ?? now + day;
    let guess = new Date(until / 1000).getUTCFullYear() + 1;
    // A leap day comes every four years, but for 1900 and 2100.
    for (let tries = 0; tries < 10; tries += 1, guess -= 1) {
      const at = inYear(guess);
      if (at <= until) {
        this.#context.note(file, `its times have no year: ${guess} was taken by the file's last change (--year says another)`);
        return at;
      }
    }
    return Number.NaN;
  }
}

/** A log goes on from one line to the next, also over New Year. */
function nearestYear(inYear: (year: number) => Micros, anchor: Micros): Micros {
  const middle = new Date(anchor / 1000).getUTCFullYear();
  let nearest = Number.NaN;
  // A leap day comes every four years.
  for (let year = middle - 4; year <= middle + 4; year += 1) {
    const at = inYear(year);
    if (!(Math.abs(at - anchor) >= Math.abs(nearest - anchor)) && !Number.isNaN(at)) nearest = at;
  }
  return nearest;
}

/** Microseconds as if it were UTC; NaN for what no calendar has. */
function civil(
  year: number,
  month: string,
  date: string,
  hour: string,
  minute: string,
  second: string,
  fraction: string,
): Micros {
  const index = months.indexOf(month.toLowerCase());
  const ms = Date.UTC(year, index, Number(date), Number(hour), Number(minute), Number(second));
  const back = new Date(ms);
  const valid =
    index >= 0 && back.getUTCMonth() === index && back.getUTCDate() === Number(date) && Number(hour) < 24 && Number(minute) < 60;
  return valid ? ms * 1000 + Number(fraction.slice(0, 6).padEnd(6, '0')) : Number.NaN;
}
