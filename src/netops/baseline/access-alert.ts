// Differences from the access matrix as alerts of the record: one a difference up to a bound, and one that says how many more there are. The same
// differences at another time are other alerts. Pure.

import { printable } from '../../base/printable.ts';
import type { AlertRecord, Severity } from '../../model/event.ts';
import { createIdentifier } from '../../model/identifier.ts';
import type { AccessDifference } from './matrix-check.ts';

const maxAlerts = 50;

/** What lets somebody in is worse than what keeps somebody out. */
const severities: Readonly<Record<AccessDifference['kind'], Severity>> = {
  opened: 'high',
  unlisted: 'high',
  'new-source': 'medium',
  'other-service': 'medium',
  closed: 'low',
};

/** `at`: microseconds. */
export function alertsOf(differences: readonly AccessDifference[], at: number): AlertRecord[] {
  const alerts = differences.slice(0, maxAlerts).map(({ kind, source, target, expected, found, by }): AlertRecord => {
    const reason = by.map(({ text }) => text).join('; ');
    return {
      id: createIdentifier(at),
      at,
      name: `access-${kind}`,
      severity: severities[kind],
      message: printable(`${source} to ${target}: ${expected}, ${found}${reason === '' ? '' : `: ${reason}`}`, 600),
      details: { source: printable(source, 200), target, expected, found: printable(found, 200), reason: printable(reason, 400) },
    };
  });
  const left = differences.length - alerts.length;
  if (left > 0)
    alerts.push({
      id: createIdentifier(at),
      at,
      name: 'access-differences',
      severity: 'high',
      message: `${left} more differences from the access baseline`,
      details: { left },
    });
  return alerts;
}
