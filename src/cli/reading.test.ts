// The reading verbs as whole commands: what people read, what machines read, and hostile text made harmless.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { after, beforeEach, describe, it } from 'node:test';
import { CommandBed, now, Screen } from '../../test/support/command-bed.ts';
import { hostileText, sampleId } from '../../test/support/sample-records.ts';
import { sessionDocument } from '../record/documents.ts';
import { MemoryStore } from '../record/memory-store.ts';
import { runCommandLine } from './command-line.ts';

describe('reading', () => {
  const bed = new CommandBed();
  beforeEach(() => bed.reset());
  after(() => bed.close());

  it('lists sessions as a table, newest first', async () => {
    const { code, out, err } = await bed.run('sessions');
    assert.equal(code, 0);
    const lines = out.trimEnd().split('\n');
    assert.match(lines[0], /^SESSION +TIME \(UTC\) +AGO +SOURCE +DECOY +PROTOCOL +IN +OUT +END +FIRST BYTES$/);
    assert.equal(lines.length, 6);
    assert.match(
      lines[1],
      /^\w{19} {2}05:06:05 +2s {2}203\.0\.113\.9:40004\? +10\.66\.3\.4:53\/udp +dns +16 B +0 B {2}open +\\x124\\x01/,
    );
    assert.match(
      lines[2],
      /05:05:55 +12s .*10\.66\.3\.4:22\/tcp +ssh +23 B +32 B {2}client-closed {2}root:123456 SSH-2\.0-libssh2_1\.9\.0\\r\\n$/,
    );
    assert.match(lines[4], /\[2001:db8::7\]:50001 +\[2001:db8:66::4\]:80\/tcp +http/);
    assert.match(lines[5], /04:16:07 +50m .*idle +\(said nothing\)$/);
    const ends = lines.map((line) => line.indexOf('client-closed')).filter((at) => at >= 0);
    assert.equal(new Set(ends).size, 1, 'columns stay aligned');
    assert.match(err, /no recorder runs: reading what is stored/);
    assert.match(err, /5 sessions; one in full: weir session \w{19}/);
  });

  it('gives the same sessions as JSON lines of ECS documents', async () => {
    const { out } = await bed.run('sessions --json --protocol ssh');
    const documents = out.trimEnd().split('\n');
    assert.equal(documents.length, 1);
    const document = JSON.parse(documents[0]);
    assert.equal(document['@timestamp'], '2026-03-04T05:05:55.000000Z');
    assert.deepEqual(document.source, { ip: '203.0.113.9', port: 40_001, mac: '00-0C-29-AA-BB-CC', bytes: 23 });
    assert.deepEqual(document.destination, { ip: '10.66.3.4', port: 22, bytes: 32 });
    assert.equal(document.network.protocol, 'ssh');
    assert.equal(document.event.duration, 1_250_000_000);
    assert.equal(document.user.name, 'root');
    assert.equal(document.weir.session.outcome, 'client-closed');
    assert.match(document.weir.payload.sha256, /^[0-9a-f]{64}$/);
  });

  it('filters, pages and says so when nothing is left', async () => {
    assert.equal((await bed.run('sessions --source 2001:db8::/32 --json')).out.trim().split('\n').length, 1);
    assert.equal((await bed.run('sessions --port 53/udp --json')).out.trim().split('\n').length, 1);
    assert.equal((await bed.run('sessions --since 5m --until 30s --json')).out.trim().split('\n').length, 2);
    const { err } = await bed.run('sessions --limit 2');
    const cursor = /--before (\w{19})/.exec(err)?.[1];
    assert.ok(cursor);
    assert.equal((await bed.run(`sessions --before ${cursor} --json`)).out.trim().split('\n').length, 3);
    assert.match((await bed.run('sessions --port 9')).out, /no sessions match: widen --since/);
    bed.store = new MemoryStore();
    assert.match((await bed.run('sessions')).out, /no sessions recorded yet: touch a decoy, for example with nc -v/);
    assert.equal((await bed.run('sessions --json')).out, '');
  });

  it('shows one session in full', async () => {
    const { out, code } = await bed.run(`session ${sampleId(now - 12e6, 1)}`);
    assert.equal(code, 0);
    assert.match(out, /^Session \w{19}$/m);
    assert.match(out, /^ {2}source {6}203\.0\.113\.9:40001$/m);
    assert.match(out, /^ {2}decoy {7}10\.66\.3\.4:22\/tcp$/m);
    assert.match(out, /^ {2}began {7}2026-03-04 05:05:55\.000 UTC, 12s ago$/m);
    assert.match(out, /^ {2}lasted {6}1\.3 s$/m);
    assert.match(out, /^ {2}ended {7}client-closed: the attacker closed the connection$/m);
    assert.match(out, /^ {2}system {6}Linux 3\.11\+ \(a guess from its SYN\)$/m);
    assert.match(
      out,
      /← from the decoy {2}\+1\.2 ms {2}32 B\n {2}SSH-2\.0-OpenSSH_9\.2p1 Debian-2\n\n→ from the attacker {2}\+42\.0 ms {2}23 B\n {2}SSH-2\.0-libssh2_1\.9\.0\n$/,
    );
  });

  it('shows bytes as hex, text or raw, and keeps raw ones off a terminal', async () => {
    const id = sampleId(now - 12e6, 1);
    const hex = (await bed.run(`session ${id} --payload hex --direction in`)).out;
    assert.match(hex, /^ {2}00000000 {2}53 53 48 2d 32 2e 30 2d {2}6c 69 62 73 73 68 32 5f {2}\|SSH-2\.0-libssh2_\|$/m);
    assert.match(hex, /^ {2}00000010 {2}31 2e 39 2e 30 0d 0a +\|1\.9\.0\.\.\|$/m);
    assert.equal((await bed.run(`session ${id} --payload raw`)).bytes.toString(), 'SSH-2.0-libssh2_1.9.0\r\n');
    assert.equal(
      (await bed.run(`session ${id} --payload raw --direction out`)).bytes.toString(),
      'SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n',
    );
    const refused = await bed.run(`session ${id} --payload raw`, { terminal: true });
    assert.equal(refused.code, 2);
    assert.match(refused.err, /do not go to a terminal/);
    assert.match((await bed.run('session last')).out, /10\.66\.3\.4:53\/udp/);
  });

  it('writes a session as a capture', async () => {
    const { err, code } = await bed.run(`session ${sampleId(now - 12e6, 1)} --pcap one.pcap`);
    assert.equal(code, 0);
    assert.match(err, /10 frames written to .*one\.pcap/);
    assert.equal(readFileSync(path.join(bed.directory, 'one.pcap')).readUInt32LE(0), 0xa1b2c3d4);
  });

  it('says which session there is not', async () => {
    assert.equal((await bed.run('session nonsense')).code, 2);
    const { code, err } = await bed.run(`session ${sampleId(1, 1)}`);
    assert.equal(code, 1);
    assert.match(err, /there is no session \w{19} \(not-found\)\n {2}next: `weir sessions` lists them/);
  });

  it('lists probes, alerts and rankings', async () => {
    const probes = await bed.run('probes');
    assert.match(
      probes.out,
      /198\.51\.100\.7 +4 {2}closed,filtered,echo {2}ZMap {2}10\.66\.3\.4: 23 161\/udp \| 10\.66\.3\.9: ping/,
    );
    const alerts = await bed.run('alerts');
    assert.match(alerts.out, /high +address-conflict {2}10\.66\.3\.9 is used by 00:11:22:33:44:55/);
    const top = await bed.run('top ports --by sources');
    assert.match(top.out.split('\n')[0], /^# {2}PORT +USUALLY +HITS {2}SOURCES/);
    assert.match(top.out, /^1 {2}\S+\/(tcp|udp) /m);
    const json = (await bed.run('top ports --json')).out
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    assert.deepEqual(Object.keys(json[0]), ['key', 'hits', 'sources']);
    assert.ok(json.some(({ key, hits }) => key === '23/tcp' && hits === 2));
    assert.match((await bed.run('top credentials')).out, /root:123456/);
  });

  it('says who lives where and when it was last touched', async () => {
    const { out, err } = await bed.run('decoys');
    const lines = out.trimEnd().split('\n');
    assert.equal(lines.length, 5);
    assert.match(
      lines[1],
      /^10\.66\.3\.4 {2}web-\d{4} {2}linux-web {2}Debian 12 {2}00:0c:29:\w\w:\w\w:\w\w {2}dmz +catch-all +2s ago {2}22,80/,
    );
    assert.match(lines[4], /^10\.66\.3\.7 .* 02:00:00:00:00:07 /);
    assert.match(err, /4 living decoys in 4 addresses/);
    const [one] = (await bed.run('decoys 10.66.3.5 --json')).out
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    assert.equal(one.persona, 'linux-web');
    assert.equal(one.last_touch, '2026-03-04T05:05:07.000Z');
    assert.match((await bed.run('decoys 192.0.2.1')).out, /no decoy is configured at 192\.0\.2\.1/);
    assert.equal((await bed.run('decoys 300.1.1.1')).code, 2);
  });

  it('exports whole sessions', async () => {
    const { out, err } = await bed.run('export tcppc --protocol ssh');
    const line = JSON.parse(out);
    assert.equal(line.flow.src, '203.0.113.9');
    assert.equal(line.flow.dport, 22);
    assert.equal(Buffer.from(line.payloads[0].data, 'base64').toString(), 'SSH-2.0-libssh2_1.9.0\r\n');
    assert.match(err, /1 line, /);
    const both = (await bed.run('export jsonl --kinds probes,alerts')).out
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line).event.dataset);
    assert.deepEqual(both, ['weir.probe', 'weir.alert']);
    assert.equal((await bed.run('export jsonl --kinds probes,nonsense')).code, 2);
    const whole = await bed.run('export jsonl -o all.jsonl');
    assert.equal(whole.out, '');
    assert.equal(readFileSync(path.join(bed.directory, 'all.jsonl'), 'utf8').trim().split('\n').length, 5);
  });

  it('never lets attacker text reach the terminal unescaped', async () => {
    const id = sampleId(now - 60e6, 5);
    // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what must not appear
    const colours = /\u001b\[(1|2|22|31|32|33|36|39)m/g;
    for (const line of [
      'sessions',
      `session ${id}`,
      `session ${id} --payload text`,
      `session ${id} --payload hex`,
      'top credentials',
      'probes',
      'alerts',
      'decoys',
    ]) {
      const { out } = await bed.run(line, { terminal: true });
      const rest = out.replaceAll(colours, '');
      // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what must not appear
      assert.doesNotMatch(rest, /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202e]/, line);
    }
    assert.match((await bed.run(`session ${id}`)).out, /user {8}\\x1b\]0;owned\\x07/);
    assert.ok(JSON.parse((await bed.run(`sessions --json --port 8080`)).out).user.name === hostileText);
  });

  it('fits the terminal when there is one, and colours only there', async () => {
    const { out } = await bed.run('sessions', { terminal: true });
    // biome-ignore lint/suspicious/noControlCharactersInRegex: colour codes
    const plain = out.replaceAll(/\u001b\[\d+m/g, '');
    assert.notEqual(plain, out);
    const [titles] = plain.split('\n');
    for (const line of plain.trimEnd().split('\n')) assert.ok(line.length <= Math.max(100, titles.length + 1), line);
    assert.ok(!(await bed.run('sessions')).out.includes('\u001b'));
  });

  it('says that nothing runs and nothing is recorded', async () => {
    bed.store = undefined;
    const { code, err } = await bed.run('sessions');
    assert.equal(code, 1);
    assert.match(err, /Weir does not run and nothing is recorded below .* \(not-running\)\n {2}next: start it with `weir up`/);
    const status = await bed.run('status');
    assert.equal(status.code, 1);
    assert.match(status.err, /Weir does not run here/);
  });

  it('follows what a recorder streams until it is told to stop', async () => {
    const [old, ...fresh] = ((await bed.store?.sessions({ limit: 10 })) ?? [])
      .map((session) => sessionDocument(session))
      .reverse();
    await bed.withRecorder(
      (request, response) => {
        if (request.url?.startsWith('/api/live'))
          response.write(
            `retry: 2000\n\ndata: ${JSON.stringify({ at: '', sessions: fresh, skipped: 41, alerts: [], rate: [] })}\n\n`,
          );
        else response.end(JSON.stringify({ items: [old] }));
      },
      async () => {
        const stdout = new Screen(false);
        const stderr = new Screen(false);
        const stop = new AbortController();
        stderr.onWrite = () => {
          if (stderr.text.includes('a flood')) stop.abort();
        };
        const code = await runCommandLine(['sessions', '--follow'], bed.environment(stdout, stderr, stop.signal));
        assert.equal(code, 0);
        const lines = stdout.text.trimEnd().split('\n');
        assert.match(lines[0], /^SESSION/);
        assert.match(lines[1], /said nothing/);
        assert.ok(lines.some((line) => line.includes('libssh2')));
        assert.ok(lines.some((line) => line.includes('wget')));
        assert.match(stderr.text, /a flood: 41 more sessions recorded and not shown here/);
      },
    );
  });

  it('says so when the recorder goes away while following', async () => {
    await bed.withRecorder(
      (request, response) => {
        if (request.url?.startsWith('/api/live')) response.end('retry: 2000\n\n');
        else response.end('{"items":[]}');
      },
      async () => {
        const { code, err } = await bed.run('sessions --follow');
        assert.equal(code, 1);
        assert.match(err, /the recorder ended the stream/);
      },
    );
  });

  it('passes on what the recorder refuses, with its code', async () => {
    await bed.withRecorder(
      (_request, response) => {
        response.statusCode = 503;
        response.end(
          JSON.stringify({ error: { code: 'store-unavailable', message: 'the store is busy\u001b[2J', details: {} } }),
        );
      },
      async () => {
        const { code, err } = await bed.run('sessions');
        assert.equal(code, 1);
        assert.equal(err, 'weir: the store is busy\\x1b[2J (store-unavailable)\n');
      },
    );
    await bed.withRecorder(
      (_request, response) => void response.destroy(),
      async () => assert.equal((await bed.run('sessions')).code, 1),
    );
  });
});
