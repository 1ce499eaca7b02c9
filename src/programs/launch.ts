// The command lines of the three supervised programs, with the privileges each one gets.
// netd keeps root; gateway becomes uid weir with CAP_NET_RAW alone; recorder uid weir with nothing.
// Source: setpriv(1), capabilities(7).

import { join } from 'node:path';
import type { Account } from './account.ts';
import type { ChildSpecification } from './child.ts';

/** Where the programs are and what they run on; see program-files.ts. */
export interface Installation {
  /** The node executable. */
  readonly node: string;
  /** The directory that holds `dist`, `rules` and `node_modules`. */
  readonly root: string;
}

export interface LaunchOptions {
  readonly installation: Installation;
  readonly account: Account;
  readonly data: string;
  /** Absolute path of the configuration, absent for the defaults. */
  readonly file?: string;
}

const heapFlags = (megabytes: number): string[] => [`--max-old-space-size=${megabytes}`, '--no-warnings'];

function dropTo(account: Account, capabilities: string): string[] {
  return [
    '--reuid',
    String(account.uid),
    '--regid',
    String(account.gid),
    '--clear-groups',
    '--inh-caps',
    capabilities,
    '--ambient-caps',
    capabilities,
    '--bounding-set',
    capabilities,
    '--no-new-privs',
  ];
}

/** A clean environment: nothing of the caller's reaches a process that reads attacker bytes. */
const environment = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LANG: 'C.UTF-8', TZ: 'UTC' };

export function netdSpecification(
  { installation, account, data, file }: LaunchOptions,
  operator: string | undefined,
): ChildSpecification {
  return {
    name: 'netd',
    command: installation.node,
    arguments: [
      ...heapFlags(512),
      join(installation.root, 'dist/src/programs/netd.js'),
      '--data',
      data,
      '--uid',
      String(account.uid),
      ...(file ? ['--config', file] : []),
      ...(operator ? ['--operator', operator] : []),
    ],
    environment,
  };
}

export function gatewaySpecification({ installation, account, data }: LaunchOptions): ChildSpecification {
  return {
    name: 'gateway',
    command: 'setpriv',
    arguments: [
      ...dropTo(account, '-all,+net_raw'),
      installation.node,
      ...heapFlags(1024),
      join(installation.root, 'dist/src/programs/gateway.js'),
      '--data',
      data,
    ],
    environment,
  };
}

/** `settings` is the JSON slice of the configuration the recorder needs. */
export function recorderSpecification({ installation, account, data }: LaunchOptions, settings: string): ChildSpecification {
  return {
    name: 'recorder',
    command: 'setpriv',
    arguments: [
      ...dropTo(account, '-all'),
      installation.node,
      ...heapFlags(512),
      join(installation.root, 'dist/src/programs/recorder.js'),
      '--data',
      data,
      '--settings',
      settings,
    ],
    environment,
  };
}
