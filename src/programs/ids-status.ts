// What `weir status` tells of Suricata: netd knows whether it runs, its feeder what it hears and says. Pure.

import type { ProxyStripperCounters } from '../ids/proxy-stripper.ts';
import type { Status } from '../model/status.ts';
import type { IdsReport } from './ids-house.ts';

/** A report, or why there is none. */
export type IdsAnswer = IdsReport | { readonly error: string };

const ofHops = ({ hops }: IdsReport, name: keyof ProxyStripperCounters): number =>
  hops.reduce((sum, { counters }) => sum + (counters?.[name] ?? 0), 0);

const lossesOf = (report: IdsReport): readonly (readonly [string, number | undefined])[] => [
  ['Suricata: frames the device refused', report.feed.refused],
  ['Suricata: captured frames for which there was no room', report.feed.shed],
  ['Suricata: sessions whose beginning it was not shown', report.sessions.joinedLate],
  ['Suricata: flows ended before their session to make room', report.sessions.forgotten],
  ['Suricata: sessions that make no frames', report.sessions.unshown],
  ['Suricata: chunks of sessions that are on no record', report.sessions.missingChunks],
  ['Suricata: bytes of journal that are no records', report.journals.damagedBytes],
  ['Suricata: journal segments gone before they were shown', report.journals.goneSegments],
  ['Suricata: alerts without a session', report.alerts.unmatched],
  ['Suricata: repetitions of an alert in one session', report.alerts.repeated],
  ['Suricata: lines that could not be read', report.badLines],
  ['Suricata: alerts dropped', report.journal?.droppedRecords],
  ['Suricata: alerts left unheard by a feeder that died, to come again', report.staleAlerts],
  ['Suricata: packets of hops not captured', report.hops.reduce((sum, { lost }) => sum + lost, 0)],
  ['Suricata: frames of hops that could not be read', ofHops(report, 'foreign')],
  ['Suricata: frames of hops whose connection began unseen', ofHops(report, 'midway')],
  ['Suricata: connections of hops shed', ofHops(report, 'shed')],
  ['Suricata: connections of hops that make no frames', ofHops(report, 'unshown')],
  ['Suricata: connections of hops without a header', ofHops(report, 'leftOut')],
  ['Suricata: bytes of hops not captured', ofHops(report, 'missingBytes')],
  ...Object.entries(report.gaveUp).map(([name, count]) => [`Suricata: ${name}`, count] as const),
];

/** The same status where Suricata is not configured. */
export function withIds(system: Partial<Status>, answer: IdsAnswer): Partial<Status> {
  if (!system.annexes?.some(({ name }) => name === 'ids')) return system;
  const drops: Record<string, number> = {};
  const lines: string[] = [];
  const reasons: string[] = [];
  if ('error' in answer) reasons.push(`what Suricata is shown does not answer (${answer.error}): it is started again`);
  else {
    const { feed, sessions, alerts, rules, lagBytes, heard } = answer;
    for (const [name, count] of lossesOf(answer)) if (count) drops[name] = count;
    lines.push(
      `${sessions.sessions} sessions shown in ${feed.frames} frames, ${alerts.joined + alerts.unmatched} alerts, ${alerts.joined} of them joined`,
    );
    if (rules) lines.push(`${rules.loaded} rules loaded`);
    if (rules && rules.failed > 0)
      reasons.push(
        `${rules.failed} Suricata rules are not usable${rules.firstFailed ? `, first ${rules.firstFailed}` : ''}: see its words in the log`,
      );
    if (answer.journals.unkept !== undefined)
      reasons.push(`how far Suricata is cannot be written down (${answer.journals.unkept}): a restart would show much again`);
    if (answer.rulesWaitMs !== undefined)
      reasons.push(`Suricata has not taken the changed rules for ${Math.round(answer.rulesWaitMs / 1000)} s; it is asked again`);
    if (!heard)
      reasons.push(
        `Suricata does not answer the frames that ask it${lagBytes > 0 ? `; ${lagBytes} bytes of journal wait for it` : ''}`,
      );
  }
  return {
    ...system,
    annexes: system.annexes.map((one) => (one.name === 'ids' ? { ...one, lines: [...one.lines, ...lines] } : one)),
    reasons: [...(system.reasons ?? []), ...reasons],
    drops: { ...system.drops, ...drops },
  };
}
