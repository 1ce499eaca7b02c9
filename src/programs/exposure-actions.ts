// Gives `weir exposure` the machine it runs on: namespaces, listeners, rules, and the kernel's own routing decisions.

import { performance } from 'node:perf_hooks';
import { readWhole, writeDurably } from '../base/durable-file.ts';
import type { ExposureActions, ExposureReading } from '../cli/exposure-actions.ts';
import { readMachine } from '../kernel/machine/machine-reader.ts';
import { findExposure } from '../netops/exposure/exposed-services.ts';
import { leadsOut } from '../netops/exposure/vantages.ts';
import { askKernel } from './route-questioner.ts';

/** Tens of thousands of rules make each way take milliseconds. */
const timeLimitMs = 60_000;

/** Ways beyond the time limit are not walked, and the report says so. */
export async function readExposure(outside: readonly string[] = [], limitMs = timeLimitMs): Promise<ExposureReading> {
  const machine = await readMachine({ namespaces: 'all', parts: ['listeners', 'queues', 'filter'] });
  const [home] = machine.namespaces;
  const diverts = home?.filter?.chains.some(({ table }) => table === 'weir') ?? false;
  const end = performance.now() + limitMs;
  const report = findExposure(machine, askKernel, {
    isWeir: ({ transparent }) => diverts && transparent === true,
    outside,
    isOver: () => performance.now() > end,
  });
  const links = home?.links.filter(({ name, master }) => name !== 'lo' && master === undefined) ?? [];
  const insideDevices = links.filter((link) => link.up && !leadsOut(machine, home, link, outside)).map(({ name }) => name);
  const downDevices = links.filter(({ up }) => !up).map(({ name }) => name);
  return { report, insideDevices, downDevices, diverts };
}

export const exposureActions: ExposureActions = {
  read: (outside) => readExposure(outside),
  recall: readWhole,
  remember: (file, text) => writeDurably(file, text),
};
