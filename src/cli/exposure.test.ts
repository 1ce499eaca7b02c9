// `weir exposure` as people and programs read it: what is said, remembered and proposed. That it is true is
// test/kernel/netops-exposure.test.ts.

import assert from 'node:assert/strict';
import { mkdirSync, statSync } from 'node:fs';
import path from 'node:path';
import { after, beforeEach, describe, it } from 'node:test';
import { CommandBed } from '../../test/support/command-bed.ts';
import { readWhole, writeDurably } from '../base/durable-file.ts';
import type { ExposedService, ExposurePath, ExposureReport, Reach } from '../netops/exposure/exposure-report.ts';

const bed = new CommandBed();
after(() => bed.close());

const rule = {
  backend: 'nft',
  family: 'ip',
  table: 'filter',
  chain: 'DOCKER',
  handle: 9,
  text: '-A DOCKER -j ACCEPT',
  owner: 'docker',
} as const;

function wayFrom(reach: Reach, more: Partial<ExposurePath> = {}): ExposurePath {
  const zone = reach === 'internet' ? 'public' : reach === 'containers' ? 'container' : 'link';
  return {
    from: { netns: '', device: zone === 'container' ? 'docker0' : 'eth0', zone, source: '8.8.8.8' },
    dialled: '203.0.113.1:22',
    by: 'direct',
    certainty: 'proven',
    reach,
    allowedBy: [{ rule, text: rule.text }],
    ...more,
  };
}

function service(port: number, reach: Reach, more: Partial<ExposedService> = {}): ExposedService {
  return {
    netns: '',
    transport: 'tcp',
    address: '0.0.0.0',
    port,
    processes: [{ pid: 1000 + port, comm: `d${port}\u001b[2J`, uid: 0 }],
    uid: 0,
    reach,
    paths: reach === 'local' ? [] : [wayFrom(reach, { dialled: `203.0.113.1:${port}` })],
    stoppedBy: [],
    isWeir: false,
    ...more,
  };
}

const reportOf = (services: readonly ExposedService[], more: Partial<ExposureReport> = {}): ExposureReport => ({
  takenAt: Date.parse('2026-03-04T05:00:00Z'),
  services,
  vantages: [
    { netns: '', device: 'eth0', zone: 'public', source: '8.8.8.8' },
    { netns: '', device: 'docker0', zone: 'container', source: '172.17.0.9' },
  ],
  unseen: [],
  notMeasured: [],
  ...more,
});

function show(report: ExposureReport, diverts = false): void {
  bed.exposure = {
    read: async () => ({ report, insideDevices: ['docker0'], downDevices: ['eth1'], diverts }),
    recall: readWhole,
    remember: (file, text) => writeDurably(file, text),
  };
}

describe('weir exposure', () => {
  beforeEach(async () => {
    await bed.reset();
  });

  it('leads with what can be reached from furthest, and leaves out what only this machine reaches', async () => {
    show(reportOf([service(22, 'internet'), service(5432, 'containers'), service(3306, 'local')]));
    const { out, err, code } = await bed.run('exposure');
    assert.equal(code, 0);
    const lines = out.split('\n');
    assert.match(lines[1], /^the Internet +tcp 0\.0\.0\.0:22 +d22.*eth0 203\.0\.113\.1:22: -A DOCKER -j ACCEPT/);
    assert.match(lines[2], /^containers here +tcp 0\.0\.0\.0:5432/);
    assert.doesNotMatch(out, /3306/);
    assert.ok(!out.includes('\u001b'), 'names of processes are shown without their escapes');
    assert.match(err, /3 services listen: 1 reached from the Internet, 1 from outside/);
    assert.match((await bed.run('exposure --all')).out, /itself only +tcp 0\.0\.0\.0:3306/);
  });

  it('says what cannot be decided, and what was not seen or measured is no pass', async () => {
    const doubt = { text: 'limit rate 5/second' };
    const perhaps = service(80, 'lan', {
      atWorst: 'internet',
      paths: [wayFrom('internet', { certainty: 'unknown', undecided: doubt })],
    });
    show(
      reportOf([perhaps], { unseen: [{ what: 'packet filter', why: 'needs CAP_NET_ADMIN' }], notMeasured: ['rules of nft: no'] }),
    );
    const { out, err, code } = await bed.run('exposure');
    assert.equal(code, 3);
    assert.match(out, /the LAN, perhaps the Internet .*unless limit rate 5\/second/);
    assert.match(err, /not seen: packet filter: needs CAP_NET_ADMIN/);
    assert.match(err, /not measured: rules of nft: no/);
    const json = JSON.parse((await bed.run('exposure --json')).out);
    assert.deepEqual([json.services[0].reach, json.services[0].at_worst], ['lan', 'internet']);
    assert.deepEqual(json.services[0].paths[0].undecided, doubt);
    assert.deepEqual(json.services[0].paths[0].allowed_by[0].handle, 9);
    assert.deepEqual(json.not_measured, ['rules of nft: no']);
  });

  it('remembers, and tells what opened since', async () => {
    show(reportOf([service(22, 'lan'), service(23, 'lan')]));
    assert.equal((await bed.run('exposure --state last.json')).code, 0);
    assert.equal(statSync(path.join(bed.directory, 'last.json')).mode & 0o777, 0o600);
    assert.match((await bed.run('exposure --state last.json')).err, /nothing changed since 2026-03-04 05:00:00/);
    show(reportOf([service(22, 'internet'), service(8080, 'local')]));
    const first = await bed.run('exposure --state last.json --no-remember');
    assert.equal(first.code, 10);
    assert.match(
      first.out,
      /wider +tcp 0\.0\.0\.0:22 .*: the LAN -> the Internet\n.*new +tcp 0\.0\.0\.0:8080.*: itself only\n.*gone +tcp 0\.0\.0\.0:23/s,
    );
    // Not remembered: told again; remembered: told once.
    const json = JSON.parse((await bed.run('exposure --state last.json --json')).out);
    assert.deepEqual(
      json.changes.map(({ kind }: { kind: string }) => kind),
      ['wider', 'new', 'gone'],
    );
    assert.equal((await bed.run('exposure --state last.json')).code, 0);
  });

  it('does not call a service closed that was not walked, nor remember a run that was cut short', async () => {
    show(reportOf([service(22, 'lan'), service(23, 'internet')]));
    await bed.run('exposure --state cut.json');
    const cut = { atWorst: 'internet', notWalked: 3 } as const;
    show(reportOf([service(22, 'local', cut), service(23, 'internet'), service(8080, 'lan', cut)], { notMeasured: ['6 ways'] }));
    const { out, err } = await bed.run('exposure --state cut.json');
    assert.match(out, /^not walked +tcp 0\.0\.0\.0:22 .* 3 ways not walked$/m);
    assert.match(out, /^the LAN, perhaps the Internet +tcp 0\.0\.0\.0:8080 .*; 3 ways not walked$/m);
    assert.doesNotMatch(out, /narrower|wider/);
    assert.match(err, /the next run is compared with what was remembered before this one/);
    show(reportOf([service(22, 'lan'), service(23, 'internet')]));
    assert.match((await bed.run('exposure --state cut.json')).err, /nothing changed since/);
    const proposed = await bed.run('exposure --propose --state cut.json');
    assert.equal(JSON.parse((await bed.run('exposure --json --state cut.json')).out).services[0].not_walked, undefined);
    assert.equal(proposed.code, 0);
  });

  it('says first that a proposal may lock out whoever applies it, where their own session is not known', async () => {
    show(reportOf([service(2200, 'internet', { processes: [{ pid: 7, comm: 'sshd', uid: 0 }] }), service(443, 'internet')]));
    const { out } = await bed.run('exposure --propose --state p.json');
    assert.match(out, /^# it may lock you out: .* it closes 2200, where SSH logins come in: add --allow 2200/);
    const json = JSON.parse((await bed.run('exposure --propose --json --allow 2200 --state p.json')).out);
    assert.match(json.proposal.risks[0], /it may lock you out: .*sudo.*: add it with --allow/);
    bed.variables = { SSH_CONNECTION: '192.0.2.9 50000 203.0.113.1 2200' };
    assert.doesNotMatch((await bed.run('exposure --propose --state p.json')).out, /lock you out/);
  });

  it('compares with nothing where there is no data directory, or the file is not its own', async () => {
    show(reportOf([service(22, 'lan')]));
    assert.match((await bed.run('exposure')).err, /nothing is remembered for the next run: name a file with --state/);
    mkdirSync(path.join(bed.directory, 'data', 'state'));
    assert.equal((await bed.run('exposure')).code, 0);
    assert.match((await bed.run('exposure')).err, /nothing changed/);
    await writeDurably(path.join(bed.directory, 'odd.json'), '{"version":1,"services":[{"key":1}]}');
    assert.match((await bed.run('exposure --state odd.json')).err, /is not what an earlier run left/);
  });

  it('proposes, as a file to read, what keeps the own session and what is allowed', async () => {
    bed.variables = { SSH_CONNECTION: '192.0.2.9 50000 203.0.113.1 2222' };
    show(
      reportOf([service(2222, 'internet'), service(443, 'internet'), service(6379, 'internet'), service(5432, 'containers')]),
      true,
    );
    const { out, code } = await bed.run('exposure --propose --allow 443,53/udp --state s.json');
    assert.equal(code, 0);
    assert.match(
      out,
      /# It closes:\n# {3}tcp 0\.0\.0\.0:6379 .*\n# It keeps open:\n# {3}tcp 0\.0\.0\.0:2222.*\n# {3}tcp 0\.0\.0\.0:443/,
    );
    assert.match(
      out,
      /tcp dport \{ 443, 2222 \} accept\n\t\tudp dport \{ 53 \} accept\n\t\tmeta l4proto \{ tcp, udp \} counter drop/,
    );
    assert.match(out, /socket transparent 1 accept/);
    assert.match(out, /oifname \{ "docker0" \} meta l4proto \{ tcp, udp \} counter drop/);
    assert.doesNotMatch(out, /^\t*(?:ct status dnat )?counter drop/m, 'ESP, VRRP and the like are nobody here to close');
    assert.match(out, /# not in it, because they are down .*: eth1; plan again/);
    assert.match(out, /# To take it back: nft delete table inet exposure_guard/);
    // Everything said beside the rules is a comment.
    const rules = out.split('\n').filter((line) => !line.startsWith('#'));
    assert.match(rules[0], /^table inet exposure_guard \{$/);
    assert.equal((await bed.run('exposure --propose --allow 70000')).code, 2);
  });

  it('narrows to one namespace or container, and knows which there are', async () => {
    show(reportOf([service(22, 'internet'), service(80, 'internet', { netns: 'web', container: 'shop' })]));
    assert.doesNotMatch((await bed.run('exposure --netns shop')).out, /:22/);
    const { code, err } = await bed.run('exposure --netns nowhere');
    assert.deepEqual([code, /nothing listens in a namespace or container nowhere/.test(err)], [1, true]);
  });
});
