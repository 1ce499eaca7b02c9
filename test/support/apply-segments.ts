// Applies many segments, to be killed in the middle: node apply-segments.js NETNS STATE-DIRECTORY COUNT.

import { systemClock } from '../../src/base/clock.ts';
import { silentLog } from '../../src/base/log.ts';
import { DiversionController } from '../../src/plan/controller.ts';
import { segmentTag } from '../../src/plan/desired-segment.ts';
import { vxlanSegment, withSegments } from './segment-bed.ts';

const [netns, stateDirectory, count] = process.argv.slice(2);
const controller = new DiversionController({
  stateDirectory,
  ports: { tcp: 7, udp: 8, narrow: 9 },
  tag: segmentTag(stateDirectory),
  log: silentLog,
  clock: systemClock,
  netns,
  resolverFiles: [],
});
const segments = Array.from({ length: Number(count) }, (_, index) => vxlanSegment(`many-${index}`, { vni: 1000 + index }));
await controller.apply(await controller.plan(withSegments(segments)));
