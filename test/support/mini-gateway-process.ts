// Starts test/support/mini-gateway.ts as the real gateway runs: uid nobody with CAP_NET_RAW alone, no new privileges.

import type { ChildProcess } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { TestNamespace } from './namespace.ts';

export const nobody = 65_534;
const gatewayProgram = fileURLToPath(new URL('../support/mini-gateway.js', import.meta.url));

export interface MiniGateway {
  readonly child: ChildProcess;
  readonly events: Record<string, unknown>[];
  readonly errors: string[];
}

/** `path` is the handover socket's. Ends with the namespace's lab. */
export function startMiniGateway(sensor: TestNamespace, path: string): MiniGateway {
  const child = sensor.spawn([
    ...['setpriv', `--reuid=${nobody}`, `--regid=${nobody}`, '--clear-groups', '--inh-caps=-all,+net_raw'],
    ...['--ambient-caps=-all,+net_raw', '--bounding-set=-all,+net_raw', '--no-new-privs'],
    ...[process.execPath, gatewayProgram, path],
  ]);
  const events: Record<string, unknown>[] = [];
  const errors: string[] = [];
  if (child.stdout) createInterface(child.stdout).on('line', (line) => events.push(JSON.parse(line)));
  if (child.stderr) createInterface(child.stderr).on('line', (line) => errors.push(line));
  return { child, events, errors };
}
