// A mistake in a file of the user's: where it stands, what is wrong, what to do next. How a program shows it is cli/.

import { WeirError } from '../base/errors.ts';

export interface Mistake {
  readonly file: string;
  /** From 1; 0 when the file as a whole is meant. */
  readonly line: number;
  readonly mistake: string;
  /** What to do about it, as a sentence. */
  readonly next: string;
}

/** `weir.yaml:12: mistake. Next: what to do.` */
export const renderMistake = ({ file, line, mistake, next }: Mistake): string =>
  `${file}${line > 0 ? `:${line}` : ''}: ${mistake}. Next: ${next}`;

/** All mistakes as one `config-invalid`; `details.mistakes` holds them. */
export const mistakesError = (mistakes: readonly Mistake[]): WeirError =>
  new WeirError('config-invalid', mistakes.map(renderMistake).join('\n'), { mistakes });

/** The candidate a typing error away from `word`: at most a third of its letters differ, transpositions count one. */
export function suggestion(word: string, candidates: Iterable<string>): string | undefined {
  const wanted = word.toLowerCase().replaceAll('_', '-');
  let best: string | undefined;
  let bestDistance = Math.max(1, Math.floor(wanted.length / 3)) + 1;
  for (const candidate of candidates) {
    const distance = editDistance(wanted, candidate.toLowerCase(), bestDistance);
    if (distance < bestDistance) {
      bestDistance = distance;
      best = candidate;
    }
  }
  return best;
}

/** Optimal string alignment distance, or any number not below `bound` once it cannot be less. */
export function editDistance(a: string, b: string, bound = Number.POSITIVE_INFINITY): number {
  if (Math.abs(a.length - b.length) >= bound || Math.max(a.length, b.length) > 128) return Number.POSITIVE_INFINITY;
  let beforePrevious: number[] = [];
  let previous = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let row = 1; row <= a.length; row += 1) {
    const current = [row];
    for (let column = 1; column <= b.length; column += 1) {
      const change = a[row - 1] === b[column - 1] ? 0 : 1;
      let least = Math.min(previous[column] + 1, current[column - 1] + 1, previous[column - 1] + change);
      if (row > 1 && column > 1 && a[row - 1] === b[column - 2] && a[row - 2] === b[column - 1])
        least = Math.min(least, beforePrevious[column - 2] + 1);
      current.push(least);
    }
    beforePrevious = previous;
    previous = current;
  }
  return previous[b.length];
}
