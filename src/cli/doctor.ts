// `weir doctor --from .. --to ..`: why a source cannot reach a port. Here are options, exit codes and the order of things; what it looks like is
// doctor-text.ts, the work netops/doctor.

import { WeirError } from '../base/errors.ts';
import { printable } from '../base/printable.ts';
import { parseDuration } from '../config/forms.ts';
import { type Address, parseAddress } from '../model/address.ts';
import type { Diagnosis, DiagnosisFix } from '../model/diagnosis.ts';
import type { Transport } from '../model/session.ts';
import { canTry } from '../netops/doctor/try-fix.ts';
import type { CommandContext, CommonOptions } from './command-context.ts';
import { renderDiagnosis } from './doctor-text.ts';
import { doctorOfWeir } from './doctor-weir.ts';
import { type Verb, verbCommand } from './verb.ts';

interface Options extends CommonOptions {
  readonly from?: string;
  readonly to?: string;
  readonly contrast?: string;
  readonly netns?: string;
  readonly iif?: string;
  readonly probe?: boolean;
  readonly inject?: boolean;
  readonly tryFix?: string;
}

/** A fix that was applied, looked at and taken back. */
export interface TriedFix {
  readonly cmd: string;
  readonly undo: string;
  /** While it was applied; undefined where it could not be, and where it did not last until the look was over. */
  readonly verdict?: Diagnosis['verdict'];
  readonly confidence?: Diagnosis['confidence'];
  readonly undone: boolean;
  readonly error?: string;
}

const exitCodes: Readonly<Record<Diagnosis['verdict'], number>> = {
  reachable: 0,
  unreachable: 10,
  degraded: 11,
  inconclusive: 12,
};
/** A fix that was tried is still applied. */
const leftApplied = 1;
const longestTrialMs = 600_000;

export const doctorVerb: Verb = (run) =>
  verbCommand(
    'doctor',
    'why a source cannot reach a port, hop by hop, how sure that is, and the smallest fix; alone: whether Weir is well',
    [
      'weir doctor',
      'weir doctor --from 192.168.0.3 --to 192.168.0.117:64295',
      'weir doctor --from 10.0.0.7 --to 10.0.0.9:443 --contrast 10.0.0.8 --probe',
      'weir doctor --from 172.18.0.3 --to [2001:db8::9]:22 --netns web --json',
      'weir doctor --from 10.0.0.7 --to 10.0.0.9:53/udp --probe',
      'weir doctor --from 10.0.0.7 --to 10.0.0.9:443 --probe --try-fix 30s',
    ],
  )
    .option('--from <address>', 'the source')
    .option('--to <address:port>', 'where it wants to: 10.0.0.9:443 or [2001:db8::9]:443; TCP, or 10.0.0.9:53/udp')
    .option('--contrast <address>', 'another source, for comparison: one that works, or should')
    .option('--netns <name>', 'look from this network namespace: a name of `ip netns`, a path, an inode or pid:123')
    .option('--iif <link>', 'the source is elsewhere, and comes in by this link')
    .option('--probe', 'connect from the source, where its namespace is on this machine; sends an empty line')
    .option('--inject', 'hand the kernel a SYN as if it came from the source, where its namespace is not on this machine')
    .option('--try-fix <time>', 'apply the fix, look again, and take it back: after that at the latest')
    .action((options: Options) => run(options, (context) => doctor(context, options)));

const wrong = (message: string, next: string): WeirError => new WeirError('bad-request', message, { next });

function addressOf(text: string | undefined, option: string): Address {
  const address = text === undefined ? undefined : parseAddress(text);
  if (!address)
    throw wrong(
      text === undefined ? `${option} is missing` : `${option}: '${printable(text, 80)}' is not an address`,
      'weir doctor --from 10.0.0.7 --to 10.0.0.9:443',
    );
  return address;
}

/** `10.0.0.9:443`, `[2001:db8::9]:443`, `10.0.0.9:53/udp`. */
export function parseTarget(text: string | undefined): { address: Address; port: number; transport: Transport } {
  const match = /^(?:\[([^\]]+)\]|([^:[\]]+)):(\d{1,5})(?:\/(tcp|udp))?$/.exec(text ?? '');
  const address = match ? parseAddress(match[1] ?? match[2]) : undefined;
  const port = Number(match?.[3]);
  if (!address || !(port >= 1 && port <= 65_535))
    throw wrong(
      text === undefined ? '--to is missing' : `--to: '${printable(text, 80)}' is not an address and a port`,
      'write --to 10.0.0.9:443, --to [2001:db8::9]:443 or --to 10.0.0.9:53/udp',
    );
  return { address, port, transport: match?.[4] === 'udp' ? 'udp' : 'tcp' };
}

async function doctor(context: CommandContext, options: Options): Promise<number> {
  if (options.from === undefined && options.to === undefined && options.contrast === undefined && options.tryFix === undefined)
    return doctorOfWeir(context);
  const source = addressOf(options.from, '--from');
  const { address: destination, port, transport } = parseTarget(options.to);
  if (transport === 'udp' && options.inject)
    throw wrong('--inject makes packets of TCP alone', 'a source that can be entered is probed: --probe');
  if (options.probe && options.inject) throw wrong('--probe or --inject, not both', 'what can be entered is probed');
  const contrast = options.contrast === undefined ? undefined : addressOf(options.contrast, '--contrast');
  const forMs = options.tryFix === undefined ? undefined : trialTimeOf(options.tryFix);
  const { doctor: actions } = context.environment.actions;
  const wishFor = (from: Address) => ({
    source: from,
    destination,
    port,
    transport,
    probe: options.probe === true || forMs !== undefined,
    inject: options.inject === true,
    ...(options.netns !== undefined && { netns: options.netns }),
    ...(options.iif !== undefined && { iif: options.iif }),
  });
  const found = await actions.diagnose(wishFor(source));
  const other = contrast && (await actions.diagnose(wishFor(contrast)));
  const diagnosis: Diagnosis = { ...found, ...(other && { contrast: other }) };
  const broken = diagnosis.verdict === 'unreachable' || diagnosis.verdict === 'degraded';
  const fix = broken ? diagnosis.fix.find(canTry) : undefined;
  const tried =
    forMs === undefined || !fix ? undefined : await tryOnce(context, fix, forMs, () => actions.diagnose(wishFor(source)));
  if (forMs !== undefined && !fix)
    await context.note(broken ? 'there is no fix that could be tried' : `no fix is tried: it is ${diagnosis.verdict}`);
  if (context.json) await context.printJson({ ...diagnosis, ...(tried && { tried_fix: tried }) });
  else await context.print(renderDiagnosis(diagnosis, tried, context.style));
  return tried?.undone === false ? leftApplied : exitCodes[diagnosis.verdict];
}

function trialTimeOf(text: string): number {
  const ms = parseDuration(text);
  if (ms === undefined || ms < 1000 || ms > longestTrialMs)
    throw wrong(`--try-fix: '${printable(text, 40)}' is not a time from 1s to 10m`, 'write --try-fix 30s');
  return ms;
}

async function tryOnce(
  context: CommandContext,
  fix: DiagnosisFix,
  forMs: number,
  look: () => Promise<Diagnosis>,
): Promise<TriedFix> {
  const { cmd, undo } = fix;
  await context.note(`trying: ${printable(cmd, 1000)}`);
  let error: string | undefined;
  let seen: Diagnosis | undefined;
  let undone = true;
  let lasted = false;
  try {
    const trial = await context.environment.actions.doctor.tryFix(fix, forMs);
    try {
      seen = await look();
    } finally {
      try {
        ({ lasted } = await trial.end());
        if (!lasted) error = 'its time was up before the look was over: what was seen says nothing of it; give it more time';
      } catch (failed) {
        undone = false;
        error = failed instanceof Error ? failed.message : String(failed);
      }
    }
  } catch (failed) {
    error ??= failed instanceof Error ? failed.message : String(failed);
  }
  return {
    cmd,
    undo,
    ...(seen && lasted && { verdict: seen.verdict, confidence: seen.confidence }),
    undone,
    ...(error !== undefined && { error }),
  };
}
