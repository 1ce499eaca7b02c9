// Counters of a thread and of the one that follows it after a fault, together. Pure.

/** Number by number, at any depth; both have the same keys. */
export function sumCounters<T extends object>(a: T, b: T): T {
  const sum = (x: Record<string, unknown>, y: Record<string, unknown>): Record<string, unknown> =>
    Object.fromEntries(
      Object.entries(x).map(([key, value]) => {
        const other = y[key];
        return typeof value === 'number'
          ? [key, value + (other as number)]
          : [key, sum(value as Record<string, unknown>, other as Record<string, unknown>)];
      }),
    );
  return sum({ ...a } as Record<string, unknown>, { ...b } as Record<string, unknown>) as T;
}
