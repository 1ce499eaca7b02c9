import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import { WeirError } from '../base/errors.ts';
import { portState } from '../model/persona.ts';
import { renderMistake } from './mistake.ts';
import { parsePersona, readPersonas } from './personas.ts';

const rules = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../../../rules');
const library = readPersonas(rules);

test('every persona that comes with Weir is whole', () => {
  assert.ok(library.personas.size >= 20);
  for (const persona of library.personas.values()) {
    assert.ok(persona.tcp.open.length > 0, `${persona.name} has no open port`);
    for (const port of Object.keys(persona.services))
      assert.ok(
        [portState(persona, 'tcp', Number(port)), portState(persona, 'udp', Number(port))].includes('open'),
        `${persona.name} speaks on ${port}, which is not open`,
      );
    for (const banner of Object.values(persona.banners)) assert.match(banner, /^[\x20-\x7e]+$/);
    assert.match(persona.hostname, /^[A-Za-z0-9-]*\{n\}$/);
    assert.equal(
      /^windows/.test(persona.stack?.name ?? ''),
      /windows/i.test(persona.operatingSystem),
      `${persona.name}: stack and system disagree`,
    );
  }
  const open = library.personas.get('all-open');
  assert.ok(open);
  for (const port of [1, 22, 65535]) {
    assert.equal(portState(open, 'tcp', port), 'open');
    assert.equal(portState(open, 'udp', port), 'open');
  }
});

test('every population that comes with Weir fills its range', () => {
  for (const { name, shares } of library.populations.values())
    assert.equal(
      Object.values(shares).reduce((sum, share) => sum + share, 0),
      10000,
      name,
    );
});

test('vendor prefixes are those of the list nmap carries', {
  skip: !existsSync('/usr/share/nmap/nmap-mac-prefixes') && 'nmap is not installed',
}, () => {
  const known = new Set(
    readFileSync('/usr/share/nmap/nmap-mac-prefixes', 'utf8')
      .split('\n')
      .map((line) => line.slice(0, 6)),
  );
  for (const { name, macPrefixes } of library.personas.values())
    for (const prefix of macPrefixes) assert.ok(known.has(prefix.replaceAll(':', '').toUpperCase()), `${name}: ${prefix}`);
});

test('a persona file with mistakes says all of them with their lines', () => {
  const text = readFileSync(path.join(rules, 'personas/printer.yaml'), 'utf8');
  const result = parsePersona(
    text
      .replace('stack: jetdirect', 'ttl: 65\nstack: jetdirekt')
      .replace('  otherwise: closed', '  otherwse: closed')
      .replace('"c8:d3:ff"', '"c8:d3"'),
    'printer.yaml',
    library.stacks,
  );
  assert.ok('mistakes' in result);
  assert.deepEqual(
    result.mistakes.map((mistake) => renderMistake(mistake).split(' Next')[0]),
    [
      'printer.yaml:7: `mac-prefixes`: `c8:d3` is not a vendor prefix.',
      'printer.yaml:10: `ttl`: `65` is no usual TTL.',
      'printer.yaml:15: unknown key `otherwse`.',
    ],
  );
  const renamed = parsePersona(text, 'other.yaml', library.stacks);
  assert.ok('mistakes' in renamed && /not named after `printer`/.test(renamed.mistakes[0].mistake));
});

test('a folder with a bad file or none at all is an error with a code', (t) => {
  const directory = mkdtempSync(path.join(tmpdir(), 'weir-rules-'));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  assert.throws(
    () => readPersonas(directory),
    (error) => error instanceof WeirError && error.code === 'config-unreadable',
  );
  mkdirSync(path.join(directory, 'stacks'));
  mkdirSync(path.join(directory, 'personas'));
  mkdirSync(path.join(directory, 'populations'));
  writeFileSync(path.join(directory, 'populations/a.yaml'), 'name: a\nshares: { ghost: 120% }\n');
  assert.throws(
    () => readPersonas(directory),
    (error) => error instanceof WeirError && error.code === 'config-invalid' && /a\.yaml:2/.test(error.message),
  );
});

test('a persona with a stack there is not is told which one was meant; without one, the TTL decides', () => {
  const text = readFileSync(path.join(rules, 'personas/printer.yaml'), 'utf8');
  const result = parsePersona(text.replace('stack: jetdirect', 'stack: jetdirekt'), 'printer.yaml', library.stacks);
  assert.ok('mistakes' in result);
  assert.deepEqual(result.mistakes.map(renderMistake), [
    'printer.yaml:10: there is no stack `jetdirekt`. Next: did you mean `jetdirect`?',
  ]);
  for (const [written, stack, ttl] of [
    ['ttl: 128', 'windows-10', 128],
    ['ttl: 255', 'linux', 255],
    ['stack: windows-7', 'windows-7', 128],
    ['stack: windows-7\nttl: 64', 'windows-7', 64],
    ['', 'linux', 64],
  ] as const) {
    const parsed = parsePersona(text.replace('stack: jetdirect', written), 'printer.yaml', library.stacks);
    assert.ok('persona' in parsed, written);
    assert.deepEqual([parsed.persona.stack?.name, parsed.persona.ttl], [stack, ttl]);
  }
});
