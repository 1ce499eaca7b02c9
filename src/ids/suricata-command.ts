// One command to Suricata over its command socket, and the answer. Suricata reads attackers' bytes: what it says is bounded
// in length and time, and checked.
// Source: Suricata 7 user guide, "Interacting via Unix Socket" (protocol version 0.2).

import { connect } from 'node:net';
import { WeirError } from '../base/errors.ts';
import { printable } from '../base/printable.ts';

const maxAnswerBytes = 256 << 10;

/** Resolves to `message` of the answer. Throws `timeout`, `not-running`, `fault` with Suricata's own words. */
export function commandSuricata(
  path: string,
  command: string,
  parameters?: Readonly<Record<string, string>>,
  timeoutMs = 5000,
): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    let text = '';
    let greeted = false;
    const fail = (code: 'timeout' | 'not-running' | 'fault', why: string): void => {
      clearTimeout(timer);
      socket.destroy();
      reject(new WeirError(code, `Suricata's command ${command}: ${printable(why, 300)}`, { command }));
    };
    const timer = setTimeout(() => fail('timeout', 'no answer'), timeoutMs);
    const say = (value: unknown): void => void socket.write(`${JSON.stringify(value)}\n`);
    socket.setEncoding('utf8');
    socket.on('connect', () => say({ version: '0.2' }));
    socket.on('error', (error) => fail('not-running', error.message));
    socket.on('close', () => fail('not-running', 'it hung up'));
    socket.on('data', (more: string) => {
      text += more;
      if (text.length > maxAnswerBytes) {
        fail('fault', 'its answer is too long');
        return;
      }
      const end = text.indexOf('\n');
      if (end < 0) return;
      let answer: { return?: unknown; message?: unknown };
      try {
        answer = JSON.parse(text.slice(0, end)) as typeof answer;
      } catch {
        fail('fault', 'its answer is no JSON');
        return;
      }
      text = text.slice(end + 1);
      if (answer?.return !== 'OK') fail('fault', String(answer?.message ?? 'refused'));
      else if (!greeted) {
        greeted = true;
        say({ command, ...(parameters ? { arguments: parameters } : {}) });
      } else {
        clearTimeout(timer);
        socket.removeAllListeners('close');
        socket.destroy();
        resolve(answer.message);
      }
    });
  });
}
