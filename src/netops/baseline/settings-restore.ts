// Brings settings of a namespace back to an earlier reading: applied step by step, read again and compared, and taken back when a step fails, when
// the result is another, or when nobody confirms in time. The last is done by a process of its own, which needs none of ours alive.

import { spawn } from 'node:child_process';
import { realpath, rename, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { ensureDirectory, readWhole, writeDurably } from '../../base/durable-file.ts';
import { asWeirError, WeirError } from '../../base/errors.ts';
import { printable } from '../../base/printable.ts';
import { type CommandRunner, createCommandRunner } from '../../kernel/command.ts';
import { insideNetns } from '../../kernel/libc.ts';
import { readProcessStart } from '../../kernel/process-identity.ts';
import { divideRoutes, type RouteLines, routeKeeper } from '../../kernel/settings/canonical-routes.ts';
import { changesEveryDevice } from '../../kernel/settings/canonical-sysctls.ts';
import { readSettings } from '../../kernel/settings/settings-reader.ts';
import { planSettings, renderStepsScript } from '../../kernel/settings/settings-steps.ts';
import { type NetworkSettings, type SettingsPart, type SettingsStep, settingsParts } from '../../model/network-settings.ts';
import { diffSettings, incomparable, type SettingsChange } from './settings-diff.ts';

export interface RestorePlan {
  readonly now: NetworkSettings;
  readonly wanted: NetworkSettings;
  readonly changes: readonly SettingsChange[];
  readonly steps: readonly SettingsStep[];
  /** What goes beyond the changes themselves, in words. */
  readonly risks: readonly string[];
  /** Parts that are left as they are because they could not be read, and why. */
  readonly left: readonly string[];
  /** What differs and is left to somebody, in words. */
  readonly kept: readonly string[];
}

const programsOfRules = new Set(['docker', 'kube', 'podman', 'libvirt', 'firewalld', 'ufw', 'tailscale', 'lxc', 'incus']);

/** Only these parts, or all. Pure. */
export function planRestore(now: NetworkSettings, wanted: NetworkSettings, only?: ReadonlySet<SettingsPart>): RestorePlan {
  const goal = only ? keepParts(wanted, only) : wanted;
  const changes = diffSettings(now, goal);
  const risks: string[] = [];
  const owners = new Set(
    changes.flatMap(({ looksLike, part }) =>
      looksLike !== undefined && (programsOfRules.has(looksLike) || looksLike.startsWith('fail2ban')) && !part.startsWith('route')
        ? [looksLike]
        : [],
    ),
  );
  if (owners.size > 0)
    risks.push(
      `${[...owners].sort().join(', ')} will not know that rules of theirs were changed: restart them if these are to be theirs again`,
    );
  const replaced = changes.some(({ part, place }) => part === 'nft' && place !== '');
  if (replaced) risks.push('elements of sets with timeouts (bans, meters) are lost in the tables of nft that are replaced');
  if (changes.some(({ part, text }) => part === 'ipset' && / timeout \d+/.test(text) && text.startsWith('create ')))
    risks.push('elements of sets of ipset with timeouts are lost where the set itself is another');
  const steps = planSettings(now, goal);
  if (changesEveryDevice(steps))
    risks.push('the switch of forwarding holds for every device, also for those that come and go and are in no version');
  risks.push(...keptDefaults(changes));
  const kept = [...keptByOthers(changes), ...keptBecause(now, goal)];
  return { now, wanted: goal, changes, steps, risks, left: incomparable(now, goal), kept };
}

const keeperOf = ({ part, text }: SettingsChange): string | undefined =>
  part === 'routes' || part === 'routes6' ? routeKeeper(text) : undefined;

const counted = (keepers: readonly (string | undefined)[]): [string, number][] => {
  const counts = new Map<string, number>();
  for (const keeper of keepers) if (keeper !== undefined) counts.set(keeper, (counts.get(keeper) ?? 0) + 1);
  return [...counts].sort(([a], [b]) => (a < b ? -1 : 1));
};

/** Routes that differ and are left to whoever keeps them. */
const keptByOthers = (changes: readonly SettingsChange[]): string[] =>
  counted(changes.map(keeperOf)).map(([keeper, count]) => `routes: ${count} of ${keeper}, to be put back by whoever keeps them`);

/** Routes of nobody that a restore leaves because of some with a keeper. */
function leftForKeepers(now: NetworkSettings, wanted: NetworkSettings): Pick<RouteLines, 'standing' | 'held'> {
  const both = (['routes', 'routes6'] as const).flatMap((part) => {
    const [current, goal] = [now.parts[part], wanted.parts[part]];
    return current === undefined || goal === undefined ? [] : [divideRoutes(current, goal)];
  });
  return { standing: both.flatMap(({ standing }) => standing), held: both.flatMap(({ held }) => held) };
}

const maxShown = 20;

const shownLines = (lines: readonly string[], why: string): string[] => [
  ...lines.slice(0, maxShown).map((line) => `${printable(line, 300)}: ${why}`),
  ...(lines.length > maxShown ? [`${lines.length - maxShown} more routes: ${why}`] : []),
];

function keptBecause(now: NetworkSettings, wanted: NetworkSettings): string[] {
  const { standing, held } = leftForKeepers(now, wanted);
  return [
    ...shownLines(standing, 'stays, for nothing else leads there until the wanted route is put back by whoever keeps it'),
    ...shownLines(held, 'not added, a route that somebody else keeps has its place'),
  ];
}

/** Without one that leads everywhere a machine may not be reached any more. */
const keptDefaults = (changes: readonly SettingsChange[]): string[] =>
  changes.flatMap((change) => {
    const keeper = keeperOf(change);
    if (keeper === undefined || !/^(?:unicast )?default /.test(change.text)) return [];
    const text = printable(change.text, 300);
    return [
      change.sign === '+'
        ? `${text}: only ${keeper} puts this default route back`
        : `${text}: this default route of ${keeper} stays`,
    ];
  });

/** By keeper: how many routes of a reading a restore will leave to it. */
export const routeKeepers = ({ parts }: NetworkSettings): [string, number][] =>
  counted(`${parts.routes ?? ''}${parts.routes6 ?? ''}`.split('\n').map(routeKeeper));

const keepParts = ({ parts, ...rest }: NetworkSettings, only: ReadonlySet<SettingsPart>): NetworkSettings => ({
  ...rest,
  missing: rest.missing.filter(({ part }) => only.has(part)),
  parts: Object.fromEntries(settingsParts.flatMap((part) => (only.has(part) && part in parts ? [[part, parts[part]]] : []))),
});

/** Where the process that took a restore back leaves what its steps failed with; empty where none did. */
export const returnErrorsFile = 'return-errors';

/**
 * For sh(1), with the seconds there are to confirm, the folder, the process that applies, and the seconds that may take. Waits until nobody
 * waits any more, or the time is over; it begins when all is applied, and whoever applies and dies with half of it done has no time left.
 * Whoever renames the file first decides.
 */
export const guardScript =
  'n=0; m=0; while [ -e "$2/pending" ] || exit 0; do ' +
  'if [ -e "$2/applying" ]; then [ "$m" -lt "$4" ] && kill -0 "$3" 2>/dev/null || break; m=$((m+1)); ' +
  'else [ "$n" -lt "$1" ] || break; n=$((n+1)); fi; sleep 1; done; ' +
  'mv "$2/pending" "$2/returning" 2>/dev/null || exit 0; sh "$2/return.sh" 2>"$2/' +
  returnErrorsFile +
  '"; rm -f "$2/applying"; mv "$2/returning" "$2/returned"';

/** Where things are put back: one line that fails must not keep those behind it from being tried. */
const tryingAll = (steps: readonly SettingsStep[]): SettingsStep[] =>
  steps.map((step) => (step.program === 'ip' ? { ...step, args: ['-force', ...step.args] } : step));

/** What a process of its own runs to undo the whole of a plan. Pure. */
export const renderReturnScript = ({ now, wanted }: Pick<RestorePlan, 'now' | 'wanted'>): string =>
  renderStepsScript(tryingAll(planSettings(wanted, now)));

const stepLimitMs = 60_000;
/** Readings of all parts, and what is run to take back what failed. */
const limitBesidesMs = 600_000;

async function runSteps(runner: CommandRunner, steps: readonly SettingsStep[], signal?: AbortSignal): Promise<void> {
  for (const { what, program, args, input } of steps) {
    if (signal?.aborted)
      throw new WeirError('timeout', 'stopped by a signal before all was done; what was done is taken back', { before: what });
    try {
      await runner.run(program, args, { input, timeoutMs: stepLimitMs });
    } catch (error) {
      const { code, message } = asWeirError(error);
      throw new WeirError(code, `${what}: ${message}`, {}, error);
    }
  }
}

/** Without what cannot be put back because the device it is about is gone, or was not there then, and what others put back. */
function differs(now: NetworkSettings, wanted: NetworkSettings): SettingsChange[] {
  const keys = (text = ''): Set<string> => new Set(text.split('\n').map((line) => line.split(' = ')[0]));
  const [current, goal] = [keys(now.parts.sysctls), keys(wanted.parts.sysctls)];
  return diffSettings(now, wanted).filter((change) => {
    const [key] = change.text.split(' = ');
    // Routes of daemons come and go meanwhile.
    return keeperOf(change) === undefined && (change.part !== 'sysctls' || (current.has(key) && goal.has(key)));
  });
}

export type SettingsRead = (runner: CommandRunner) => Promise<NetworkSettings>;

export interface RestoreOptions {
  /** A path; absent: the namespace this process is in. */
  readonly netns?: string;
  /** As the plan was read; default: readSettings. */
  readonly read?: SettingsRead;
  /** Between two steps it takes back what was done. */
  readonly signal?: AbortSignal;
  /** Default: of `netns`. */
  readonly runner?: CommandRunner;
}

/** Where it really is. What is run from there must be ours alone to write, and so must be every way to it. */
export async function privateFolder(folder: string): Promise<string> {
  const real = await realpath(folder);
  const own = process.getuid?.() ?? 0;
  for (let place = real, below = ''; ; below = place, place = dirname(place)) {
    const { uid, mode } = await stat(place);
    // In one that is sticky nobody replaces what is another's.
    const isShared = (mode & 0o022) !== 0 && (below === '' || (mode & 0o1000) === 0);
    if (isShared || (uid !== own && (uid !== 0 || below === '')))
      throw new WeirError('not-permitted', `others may write to ${place}: nothing was done`, {
        next: 'keep baselines where every folder above is of root and writable by nobody else: `chown root`, `chmod 755`',
      });
    if (place === dirname(place)) return real;
  }
}

async function isWaiting(folder: string): Promise<boolean> {
  const text = await readWhole(join(folder, 'pending'));
  if (text === undefined) return false;
  const [pid, start] = text.trim().split(' ');
  return readProcessStart(Number(pid)) === start;
}

/**
 * Needs root. With `confirmWithinMs` it is taken back by itself unless `confirmRestore` comes. `folder`: for its owner alone. Throws
 * `kernel-refused`, or `timeout` when `signal` came between (then all is as before, or the message says what is not), and `already-running`.
 */
export async function restoreSettings(
  plan: RestorePlan,
  givenFolder: string,
  confirmWithinMs: number | undefined,
  { netns, read = readSettings, signal, runner = createCommandRunner(netns) }: RestoreOptions = {},
): Promise<void> {
  await ensureDirectory(givenFolder);
  const folder = await privateFolder(givenFolder);
  if (await isWaiting(folder))
    throw new WeirError('already-running', 'another restore waits for its confirmation', {
      next: '`weir baseline confirm` keeps it; otherwise wait until it is taken back',
    });
  const before = await read(runner);
  const changed = differs(plan.now, before);
  if (changed.length > 0)
    throw new WeirError('kernel-refused', 'the settings changed since the plan was made: nothing was done', {
      next: 'plan again',
    });
  if (confirmWithinMs !== undefined) await startGuard(folder, plan, confirmWithinMs, netns);
  try {
    await runSteps(runner, plan.steps, signal);
    const { standing, held } = leftForKeepers(plan.now, plan.wanted);
    const left = new Set([...standing, ...held]);
    const isRoute = ({ part }: SettingsChange): boolean => part === 'routes' || part === 'routes6';
    const rest = differs(await read(runner), plan.wanted).filter((change) => !isRoute(change) || !left.has(change.text));
    if (rest.length > 0)
      throw new WeirError(
        'kernel-refused',
        `the result is not what was wanted: ${rest.length} lines differ, the first: ${rest[0].text}`,
      );
    // From here on the time to confirm runs.
    await rm(join(folder, 'applying'), { force: true });
  } catch (error) {
    try {
      await takeBack(runner, read, before, error);
    } finally {
      // Also where something is left: the guard would undo what is not there any more.
      await rm(join(folder, 'pending'), { force: true });
      await rm(join(folder, 'applying'), { force: true });
    }
    throw error;
  }
}

async function takeBack(runner: CommandRunner, read: SettingsRead, before: NetworkSettings, because: unknown): Promise<void> {
  const steps = tryingAll(planSettings(await read(runner), before));
  const failures: string[] = [];
  // One that fails must not keep the others from coming back.
  for (const step of steps)
    await runSteps(runner, [step]).catch((error: unknown) => void failures.push(asWeirError(error).message));
  const left = differs(await read(runner), before);
  if (left.length > 0)
    throw new WeirError(
      'fault',
      `${asWeirError(because).message}; and taking it back left ${left.length} lines different: ${failures.slice(0, 3).join('; ')}`,
      {},
      because,
    );
}

async function startGuard(folder: string, plan: RestorePlan, forMs: number, netns: string | undefined): Promise<void> {
  for (const name of ['returning', 'returned', 'confirmed', returnErrorsFile]) await rm(join(folder, name), { force: true });
  await writeDurably(join(folder, 'return.sh'), renderReturnScript(plan));
  // There before the guard looks for them; its number comes as soon as it is known.
  await writeDurably(join(folder, 'applying'), `${process.pid}\n`);
  await writeDurably(join(folder, 'pending'), '0 0\n');
  const seconds = (ms: number): string => String(Math.max(1, Math.ceil(ms / 1000)));
  const longestMs = plan.steps.length * stepLimitMs * 2 + limitBesidesMs;
  const words = [seconds(forMs), folder, String(process.pid), seconds(longestMs)];
  const guard = insideNetns(netns, () =>
    spawn('sh', ['-c', guardScript, 'weir-baseline', ...words], { detached: true, stdio: 'ignore', cwd: '/' }),
  );
  const started = await new Promise<boolean>((resolve) => {
    guard.once('spawn', () => resolve(true));
    guard.once('error', () => resolve(false));
  });
  if (!started || guard.pid === undefined) {
    for (const name of ['pending', 'applying']) await rm(join(folder, name), { force: true });
    throw new WeirError('tool-missing', 'sh(1) could not be started to take the change back: nothing was done');
  }
  guard.unref();
  await writeDurably(join(folder, 'pending'), `${guard.pid} ${readProcessStart(guard.pid) ?? ''}\n`);
}

/** What was restored stays. False: nothing waits for it, or it has been taken back. */
export async function confirmRestore(folder: string): Promise<boolean> {
  if (!(await isWaiting(folder))) return false;
  try {
    await rename(join(folder, 'pending'), join(folder, 'confirmed'));
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
    throw error;
  }
}
