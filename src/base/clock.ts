// Wall-clock time in microseconds, the unit of every event. Tests pass their own Clock.
// Durations inside a process use the same clock; it never runs backwards within one process.

/** Microseconds since 1970-01-01T00:00:00Z; an integer below 2^53 until the year 2255. */
export type Micros = number;

export type Clock = () => Micros;

let last = 0;
let anchorMs = Date.now() - performance.now();

/** The present, strictly monotonic within this process even when the system clock steps back; follows forward steps. */
export const systemClock: Clock = () => {
  const coarse = Date.now();
  let fine = anchorMs + performance.now();
  if (Math.abs(fine - coarse) > 2) {
    anchorMs += coarse - fine;
    fine = coarse;
  }
  const now = Math.round(fine * 1000);
  last = now > last ? now : last + 1;
  return last;
};

/** Durations that no step of the system clock touches; of one process. */
export const steadyClock: Clock = () => Math.round(performance.now() * 1000);

/** ISO 8601 UTC with microseconds, as ECS documents carry it: `2026-01-02T03:04:05.123456Z`. */
export function renderMicros(at: Micros): string {
  const whole = Math.floor(at / 1000);
  const rest = at - whole * 1000;
  return `${new Date(whole).toISOString().slice(0, -1)}${String(rest).padStart(3, '0')}Z`;
}

/** Inverse of renderMicros; also accepts fewer or more fraction digits. NaN when it does not parse. */
export function parseMicros(text: string): Micros {
  const match = /^(.*?)(?:\.(\d+))?(Z|[+-]\d{2}:?\d{2})$/.exec(text);
  if (!match) return Number.NaN;
  const seconds = Date.parse(`${match[1]}${match[3]}`);
  const fraction = `${match[2] ?? ''}000000`.slice(0, 6);
  return seconds * 1000 + Number(fraction);
}
