// One VXLAN device for all VNIs on a bridge that filters VLANs, which the kernel below the other tests lacks. Far VTEPs are
// told by hand here, as FRR 9 does; Debian 12's FRR 8.4 knows one VNI on each device and is refused for it.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createCommandRunner } from '../../../src/kernel/command.ts';
import { FabricChanger } from '../../../src/plan/fabric-changer.ts';
import { planFabric } from '../../../src/plan/fabric-state.ts';
import { type BedSegment, FabricBed } from '../../support/fabric-bed.ts';
import { runCommand, until, withLab } from '../../support/namespace.ts';

const decoys = ['192.168.1.96/29'];
const office: BedSegment = { name: 'office', vni: 100, address: '192.168.1.2/24', decoys, device: 'single' };
const plant: BedSegment = { name: 'plant', vni: 4100, address: '192.168.1.2/24', decoys, device: 'single' };

test('two segments with equal addresses on a single VXLAN device: reached, repaired, one removed, all removed', () =>
  withLab(async (lab) => {
    const bed = await FabricBed.open(lab);
    const changer = new FabricChanger(createCommandRunner(bed.machine.path), bed.tag);
    const fabric = `weir-${bed.tag}.fabric`;
    try {
      const before = await bed.machine.snapshot();
      await bed.makeSegments(['office', 'plant']);
      const both = planFabric(bed.desired([office, plant]), bed.tag) ?? assert.fail();
      assert.equal(await changer.ensureNamespace(both), true);
      assert.ok((await changer.ensureLinks(both)).length > 4);
      await changer.ensureEntries(both);
      assert.deepEqual(await changer.ensureLinks(both), []);
      const { addMacs, addNeighbours, removeMacs, removeNeighbours } = await changer.entryChanges(both);
      assert.deepEqual([addMacs, addNeighbours, removeMacs, removeNeighbours], [[], [], [], []]);
      const { stdout } = await runCommand(['ip', '-n', fabric, '-o', 'link', 'show', 'type', 'vxlan']);
      assert.equal(stdout.trim().split('\n').length, 1, stdout);

      const tellFarVteps = async (): Promise<void> => {
        for (const { vni } of [office, plant])
          await runCommand([
            ...['bridge', '-n', fabric, 'fdb', 'append', '00:00:00:00:00:00', 'dev', 'vxlan0'],
            ...['dst', '10.50.0.2', 'src_vni', String(vni), 'self', 'permanent'],
          ]);
      };
      await tellFarVteps();
      for (const [segment, host] of [
        [office, bed.host],
        [plant, bed.secondHost],
      ] as const) {
        await bed.joinFar(segment.vni, '192.168.1.9/24', host);
        await bed.far.run(['bridge', 'fdb', 'append', '00:00:00:00:00:00', 'dev', `v${segment.vni}`, 'dst', '10.50.0.1']);
        await bed.furnish(segment);
        await until(`a decoy of ${segment.name} answers`, () => bed.ping('192.168.1.100', 1, host), 20_000);
      }

      await runCommand(['ip', '-n', fabric, 'link', 'del', 'vxlan0']);
      const repairs = await changer.ensureLinks(both);
      assert.match(repairs.map(({ repair }) => repair).join('\n'), /VXLAN device vxlan0 for all VNIs .* was gone: made again/);
      await tellFarVteps();
      await until('the decoy answers again', () => bed.ping('192.168.1.100', 1, bed.secondHost), 20_000);

      const one = planFabric(bed.desired([plant]), bed.tag) ?? assert.fail();
      await changer.ensureLinks(one);
      assert.ok(await bed.ping('192.168.1.100', 1, bed.secondHost), 'the other segment stays');
      assert.ok(!(await bed.ping('192.168.1.100', 1)), 'the removed one does not');

      await assert.rejects(bed.controller().difference(bed.desired([office])), /FRR 8\.4 knows one VNI on each VXLAN device/);
      await changer.remove();
      assert.equal(await bed.machine.snapshot(), before);
    } finally {
      await changer.remove();
      await bed.end();
    }
  }));
