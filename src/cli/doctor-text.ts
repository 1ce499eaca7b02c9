// A diagnosis for people: the verdict in one line, then the hops with what shows them, then the fix. Everything in it that came from outside is
// made printable here.

import { printable } from '../base/printable.ts';
import type { Diagnosis, DiagnosisHop } from '../model/diagnosis.ts';
import type { TriedFix } from './doctor.ts';
import type { Style } from './style.ts';

const marks: Readonly<Record<DiagnosisHop['state'], string>> = { pass: 'ok', fail: 'FAIL', unknown: '?', 'not-measured': '-' };

const safe = (text: string): string => printable(text, 1000);

function headOf({ verdict, confidence, cause, flow }: Omit<Diagnosis, 'contrast'>, { bold, red, green, yellow }: Style): string {
  const paint = verdict === 'reachable' ? green : verdict === 'unreachable' ? red : yellow;
  const target = flow.dst.includes(':') ? `[${flow.dst}]` : flow.dst;
  const why = cause ? `: ${cause.id}${cause.hop > 0 ? `, hop ${cause.hop}` : ''}` : '';
  return `${bold(paint(verdict.toUpperCase()))}  ${flow.src} to ${target}:${flow.dport}/${flow.proto}${why} (${confidence})`;
}

function hopLines(hops: Diagnosis['hops'], cause: number | undefined, { dim, red, yellow }: Style): string[] {
  const width = (of: (hop: DiagnosisHop) => string): number => Math.min(40, Math.max(0, ...hops.map((hop) => of(hop).length)));
  const place = ({ netns, dev }: DiagnosisHop): string => safe(dev === undefined ? netns : `${netns} ${dev}`);
  const [layers, placesWidth] = [width(({ layer }) => layer), width(place)];
  return hops.flatMap((hop) => {
    const paint = hop.state === 'fail' ? red : hop.state === 'pass' ? (text: string) => text : yellow;
    const mark = marks[hop.state].padEnd(4);
    const line = `${hop.n === cause ? '>' : ' '} ${String(hop.n).padStart(2)}  ${hop.layer.padEnd(layers)}  ${place(hop).padEnd(placesWidth)}  ${paint(mark)}  ${safe(hop.detail)}`;
    const shown = hop.state === 'pass' ? [] : hop.evidence.map(({ rung, text }) => dim(`        ${rung}: ${safe(text)}`));
    return [line, ...shown];
  });
}

export function renderDiagnosis(diagnosis: Diagnosis, tried: TriedFix | undefined, style: Style): string {
  const { bold, dim } = style;
  const { cause, hops, fix, rejected_fixes: rejected, not_measured: missing, contrast } = diagnosis;
  const lines = [headOf(diagnosis, style)];
  if (cause?.detail) lines.push(`  ${safe(cause.detail)}`);
  else if (diagnosis.verdict === 'inconclusive')
    lines.push('  nothing that was seen stops it; what was not seen is listed below');
  if (contrast) {
    lines.push(`  contrast: ${headOf(contrast, style)}`);
    if (contrast.cause?.detail && contrast.cause.id !== cause?.id) lines.push(`    ${safe(contrast.cause.detail)}`);
  }
  lines.push('', ...hopLines(hops, cause?.hop, style));
  for (const { when, cmd, undo, risk, scope } of fix) {
    lines.push('', `${bold(when === 'now' ? 'Fix' : 'For good')}  ${safe(cmd.replace(/^# /, ''))}`);
    if (undo !== '') lines.push(`  undo   ${safe(undo)}`);
    if (!cmd.startsWith('#')) lines.push(dim(`  risk   ${safe(risk)}`), dim(`  scope  ${safe(scope)}`));
  }
  if (tried) {
    const outcome = tried.verdict ? `${tried.verdict} (${tried.confidence}) while it was applied` : 'nothing was seen of it';
    lines.push('', `${bold('Tried')}  ${outcome}; ${tried.undone ? 'taken back' : 'NOT taken back'}`);
    if (tried.error) lines.push(`  ${safe(tried.error)}`);
    if (!tried.undone) lines.push(`  type   ${safe(tried.undo)}`);
  }
  for (const { cmd, why, proof } of rejected)
    lines.push('', `${bold('Does not help')}  ${safe(cmd)}`, `  why    ${safe(why)}`, `  proof  ${safe(proof)}`);
  if (missing.length > 0) lines.push('', dim('Not measured'), ...missing.map((text) => dim(`  ${safe(text)}`)));
  return `${lines.join('\n')}\n`;
}
