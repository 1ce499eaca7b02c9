// Gives `weir exposure` the machine it runs on: namespaces, listeners, rules, and the kernel's own routing decisions.

import { performance } from 'node:perf_hooks';
import { readWhole, writeDurably } from '../base/durable-file.ts';
import type { ExposureActions } from '../cli/exposure-actions.ts';
import { readMachine } from '../kernel/machine/machine-reader.ts';
import { routeGet } from '../kernel/machine/route-get.ts';
import { findExposure } from '../netops/exposure/exposed-services.ts';
import type { RouteQuestioner } from '../netops/exposure/path-walk.ts';
import { leadsOut } from '../netops/exposure/vantages.ts';

/** Tens of thousands of rules make each way take milliseconds. */
const timeLimitMs = 60_000;

const ask: RouteQuestioner = (namespace, question) => {
  const answer = routeGet(namespace.path, question);
  return answer.kind === 'none'
    ? answer
    : { kind: 'route', type: answer.route.type, ...(answer.device === undefined ? {} : { device: answer.device }) };
};

export const exposureActions: ExposureActions = {
  async read(outside = []) {
    const machine = await readMachine({ namespaces: 'all', parts: ['listeners', 'queues', 'filter'] });
    const [home] = machine.namespaces;
    const diverts = home?.filter?.chains.some(({ table }) => table === 'weir') ?? false;
    const end = performance.now() + timeLimitMs;
    const report = findExposure(machine, ask, {
      isWeir: ({ transparent }) => diverts && transparent === true,
      outside,
      isOver: () => performance.now() > end,
    });
    const insideDevices = (home?.links ?? [])
      .filter((link) => link.name !== 'lo' && link.master === undefined && !leadsOut(machine, home, link, outside))
      .map(({ name }) => name);
    return { report, insideDevices, diverts };
  },
  recall: readWhole,
  remember: (file, text) => writeDurably(file, text),
};
