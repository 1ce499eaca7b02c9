// Rules from their text to hits: what conditions mean, what is refused and where, and that hostile payloads and rules cost what they may.
// biome-ignore-all lint/suspicious/noTemplateCurlyInString: these are payloads, not templates

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { checkRules } from './rule-check.ts';
import { maxSteps, SignatureSet } from './signature-set.ts';

const nothing = new Uint8Array(0);
type Session = Partial<Parameters<SignatureSet['match']>[0]['session']> & { readonly port?: number };

const load = (text: string) => SignatureSet.load([{ file: 'own.yaml', text }]);
const rule = (id: string, rest: string): string =>
  `- id: ${id}\n  name: ${id}\n  intention: exploit\n  severity: high\n${rest.replace(/^/gm, '  ')}\n`;

function setOf(...rules: readonly string[]): SignatureSet {
  const { set, mistakes } = load(rules.join(''));
  assert.deepEqual(mistakes, []);
  return set;
}

function hitsOf(set: SignatureSet, payload: string | Buffer, session: Session = {}, output: Uint8Array = nothing) {
  const { port = 80, ...rest } = session;
  return set.match({
    session: { transport: 'tcp', destination: { ip: '192.0.2.1', port }, ...rest },
    input: typeof payload === 'string' ? Buffer.from(payload, 'latin1') : payload,
    output,
  });
}

const idsOf = (...args: Parameters<typeof hitsOf>): string[] => hitsOf(...args).map((hit) => hit.rule);

describe('conditions', () => {
  it('look at the part and the reading they name', () => {
    const set = setOf(
      rule('in-path', 'match: [{ contains: /setup.cgi, part: path }]'),
      rule('in-agent', 'match: [{ contains: scanner-x, header: user-agent, nocase: true }]'),
      rule('in-body', 'match: [{ contains: <evil>, part: body }]'),
      rule('raw-only', 'match: [{ contains: "%2fsetup", view: raw }]'),
      rule('decoded-only', 'match: [{ contains: setup.cgi, view: decoded }]'),
    );
    assert.deepEqual(idsOf(set, 'GET /setup.cgi?x=1 HTTP/1.1\r\n\r\n'), ['in-path']);
    assert.deepEqual(idsOf(set, 'GET /?x=/setup.cgi HTTP/1.1\r\n\r\n'), []);
    assert.deepEqual(idsOf(set, 'GET %2fsetup.cgi HTTP/1.1\r\n\r\n'), ['in-path', 'raw-only', 'decoded-only']);
    assert.deepEqual(idsOf(set, 'GET / HTTP/1.1\r\nUser-Agent: SCANNER-X/1\r\n\r\n'), ['in-agent']);
    assert.deepEqual(idsOf(set, 'GET / HTTP/1.1\r\nReferer: scanner-x\r\n\r\n'), []);
    assert.deepEqual(idsOf(set, 'POST / HTTP/1.1\r\n\r\n%3cevil%3e'), ['in-body']);
    assert.deepEqual(idsOf(set, 'POST /<evil> HTTP/1.1\r\n\r\nbody'), []);
  });

  it('know bytes, places, counts, and, or, not', () => {
    const set = setOf(
      rule('smb', 'match: [{ bytes: "ff 53 4d 42 ?? 00", at: 4 }]'),
      rule('early', 'match: [{ contains: token, within: [0, 8] }]'),
      rule('often', 'match: [{ contains: abc, count: 3 }]'),
      rule('one-of', 'match: [{ any: [{ contains: first }, { all: [{ contains: second }, { not: { contains: third } }] }] }]'),
    );
    assert.deepEqual(idsOf(set, Buffer.from('00000020ff534d42720000', 'hex')), ['smb']);
    assert.deepEqual(idsOf(set, Buffer.from('000020ff534d42720000', 'hex')), []);
    assert.deepEqual(idsOf(set, 'xxxtoken'), ['early']);
    assert.deepEqual(idsOf(set, 'xxxxtoken'), []);
    assert.deepEqual(idsOf(set, 'abcabcab'), []);
    assert.deepEqual(idsOf(set, 'abcabcabc'), ['often']);
    assert.deepEqual(idsOf(set, 'the second'), ['one-of']);
    assert.deepEqual(idsOf(set, 'second and third'), []);
    assert.deepEqual(idsOf(set, 'first and third'), ['one-of']);
  });

  it('about parts hold in one and the same request', () => {
    const set = setOf(rule('both', 'match: [{ contains: /apply, part: path }, { contains: wget, part: query }]'));
    const request = (target: string): string => `GET ${target} HTTP/1.1\r\nHost: a\r\n\r\n`;
    assert.deepEqual(idsOf(set, request('/apply?x=wget')), ['both']);
    assert.deepEqual(idsOf(set, request('/apply?y=1') + request('/?x=wget')), []);
    assert.deepEqual(idsOf(set, request('/') + request('/apply?x=w%67et')), ['both']);
  });

  it('are narrowed by transport, port, protocol and direction; an unnamed protocol may be any', () => {
    const set = setOf(
      rule('udp', 'transport: udp\nmatch: [{ contains: payload }]'),
      rule('port', 'ports: [7547]\nmatch: [{ contains: payload }]'),
      rule('redis', 'protocol: [redis]\nmatch: [{ contains: payload }]'),
      rule('short', 'ports: [9]\nmatch: [{ bytes: "00 01", at: 0 }]'),
      rule('answer', 'direction: out\nmatch: [{ contains: payload }]'),
    );
    assert.deepEqual(idsOf(set, 'payload'), ['redis']);
    assert.deepEqual(idsOf(set, 'payload', { protocol: 'http' }), []);
    assert.deepEqual(idsOf(set, 'payload', { port: 7547, protocol: 'redis' }), ['port', 'redis']);
    assert.deepEqual(idsOf(set, 'payload', { transport: 'udp', protocol: 'x' }), ['udp']);
    assert.deepEqual(idsOf(set, '\0\x01', { port: 9 }), ['short']);
    assert.deepEqual(idsOf(set, '\0\x01'), []);
    assert.deepEqual(idsOf(set, '', {}, Buffer.from('payload')), ['answer']);
  });

  it('see what a session gave as user, password and server name', () => {
    const set = setOf(
      rule('default-login', 'match: [{ regex: "^root$", part: user }, { contains: xc3511, part: password }]'),
      rule('lookup', 'match: [{ contains: "${jndi:" }]'),
      rule('client', 'match: [{ contains: t13d1516, part: client-ja4 }]'),
    );
    assert.deepEqual(idsOf(set, '', { userName: 'root', password: 'xc3511' }), ['default-login']);
    assert.deepEqual(idsOf(set, '', { userName: 'rooter', password: 'xc3511' }), []);
    assert.deepEqual(idsOf(set, '', { userName: '${${lower:J}ndi:x}' }), ['lookup']);
    assert.deepEqual(idsOf(set, '', { tls: { version: '1.3', ja3: 'x', ja4: 't13d1516h2_a_b' } }), ['client']);
  });

  it('take captures from the reading a person wants to see', () => {
    const set = setOf(
      rule(
        'drop',
        "match: [{ contains: wget }]\ncaptures: { url: '(https?://[^ ;&]{1,200})', tool: 'wget|curl', none: 'x{9}(y)' }",
      ),
    );
    assert.deepEqual(hitsOf(set, 'GET /?c=wget+http%3a%2f%2f192.0.2.1%2Fx;sh HTTP/1.1\r\n\r\n')[0].captures, {
      url: 'http://192.0.2.1/x',
      tool: 'wget',
    });
    const long = hitsOf(set, `wget http://192.0.2.1/${'a'.repeat(5000)}`)[0].captures.url;
    assert.equal(long, `http://192.0.2.1/${'a'.repeat(190)}`.slice(0, 207));
  });

  it('give the gravest first and no more than 16', () => {
    const many = Array.from({ length: 30 }, (_, index) => rule(`many-${index}`, 'match: [{ contains: everything }]'));
    const set = setOf(rule('low-one', 'match: [{ contains: everything }]').replace('high', 'low'), ...many);
    const ids = idsOf(set, 'everything');
    assert.equal(ids.length, 16);
    assert.ok(!ids.includes('low-one'));
  });
});

describe('rules that are wrong', () => {
  const cases: readonly (readonly [text: string, line: number, mistake: RegExp])[] = [
    [rule('a-rule', 'mtach: []'), 5, /unknown key `mtach`/],
    [rule('a-rule', 'match: [{ contain: abcd }]'), 5, /unknown key `contain`/],
    [rule('a-rule', "match:\n  - { contains: abcd }\n  - { regex: '(a)\\1bcd' }"), 7, /back-references.*character 4/],
    [rule('a-rule', "match:\n  - { regex: '(?=abcd)' }"), 6, /look-around/],
    [rule('a-rule', "match: [{ regex: '(?:(?:abcd{90}){90}){90}' }]"), 5, /more than 4096/],
    [rule('a-rule', 'match: [{ contains: ab }]'), 5, /literal of 3 bytes/],
    [rule('a-rule', 'match: [{ not: { contains: abcd } }]'), 5, /literal of 3 bytes/],
    [rule('a-rule', 'match: [{ any: [{ contains: abcd }, { contains: x }] }]'), 5, /literal of 3 bytes/],
    [rule('a-rule', 'match: [{ contains: abcd, regex: abcd }]'), 5, /exactly one of/],
    [rule('a-rule', 'match: [{ contains: abcd, part: boddy }]'), 5, /`boddy` is none of/],
    [rule('a-rule', 'match: [{ any: [{ contains: abcd }], part: body }]'), 5, /cannot stand beside/],
    [rule('a-rule', 'match: [{ contains: abcd, at: 3, within: [0, 9] }]'), 5, /already says where/],
    [rule('a-rule', 'match: [{ bytes: "ff 5" }]'), 5, /not a row of bytes/],
    [rule('a-rule', 'cves: [CVE-21-1]\nmatch: [{ contains: abcd }]'), 5, /not a CVE/],
    [rule('a-rule', 'match: [{ contains: abcd }]\ntests: [{ port: 3 }]'), 6, /either `match` or `miss`/],
    [rule('a-rule', 'match: [{ contains: abcd }]\ntests: [{ match: abcd, captures: { url: x } }]'), 6, /captures no `url`/],
    ['- id: a-rule\n  name: x\n', 1, /`intention` is missing/],
    ['id: a-rule\n', 0, /list of rules/],
    ['- {\n', 2, /end with a }/],
  ];
  for (const [text, line, mistake] of cases)
    it(`are refused with line and reason: ${mistake}`, () => {
      const { set, mistakes } = load(text);
      assert.equal(set.size, 0);
      assert.ok(
        mistakes.some((one) => mistake.test(one.mistake) && one.file === 'own.yaml' && (line === 0 || one.line === line)),
        JSON.stringify(mistakes),
      );
      assert.ok(mistakes.every((one) => one.next.length > 0));
    });

  it('are left out, and the others go on', () => {
    const { set, mistakes } = load(
      rule('first', 'match: [{ contains: abcd }]') +
        rule('second', 'match: [{ regex: "a(b" }]') +
        rule('third', 'match: [{ contains: efgh }]'),
    );
    assert.deepEqual([set.rules.map(({ id }) => id), mistakes.length], [['first', 'third'], 1]);
  });

  it('may not take the name of another', () => {
    const { set, mistakes } = SignatureSet.load([
      { file: 'a.yaml', text: rule('same', 'match: [{ contains: abcd }]') },
      { file: 'b.yaml', text: rule('same', 'match: [{ contains: efgh }]') },
    ]);
    assert.equal(set.size, 1);
    assert.match(mistakes[0].mistake, /already, at a\.yaml:1/);
  });

  it('cannot take more memory than all rules may', () => {
    const { set, mistakes } = load(
      Array.from({ length: 600 }, (_, index) => rule(`big-${index}`, `match: [{ regex: 'literal${index}[a-z]{4000}' }]`)).join(
        '',
      ),
    );
    assert.ok(set.size > 100 && set.size < 300, `${set.size}`);
    assert.match(mistakes[0].mistake, /too much memory/);
  });

  it('never throw, whatever is written', () => {
    const word = fc.constantFrom(
      'id',
      'match',
      'contains',
      'regex',
      'any',
      'not',
      'tests',
      'count',
      'abcd',
      '(',
      '[',
      'tags',
      'captures',
    );
    const value = fc.letrec((tie) => ({
      value: fc.oneof(
        { maxDepth: 4 },
        word,
        fc.integer(),
        fc.constant(null),
        fc.array(tie('value'), { maxLength: 3 }),
        fc.dictionary(word, tie('value'), { maxKeys: 4 }),
      ),
    })).value;
    fc.assert(
      fc.property(fc.array(value, { maxLength: 3 }), (rules) => {
        const text = JSON.stringify(
          rules.map((one, index) =>
            typeof one === 'object' && one !== null
              ? { id: `rule-${index}`, name: 'x', intention: 'exploit', severity: 'low', match: [{ contains: 'abcd' }], ...one }
              : one,
          ),
        );
        load(text);
      }),
      { numRuns: 500 },
    );
  });
});

describe('methods', () => {
  it('are those of rules in either case', () => {
    const set = setOf(rule('posted', "match: [{ regex: '^POST$', part: method }, { contains: /apply, part: path }]"));
    assert.deepEqual(idsOf(set, 'post /apply HTTP/1.1\r\n\r\n'), ['posted']);
    assert.deepEqual(idsOf(set, 'get /apply HTTP/1.1\r\n\r\n'), []);
  });
});

describe('hostile payloads', () => {
  const bombs = ["'a(?:x+x+)+y'", "'b(?:.*){6}zzz'", "'c[ab]*a[ab]{12}qq'", "'(?:abc|ab|a)*dddd'"];
  const set = setOf(
    ...Array.from({ length: 120 }, (_, index) =>
      rule(`bomb-${index}`, `match: [{ contains: trigger }, { regex: ${bombs[index % 4]} }]`),
    ),
  );

  it('end at the step limit, are counted, and the next session is looked at as ever', () => {
    const before = set.counts().curtailed;
    hitsOf(set, `trigger%41${'abxx'.repeat(16_000)}`);
    assert.equal(set.counts().curtailed, before + 1);
    assert.deepEqual(idsOf(set, 'trigger axxxy').includes('bomb-0'), true);
    assert.ok(maxSteps <= 10_000_000);
  });

  it('of any bytes never throw', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 600 }), fc.boolean(), (bytes, trigger) => {
        hitsOf(set, Buffer.concat([Buffer.from(trigger ? 'trigger GET / HTTP/1.1\r\n' : ''), bytes]));
      }),
      { numRuns: 500 },
    );
  });

  it('of requests that hold what all rules look for end at the limit as well, though most of them have nothing to search', () => {
    const wide = setOf(
      ...Array.from({ length: 400 }, (_, index) =>
        rule(`wide-${index}`, `match: [{ contains: /p${index}x, part: path }, { contains: nowhere, header: x-none }]`),
      ),
    );
    const requests = Array.from({ length: 1600 }, (_, index) => `GET /p${index % 400}x HTTP/1.1\r\nA: %41\r\n\r\n`).join('');
    const begun = process.cpuUsage();
    assert.deepEqual(hitsOf(wide, requests), []);
    const { user, system } = process.cpuUsage(begun);
    assert.ok(user + system < 600_000, `${(user + system) / 1000} ms`);
  });

  it('full of Telnet subnegotiations that never end are stripped in one pass', () => {
    for (const unit of ['\xff\xfa', '\xff\xff\xfa']) {
      const begun = performance.now();
      hitsOf(set, unit.repeat(65_536 / unit.length));
      const tookMs = performance.now() - begun;
      assert.ok(tookMs < 1000, `${tookMs} ms`);
    }
  });

  it('without a literal of any rule cost one step a byte in the index and none in a rule', () => {
    const counts = set.counts();
    assert.deepEqual(hitsOf(set, 'GET / HTTP/1.1\r\nHost: example.com\r\n\r\n'), []);
    assert.equal(set.counts().payloads, counts.payloads + 1);
    assert.deepEqual(hitsOf(set, ''), []);
    assert.equal(set.counts().payloads, counts.payloads + 1);
  });
});

describe('tests of rules', () => {
  it('say which fails, where, and what else matched', () => {
    const { set } = load(
      rule(
        'good',
        "match: [{ contains: abcd }]\ncaptures: { it: 'ab(cd)' }\ntests:\n  - { match: xabcd, captures: { it: cd } }\n  - { miss: abxcd }",
      ) +
        rule(
          'bad',
          "match: [{ contains: efgh }]\ncaptures: { it: 'ef(gh)' }\ntests:\n  - { match: abcd }\n  - { miss: efgh }\n  - { match: { hex: 65 66 67 68 }, captures: { it: x } }",
        ) +
        rule('untested', 'match: [{ contains: ijkl }]\ntests: [{ match: { base64: aWprbA== } }]'),
    );
    const check = checkRules(set);
    assert.deepEqual([check.rules, check.tests, check.untested], [3, 6, ['untested']]);
    assert.deepEqual(
      check.failures.map(({ rule: id, line, reason }) => [id, line, reason]),
      [
        ['bad', 17, 'it does not match; good did'],
        ['bad', 18, 'it matches what it has to miss'],
        ['bad', 19, 'it captures "gh" as it, not "x"'],
      ],
    );
  });
});
