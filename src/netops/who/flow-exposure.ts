// From where the services on a flow's way can be reached, as `weir exposure` found it: joined by process, port and namespace. Pure.

import type { ExposedService } from '../exposure/exposure-report.ts';
import { protocolName } from './flow.ts';
import type { PathHop } from './path.ts';

export interface FlowExposure {
  readonly netnsName: string;
  readonly pid: number;
  readonly transport: string;
  readonly port: number;
  readonly reach: ExposedService['reach'];
  /** Where a rule could not be decided. */
  readonly atWorst?: ExposedService['reach'];
  /** Rules that let it in, as their tool prints them. */
  readonly allowedBy: readonly string[];
  /** The default-deny next step; absent where only this machine can reach it. */
  readonly advice?: string;
}

const maxRules = 4;

/** Of every service on the path, in its order; empty: none, or none that was read. */
export function exposureOf(path: readonly PathHop[], services: readonly ExposedService[]): FlowExposure[] {
  const found: FlowExposure[] = [];
  for (const { kind, netnsName, pid, listens, flow } of path) {
    if (kind !== 'process' || pid === undefined || listens === undefined) continue;
    const transport = protocolName(flow.protocol);
    const service = services.find(
      (one) =>
        one.netns === netnsName &&
        one.port === listens &&
        one.transport === transport &&
        one.processes.some((by) => by.pid === pid),
    );
    if (!service) continue;
    const rules = new Set(service.paths.flatMap(({ allowedBy }) => allowedBy.map(({ text }) => text)));
    const isOutside = service.reach !== 'local' && service.reach !== 'containers';
    found.push({
      netnsName,
      pid,
      transport,
      port: listens,
      reach: service.reach,
      ...(service.atWorst === undefined ? {} : { atWorst: service.atWorst }),
      allowedBy: [...rules].slice(0, maxRules),
      ...(isOutside
        ? { advice: 'weir exposure --propose prints the rules that close it and leave open what --allow names' }
        : {}),
    });
  }
  return found;
}
