// What a step of repair mended, in words for people and for the record. Pure.

import type { Repair } from './annex.ts';
import type { Step } from './step.ts';

const objects: Record<Step['kind'], Repair['object']> = {
  ruleset: 'table',
  routes: 'route',
  claims: 'address',
  sysctl: 'sysctl',
  promiscuous: 'link',
  netns: 'netns',
  links: 'link',
  wire: 'address',
  annex: 'link',
};

export const describeRepair = (step: Step): Repair => ({
  network: step.network ?? '',
  object: objects[step.kind],
  message: `${step.network === undefined ? '' : `${step.network}: `}${step.line}`,
});
