// What comes again and again: to the same port, with credentials, over paths of a web server, as a flood.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { attacker, probe, secondsOf, session, TrackerBed, times } from '../../../test/support/behaviour-bed.ts';
import { sampleChunk, sampleSession } from '../../../test/support/sample-records.ts';
import { printable } from '../../base/printable.ts';
import type { Fact } from '../../model/insight.ts';
import type { SessionRecord } from '../../model/session.ts';
import { extractFacts } from '../facts/extract-facts.ts';
import { wholeView } from '../session-gatherer.ts';

const shop = '10.66.0.9:80';
const found = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';
const missing = 'HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n';
const get = (path: string, agent = 'Mozilla/5.0 (X11; Linux x86_64)'): string =>
  `GET ${path} HTTP/1.1\r\nHost: shop\r\nUser-Agent: ${agent}\r\n\r\n`;
/** As facts/ reads them out of the bytes. */
const facts = (says: string): readonly Fact[] =>
  extractFacts(wholeView(sampleSession(secondsOf(0), 1, { chunks: [sampleChunk(secondsOf(0), 'in', says)] })), []);
const login = (userName: string, password: string, accepted?: boolean): Partial<SessionRecord> => ({
  protocol: 'telnet',
  userName,
  password,
  ...(accepted !== undefined && { credentials: [{ userName, password, accepted }] }),
});

describe('repeated access and silence', () => {
  test('20 sessions with something to say in half an hour are repeated access, 19 are not', () => {
    const bed = new TrackerBed();
    for (const index of times(19, (n) => n)) bed.take(session(index * 60, attacker, '10.66.0.9:9000', 'hello'));
    assert.equal(bed.summary(), '');
    bed.take(session(19 * 60, attacker, '10.66.0.9:9000', 'hello'));
    const [again] = bed.found();
    assert.deepEqual([again.behaviour, again.destination, again.port, again.hits], ['repeated-access', '10.66.0.9', 9000, 20]);
    assert.match(again.evidence[0], /^20 sessions with port 9000\/tcp of 10\.66\.0\.9 in 19 min, .*threshold: 20 in 30 min/);
  });

  test('20 connections without a word are a silent opener; one is normal, and so are 70 of a connect scan', () => {
    const bed = new TrackerBed();
    bed.take(session(0, attacker, '10.66.0.9:9000'));
    assert.equal(bed.summary(), '');
    for (const index of times(19, (n) => n)) bed.take(session(1 + index, attacker, '10.66.0.9:9000'));
    const [silent] = bed.found();
    assert.deepEqual([silent.behaviour, silent.hits, silent.severity], ['silent-opener', 20, 'info']);
    const scan = new TrackerBed();
    for (const index of times(70, (n) => n)) scan.take(session(index, attacker, `10.66.0.9:${1000 + (index % 35)}`));
    assert.equal(scan.summary(), 'port-scan 1');
  });

  test('the two are counted apart', () => {
    const bed = new TrackerBed();
    for (const index of times(38, (n) => n))
      bed.take(session(index * 10, attacker, '10.66.0.9:9000', index % 2 === 0 ? 'x' : ''));
    assert.equal(bed.summary(), '');
  });

  test('a visitor every two minutes, for a day, is nothing', () => {
    const bed = new TrackerBed();
    for (const index of times(720, (n) => n)) bed.take(session(index * 120, attacker, '10.66.0.9:9000', 'x'));
    assert.equal(bed.summary(), '');
  });

  test('what rests for half an hour is over: the next is another', () => {
    const bed = new TrackerBed();
    for (const start of [0, 30 * 60 + 400])
      for (const index of times(20, (n) => n)) bed.take(session(start + index, attacker, shop, 'x'));
    assert.deepEqual(
      bed.found().map(({ behaviour, hits, start }) => [behaviour, hits, start]),
      [
        ['repeated-access', 20, secondsOf(0)],
        ['repeated-access', 20, secondsOf(2200)],
      ],
    );
  });

  test('what goes on for days is one verdict a day', () => {
    const bed = new TrackerBed();
    for (const index of times(3 * 24 * 60, (n) => n)) bed.take(session(index * 60, attacker, shop, 'x'));
    const days = bed.found('repeated-access');
    assert.equal(days.length, 3);
    assert.ok(days.every(({ hits }) => hits >= 1400 && hits <= 1440));
  });
});

describe('floods', () => {
  test('a thousand packets in a minute to one port are a flood, 999 are not', () => {
    const bed = new TrackerBed();
    for (const second of times(37, (n) => n))
      bed.take(probe(second * 0.8, attacker, [shop], { count: 27, probeKind: 'half-open' }));
    assert.equal(bed.summary(), '', `${37 * 27} packets`);
    bed.take(probe(29.9, attacker, [shop], { count: 1, probeKind: 'half-open' }));
    const [flood] = bed.found();
    assert.deepEqual([flood.behaviour, flood.hits, flood.destination, flood.port], ['flood', 1000, '10.66.0.9', 80]);
    assert.deepEqual([flood.confidence, flood.severity], ['likely', 'medium']);
  });

  test('retransmissions over an hour are none', () => {
    const bed = new TrackerBed();
    for (const second of times(600, (n) => n)) bed.take(probe(second * 6, attacker, [shop], { count: 5 }));
    assert.equal(bed.summary(), '');
  });
});

describe('brute force', () => {
  test('logins that a log told without their bytes are guesses, and no silence', () => {
    const bed = new TrackerBed();
    for (const index of times(30, (n) => n))
      bed.take(session(index * 3, attacker, '10.66.0.9:22', '', { ...login('root', `pass${index}`), protocol: 'ssh' }));
    const [guessing, ...others] = bed.found();
    assert.deepEqual([guessing.behaviour, guessing.credentials, guessing.hits], ['brute-force', 30, 30]);
    assert.deepEqual(others, []);
  });

  test('five different credentials are brute force, four are not, however often', () => {
    const bed = new TrackerBed();
    for (const index of times(16, (n) => n))
      bed.take(session(index, attacker, '10.66.0.9:23', 'x', login('root', `pw${index % 4}`)));
    assert.equal(bed.found('brute-force').length, 0);
    bed.take(session(17, attacker, '10.66.0.9:23', 'x', login('admin', 'pw0')));
    const [guessing] = bed.found('brute-force');
    assert.deepEqual([guessing.credentials, guessing.hits, guessing.port, guessing.severity], [5, 17, 23, 'medium']);
    assert.deepEqual(guessing.techniques, ['T1110.001']);
    assert.match(guessing.evidence[0], /^5 different credentials in 17 sessions at port 23\/tcp of the decoy 10\.66\.0\.9/);
    assert.match(guessing.evidence[1], /^First tried: root:pw0, root:pw1, root:pw2, root:pw3, admin:pw0\.$/);
    assert.equal(bed.found('repeated-access').length, 0, 'guessing explains the repetition');
  });

  test('five in half an hour, not five in a day', () => {
    const bed = new TrackerBed();
    for (const index of times(12, (n) => n))
      bed.take(session(index * 500, attacker, '10.66.0.9:23', 'x', login('root', `pw${index}`)));
    assert.equal(bed.found('brute-force').length, 0);
  });

  test('one attempt on each of many decoys, as bots do, is one verdict', () => {
    const bed = new TrackerBed();
    for (const index of times(200, (n) => n))
      bed.take(session(index, attacker, `10.66.0.${index}:23`, 'x', login(`user${index % 20}`, `pw${index % 60}`)));
    const [guessing, ...others] = bed.found('brute-force');
    assert.equal(others.length, 0);
    assert.deepEqual([guessing.credentials, guessing.hosts, guessing.hits], [60, 200, 200]);
  });

  test('many attempts of one session count, and the one that was let in is told', () => {
    const credentials = times(30, (n) => ({ userName: 'root', password: `pw${n}`, accepted: n === 29 }));
    const bed = new TrackerBed().take(session(0, attacker, '10.66.0.9:23', 'x', { protocol: 'telnet', credentials }));
    const [guessing] = bed.found('brute-force');
    assert.deepEqual([guessing.credentials, guessing.hits, guessing.severity], [30, 1, 'high']);
    assert.ok(guessing.evidence.includes('Let in with: root:pw29.'));
    assert.ok(guessing.techniques.includes('T1078'));
  });

  test('spraying and stuffing have their techniques', () => {
    const spray = new TrackerBed();
    for (const index of times(50, (n) => n))
      spray.take(session(index, attacker, '10.66.0.9:23', 'x', login(`user${index}`, `pw${index % 2}`)));
    assert.deepEqual(spray.found('brute-force')[0].techniques, ['T1110.001', 'T1110.003']);
    const stuff = new TrackerBed();
    for (const index of times(50, (n) => n))
      stuff.take(session(index, attacker, '10.66.0.9:23', 'x', login(`user${index}`, `pw${index}`)));
    assert.deepEqual(stuff.found('brute-force')[0].techniques, ['T1110.001', 'T1110.004']);
  });

  test('logins that cannot be read: 15 are brute force, 14 are not; a version line alone is no login', () => {
    const ssh = (bytesIn: number): Partial<SessionRecord> => ({ protocol: 'ssh', bytesIn });
    const bed = new TrackerBed();
    for (const index of times(14, (n) => n))
      bed.take(session(index, attacker, '10.66.0.9:22', 'SSH-2.0-libssh_0.10.6\r\n', ssh(1400)));
    bed.take(session(15, attacker, '10.66.0.9:22', 'SSH-2.0-libssh_0.10.6\r\n', ssh(23)));
    assert.equal(bed.summary(), '');
    bed.take(session(16, attacker, '10.66.0.9:22', 'SSH-2.0-libssh_0.10.6\r\n', ssh(1400)));
    const [guessing] = bed.found('brute-force');
    assert.deepEqual([guessing.hits, guessing.credentials, guessing.tool], [15, 0, 'libssh (as hydra uses it)']);
    assert.match(guessing.evidence[0], /^15 logins at port 22\/tcp .* cannot be read \(threshold: 15 in 30 min\)/);
  });

  test('the same password again and again is repeated access; names alone are logins that cannot be read', () => {
    const bed = (facts: (n: number) => Partial<SessionRecord>): string =>
      new TrackerBed().takeAll(times(30, (n) => session(n * 20, attacker, '10.66.0.9:22', '', facts(n)))).summary();
    assert.equal(
      bed(() => ({ credentials: [{ userName: 'root', password: 'same' }] })),
      'repeated-access 1',
    );
    for (const protocol of ['mysql', 'mongodb', 'rdp'])
      assert.equal(
        bed(() => ({ protocol, credentials: [{ userName: 'root' }] })),
        'brute-force 1',
        protocol,
      );
    assert.equal(
      bed(() => ({ protocol: 'mysql' })),
      'silent-opener 1',
    );
  });

  test('sessions that guessed are no visits afterwards', () => {
    const bed = new TrackerBed();
    for (const n of times(5, (index) => index))
      bed.take(session(n, attacker, '10.66.0.9:21', 'x', { protocol: 'ftp', userName: 'a', password: `${n}` }));
    for (const n of times(16, (index) => index)) bed.take(session(60 + n, attacker, '10.66.0.9:21', 'x', { protocol: 'ftp' }));
    assert.equal(bed.summary(), 'brute-force 1');
  });

  test('logins that stand in the bytes count too, where no responder read them', () => {
    const form = (n: number): string =>
      `POST /wp-login.php HTTP/1.1\r\nHost: shop\r\nContent-Length: 18\r\n\r\nlog=admin&pwd=pw${n + 10}`;
    const bed = new TrackerBed();
    for (const n of times(30, (index) => index)) bed.take(session(n, attacker, shop, form(n), {}, missing), [], facts(form(n)));
    assert.deepEqual([bed.summary(), bed.found()[0].credentials], ['brute-force 1', 30]);
    const visitor = new TrackerBed();
    for (const n of times(30, (index) => index)) visitor.take(session(n, attacker, shop, form(0), {}, found), [], facts(form(0)));
    assert.equal(visitor.summary(), 'repeated-access 1');
    const named = new TrackerBed();
    for (const n of times(30, (index) => index))
      named.take(session(n, attacker, shop, 'x'), [], [{ kind: 'credential', value: `user${n}:` }]);
    assert.equal(named.summary(), 'repeated-access 1');
  });

  test('what an attacker wrote is escaped and short in the evidence', () => {
    const bed = new TrackerBed();
    for (const index of times(5, (n) => n))
      bed.take(session(index, attacker, '10.66.0.9:23', 'x', login('\u001b]0;x\u0007', `${index}${'y'.repeat(900)}`)));
    const [guessing] = bed.found('brute-force');
    const words = guessing.evidence.join('');
    assert.equal(printable(words, 10_000), words);
    assert.ok(words.includes('\\x1b'));
    assert.ok(guessing.evidence.every(({ length }) => length <= 700));
  });
});

describe('walks over paths', () => {
  test('20 paths that are not there are a crawl, 19 are not, and those that are there do not count', () => {
    const bed = new TrackerBed();
    for (const index of times(60, (n) => n))
      bed.take(session(index, attacker, `10.66.0.9:${8000 + (index % 5)}`, get(`/page${index}`), {}, found));
    for (const index of times(19, (n) => n))
      bed.take(session(60 + index, attacker, shop, get(`/admin${index}.php?x=1`), {}, missing));
    assert.equal(bed.found('crawler').length, 0);
    bed.take(session(80, attacker, shop, get('/.env'), {}, missing));
    const [crawl] = bed.found('crawler');
    assert.deepEqual([crawl.hits, crawl.port, crawl.destination, crawl.techniques], [20, 80, '10.66.0.9', ['T1595.003']]);
    assert.match(crawl.evidence[0], /^20 different paths .*threshold: 20 that are not there in 10 min/);
    assert.match(crawl.evidence[1], /^First asked for, and not there: \/admin0\.php \/admin1\.php/);
    assert.equal(crawl.credentials, 0);
  });

  test('requests over one connection count each, with the answer of each', () => {
    const some = times(40, (n) => n);
    const bed = new TrackerBed().take(
      session(
        0,
        attacker,
        shop,
        some.map((n) => get(`/${n}`)).join(''),
        {},
        some.map((n) => (n % 2 === 0 ? found : missing)).join(''),
      ),
    );
    assert.match(bed.found('crawler')[0].evidence[0], /^20 different paths/);
    const browser = new TrackerBed().take(
      session(
        0,
        attacker,
        shop,
        some.map((n) => get(`/${n}`)).join(''),
        {},
        some.map((n) => (n < 38 ? found : missing)).join(''),
      ),
    );
    assert.equal(browser.summary(), '');
  });

  test('a walk with a name and a password in each request is one, and no guessing', () => {
    const bed = new TrackerBed();
    for (const index of times(30, (n) => n))
      bed.take(session(index, attacker, shop, get(`/w${index}`), { userName: 'a', password: 'b' }, missing));
    assert.equal(bed.summary(), 'crawler 1');
  });

  test('nikto by its name, on the way to a verdict of its own', () => {
    const bed = new TrackerBed();
    for (const index of times(40, (n) => n))
      bed.take(
        session(index / 10, attacker, shop, get(`/cgi-bin/${index}`, 'Mozilla/5.00 (Nikto/2.1.6) (Evasions:None)'), {}, missing),
      );
    assert.equal(bed.summary(), 'crawler 1');
    assert.deepEqual([bed.found()[0].tool, bed.found()[0].hits], ['Nikto', 40]);
  });
});

test('datagrams from many ports are visits, and a flood when they are a thousand in a minute', () => {
  const bed = new TrackerBed();
  const facts = { transport: 'udp', sourceReliable: false } as const;
  for (const index of times(1000, (n) => n)) bed.take(session(index / 40, attacker, '10.66.0.9:53', 'x', facts));
  assert.equal(bed.summary(), 'flood 1, repeated-access 1');
  assert.deepEqual(
    bed.found().map(({ hits, confidence, transport }) => [hits, confidence, transport]),
    [
      [1000, 'likely', 'udp'],
      [1000, 'likely', 'udp'],
    ],
  );
});
