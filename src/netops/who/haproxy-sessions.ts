// HAProxy's own list of what belongs together: `show sess` names both descriptors of every session. Parsing alone; asking its socket is
// kernel/machine/unix-question.ts. What it writes holds names its administrator chose and addresses of clients.
// Source: HAProxy Management Guide, "show sess"; src/stream.c of 2.6 and 2.9.

/** Descriptors of the client's and the server's connection; of a session that has only one yet there is no entry. */
export type HaproxyLegs = ReadonlyMap<number, number>;

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
