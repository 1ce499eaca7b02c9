// What changed since the last run: services that appeared, went, or can be reached from further or less far than before; and the file
// that remembers. Pure.

import { type ExposedService, type ExposureReport, type Reach, reaches, reachRank } from './exposure-report.ts';

export interface RememberedService {
  readonly key: string;
  readonly reach: Reach;
}

export interface RememberedExposure {
  readonly version: 1;
  /** Milliseconds since the epoch. */
  readonly takenAt: number;
  readonly services: readonly RememberedService[];
}

export interface ExposureChange {
  readonly kind: 'new' | 'wider' | 'narrower' | 'gone';
  /** `tcp 0.0.0.0:22 (sshd)`, with its container or namespace. */
  readonly service: string;
  readonly from?: Reach;
  readonly to?: Reach;
}

const maxRemembered = 20_000;

/** A namespace called after a process: its number, and which work a thread of the kernel does, change. */
const steadyName = (netns: string): string => netns.replace(/^pid \d+ \(([^/)]*).*\)$/, 'the namespace of $1');

/** Names a service beyond one run: process numbers and sockets change, programs and ports stay. */
export function serviceLabel({ transport, address, port, processes, container, netns }: ExposedService): string {
  const programs = [...new Set(processes.map(({ comm }) => comm))].sort().join(', ');
  const place = container === undefined ? (netns === '' ? '' : ` in ${steadyName(netns)}`) : ` in container ${container}`;
  const host = address.includes(':') ? `[${address}]` : address;
  return `${transport} ${host}:${port}${programs === '' ? '' : ` (${programs})`}${place}`;
}

const worst = ({ reach, atWorst }: ExposedService): Reach => atWorst ?? reach;

export function rememberExposure(report: ExposureReport): RememberedExposure {
  const byKey = new Map<string, Reach>();
  for (const service of report.services.slice(0, maxRemembered)) {
    const key = serviceLabel(service);
    const known = byKey.get(key);
    if (known === undefined || reachRank(worst(service)) < reachRank(known)) byKey.set(key, worst(service));
  }
  return { version: 1, takenAt: report.takenAt, services: [...byKey].map(([key, reach]) => ({ key, reach })) };
}

/** Undefined for what is not such a file, or damaged. */
export function parseRemembered(text: string): RememberedExposure | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  const { version, takenAt, services } = (value ?? {}) as Partial<RememberedExposure>;
  if (version !== 1 || typeof takenAt !== 'number' || !Array.isArray(services) || services.length > maxRemembered)
    return undefined;
  const fits = ({ key, reach }: Partial<RememberedService>): boolean =>
    typeof key === 'string' && key.length < 4096 && reaches.includes(reach as Reach);
  return services.every((one) => typeof one === 'object' && one !== null && fits(one))
    ? { version, takenAt, services }
    : undefined;
}

/** Ways were left out: how far something is reached is not known, and nothing to compare a later run with. */
export const isCutShort = ({ services }: ExposureReport): boolean => services.some(({ notWalked = 0 }) => notWalked > 0);

/** The most alarming first. Of services whose ways were not all walked only that they are new is told. */
export function changesSince(before: RememberedExposure, report: ExposureReport): ExposureChange[] {
  const cut = new Set(report.services.filter(({ notWalked = 0 }) => notWalked > 0).map(serviceLabel));
  const now = new Map(rememberExposure(report).services.map(({ key, reach }) => [key, reach]));
  const then = new Map(before.services.map(({ key, reach }) => [key, reach]));
  const changes: ExposureChange[] = [];
  for (const [service, to] of now) {
    const from = then.get(service);
    if (from === undefined) changes.push({ kind: 'new', service, to });
    else if (from !== to && !cut.has(service))
      changes.push({ kind: reachRank(to) < reachRank(from) ? 'wider' : 'narrower', service, from, to });
  }
  for (const [service, from] of then) if (!now.has(service)) changes.push({ kind: 'gone', service, from });
  const rank = ({ kind, to = 'local' }: ExposureChange): number =>
    (kind === 'wider' ? 0 : kind === 'new' ? 0 : kind === 'narrower' ? 100 : 200) + reachRank(to);
  return changes.sort((a, b) => rank(a) - rank(b) || a.service.localeCompare(b.service));
}

/** Whether something can be reached from further than before, from outside its own namespace. */
export const isWider = ({ kind, to }: ExposureChange): boolean =>
  (kind === 'wider' || kind === 'new') && to !== undefined && to !== 'local';
