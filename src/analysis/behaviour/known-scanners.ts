// Who says who it is: reads rules/scanners.yaml, and looks for its texts in what a client sent and in the TLS name it asked
// for, all of them in one pass. What follows from a name is self-named-detector.ts.

import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { Mistakes } from '../../config/issues.ts';
import { type Mistake, mistakesError } from '../../config/mistake.ts';
import { readYaml } from '../../config/yaml-source.ts';
import type { SessionRecord } from '../../model/session.ts';
import type { SessionView } from '../session-view.ts';
import { LiteralIndex, maxLiteralBytes } from '../signatures/literal-index.ts';

export interface KnownScanner {
  readonly name: string;
  readonly kind: 'research' | 'crawler' | 'tool';
  readonly reference: string;
  /** The text that was found. */
  readonly sample: string;
}

/** At most so much of what a client sent is looked at. */
const maxScanned = 2048;
/** Of a TLS hello nobody answered: up to the end of its random bytes, which some tools write by hand. */
const tlsHandshake = 0x16;
const maxScannedTls = 48;
const ranks = { research: 0, crawler: 1, tool: 2 } as const;

const printableText = /^[\x20-\x7e]+$/;
const entry = z.strictObject({
  name: z.string().min(2).max(60).regex(printableText),
  kind: z.enum(['research', 'crawler', 'tool']),
  says: z.array(z.string().min(5).max(100).regex(printableText)).min(1).max(20),
  start: z.boolean().optional(),
  reference: z.url({ protocol: /^https$/ }).max(200),
});
const file = z.array(entry).min(1).max(2000);

interface Text {
  readonly scanner: KnownScanner;
  /** Lower case, where it has to be the beginning. */
  readonly start: string | undefined;
}

export class KnownScanners {
  readonly #texts: readonly Text[];
  readonly #index: LiteralIndex;

  private constructor(texts: readonly Text[], index: LiteralIndex) {
    this.#texts = texts;
    this.#index = index;
  }

  /** Pure. All mistakes with their lines. */
  static parse(text: string, name: string): { scanners: KnownScanners } | { mistakes: readonly Mistake[] } {
    const source = readYaml(text);
    if (source.faults.length > 0)
      return {
        mistakes: source.faults.map(({ line, message }) => ({ file: name, line, mistake: message, next: 'correct the YAML' })),
      };
    const mistakes = new Mistakes(name, source);
    const parsed = file.safeParse(source.value);
    if (!parsed.success) {
      mistakes.addIssues(parsed.error, file, []);
      return { mistakes: mistakes.list() };
    }
    const texts: Text[] = [];
    const owners = new Map<string, number[]>();
    for (const { name: scanner, kind, says, start, reference } of parsed.data)
      for (const sample of says) {
        const literal = sample.toLowerCase();
        const list = owners.get(literal) ?? [];
        owners.set(literal, list);
        list.push(texts.length);
        texts.push({ scanner: { name: scanner, kind, reference, sample }, start: start ? literal : undefined });
      }
    if ([...owners.keys()].reduce((sum, { length }) => sum + length, 0) > maxLiteralBytes) {
      mistakes.add([], `these texts are longer than ${maxLiteralBytes} characters together`, 'leave some out');
      return { mistakes: mistakes.list() };
    }
    return { scanners: new KnownScanners(texts, new LiteralIndex(owners)) };
  }

  /** Throws `config-unreadable`-like faults of the file system, and `config-invalid` with its mistakes. */
  static read(path: string): KnownScanners {
    const result = KnownScanners.parse(readFileSync(path, 'utf8'), path);
    if ('mistakes' in result) throw mistakesError(result.mistakes);
    return result.scanners;
  }

  /** The one that says most about who it is; undefined when nobody known spoke. */
  identify({ tls }: Pick<SessionRecord, 'tls'>, view: SessionView | undefined): KnownScanner | undefined {
    const input = view?.input;
    let best: Text | undefined;
    const report = (owner: number): void => {
      const text = this.#texts[owner];
      if (best && ranks[best.scanner.kind] <= ranks[text.scanner.kind]) return;
      if (text.start !== undefined && !(input && beginsWith(input, text.start))) return;
      best = text;
    };
    if (input && input.length > 0) {
      const scanned = input[0] === tlsHandshake ? maxScannedTls : maxScanned;
      this.#index.scan(input.length > scanned ? input.subarray(0, scanned) : input, report);
    }
    if (tls?.serverName !== undefined) this.#index.scan(Buffer.from(tls.serverName, 'latin1'), report);
    return (best as Text | undefined)?.scanner;
  }
}

function beginsWith(bytes: Uint8Array, lower: string): boolean {
  if (bytes.length < lower.length) return false;
  for (let index = 0; index < lower.length; index += 1) {
    const byte = bytes[index];
    if ((byte >= 65 && byte <= 90 ? byte + 32 : byte) !== lower.charCodeAt(index)) return false;
  }
  return true;
}

const synTools: Readonly<Record<string, string>> = {
  ZMap: 'ZMap',
  masscan: 'masscan',
  Mirai: 'Mirai',
  nmap: 'Nmap',
  hping3: 'hping3',
};

/** The tool a SYN's fingerprint names (model/syn-fingerprint.ts); undefined for operating systems. */
export const synTool = (system: string | undefined): string | undefined =>
  system !== undefined && Object.hasOwn(synTools, system) ? synTools[system] : undefined;
