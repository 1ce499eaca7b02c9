// Whole commands through runCommandLine: what people read, what machines read, exit codes, and hostile text made harmless.

import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, beforeEach, describe, it } from 'node:test';
import { hostileText, sampleEvents, sampleId } from '../../test/support/sample-records.ts';
import { parseMicros } from '../base/clock.ts';
import { WeirError } from '../base/errors.ts';
import type { Configuration } from '../model/configuration.ts';
import { noPorts } from '../model/port-set.ts';
import { MemoryStore } from '../record/memory-store.ts';
import type { ActionContext, Actions, ApplyOptions } from './actions.ts';
import { runCommandLine } from './command-line.ts';
import type { CommandEnvironment, CommandOutput } from './environment.ts';

const now = parseMicros('2026-03-04T05:06:07.000000Z');

const persona = {
  name: 'linux-web',
  description: 'a web server',
  macPrefixes: ['00:0c:29'],
  tcp: {
    open: [
      { first: 22, last: 22 },
      { first: 80, last: 80 },
    ],
    otherwise: 'closed' as const,
  },
  udp: { open: noPorts, otherwise: 'closed' as const },
  answersEcho: true,
  ttl: 64,
  services: {},
  banners: {},
  hostname: 'web-{n}',
  operatingSystem: 'Debian 12',
};

const configurationOf = (data: string): Configuration =>
  ({
    version: 1,
    data,
    retention: { days: 90, sizeBytes: 1e9 },
    management: { ports: [{ first: 22, last: 22 }], sources: [] },
    console: { address: '127.0.0.1', port: 8443 },
    limits: {},
    probing: {},
    diversions: [
      {
        kind: 'host',
        name: 'dmz',
        interface: 'eth0',
        groups: [
          {
            diversion: 'dmz',
            kind: 'claimed',
            ranges: [{ family: 4, first: 0x0a420304n, last: 0x0a420307n }],
            population: { seed: 7, shares: [{ persona: 'linux-web', share: 10_000 }] },
            macs: { '10.66.3.7': '02:00:00:00:00:07' },
            place: { file: 'weir.yaml', line: 3 },
          },
        ],
        place: { file: 'weir.yaml', line: 1 },
      },
    ],
    personas: new Map([['linux-web', persona]]),
  }) as unknown as Configuration;

class Screen implements CommandOutput {
  text = '';
  bytes: Buffer[] = [];
  closed = false;
  readonly isTerminal: boolean;
  onWrite: () => void = () => {};

  constructor(isTerminal: boolean) {
    this.isTerminal = isTerminal;
  }

  columns(): number {
    return 100;
  }

  async write(data: string | Uint8Array): Promise<void> {
    this.bytes.push(Buffer.from(data));
    this.text += typeof data === 'string' ? data : Buffer.from(data).toString('latin1');
    this.onWrite();
  }
}

interface Outcome {
  readonly code: number;
  readonly out: string;
  readonly err: string;
  readonly bytes: Buffer;
}

describe('the command', () => {
  let directory = '';
  let store: MemoryStore;
  let called: [string, unknown, ActionContext][] = [];
  const thrown = new Map<string, WeirError>();

  const action =
    (name: string) =>
    async (...args: unknown[]): Promise<never> => {
      called.push([name, args.slice(0, -1), args.at(-1) as ActionContext]);
      const error = thrown.get(name);
      if (error) throw error;
      return (
        name === 'up' || name === 'demo' || name === 'bench' || name === 'test'
          ? 7
          : name === 'status'
            ? undefined
            : { text: `${name} done`, json: { done: name }, ...(name === 'plan' ? { exitCode: 10 } : {}) }
      ) as never;
    };

  const environmentOf = (stdout: Screen, stderr: Screen, signal: AbortSignal): CommandEnvironment => ({
    version: '1.2.3',
    stdout,
    stderr,
    cwd: directory,
    variables: {},
    clock: () => now,
    signal,
    readConfiguration: (file) => {
      if (file !== undefined && readFileSync(file, 'utf8').includes('broken'))
        throw new WeirError('config-invalid', 'two mistakes', {
          mistakes: [
            { file: 'weir.yaml', line: 12, mistake: 'unknown key `retenion`', next: 'did you mean `retention`?' },
            { file: 'weir.yaml', line: 20, mistake: '10.0.0.0/33 is not a range\u001b[2J', next: 'write 10.0.0.0/24' },
          ],
        });
      return configurationOf(path.join(directory, 'data'));
    },
    openStore: async (data) => {
      if (store === undefined) throw new WeirError('not-found', `no store below ${data}`);
      return store;
    },
    actions: Object.fromEntries(
      ['up', 'down', 'plan', 'apply', 'confirm', 'rollback', 'demo', 'bench', 'test', 'status'].map((name) => [
        name,
        action(name),
      ]),
    ) as unknown as Actions,
  });

  const run = async (line: string | readonly string[], options: { terminal?: boolean } = {}): Promise<Outcome> => {
    const stdout = new Screen(options.terminal === true);
    const stderr = new Screen(options.terminal === true);
    const argv = typeof line === 'string' ? line.split(' ') : line;
    const code = await runCommandLine(argv, environmentOf(stdout, stderr, new AbortController().signal));
    return { code, out: stdout.text, err: stderr.text, bytes: Buffer.concat(stdout.bytes) };
  };

  before(() => {
    directory = mkdtempSync(path.join(tmpdir(), 'weir-cli-'));
    mkdirSync(path.join(directory, 'data'));
  });
  after(() => rmSync(directory, { recursive: true }));
  beforeEach(async () => {
    called = [];
    thrown.clear();
    store = new MemoryStore();
    await store.apply(sampleEvents(now), {});
  });

  it('lists sessions as a table, newest first', async () => {
    const { code, out, err } = await run('sessions');
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
    const { out } = await run('sessions --json --protocol ssh');
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
    assert.equal((await run('sessions --source 2001:db8::/32 --json')).out.trim().split('\n').length, 1);
    assert.equal((await run('sessions --port 53/udp --json')).out.trim().split('\n').length, 1);
    assert.equal((await run('sessions --since 5m --until 30s --json')).out.trim().split('\n').length, 2);
    const { err } = await run('sessions --limit 2');
    const cursor = /--before (\w{19})/.exec(err)?.[1];
    assert.ok(cursor);
    assert.equal((await run(`sessions --before ${cursor} --json`)).out.trim().split('\n').length, 3);
    assert.match((await run('sessions --port 9')).out, /no sessions match: widen --since/);
    store = new MemoryStore();
    assert.match((await run('sessions')).out, /no sessions recorded yet: touch a decoy, for example with nc -v/);
    assert.equal((await run('sessions --json')).out, '');
  });

  it('shows one session in full', async () => {
    const { out, code } = await run(`session ${sampleId(now - 12e6, 1)}`);
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
    const hex = (await run(`session ${id} --payload hex --direction in`)).out;
    assert.match(hex, /^ {2}00000000 {2}53 53 48 2d 32 2e 30 2d {2}6c 69 62 73 73 68 32 5f {2}\|SSH-2\.0-libssh2_\|$/m);
    assert.match(hex, /^ {2}00000010 {2}31 2e 39 2e 30 0d 0a +\|1\.9\.0\.\.\|$/m);
    assert.equal((await run(`session ${id} --payload raw`)).bytes.toString(), 'SSH-2.0-libssh2_1.9.0\r\n');
    assert.equal(
      (await run(`session ${id} --payload raw --direction out`)).bytes.toString(),
      'SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n',
    );
    const refused = await run(`session ${id} --payload raw`, { terminal: true });
    assert.equal(refused.code, 2);
    assert.match(refused.err, /do not go to a terminal/);
    assert.match((await run('session last')).out, /10\.66\.3\.4:53\/udp/);
  });

  it('writes a session as a capture', async () => {
    const { err, code } = await run(`session ${sampleId(now - 12e6, 1)} --pcap one.pcap`);
    assert.equal(code, 0);
    assert.match(err, /10 frames written to .*one\.pcap/);
    assert.equal(readFileSync(path.join(directory, 'one.pcap')).readUInt32LE(0), 0xa1b2c3d4);
  });

  it('says which session there is not', async () => {
    assert.equal((await run('session nonsense')).code, 2);
    const { code, err } = await run(`session ${sampleId(1, 1)}`);
    assert.equal(code, 1);
    assert.match(err, /there is no session \w{19} \(not-found\)\n {2}next: `weir sessions` lists them/);
  });

  it('lists probes, alerts and rankings', async () => {
    const probes = await run('probes');
    assert.match(
      probes.out,
      /198\.51\.100\.7 +4 {2}closed,filtered,echo {2}ZMap {2}10\.66\.3\.4: 23 161\/udp \| 10\.66\.3\.9: ping/,
    );
    const alerts = await run('alerts');
    assert.match(alerts.out, /high +address-conflict {2}10\.66\.3\.9 is used by 00:11:22:33:44:55/);
    const top = await run('top ports --by sources');
    assert.match(top.out.split('\n')[0], /^# {2}PORT +USUALLY +HITS {2}SOURCES/);
    assert.match(top.out, /^1 {2}\S+\/(tcp|udp) /m);
    const json = (await run('top ports --json')).out
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    assert.deepEqual(Object.keys(json[0]), ['key', 'hits', 'sources']);
    assert.ok(json.some(({ key, hits }) => key === '23/tcp' && hits === 2));
    assert.match((await run('top credentials')).out, /root:123456/);
  });

  it('says who lives where and when it was last touched', async () => {
    const { out, err } = await run('decoys');
    const lines = out.trimEnd().split('\n');
    assert.equal(lines.length, 5);
    assert.match(
      lines[1],
      /^10\.66\.3\.4 {2}linux-web {2}Debian 12 {2}00:0c:29:\w\w:\w\w:\w\w {2}dmz +catch-all +2s ago {2}22,80/,
    );
    assert.match(lines[4], /^10\.66\.3\.7 .* 02:00:00:00:00:07 /);
    assert.match(err, /4 living decoys in 4 addresses/);
    const [one] = (await run('decoys 10.66.3.5 --json')).out
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    assert.equal(one.persona, 'linux-web');
    assert.equal(one.last_touch, '2026-03-04T05:05:07.000Z');
    assert.match((await run('decoys 192.0.2.1')).out, /no decoy is configured at 192\.0\.2\.1/);
    assert.equal((await run('decoys 300.1.1.1')).code, 2);
  });

  it('exports whole sessions', async () => {
    const { out, err } = await run('export tcppc --protocol ssh');
    const line = JSON.parse(out);
    assert.equal(line.flow.src, '203.0.113.9');
    assert.equal(line.flow.dport, 22);
    assert.equal(Buffer.from(line.payloads[0].data, 'base64').toString(), 'SSH-2.0-libssh2_1.9.0\r\n');
    assert.match(err, /1 session, /);
    const whole = await run('export jsonl -o all.jsonl');
    assert.equal(whole.out, '');
    assert.equal(readFileSync(path.join(directory, 'all.jsonl'), 'utf8').trim().split('\n').length, 5);
  });

  it('hands verbs that change the machine to the programs', async () => {
    writeFileSync(path.join(directory, 'weir.yaml'), 'version: 1\n');
    assert.equal((await run('up --yes --confirm-within 60s')).code, 7);
    assert.deepEqual(called[0][1], [{ yes: true, confirmWithinMs: 60_000 } satisfies ApplyOptions]);
    assert.equal(called[0][2].configurationFile, path.join(directory, 'weir.yaml'));
    const plan = await run('plan');
    assert.equal(plan.code, 10);
    assert.equal(plan.out, 'plan done\n');
    assert.deepEqual(JSON.parse((await run('down --json')).out), { done: 'down' });
    assert.equal((await run('apply --confirm-within 3y')).code, 2);
    assert.equal((await run('test address ports')).code, 7);
    assert.deepEqual(called.at(-1)?.[1], [['address', 'ports']]);
    rmSync(path.join(directory, 'weir.yaml'));
    await run('confirm');
    assert.equal(called.at(-1)?.[2].configurationFile === path.join(directory, 'weir.yaml'), false);
  });

  it('names file, line, mistake and next step of a bad configuration', async () => {
    writeFileSync(path.join(directory, 'bad.yaml'), 'broken\n');
    const { code, err } = await run('sessions -c bad.yaml');
    assert.equal(code, 2);
    assert.equal(
      err,
      'weir: weir.yaml:12: unknown key `retenion` (config-invalid)\n  next: did you mean `retention`?\nweir.yaml:20: 10.0.0.0/33 is not a range\\x1b[2J\n  next: write 10.0.0.0/24\n',
    );
    assert.equal((await run('sessions -c nowhere.yaml')).code, 2);
  });

  it('turns codes into exit codes, and into JSON when asked', async () => {
    thrown.set('down', new WeirError('not-permitted', 'this needs root', { next: 'run it with sudo' }));
    const { code, err, out } = await run('down --json');
    assert.equal(code, 3);
    assert.deepEqual(JSON.parse(out), {
      error: { code: 'not-permitted', message: 'this needs root', details: { next: 'run it with sudo' } },
    });
    assert.match(err, /weir: this needs root \(not-permitted\)\n {2}next: run it with sudo/);
    thrown.set('apply', new WeirError('lock-out', 'port 22 is yours', { file: 'weir.yaml', line: 9 }));
    const refused = await run('apply');
    assert.equal(refused.code, 2);
    assert.match(refused.err, /^weir: weir\.yaml:9: port 22 is yours/);
    thrown.set('down', new WeirError('fault', 'oops'));
    assert.equal((await run('down')).code, 1);
  });

  it('suggests what was meant, and shows no verb of a later version', async () => {
    const verb = await run('sesions');
    assert.equal(verb.code, 2);
    assert.match(verb.err, /unknown command 'sesions'[\s\S]*Did you mean (one of )?session/);
    const option = await run('sessions --sinec 1h');
    assert.equal(option.code, 2);
    assert.match(option.err, /unknown option '--sinec'[\s\S]*Did you mean --since\?/);
    const help = await run('--help');
    assert.equal(help.code, 0);
    for (const shown of [
      'up',
      'down',
      'plan',
      'apply',
      'confirm',
      'rollback',
      'status',
      'decoys',
      'sessions',
      'session',
      'probes',
      'alerts',
      'top',
      'export',
      'demo',
      'bench',
      'test',
    ])
      assert.match(help.out, new RegExp(`^ {2}${shown}\\b`, 'm'));
    assert.doesNotMatch(
      help.out,
      /^ {2}(doctor|import|report|agents?|capture|who|rst|kill|services|attackers?|exposure|baseline)\b/m,
    );
    assert.equal((await run('top nonsense')).code, 2);
    assert.equal((await run('--version')).out, '1.2.3\n');
    const hostile = await run(['\u001b[2Jx']);
    assert.ok(!hostile.err.includes('\u001b'));
  });

  it('has an example in the help of every verb', async () => {
    for (const verb of [
      'up',
      'down',
      'plan',
      'apply',
      'confirm',
      'rollback',
      'status',
      'decoys',
      'sessions',
      'session',
      'probes',
      'alerts',
      'top',
      'export',
      'demo',
      'bench',
      'test',
    ]) {
      const { out, code } = await run(`${verb} --help`);
      assert.equal(code, 0);
      assert.match(out, new RegExp(`Examples?:\\n {2}weir ${verb}`), verb);
      assert.match(out, /--config <file>/, verb);
      assert.match(out, /--json/, verb);
    }
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
      const { out } = await run(line, { terminal: true });
      const rest = out.replaceAll(colours, '');
      // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what must not appear
      assert.doesNotMatch(rest, /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202e]/, line);
    }
    assert.match((await run(`session ${id}`)).out, /user {8}\\x1b\]0;owned\\x07/);
    assert.ok(JSON.parse((await run(`sessions --json --port 8080`)).out).user.name === hostileText);
  });

  it('fits the terminal when there is one, and colours only there', async () => {
    const { out } = await run('sessions', { terminal: true });
    // biome-ignore lint/suspicious/noControlCharactersInRegex: colour codes
    const plain = out.replaceAll(/\u001b\[\d+m/g, '');
    assert.notEqual(plain, out);
    const [titles] = plain.split('\n');
    for (const line of plain.trimEnd().split('\n')) assert.ok(line.length <= Math.max(100, titles.length + 1), line);
    assert.ok(!(await run('sessions')).out.includes('\u001b'));
  });

  it('says that nothing runs and nothing is recorded', async () => {
    store = undefined as unknown as MemoryStore;
    const { code, err } = await run('sessions');
    assert.equal(code, 1);
    assert.match(err, /Weir does not run and nothing is recorded below .* \(not-running\)\n {2}next: start it with `weir up`/);
    const status = await run('status');
    assert.equal(status.code, 1);
    assert.match(status.err, /Weir does not run here/);
  });

  it('follows what a recorder streams until it is told to stop', async () => {
    mkdirSync(path.join(directory, 'data', 'run'), { recursive: true });
    const { sessionDocument } = await import('../record/documents.ts');
    const events = (await store.sessions({ limit: 10 })).map(sessionDocument).reverse();
    const [old, ...fresh] = events;
    const server = http.createServer((request, response) => {
      if (request.url?.startsWith('/api/live')) {
        response.write('retry: 2000\n\n');
        response.write(`data: ${JSON.stringify({ at: '', sessions: fresh, skipped: 41, alerts: [], rate: [] })}\n\n`);
      } else response.end(JSON.stringify({ items: [old] }));
    });
    await new Promise<void>((resolve) => server.listen(path.join(directory, 'data', 'run', 'recorder.sock'), resolve));
    try {
      const stdout = new Screen(false);
      const stderr = new Screen(false);
      const stop = new AbortController();
      stdout.onWrite = () => {
        if (stdout.text.includes('wget')) stop.abort();
      };
      const code = await runCommandLine(['sessions', '--follow'], environmentOf(stdout, stderr, stop.signal));
      assert.equal(code, 0);
      const lines = stdout.text.trimEnd().split('\n');
      assert.match(lines[0], /^SESSION/);
      assert.match(lines[1], /said nothing/);
      assert.ok(lines.some((line) => line.includes('libssh2')));
      assert.ok(lines.some((line) => line.includes('wget')));
    } finally {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    }
  });
});
