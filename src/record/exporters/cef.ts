// Verdicts, signatures and alerts as CEF:0 lines (ArcSight Common Event Format), for collectors that read nothing else.
// Header fields escape `\` and `|`, extension values `\` and `=`; line ends never survive. Pure.

import { printable } from '../../base/printable.ts';
import type { AlertRecord, Severity } from '../../model/event.ts';
import type { SignatureHit, Verdict } from '../../model/insight.ts';
import type { SessionSummary } from '../store.ts';

const severities: Readonly<Record<Severity, number>> = { info: 1, low: 3, medium: 6, high: 9 };

const header = (text: string): string => printable(text, 512).replaceAll('\\', '\\\\').replaceAll('|', '\\|');
const value = (text: string): string => printable(text, 1023).replaceAll('\\', '\\\\').replaceAll('=', '\\=');

type Fields = Readonly<Record<string, string | number | undefined>>;

/** Of these names and fields, not of the program: a collector's rules need not change with each release. */
const vocabulary = '1';

function line(signature: string, name: string, severity: Severity, fields: Fields): string {
  const extension = Object.entries(fields)
    .filter(([, field]) => field !== undefined && field !== '')
    .map(([key, field]) => `${key}=${value(String(field))}`);
  const head = ['CEF:0', 'Weir', 'Weir', vocabulary, header(signature), header(name), String(severities[severity])];
  return `${head.join('|')}|${extension.join(' ')}\n`;
}

/** CEF takes times as milliseconds. */
const ms = (at: number | undefined): number | undefined => (at === undefined ? undefined : Math.floor(at / 1000));

export const renderVerdictCef = (verdict: Verdict): string =>
  line(verdict.behaviour, verdict.behaviour, verdict.severity, {
    externalId: verdict.id,
    start: ms(verdict.start),
    end: ms(verdict.end),
    src: verdict.source,
    dst: verdict.destination,
    dpt: verdict.port,
    proto: verdict.transport?.toUpperCase(),
    cnt: verdict.hits,
    cs1Label: verdict.tool && 'tool',
    cs1: verdict.tool,
    cs2Label: 'techniques',
    cs2: verdict.techniques.join(' '),
    msg: verdict.evidence.join('; '),
  });

export const renderSignatureCef = (session: SessionSummary, hit: SignatureHit): string =>
  line(hit.rule, hit.name, hit.severity, {
    externalId: session.id,
    start: ms(session.start),
    end: ms(session.end),
    src: session.source.ip,
    spt: session.source.port,
    dst: session.destination.ip,
    dpt: session.destination.port,
    proto: session.transport.toUpperCase(),
    app: session.protocol,
    in: session.bytesIn,
    out: session.bytesOut,
    suser: session.userName,
    request: hit.captures.url,
    cs2Label: 'techniques',
    cs2: hit.techniques.join(' '),
    cs3Label: hit.cves.length > 0 ? 'cves' : undefined,
    cs3: hit.cves.join(' '),
  });

export const renderAlertCef = (alert: AlertRecord): string =>
  line(alert.name, alert.name, alert.severity, { externalId: alert.id, rt: ms(alert.at), msg: alert.message });
