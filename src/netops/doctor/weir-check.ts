// Whether a running Weir can do its work on this machine: judgements over what was read, one check each. Pure; reading is machine-health.ts, touching
// decoys decoy-touch.ts.

import type { MachineNamespace } from '../../model/machine.ts';
import type { Status } from '../../model/status.ts';
import type { MachineHealth } from './machine-health.ts';

export interface WeirCheck {
  readonly name: string;
  readonly state: 'pass' | 'warn' | 'fail' | 'not-measured';
  readonly detail: string;
  readonly next?: string;
}

/** Where a disk is nearly full: events are kept, then dropped, and counted. */
const leastFree = 0.05;
const leastFreeBytes = 256 << 20;
/** Of a limit in use: what is left may go in a moment. */
const nearlyAll = 0.8;
const worstSkewMs = 1000;

export function checkStatus(status: Status | undefined): WeirCheck[] {
  if (!status) return [{ name: 'programs', state: 'fail', detail: 'Weir does not run here', next: 'start it with `weir up`' }];
  const down = (status.processes ?? []).filter(({ state }) => state !== 'running');
  const checks: WeirCheck[] = [
    down.length === 0
      ? { name: 'programs', state: 'pass', detail: `${(status.processes ?? []).length} run` }
      : {
          name: 'programs',
          state: 'fail',
          detail: down.map(({ name, state }) => `${name} is ${state}`).join(', '),
          next: 'see its log',
        },
  ];
  const reasons = status.reasons ?? [];
  for (const reason of reasons) checks.push({ name: 'health', state: status.health === 'bad' ? 'fail' : 'warn', detail: reason });
  if (reasons.length === 0) checks.push({ name: 'health', state: 'pass', detail: 'nothing is wrong by its own account' });
  for (const { name, state, health, reasons: own } of status.agents ?? []) {
    const good = state === 'linked' && health === 'good';
    const waits = state === 'waiting' || state === 'revoked';
    checks.push({
      name: `agent ${name}`,
      state: good || state === 'revoked' ? 'pass' : waits || state === 'linked' ? 'warn' : 'fail',
      detail: [state, ...own].join(': '),
    });
  }
  const lost = Object.entries(status.drops ?? {}).filter(([, count]) => count > 0);
  checks.push(
    lost.length === 0
      ? { name: 'losses', state: 'pass', detail: 'nothing was lost' }
      : {
          name: 'losses',
          state: 'warn',
          detail: lost.map(([what, count]) => `${what} ${count}`).join(', '),
          next: '`weir status` says where',
        },
  );
  const lagMs = status.journal?.lagMs;
  if (lagMs !== undefined)
    checks.push({
      name: 'journal',
      state: lagMs > 60_000 ? 'warn' : 'pass',
      detail: `the store is ${Math.round(lagMs)} ms behind`,
    });
  return checks;
}

export function checkMachine(health: MachineHealth, home: MachineNamespace | undefined): WeirCheck[] {
  const { clock, disk, openFiles, tracked } = health;
  const checks: WeirCheck[] = [
    clock === undefined
      ? { name: 'clock', state: 'not-measured', detail: 'the kernel does not say' }
      : clock.synchronised
        ? {
            name: 'clock',
            state: clock.errorMs > worstSkewMs ? 'warn' : 'pass',
            detail: `kept by NTP, at most ${clock.errorMs} ms off`,
          }
        : {
            name: 'clock',
            state: 'warn',
            detail: 'nobody keeps it right (NTP)',
            next: 'times of events may not be comparable with those of other machines',
          },
    disk === undefined
      ? { name: 'disk', state: 'not-measured', detail: 'the data directory cannot be read' }
      : disk.freeBytes < Math.min(leastFreeBytes, disk.sizeBytes * leastFree)
        ? {
            name: 'disk',
            state: 'fail',
            detail: `${Math.round(disk.freeBytes / (1 << 20))} MiB free below ${disk.path}`,
            next: 'make room, or lower retention.size',
          }
        : { name: 'disk', state: 'pass', detail: `${Math.round(disk.freeBytes / (1 << 20))} MiB free below ${disk.path}` },
    openFiles === undefined
      ? { name: 'open files', state: 'not-measured', detail: 'the gateway does not run, or may not be looked into' }
      : openFiles.open > openFiles.limit * nearlyAll
        ? {
            name: 'open files',
            state: 'warn',
            detail: `the gateway has ${openFiles.open} of ${openFiles.limit}`,
            next: 'raise LimitNOFILE',
          }
        : { name: 'open files', state: 'pass', detail: `the gateway has ${openFiles.open} of ${openFiles.limit}` },
  ];
  if (tracked)
    checks.push({
      name: 'connection tracking',
      state: tracked.count > tracked.limit * nearlyAll ? 'warn' : 'pass',
      detail: `${tracked.count} of ${tracked.limit} entries`,
    });
  checks.push(checkInterference(home));
  return checks;
}

/** br_netfilter hands bridged frames to iptables; with a policy of drop, as Docker sets it, decoys behind a bridge fall silent. */
function checkInterference(home: MachineNamespace | undefined): WeirCheck {
  const name = 'bridged frames';
  if (!home?.filter) return { name, state: 'not-measured', detail: 'the rules could not be read' };
  const handed = ['iptables', 'ip6tables'].some((which) => home.sysctls[`net/bridge/bridge-nf-call-${which}`] === '1');
  const drops = home.filter.chains.filter(
    ({ base, family }) => base?.hook === 'forward' && base.policy === 'drop' && /^(ip6?|inet)$/.test(family),
  );
  const bridges = home.links.filter(({ kind }) => kind === 'bridge').length;
  if (!handed || drops.length === 0 || bridges === 0)
    return { name, state: 'pass', detail: 'no rules are in the way of bridges' };
  const places = drops.map(({ family, table, name: chain }) => `${family} ${table} ${chain}`).join(', ');
  return {
    name,
    state: 'warn',
    detail: `br_netfilter hands frames of ${bridges} bridges to iptables, and ${places} drops by policy`,
    next: 'weir doctor --from .. --to .. --probe for an address behind a bridge; net.bridge.bridge-nf-call-iptables=0 where nobody counts on it',
  };
}

/** 0 all well, 10 something fails, 11 something is not well, 12 something could not be measured. */
export function exitCodeOf(checks: readonly WeirCheck[]): number {
  const has = (state: WeirCheck['state']): boolean => checks.some((check) => check.state === state);
  return has('fail') ? 10 : has('warn') ? 11 : has('not-measured') ? 12 : 0;
}
