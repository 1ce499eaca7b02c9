// `weir baseline` in namespaces of its own: what real connections get is what the matrix says, a rule that lets somebody in is named with its
// place; settings of every kind come back equal, and go again where nobody confirms. Weir's own tables are neither counted nor touched.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { createCommandRunner } from '../../src/kernel/command.ts';
import { type TestNamespace, until, withLab } from '../../src/kernel/namespace-lab.ts';
import { readSettings } from '../../src/kernel/settings/settings-reader.ts';
import type { NetworkSettings } from '../../src/model/network-settings.ts';
import { diffSettings, renderChange } from '../../src/netops/baseline/settings-diff.ts';
import { watchSettings } from '../../src/netops/baseline/watch-settings.ts';
import { lacksKernelTests, lacksProgram } from '../support/namespace.ts';

const program = resolve(fileURLToPath(import.meta.url), '../../../src/programs/weir.js');

interface Answer {
  readonly code: number;
  readonly text: string;
  // biome-ignore lint/suspicious/noExplicitAny: JSON of a program, looked into by the test
  readonly json: any;
}

/** `weir baseline` inside, with files of its own. */
async function baseline(namespace: TestNamespace, directory: string, ...argv: string[]): Promise<Answer> {
  const line = [process.execPath, program, 'baseline', ...argv, '--dir', directory, '--json'];
  const { code, stdout, stderr } = await namespace.run(line, { anyCode: true });
  assert.ok(stdout !== '', `${argv.join(' ')}: ${code} ${stderr}`);
  return { code: code ?? -1, text: stdout + stderr, json: stdout.trim().includes('\n') ? undefined : JSON.parse(stdout) };
}

async function listen(namespace: TestNamespace, ...ports: number[]): Promise<void> {
  const servers = ports.map((port) => `net.createServer(s=>s.on('error',()=>{}).end('x')).listen(${port},'0.0.0.0')`);
  const code = `const net=require('node:net');const all=[${servers}];Promise.all(all.map(s=>require('node:events').once(s,'listening'))).then(()=>console.log('up'))`;
  const child = namespace.spawn([process.execPath, '-e', code]);
  await once(child.stdout ?? assert.fail(), 'data');
}

interface Shown {
  readonly kind: string;
  readonly source: string;
  readonly target: string;
  readonly by: readonly { readonly text: string }[];
}

/** Differences of this test: other namespaces of the machine come and go meanwhile. */
const ours = ({ json }: Pick<Answer, 'json'>): string[] =>
  (json.differences as Shown[])
    .filter(({ target }) => target.includes(' 10.88.0.'))
    .map(({ kind, source, target, by }) => `${kind} ${source} ${target}: ${by.map((one) => one.text).join('; ')}`)
    .sort();

const connects = async (from: TestNamespace, source: string, port: number): Promise<boolean> => {
  const code = `const s=require('node:net').connect({port:${port},host:'10.88.0.1',localAddress:'${source}'},()=>{console.log('yes');s.destroy()});s.setTimeout(700,()=>s.destroy());s.on('error',()=>{})`;
  const { stdout } = await from.run([process.execPath, '-e', code]);
  return stdout === 'yes\n';
};

function withTwo(body: (host: TestNamespace, peer: TestNamespace, directory: string) => Promise<void>): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'weir-baseline-'));
  return withLab(async (lab) => {
    const host = await lab.namespace('host');
    const peer = await lab.namespace('peer');
    await lab.join(
      { namespace: host, link: 'lan', addresses: ['10.88.0.1/24'] },
      { namespace: peer, link: 'wan', addresses: ['10.88.0.7/24', '10.88.0.8/24'] },
    );
    await body(host, peer, directory);
  }).finally(() => rmSync(directory, { recursive: true, force: true }));
}

test('the matrix agrees with real connections, and names what changed it', { skip: lacksKernelTests() }, () =>
  withTwo(async (host, peer, directory) => {
    await host.nft(
      'table inet f { chain in { type filter hook input priority 0; tcp dport 5432 ip saddr != 10.88.0.7 drop; }; };\ntable inet weir { chain a { }; };\n',
    );
    await listen(host, 8080, 5432);
    assert.ok((await baseline(host, directory, 'record')).json.rows >= 2);
    assert.match((await baseline(host, directory, 'record')).text, /is there already/);
    const file = join(directory, 'access.yaml');
    // As a person would: sources of their own, and what they must and must not reach.
    const text = readFileSync(file, 'utf8');
    assert.match(text, /to: 10\.88\.0\.1:5432[\s\S]*to: 10\.88\.0\.1:8080/);
    const edited = [
      'version: 1',
      'sources:',
      '  - { name: app, device: lan, addresses: [10.88.0.7] }',
      '  - { name: office, device: lan, addresses: [10.88.0.8] }',
      'access:',
      '  - { to: "10.88.0.1:5432", protocol: tcp, reach: [app], refuse: [office] }',
      '  - { to: "10.88.0.1:8080", protocol: tcp, service: node, reach: [app, office] }',
    ];
    writeFileSync(file, `${edited.join('\n')}\n`);
    const same = await baseline(host, directory, 'check');
    assert.deepEqual([ours(same), same.json.compared], [[], 4], same.text);
    const truth = await Promise.all(
      [5432, 8080].flatMap((port) => ['10.88.0.7', '10.88.0.8'].map((ip) => connects(peer, ip, port))),
    );
    assert.deepEqual(truth, [true, false, true, true]);

    await host.nft(
      'insert rule inet f in tcp dport 5432 ip saddr 10.88.0.8 accept comment "for a minute"\ninsert rule inet f in tcp dport 8080 ip saddr 10.88.0.7 reject\n',
    );
    await listen(host, 9000);
    const { code, json } = await baseline(host, directory, 'check');
    assert.equal(code, 10);
    const shown = ours({ json });
    assert.equal(shown.length, 3, JSON.stringify(shown));
    assert.match(shown[0], /^closed app tcp 10\.88\.0\.1:8080: .*ip saddr 10\.88\.0\.7 reject/);
    assert.match(shown[1], /^opened office tcp 10\.88\.0\.1:5432: .*for a minute/);
    assert.match(shown[2], /^unlisted .*tcp 10\.88\.0\.1:9000: /);
    assert.deepEqual([await connects(peer, '10.88.0.8', 5432), await connects(peer, '10.88.0.7', 8080)], [true, false]);
  }),
);

const rules = `
table inet shop {
	set bans { type ipv4_addr; flags timeout; elements = { 192.0.2.9 timeout 1h, 192.0.2.99 }; }
	set nets { type ipv4_addr; flags interval; elements = { 10.0.0.0/8, 192.0.2.0/24, 198.51.100.7 }; }
	map ports { type inet_service : verdict; elements = { 22 : accept, 80 : jump web }; }
	counter seen { }
	chain web { ip saddr @nets counter name seen accept comment "a { b }"; }
	chain in { type filter hook input priority 10; policy accept; tcp dport vmap @ports; limit rate 5/second counter; };
}
table ip weir { chain own { }; }
`;

test(
  'settings of every kind come back equal, or go again unless confirmed',
  {
    skip: lacksKernelTests() || lacksProgram('iptables-nft', 'iptables') || lacksProgram('ipset', 'ipset'),
  },
  () =>
    withTwo(async (host, peer, directory) => {
      const sh = (text: string): Promise<unknown> => host.run(['sh', '-ec', text]);
      await host.nft(rules);
      await sh(
        'iptables-nft -A INPUT -p tcp --dport 25 -m conntrack --ctstate NEW -j DROP; iptables-legacy -N jail; iptables-legacy -A INPUT -s 192.0.2.1 -j jail; ' +
          'ipset create block hash:net; ipset add block 192.0.2.128/25; iptables-legacy -A jail -m set --match-set block src -j DROP; ' +
          'ip route add 10.77.0.0/16 via 10.88.0.7; ip route add 10.78.0.0/16 nexthop via 10.88.0.7 weight 1 nexthop via 10.88.0.8 weight 2; ip route add blackhole 10.79.0.0/16 table 100; ' +
          'ip rule add from 10.3.0.0/16 lookup 100 pref 500; echo 1 > /proc/sys/net/ipv4/ip_forward; echo 0 > /proc/sys/net/ipv4/conf/lan/forwarding; ' +
          'ebtables-nft -A FORWARD -p IPv4 --ip-proto tcp -j DROP; ipset create spare hash:ip timeout 60; ipset add spare 192.0.2.77 timeout 0; ' +
          'ipset create all list:set; ipset add all spare; ipset add all block',
      );
      const runner = createCommandRunner(host.path);
      const before = await readSettings(runner);
      assert.deepEqual(before.missing, []);
      assert.doesNotMatch(before.parts.nft ?? '', /weir|timeout 1h|packets/);
      assert.match(before.parts.nft ?? '', /elements = \{ 192\.0\.2\.99 \}/, 'what has no end in a set with ends');
      assert.equal((await baseline(host, directory, 'snapshot', '--note', 'first')).json.number, 1);
      // Counters, lifetimes and rules of Weir are no change.
      await connects(peer, '10.88.0.7', 80);
      await sh(
        'nft add rule ip weir own accept; nft add element inet shop bans "{ 192.0.2.10 timeout 1m }"; ip route add local 10.99.0.0/24 dev lo proto 87',
      );
      assert.equal((await baseline(host, directory, 'snapshot')).json.fresh, false);

      await sh(
        'nft flush chain inet shop in; nft add table inet extra; nft delete element inet shop nets "{ 198.51.100.7 }"; iptables-nft -F INPUT; iptables-legacy -D INPUT 1; iptables-legacy -P FORWARD DROP; ipset del block 192.0.2.128/25; ' +
          'ip route del 10.77.0.0/16; ip route add 10.80.0.0/16 via 10.88.0.8 proto static; ip route del 10.78.0.0/16; ip rule del pref 500; echo 0 > /proc/sys/net/ipv4/ip_forward; ' +
          'ebtables-nft -F FORWARD; ipset del spare 192.0.2.77; ipset del all spare; ipset add all spare; ip route add 10.81.0.0/16 via 10.88.0.7 proto bird',
      );
      const diff = await baseline(host, directory, 'diff', '1');
      assert.equal(diff.code, 10);
      const lines = (diff.json.changes as { part: string; sign: string; place: string; text: string }[]).map(
        ({ part, sign, place, text }) => `${part} ${sign} ${place} ${text}`,
      );
      for (const expected of [
        /^nft - inet shop in tcp dport vmap @ports/,
        /^nft \+ {2}table inet extra \{/,
        /^iptables-nft - filter INPUT -A INPUT .*--dport 25/,
        /^iptables-legacy \+ filter FORWARD :FORWARD DROP/,
        /^routes \+ {2}10\.80\.0\.0\/16 via 10\.88\.0\.8 dev lan proto static/,
        /^rules - {2}500: from 10\.3\.0\.0\/16 lookup 100/,
        /^sysctls \+ {2}net\/ipv4\/ip_forward = 0/,
        /^ebtables-nft - filter FORWARD .*-j DROP/,
        /^ipset - {2}add spare 192\.0\.2\.77 timeout 0/,
      ])
        assert.ok(
          lines.some((line) => expected.test(line)),
          `${expected}: ${lines.join('\n')}`,
        );
      const changed = await readSettings(runner);
      const plan = await baseline(host, directory, 'restore', '1');
      assert.deepEqual([plan.code, plan.json.applied], [10, false]);
      assert.deepEqual(diffSettings(changed, await readSettings(runner)), []);

      // Nobody confirms: it is taken back, by a process that outlives the command.
      const tried = await baseline(host, directory, 'restore', '1', '--yes', '--confirm-within', '1s');
      assert.deepEqual([tried.code, tried.json.applied], [0, true], tried.text);
      await until('it is taken back', async () => diffSettings(changed, await readSettings(runner)).length === 0);
      await until('whoever took it back is gone', () => readFileSync(join(directory, 'restore/returned'), 'utf8') !== '');
      assert.equal((await baseline(host, directory, 'confirm')).json.confirmed, false);

      const restored = await baseline(host, directory, 'restore', '1', '--yes', '--confirm-within', '60s');
      assert.equal(restored.code, 0, restored.text);
      assert.match((await baseline(host, directory, 'restore', '1', '--yes', '--only', 'sysctls')).text, /applied":false/);
      assert.equal((await baseline(host, directory, 'confirm')).json.confirmed, true);
      // A daemon's route was there all the time: nobody took it away, and nobody else would put it back.
      await sh('ip route del 10.81.0.0/16 via 10.88.0.7 proto bird');
      assert.deepEqual(diffSettings(before, await readSettings(runner)), []);
      assert.equal((await baseline(host, directory, 'diff', '1')).code, 0);
      const { stdout: own } = await host.run(['nft', 'list', 'table', 'ip', 'weir']);
      assert.match(own, /accept/, 'what is of Weir is as it was');
    }),
);

test(
  'who changed what is told while it is watched; what tells nobody is seen and said to be of nobody known',
  {
    skip: lacksKernelTests() || lacksProgram('iptables-nft', 'iptables'),
  },
  () =>
    withTwo(async (host, _peer, _directory) => {
      const stop = new AbortController();
      const told: { readonly authors: readonly string[]; readonly lines: string[] }[] = [];
      let last: NetworkSettings | undefined;
      const watching = watchSettings({ netns: host.path, forMs: 20_000, signal: stop.signal }, async (settings, authors) => {
        if (last && authors) told.push({ authors, lines: diffSettings(last, settings).map(renderChange) });
        last = settings;
      });
      const next = async (change: () => Promise<unknown>): Promise<{ authors: readonly string[]; lines: string[] }> => {
        const before = told.length;
        await change();
        await until('it is told', () => told.slice(before).some(({ lines }) => lines.length > 0));
        return told.slice(before).find(({ lines }) => lines.length > 0) ?? assert.fail();
      };
      await until('it watches', () => last !== undefined);
      const byNft = await next(() => host.nft('table inet late { chain c { tcp dport 1 drop; }; }\n'));
      assert.ok(
        byNft.authors.some((author) => /^nft\[\d+\]$/.test(author)),
        String(byNft.authors),
      );
      assert.ok(
        byNft.lines.some((line) => /inet late c: tcp dport 1 drop/.test(line)),
        byNft.lines.join(),
      );
      const byIptables = await next(() => host.run(['iptables-nft', '-A', 'INPUT', '-s', '192.0.2.1', '-j', 'DROP']));
      assert.ok(
        byIptables.authors.some((author) => /^iptables(-nft)?\[\d+\]$/.test(author)),
        String(byIptables.authors),
      );
      const byIp = await next(() => host.ip('route add 10.77.0.0/16 via 10.88.0.7\n'));
      assert.ok(
        byIp.authors.some((author) => /^ip\[|netlink port/.test(author)),
        String(byIp.authors),
      );
      stop.abort();
      assert.equal(await watching, 0);
    }),
);
