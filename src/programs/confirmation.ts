// Asks the person at the terminal, once, with a bound on how long the answer may take.

import { createInterface } from 'node:readline';

export interface Terminal {
  readonly input: NodeJS.ReadableStream;
  readonly output: NodeJS.WritableStream;
}

/** True when a person can answer: both ends are terminals. */
export const isInteractive = ({
  input,
  output,
}: {
  readonly input: NodeJS.ReadStream;
  readonly output: NodeJS.WriteStream;
}): boolean => Boolean(input.isTTY && output.isTTY);

/**
 * Prints `question` and waits for a line. Gives the line without its end, or undefined when the time is over, the
 * input ends, or `signal` fires. Never leaves a listener behind.
 */
export function ask(terminal: Terminal, question: string, signal: AbortSignal): Promise<string | undefined> {
  return new Promise((resolve) => {
    const lines = createInterface({ input: terminal.input, output: terminal.output, terminal: false });
    const finish = (answer: string | undefined): void => {
      // First of all: closing tells `close` at once, which would answer for the person.
      resolve(answer);
      signal.removeEventListener('abort', onAbort);
      lines.close();
      terminal.input.pause();
    };
    const onAbort = (): void => finish(undefined);
    if (signal.aborted) return finish(undefined);
    signal.addEventListener('abort', onAbort, { once: true });
    terminal.output.write(question);
    lines.once('line', (line) => finish(line.trim()));
    lines.once('close', () => finish(undefined));
  });
}
