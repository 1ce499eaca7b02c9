// The command lines of the three supervised programs, with the privileges each one gets.
// netd keeps root; gateway becomes uid weir with CAP_NET_RAW alone; recorder uid weir with nothing.
// Source: setpriv(1), capabilities(7).

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Account } from './account.ts';
import type { ChildSpecification } from './child.ts';
import { ownInstallation } from './installation.ts';

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

/** Young generation in MiB: small where nobody is in a hurry, large where sessions come and go by the ten thousand. */
const heapFlags = (megabytes: number, youngMegabytes?: number): string[] => [
  `--max-old-space-size=${megabytes}`,
  ...(youngMegabytes === undefined ? [] : [`--max-semi-space-size=${youngMegabytes}`]),
  '--no-warnings',
];

/**
 * V8 lets objects be born old where many made at the same place lived through a collection, as records do that wait for the rest of
 * their batch. Dead, they keep alive all that is young and hangs on them, until the old are collected too: with this, a third of
 * what became old does.
 */
const bornYoung = '--no-allocation-site-pretenuring';

/**
 * In a heap of this bound V8 collects the old whenever they are some 1.4 times what was left the last time, which took an eighth of the
 * time of looking at records. At three times it is still within the bound.
 */
const seldomOld = '--heap-growing-percent=200';

/** Those of the process that looks at every record; `weir bench analysis` measures with them. */
export const recorderHeapFlags: readonly string[] = [...heapFlags(512, 32), bornYoung, seldomOld];

function dropTo(account: Account, capabilities: string, groups: readonly number[] = []): string[] {
  return [
    '--reuid',
    String(account.uid),
    '--regid',
    String(account.gid),
    ...(groups.length > 0 ? ['--groups', groups.join(',')] : ['--clear-groups']),
    '--inh-caps',
    capabilities,
    '--ambient-caps',
    capabilities,
    '--bounding-set',
    capabilities,
    '--no-new-privs',
  ];
}

/** More than the machine's own limit only where this process may raise it (CAP_SYS_RESOURCE, bit 24). */
const ampleDescriptors = 1_048_576;

/** How many descriptors the gateway gets: every open connection is one. See prlimit(1), proc_sys_fs(5). */
export function gatewayDescriptors(): number {
  const number = (path: string, pattern: RegExp): number => Number(pattern.exec(readFileSync(path, 'utf8'))?.[1] ?? Number.NaN);
  const hard = number('/proc/self/limits', /^Max open files\s+\S+\s+(\d+)/m) || ampleDescriptors;
  const effective = BigInt(`0x${/^CapEff:\s*([0-9a-f]+)/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? '0'}`);
  if ((effective & (1n << 24n)) === 0n) return hard;
  return Math.max(hard, Math.min(ampleDescriptors, number('/proc/sys/fs/nr_open', /^(\d+)/)));
}

/** A clean environment: nothing of the caller's reaches a process that reads attacker bytes. */
const environment = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LANG: 'C.UTF-8', TZ: 'UTC' };

/**
 * For programs with the embedded store: large blocks go back to the system when they are freed, which glibc does not do by itself
 * once it saw some freed (50 MB of an import's resident memory), and neither it nor the allocator of the store's engine
 * (jemalloc) keeps free blocks apart for each of a machine's processors. See mallopt(3), jemalloc(3).
 */
const storeEnvironment = {
  ...environment,
  MALLOC_MMAP_THRESHOLD_: '131072',
  MALLOC_TRIM_THRESHOLD_: '131072',
  MALLOC_ARENA_MAX: '2',
  DUCKDB_JE_MALLOC_CONF: 'narenas:1,dirty_decay_ms:200,muzzy_decay_ms:0',
};

/**
 * Root runs from the installation it was started from, never from a copy made for others. `successor` is what netd starts
 * when its supervisor dies: the arguments of `weir`; without it, `up`.
 */
export function netdSpecification(
  { account, data, file }: LaunchOptions,
  operator: string | undefined,
  successor?: readonly string[],
): ChildSpecification {
  const installation = ownInstallation();
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
      ...(successor ? ['--successor', JSON.stringify(successor)] : []),
    ],
    environment,
  };
}

export function gatewaySpecification({ installation, account, data }: LaunchOptions): ChildSpecification {
  return {
    name: 'gateway',
    command: 'prlimit',
    arguments: [
      `--nofile=${gatewayDescriptors()}`,
      'setpriv',
      ...dropTo(account, '-all,+net_raw'),
      installation.node,
      ...heapFlags(1024, 32),
      join(installation.root, 'dist/src/programs/gateway.js'),
      '--data',
      data,
    ],
    environment,
  };
}

/**
 * The unprivileged half of a privileged agent: as the gateway, and it may listen below 1024 where its rules name ports. `argv`
 * is what `weir agent` was given.
 */
export function agentSpecification({ installation, account, data }: LaunchOptions, argv: readonly string[]): ChildSpecification {
  return {
    name: 'agent',
    command: 'prlimit',
    arguments: [
      `--nofile=${gatewayDescriptors()}`,
      'setpriv',
      ...dropTo(account, '-all,+net_raw,+net_bind_service'),
      installation.node,
      ...heapFlags(1024, 16),
      join(installation.root, 'dist/src/programs/agent-privileged.js'),
      data,
      ...argv,
    ],
    environment,
  };
}

/**
 * SCHED_IDLE, see sched(7): what the recorder has not read yet is safe in the journal, and a busy gateway has nobody behind
 * it. On two shared cores this is worth a sixth of the sessions a second.
 */
const yieldToAll = ['--idle', '0'];

/** The process that reads files of others; without an account (not root) as whoever called. */
export function importCommand(installation: Installation, account: Account | undefined): Omit<ChildSpecification, 'name'> {
  const program = [...heapFlags(512, 4), bornYoung, join(installation.root, 'dist/src/programs/importer.js')];
  if (!account) return { command: installation.node, arguments: program, environment: storeEnvironment };
  return {
    command: 'setpriv',
    arguments: [...dropTo(account, '-all'), installation.node, ...program],
    environment: storeEnvironment,
  };
}

/** The half of a verb that keeps root while packets are read without it; see packet-helper.ts. */
export function packetHelperCommand({ node, root }: Installation): Omit<ChildSpecification, 'name'> {
  return { command: node, arguments: [...heapFlags(512), join(root, 'dist/src/programs/packet-helper.js')], environment };
}

/** `settings` is the JSON slice of the configuration the recorder needs. */
export function recorderSpecification({ installation, account, data }: LaunchOptions, settings: string): ChildSpecification {
  return {
    name: 'recorder',
    command: 'chrt',
    arguments: [
      ...yieldToAll,
      'setpriv',
      ...dropTo(account, '-all'),
      installation.node,
      ...recorderHeapFlags,
      join(installation.root, 'dist/src/programs/recorder.js'),
      '--data',
      data,
      '--settings',
      settings,
    ],
    environment: storeEnvironment,
  };
}

/** Beside Suricata: what it is shown, and what becomes of its alerts. `group` is that of Suricata's command socket. */
export function idsSpecification(
  { installation, account, data }: LaunchOptions,
  settings: string,
  group: number,
  descriptors: readonly number[],
): ChildSpecification {
  return {
    name: 'ids',
    command: 'chrt',
    arguments: [
      ...yieldToAll,
      'setpriv',
      ...dropTo(account, '-all', [group]),
      installation.node,
      ...heapFlags(384, 4),
      join(installation.root, 'dist/src/programs/ids.js'),
      '--data',
      data,
      '--settings',
      settings,
    ],
    environment,
    descriptors,
  };
}

/** Address space: what Suricata maps at most, whatever its rules make of it. */
const suricataAddressBytes = 4 * 2 ** 30;

/** Suricata in the namespace `netns`, from which its account cannot leave: it hears packets there, and nothing else. */
export function suricataSpecification(
  program: string,
  account: Account,
  netns: string,
  configuration: string,
): ChildSpecification {
  return {
    name: 'suricata',
    command: 'nsenter',
    arguments: [
      `--net=${netns}`,
      '--',
      'prlimit',
      `--as=${suricataAddressBytes}`,
      'nice',
      '-n',
      '5',
      'setpriv',
      ...dropTo(account, '-all,+net_raw'),
      // It knows no lifeline.
      '--pdeathsig',
      'KILL',
      program,
      '-c',
      configuration,
      '--af-packet',
    ],
    environment,
  };
}
