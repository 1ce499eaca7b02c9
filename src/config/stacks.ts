// Reads rules/stacks/*.yaml: how operating systems' TCP/IP shows itself. What the keys mean is model/tcp-stack.ts; a key
// that is left out is as on Linux.

import path from 'node:path';
import { z } from 'zod';
import type { IdentificationKind, StrayAnswer, TcpStack } from '../model/tcp-stack.ts';
import * as forms from './forms.ts';
import { Mistakes } from './issues.ts';
import type { Mistake } from './mistake.ts';
import { readYaml } from './yaml-source.ts';

const required = <T>(schema: z.ZodType<T>, form: string, description: string) => schema.meta({ form, description });
const optional = <T>(schema: z.ZodType<T>, form: string, description: string) => schema.optional().meta({ form, description });
const asLinux = <T>(schema: z.ZodType<T>, written: unknown, form: string, description: string) =>
  schema.prefault(written as never).meta({ form, description, fallback: String(written) });

const oneOf = <T extends string>(...words: readonly T[]): z.ZodType<T> =>
  forms.form((value) =>
    words.includes(value as T)
      ? (value as T)
      : new forms.Wrong(`${forms.quoted(value)} is none of ${words.join(', ')}`, `write one of ${words.join(', ')}`),
  );

const identification = oneOf<IdentificationKind>('kernel', 'zero', 'increment', 'random');
const identificationForm = 'kernel, zero, increment or random';
const stray = oneOf<StrayAnswer>('reset', 'silent');
const ttl = forms.wholeNumber(1, 255);

/** A stack's file. */
export const stackFile = z.strictObject({
  name: required(forms.name, 'name', 'What personas call it.'),
  description: required(forms.text(200), 'text', 'One sentence for people.'),
  ttl: required(ttl, 'number', 'TTL and hop limit its packets start with.'),
  opening: z
    .strictObject({
      window: optional(forms.wholeNumber(1, 65535), 'bytes', 'Window of a SYN-ACK.'),
      'max-segment-size': optional(
        forms.wholeNumber(88, 65535),
        'bytes',
        'The most a SYN-ACK announces over IPv4; 20 less over IPv6.',
      ),
      layout: asLinux(oneOf('linux', 'windows', 'bsd'), 'linux', 'linux, windows or bsd', 'Order of its options.'),
      'window-scale': asLinux(
        forms.form((value) =>
          value === 'none' || (typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= 14)
            ? (value as number | 'none')
            : new forms.Wrong(`${forms.quoted(value)} is no window scale`, 'write none or a number from 0 to 14'),
        ),
        7,
        'none, or 0 to 14',
        'RFC 7323.',
      ),
      timestamps: asLinux(forms.truth, true, 'true or false', 'RFC 7323.'),
      'selective-ack': asLinux(forms.truth, true, 'true or false', 'RFC 2018.'),
      ecn: asLinux(forms.truth, true, 'true or false', 'RFC 3168.'),
    })
    .prefault({})
    .meta({ description: 'What a connection begins with.' }),
  'do-not-fragment': asLinux(forms.truth, true, 'true or false', 'Of TCP, without RST.'),
  identification: asLinux(identification, 'kernel', identificationForm, 'Of TCP and UDP, without RST; IPv4.'),
  reset: z
    .strictObject({
      ttl: optional(ttl, 'number', 'Where it differs.'),
      'do-not-fragment': asLinux(forms.truth, true, 'true or false', 'Of RST.'),
      identification: asLinux(identification, 'kernel', identificationForm, 'Of RST; IPv4.'),
      acknowledgment: asLinux(oneOf('zero', 'sequence'), 'zero', 'zero or sequence', 'Of the RST for a segment with ACK.'),
      'counts-fin': asLinux(forms.truth, true, 'true or false', 'Whether the RST for a lonely FIN acknowledges it.'),
    })
    .prefault({})
    .meta({ description: 'Refusals.' }),
  strays: z
    .strictObject({
      'no-flags': asLinux(stray, 'silent', 'reset or silent', 'Open port: neither SYN nor ACK nor RST.'),
      'syn-fin': asLinux(oneOf('reset', 'silent', 'answer'), 'silent', 'reset, silent or answer', 'Open port: SYN with FIN.'),
      'closed-ack': asLinux(stray, 'reset', 'reset or silent', 'Closed port: ACK.'),
      'closed-no-flags': asLinux(stray, 'reset', 'reset or silent', 'Closed port: neither SYN nor ACK nor RST.'),
    })
    .prefault({})
    .meta({ description: 'Segments that belong to no connection.' }),
  icmp: z
    .strictObject({
      ttl: optional(ttl, 'number', 'Where it differs.'),
      identification: asLinux(identification, 'kernel', identificationForm, 'Of ICMP; IPv4.'),
      'echo-code': asLinux(oneOf('copy', 'zero'), 'copy', 'copy or zero', 'Code of an echo reply.'),
      'echo-do-not-fragment': asLinux(oneOf('never', 'copy'), 'never', 'never or copy', 'DF of an echo reply.'),
      'quotes-checksum': asLinux(forms.truth, true, 'true or false', 'Whether port unreachable quotes the UDP checksum.'),
      'quotes-header-checksum': asLinux(forms.truth, true, 'true or false', "The same of the IP header's."),
    })
    .prefault({})
    .meta({ description: 'ICMP over IPv4.' }),
});

const given = <K extends string, T>(key: K, value: T | undefined): { [P in K]?: T } =>
  value === undefined ? {} : ({ [key]: value } as { [P in K]?: T });

export const stackFrom = (written: z.output<typeof stackFile>): TcpStack => {
  const { opening, reset, strays, icmp } = written;
  const scale = opening['window-scale'];
  return Object.freeze({
    name: written.name,
    description: written.description,
    ttl: written.ttl,
    opening: {
      ...given('window', opening.window),
      ...given('maxSegmentSize', opening['max-segment-size']),
      layout: opening.layout,
      ...(typeof scale === 'number' ? { windowScale: scale } : {}),
      timestamps: opening.timestamps,
      selectiveAck: opening['selective-ack'],
      ecn: opening.ecn,
    },
    doNotFragment: written['do-not-fragment'],
    identification: written.identification,
    reset: {
      ...given('ttl', reset.ttl),
      doNotFragment: reset['do-not-fragment'],
      identification: reset.identification,
      acknowledgment: reset.acknowledgment,
      countsFin: reset['counts-fin'],
    },
    strays: {
      noFlags: strays['no-flags'],
      synFin: strays['syn-fin'],
      closedAck: strays['closed-ack'],
      closedNoFlags: strays['closed-no-flags'],
    },
    icmp: {
      ...given('ttl', icmp.ttl),
      identification: icmp.identification,
      echoCode: icmp['echo-code'],
      echoDoNotFragment: icmp['echo-do-not-fragment'],
      quotesChecksum: icmp['quotes-checksum'],
      quotesHeaderChecksum: icmp['quotes-header-checksum'],
    },
  });
};

/** One stack's file. `name` must be the file's own name. */
export function parseStack(text: string, file: string): { stack: TcpStack } | { mistakes: Mistake[] } {
  const source = readYaml(text);
  const mistakes = new Mistakes(file, source);
  if (source.faults.length > 0)
    return { mistakes: source.faults.map(({ line, message }) => ({ file, line, mistake: message, next: 'correct the YAML' })) };
  const parsed = stackFile.safeParse(source.value);
  if (!parsed.success) mistakes.addIssues(parsed.error, stackFile, []);
  else if (`${parsed.data.name}.yaml` !== path.basename(file))
    mistakes.add(['name'], `the file is not named after \`${parsed.data.name}\``, `rename it to ${parsed.data.name}.yaml`);
  else return { stack: stackFrom(parsed.data) };
  return { mistakes: mistakes.list() };
}
