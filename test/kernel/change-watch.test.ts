// What the kernel tells of changes in a real namespace: every kind we care about, nothing of what we do not, an overrun,
// and a namespace whose name is taken away and put back.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import test from 'node:test';
import { type ChangeKind, ChangeWatch } from '../../src/kernel/change-watch.ts';
import { NamespaceHandle, readNamespaceIdentity } from '../../src/kernel/namespace-handle.ts';
import { NamespaceNamesWatch } from '../../src/kernel/namespace-names-watch.ts';
import { lacksKernelTests, runCommand, type TestNamespace, until, withLab } from '../support/namespace.ts';

const options = { skip: lacksKernelTests() };

async function watching(
  namespace: TestNamespace,
  body: (told: Set<ChangeKind>, watch: ChangeWatch) => Promise<void>,
): Promise<void> {
  const told = new Set<ChangeKind>();
  const note = (kinds: ReadonlySet<ChangeKind>): void => {
    for (const kind of kinds) told.add(kind);
  };
  const watch = new ChangeWatch({ netns: namespace.path, onChange: note });
  try {
    await body(told, watch);
  } finally {
    watch.close();
  }
}

test('each kind of change is told', options, () =>
  withLab(async (lab) => {
    const place = await lab.namespace('p');
    await watching(place, async (told) => {
      const expectKind = async (kind: ChangeKind, change: () => Promise<unknown>): Promise<void> => {
        told.clear();
        await change();
        await until(`a change of kind ${kind}`, () => told.has(kind), 2000);
      };
      await expectKind('link', () => place.ip('link add va type veth peer name vb\nlink set va up\nlink set vb up\n'));
      await expectKind('address', () => place.ip('addr add 10.9.0.1/24 dev va\n'));
      await expectKind('address', () => place.ip('addr add fd09::1/64 dev va nodad\n'));
      await expectKind('route', () => place.ip('route add local 10.9.8.0/24 dev lo table 255 proto 87\n'));
      await expectKind('route', () => place.ip('route del local 10.9.8.0/24 dev lo table 255 proto 87\n'));
      await expectKind('route', () => place.run('ip -6 route add local fd09:1::/64 dev lo table 255 proto 87'.split(' ')));
      await expectKind('route', () => place.ip('route add default via 10.9.0.9\n'));
      await expectKind('rule', () => place.ip('rule add fwmark 5 lookup 7\n'));
      await expectKind('link', () => place.ip('link set va promisc on\n'));
      await expectKind('sysctl', () => place.setSysctl('net/ipv4/conf/va/rp_filter', '2'));
      await expectKind('table', () => place.nft('table inet weir { set s { type ipv4_addr; }\n chain c { accept; }; }'));
      await expectKind('table', () => place.nft('add element inet weir s { 10.9.0.7 }'));
      await expectKind('table', () => place.nft('delete element inet weir s { 10.9.0.7 }'));
      await expectKind('table', () => place.nft('flush chain inet weir c'));
      await expectKind('table', () => place.nft('flush ruleset'));
      await expectKind('link', () => place.ip('link del va\n'));
    });
  }),
);

test('routes of other protocols and live neighbours wake nobody, whatever happens in the ruleset is told as that', options, () =>
  withLab(async (lab) => {
    const place = await lab.namespace('p');
    // No link-local addresses: they and their routes come when the carrier does.
    await place.ip(
      'link add va type veth peer name vb\nlink set va addrgenmode none\nlink set vb addrgenmode none\nlink set va up\nlink set vb up\naddr add 10.9.0.1/24 dev va\n',
    );
    await watching(place, async (told) => {
      await place.ip('route add 10.77.0.0/16 via 10.9.0.9 proto bird\nroute del 10.77.0.0/16 via 10.9.0.9 proto bird\n');
      await place.ip('neigh add 10.9.0.7 lladdr 02:00:00:00:00:07 dev va nud reachable\nneigh del 10.9.0.7 dev va\n');
      // The mark at the end: everything before it was delivered before it.
      await place.ip('rule add fwmark 5 lookup 7\n');
      await until('the mark', () => told.has('rule'));
      told.delete('rule');
      await place.nft('table inet other { set s { type ipv4_addr; }; }');
      await until('a change of the ruleset', () => told.has('table'));
      told.delete('table');
      // Links may report their carrier late; nothing else may have come.
      told.delete('link');
      told.delete('address');
      assert.deepEqual([...told], []);
    });
  }),
);

test('a permanent forwarding entry of a VXLAN device is told', options, () =>
  withLab(async (lab) => {
    const place = await lab.namespace('p');
    await place.ip(
      'link add va type veth peer name vb\nlink set va up\naddr add 10.9.0.1/24 dev va\nlink add lan type vxlan id 77 local 10.9.0.1 dstport 4789\nlink set lan up\n',
    );
    await watching(place, async (told) => {
      await place.run(['bridge', 'fdb', 'append', '00:00:00:00:00:00', 'dev', 'lan', 'dst', '10.9.0.2']);
      await until('an entry added', () => told.has('neighbour'));
      told.clear();
      await place.run(['bridge', 'fdb', 'del', '00:00:00:00:00:00', 'dev', 'lan', 'dst', '10.9.0.2']);
      await until('an entry removed', () => told.has('neighbour'));
    });
  }),
);

test('more changes than fit in the queue are told as anything, and counted', options, () =>
  withLab(async (lab) => {
    const place = await lab.namespace('p');
    await watching(place, async (told, watch) => {
      const lines: string[] = [];
      for (let index = 0; index < 30_000; index += 1)
        lines.push(`route add local 10.${64 + (index >> 16)}.${(index >> 8) & 255}.${index & 255} dev lo table 255 proto 87\n`);
      // Synchronously: nothing is read meanwhile.
      execFileSync('nsenter', [`--net=${place.path}`, '--', 'ip', '-batch', '-'], { input: lines.join('') });
      await until('the overrun', () => told.has('unknown'));
      assert.ok(watch.overruns > 0);
      told.clear();
      await until('it still tells', async () => {
        await place.ip('link add name q0 type veth peer name q1\nlink del q0\n');
        return told.has('link');
      });
    });
  }),
);

test('a namespace whose name is removed lives on in the hand that holds it, and gets its name back', options, () =>
  withLab(async (lab) => {
    const place = await lab.namespace('p');
    await place.ip('link add va type veth peer name vb\n');
    const handle = new NamespaceHandle(place.path);
    const told: string[] = [];
    const names = NamespaceNamesWatch.open((path) => told.push(path));
    assert.ok(names);
    try {
      assert.equal(handle.named, true);
      await runCommand(['ip', 'netns', 'delete', place.name]);
      await until('the name is told gone', () => told.includes(place.path));
      assert.equal(handle.named, false);
      assert.equal(readNamespaceIdentity(place.path), undefined);
      handle.restoreName();
      assert.equal(handle.named, true);
      assert.match((await place.run(['ip', '-o', 'link'])).stdout, /va@vb/);

      // Another namespace under our name, and a name without anything behind it.
      await runCommand(['ip', 'netns', 'delete', place.name]);
      await runCommand(['ip', 'netns', 'add', place.name]);
      assert.equal(handle.named, false);
      assert.notEqual(readNamespaceIdentity(place.path), undefined);
      handle.restoreName();
      await runCommand(['umount', place.path]);
      assert.equal(handle.named, false);
      handle.restoreName();
      assert.match((await place.run(['ip', '-o', 'link'])).stdout, /va@vb/);
      handle.restoreName();
      await runCommand(['umount', place.path]);
      assert.equal(handle.named, false, 'one mount, not a pile');
      handle.restoreName();
    } finally {
      names.close();
      handle.close();
    }
  }),
);
