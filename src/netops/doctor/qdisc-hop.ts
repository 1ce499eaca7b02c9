// What the queue of a device does to what leaves by it. Most kinds only order packets; those that may drop every one are told apart by
// their parameters, as tc(8) prints them.

import type { MachineNamespace, MachineQdisc } from '../../model/machine.ts';
import { seen, type WalkHop } from './hop.ts';

/** Kinds that drop only when a device cannot keep up. */
const harmless = new Set([
  'noqueue',
  'pfifo_fast',
  'pfifo',
  'bfifo',
  'fq_codel',
  'fq',
  'mq',
  'sfq',
  'codel',
  'cake',
  'ingress',
  'clsact',
]);
/** The smallest packet there is on a wire with TCP in it: an Ethernet header, IPv4 and TCP without options. */
const smallestBytes = 54;

const units: Readonly<Record<string, number>> = { b: 1, kb: 1024, mb: 1 << 20, gb: 1 << 30 };

/** tc's sizes: `10b`, `1600b`, `16Kb`, `2Mb`. */
export function parseTcSize(text: string): number | undefined {
  const match = /^([\d.]+)([kmg]?b)$/i.exec(text);
  return match ? Math.round(Number(match[1]) * units[match[2].toLowerCase()]) : undefined;
}

/** Qdiscs whose text must be asked of tc. */
export const needsText = ({ kind }: MachineQdisc): boolean => !harmless.has(kind);

export function qdiscHop(namespace: MachineNamespace, device: string, way: 'there' | 'back'): WalkHop | undefined {
  const qdisc = namespace.qdiscs.find((candidate) => candidate.device === device && needsText(candidate));
  if (!qdisc) return undefined;
  const base = { layer: 'qdisc', namespace, dev: device, way, evidence: [seen(`${qdisc.text} (dropped ${qdisc.drops})`)] };
  const burst = parseTcSize(/\bburst (\S+)/.exec(qdisc.text)?.[1]?.split('/')[0] ?? '');
  const loss = /\bloss (?:random )?([\d.]+)%/.exec(qdisc.text)?.[1];
  const starved = qdisc.kind === 'tbf' && burst !== undefined && burst < smallestBytes;
  if (starved || Number(loss) === 100) {
    const why = starved ? `its burst of ${burst} bytes is smaller than any packet` : 'it loses every packet';
    const detail = `the ${qdisc.kind} queue of ${device} lets nothing through: ${why}`;
    return {
      ...base,
      state: 'fail',
      detail,
      fault: { id: 'qdisc-drop', certain: true, effect: 'silence', detail, parts: { qdisc } },
    };
  }
  const lossy = loss !== undefined && Number(loss) > 0;
  if (!lossy && qdisc.drops === 0) return { ...base, state: 'pass', detail: `${qdisc.kind} on ${device} dropped nothing so far` };
  const detail = `the ${qdisc.kind} queue of ${device} drops packets: ${lossy ? `${loss}% on purpose` : `${qdisc.drops} so far`}`;
  return {
    ...base,
    state: 'unknown',
    detail,
    fault: { id: 'qdisc-drop', certain: false, effect: 'silence', detail, parts: { qdisc } },
  };
}
