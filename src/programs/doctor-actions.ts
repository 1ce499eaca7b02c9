// Gives `weir doctor` the machine it runs on.

import { WeirError } from '../base/errors.ts';
import type { DoctorActions } from '../cli/doctor-actions.ts';
import { readMachine } from '../kernel/machine/machine-reader.ts';
import type { MachineNamespace } from '../model/machine.ts';
import { lacksTouch, touchDecoy } from '../netops/doctor/decoy-touch.ts';
import { diagnose } from '../netops/doctor/diagnose.ts';
import { readMachineHealth } from '../netops/doctor/machine-health.ts';
import { tryFix } from '../netops/doctor/try-fix.ts';
import { checkMachine } from '../netops/doctor/weir-check.ts';

async function readHome(netns?: string): Promise<MachineNamespace> {
  const { namespaces } = await readMachine({
    namespaces: 'one',
    ...(netns !== undefined && { netns }),
    parts: ['sysctls', 'filter'],
  });
  const [home] = namespaces;
  if (!home) throw new WeirError('not-permitted', 'the network namespace could not be read', { next: 'run it as root' });
  return home;
}

export const doctorActions: DoctorActions = {
  diagnose: async (wish) => (await diagnose(wish)).diagnosis,
  tryFix,
  machine: async (data, gateway) => checkMachine(readMachineHealth(data, gateway), await readHome().catch(() => undefined)),
  async touch({ link, netns }, decoy, port) {
    const home = await readHome(netns);
    const outward = home.routes.find(
      ({ prefixLength, family, type }) => prefixLength === 0 && family === decoy.family && type === 'unicast',
    );
    const name = link ?? outward?.hops[0]?.device;
    const found = home.links.find((candidate) => candidate.name === name);
    if (!found) return { why: 'there is no default route: an answer to a stranger would go nowhere' };
    const lack = lacksTouch(home, found, decoy);
    return lack === undefined ? touchDecoy(home, found, decoy, port) : { why: lack };
  },
};
