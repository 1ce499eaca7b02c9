// What must not be cut in half by a signal: while somebody listens, the program does not end at once (weir.ts). Who works on decides what the
// signal means; a second signal of the same kind ends the process all the same.

/** Holds a listener to `signal` as long as `body` takes. */
export async function uninterrupted<T>(signal: AbortSignal, body: () => Promise<T>): Promise<T> {
  const listener = (): void => {};
  signal.addEventListener('abort', listener);
  try {
    return await body();
  } finally {
    signal.removeEventListener('abort', listener);
  }
}
