// The rules real programs made (Docker 28.2, ufw 0.36, firewalld 1.3, fail2ban 1.0, each with a few services set up), as the tools listed
// them: all of it is understood, and packets end where the program means them to, by a rule whose owner is told.

import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { CommandRunner } from '../kernel/command.ts';
import { readPacketFilter } from '../kernel/filter/packet-filter-reader.ts';
import { type Address, parseAddress, renderAddress } from '../model/address.ts';
import type { FilterHook, FilterPacket, FilterWalk, PacketFilter } from '../model/packet-filter.ts';
import { walkFilter } from './filter-walk.ts';

const home = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../../../test/golden/filters');

function runnerOf(name: string): CommandRunner {
  const read = (ending: string): string => {
    const file = path.join(home, `${name}.${ending}`);
    return existsSync(file) ? readFileSync(file, 'utf8') : '';
  };
  const files: Readonly<Record<string, string>> = {
    'nft -n -j list ruleset': 'nft.json',
    'nft -n -a -t list ruleset': 'nft.txt',
    'iptables-nft-save -c': 'save',
    'ip6tables-nft-save -c': 'save6',
    'ipset save': 'ipset',
  };
  return {
    netns: undefined,
    run: async (program, args) => ({
      code: 0,
      stdout: read(files[[program, ...args].join(' ')] ?? assert.fail(program)),
      stderr: '',
    }),
    readProc: async () => undefined,
    writeProc: async () => assert.fail('reading writes nothing'),
  };
}

const address = (text: string): Address => parseAddress(text) ?? assert.fail(text);

function walk(
  filter: PacketFilter,
  hook: FilterHook,
  source: string,
  destination: string,
  port: number,
  more: Partial<FilterPacket> = {},
): FilterWalk {
  const packet: FilterPacket = {
    family: 4,
    protocol: 'tcp',
    source: address(source),
    sourcePort: 40000,
    destination: address(destination),
    destinationPort: port,
    inputDevice: 'eth0',
    mark: 0,
    state: 'new',
    ...more,
  };
  return walkFilter(filter, packet, {
    hook,
    isLocal: (one, which) => ['192.0.2.2', '172.17.0.1', '::2'].includes(renderAddress(one[which])),
    hasReversePath: () => true,
  });
}

/** `drop by ufw: -A ufw-user-input ...`. */
function told({ verdict }: FilterWalk): string {
  if (verdict.kind === 'drop' && verdict.policyOf) return `drop by policy of ${verdict.policyOf.table} ${verdict.policyOf.chain}`;
  const rule = 'rule' in verdict ? verdict.rule : undefined;
  return rule ? `${verdict.kind} by ${rule.owner}: ${rule.text}` : verdict.kind;
}

async function read(name: string): Promise<PacketFilter> {
  const filter = await readPacketFilter(runnerOf(name));
  assert.deepEqual(filter.unreadable, []);
  const strange = filter.chains.flatMap(({ rules }) =>
    rules.filter(({ statements }) =>
      statements.some((one) => one.kind === 'unknown' || (one.kind === 'undecided' && !one.limited && !/ttl|hl /.test(one.text))),
    ),
  );
  assert.deepEqual(
    strange.map(({ text }) => text),
    [],
  );
  return filter;
}

describe('rules of known programs', () => {
  it("Docker: a published port goes to its container, nothing else gets there, containers' networks are apart", async () => {
    const filter = await read('docker');
    const published = walk(filter, 'prerouting', '198.51.100.9', '192.0.2.2', 8080);
    assert.deepEqual([renderAddress(published.packet.destination), published.packet.destinationPort], ['172.17.0.2', 80]);
    const rewrote = published.steps.find(({ outcome }) => outcome === 'rewrote');
    assert.deepEqual([rewrote?.rule.owner, rewrote?.rule.chain, rewrote?.action], ['docker', 'DOCKER', 'dnat']);
    assert.equal(
      walk(filter, 'prerouting', '172.17.0.9', '192.0.2.2', 8080, { inputDevice: 'docker0' }).packet.originalDestination,
      undefined,
    );
    const forward = (more: Partial<FilterPacket>, port = 80): string =>
      told(walk(filter, 'forward', '198.51.100.9', '172.17.0.2', port, { outputDevice: 'docker0', ...more }));
    assert.equal(forward({}), 'accept');
    assert.equal(forward({}, 81), 'drop by policy of filter FORWARD');
    assert.match(forward({ inputDevice: 'br-5d5e5d7fe6ed' }), /^drop by docker: -A DOCKER-ISOLATION-STAGE-2 -o docker0 -j DROP/);
    assert.equal(forward({ state: 'established' }, 40000), 'accept');
  });

  it('ufw: what is allowed, limited, denied, and the rest', async () => {
    const filter = await read('ufw');
    const input = (source: string, port: number, more: Partial<FilterPacket> = {}): string =>
      told(walk(filter, 'input', source, '192.0.2.2', port, more));
    assert.equal(input('198.51.100.9', 22), 'accept');
    assert.match(input('198.51.100.9', 23), /^drop by ufw: -A ufw-user-input -p tcp -m tcp --dport 23 -j DROP/);
    assert.equal(input('203.0.113.9', 5432), 'accept');
    assert.equal(input('198.51.100.9', 5432), 'drop by policy of filter INPUT');
    assert.match(input('198.51.100.9', 80, { state: 'invalid' }), /^drop by ufw: -A ufw-before-input .*INVALID -j DROP/);
    const limited = walk(filter, 'input', '198.51.100.9', '192.0.2.2', 2222);
    assert.equal(limited.verdict.kind, 'unknown');
    assert.deepEqual(limited.possible.map(({ kind }) => kind).sort(), ['accept', 'reject']);
    // IPv6 has its own.
    const six = walk(filter, 'input', '2001:db8::9', '2001:db8::2', 23, {
      family: 6,
      source: address('2001:db8::9'),
      destination: address('2001:db8::2'),
    });
    assert.match(told(six), /^drop by ufw: -A ufw6-user-input/);
  });

  it('firewalld: zones by interface and by source, ports and rich rules', async () => {
    const filter = await read('firewalld');
    const input = (source: string, port: number): string => told(walk(filter, 'input', source, '192.0.2.2', port));
    assert.equal(input('192.0.2.9', 8080), 'accept');
    assert.equal(input('192.0.2.9', 22), 'accept');
    assert.equal(input('203.0.113.7', 5432), 'accept');
    assert.match(input('192.0.2.9', 5432), /^reject by firewalld: /);
    assert.match(input('198.51.100.9', 22), /^drop by firewalld: /);
  });

  it('fail2ban: a banned address, by a set of nft, by a chain and by a set of ipset, with its jail', async () => {
    const filter = await read('fail2ban');
    const input = (source: string, port: number): string => told(walk(filter, 'input', source, '192.0.2.2', port));
    assert.match(input('203.0.113.5', 22), /^reject by fail2ban sshd: tcp dport 22 ip saddr @addr-set-sshd/);
    assert.match(input('203.0.113.5', 443), /^reject by fail2ban web: -A f2b-web -s 203\.0\.113\.5\/32 -j REJECT/);
    assert.match(input('203.0.113.5', 25), /^reject by fail2ban mail: -A INPUT .*--match-set f2b-mail src -j REJECT/);
    for (const port of [22, 443, 25]) assert.equal(input('203.0.113.6', port), 'accept');
    assert.equal(input('203.0.113.5', 8080), 'accept');
  });
});
