// Payloads written before anybody looked at the rules: attacks as exploits and scanners send them, and what harmless programs and
// people say. They have been seen since, so they hold what was reached; docs/signatures.md has the figures of the first contact.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { SignatureHit } from '../../model/insight.ts';
import { openSignatures } from './rule-files.ts';

interface Payload {
  readonly name: string;
  /** A character for each byte. */
  readonly text: string;
  readonly port?: number;
  readonly transport?: 'tcp' | 'udp';
  readonly protocol?: string;
  /** An attack that looks around or guesses: any intention but a benign one names it. */
  readonly recon?: true;
  /** Harmless, and taken for an attack: what people write about attacks, and what a decoy's owner would not do to it. */
  readonly taken?: true;
}

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../../../..');
const { set } = openSignatures(path.join(root, 'rules/signatures'), []);
const read = (name: string): Payload[] =>
  readFileSync(path.join(root, 'test/golden/detection', name), 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line));

const hitsOf = ({ text, port = 80, transport = 'tcp', protocol }: Payload): readonly SignatureHit[] =>
  set.match({
    session: { transport, destination: { ip: '192.0.2.1', port }, protocol },
    input: Buffer.from(text, 'latin1'),
    output: new Uint8Array(0),
  });
const isAttack = ({ intention }: SignatureHit): boolean => intention === 'exploit' || intention === 'malware';

describe('held-out payloads', () => {
  it('that are attacks have a name, each of them', (context) => {
    const attacks = read('attacks.jsonl');
    assert.ok(attacks.length >= 400, `${attacks.length}`);
    const missed = attacks.filter(
      (one) => !hitsOf(one).some((hit) => isAttack(hit) || (one.recon === true && hit.intention !== 'benign')),
    );
    context.diagnostic(`${attacks.length} attacks: ${attacks.length - missed.length} found`);
    assert.deepEqual(
      missed.map(({ name }) => name),
      [],
    );
  });

  it('that are harmless are taken for none, but for those known to be', (context) => {
    const harmless = read('harmless.jsonl');
    assert.ok(harmless.length >= 400, `${harmless.length}`);
    const taken = harmless.filter((one) => hitsOf(one).some(isAttack));
    context.diagnostic(`${harmless.length} harmless: ${taken.length} taken for attacks`);
    assert.deepEqual(
      taken.map(({ name }) => name),
      harmless.filter((one) => one.taken).map(({ name }) => name),
    );
  });
});
