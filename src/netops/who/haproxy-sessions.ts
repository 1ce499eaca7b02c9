// HAProxy's own list of what belongs together: `show sess` names both descriptors of every session. Whom to ask and for how long, and what
// the answer means; asking one socket is kernel/machine/unix-question.ts. What it writes holds names its administrator chose and addresses of clients.
// Source: HAProxy Management Guide, "show sess"; src/stream.c of 2.6 and 2.9.

import { asWeirError } from '../../base/errors.ts';

/** Descriptors of the client's and the server's connection; of a session that has only one yet there is no entry. */
export type HaproxyLegs = ReadonlyMap<number, number>;

export interface HaproxyProcess {
  readonly pid: number;
  /** Paths it listens on. */
  readonly listeners: () => readonly string[];
}

/** Anybody may call a program so, and listen on what never answers. */
const maxProcesses = 16;
const maxSocketsOfOne = 2;
const askingMs = 3000;

/** `ask` gets the milliseconds that are left of all of it; `onFault` is told what was not asked or not answered. */
export async function askHaproxies(
  processes: Iterable<HaproxyProcess>,
  ask: (path: string, timeoutMs: number) => Promise<string>,
  onFault: (what: string, why: string) => void,
  boundMs = askingMs,
): Promise<Map<number, HaproxyLegs>> {
  const end = performance.now() + boundMs;
  const answers = new Map<number, HaproxyLegs>();
  let asked = 0;
  for (const { pid, listeners } of processes) {
    asked += 1;
    if (asked > maxProcesses) {
      onFault('sessions of further haproxies', `no more than ${maxProcesses} are asked`);
      break;
    }
    for (const path of listeners().slice(0, maxSocketsOfOne)) {
      const leftMs = Math.ceil(end - performance.now());
      if (leftMs <= 0) {
        onFault(`sessions of haproxy ${pid} and further ones`, `none was left of the ${boundMs} ms for all of them`);
        return answers;
      }
      try {
        const legs = parseHaproxySessions(await ask(path, leftMs));
        if (legs.size > 0) answers.set(pid, legs);
      } catch (error) {
        onFault(`sessions of haproxy ${pid}`, asWeirError(error).message);
      }
    }
  }
  return answers;
}

/** Sessions beyond this are left out. */
const maxSessions = 200_000;

/** Both ways: the one's descriptor gives the other's. */
export function parseHaproxySessions(text: string): HaproxyLegs {
  const legs = new Map<number, number>();
  for (const line of text.split('\n', maxSessions)) {
    // `s0=[8,200008h,fd=10,ex=]` until 2.6, `scf=[8,0h,fd=10,rex=5s,wex=]` and `scb=` since.
    const front = /\b(?:s0|scf)=\[[^\]]*\bfd=(\d+)/.exec(line);
    const back = /\b(?:s1|scb)=\[[^\]]*\bfd=(\d+)/.exec(line);
    if (!front || !back) continue;
    legs.set(Number(front[1]), Number(back[1]));
    legs.set(Number(back[1]), Number(front[1]));
  }
  return legs;
}
