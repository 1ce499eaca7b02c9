// `weir up, down, plan, apply, confirm, rollback`: verbs that change the machine. The work is programs/; this file
// only parses what the user said.

import { WeirError } from '../base/errors.ts';
import { printable } from '../base/printable.ts';
import type { CommonOptions } from './command-context.ts';
import { type Verb, verbCommand } from './verb.ts';

interface ApplyText extends CommonOptions {
  readonly yes?: boolean;
  readonly confirmWithin?: string;
}

const unitsInMs: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

/** `60s`, `2m`, `90`: seconds without a unit. Throws `bad-request`. */
export function parseDelayMs(text: string): number {
  const match = /^(\d{1,6})(ms|s|m|h)?$/.exec(text.trim());
  const ms = match ? Number(match[1]) * unitsInMs[match[2] ?? 's'] : 0;
  if (ms < 1000 || ms > 24 * 3_600_000)
    throw new WeirError('bad-request', `--confirm-within: '${printable(text, 40)}' is not a time from 1s to 24h`, {
      next: 'write 60s or 5m',
    });
  return ms;
}

const applyOptionsOf = (options: ApplyText): { yes: boolean; confirmWithinMs: number | undefined } => ({
  yes: options.yes === true,
  confirmWithinMs: options.confirmWithin === undefined ? undefined : parseDelayMs(options.confirmWithin),
});

export const upVerb: Verb = (run) =>
  verbCommand('up', 'turn addresses into decoys, answer them, record every touch; runs until Ctrl-C', [
    'weir up',
    'weir up -c weir.yaml --yes --confirm-within 60s',
  ])
    .option('-y, --yes', 'do not ask before changing the kernel')
    .option('--confirm-within <time>', 'roll back unless `weir confirm` comes within this time: 60s')
    .action((options: ApplyText) =>
      run(options, (context) => context.environment.actions.up(applyOptionsOf(options), context.action)),
    );

export const downVerb: Verb = (run) =>
  verbCommand('down', 'stop and leave the machine as found', ['weir down']).action((options: CommonOptions) =>
    run(options, async (context) => context.printResult(await context.environment.actions.down(context.action))),
  );

export const planVerb: Verb = (run) =>
  verbCommand('plan', 'what apply would change; exit code 10 when something would', ['weir plan', 'weir plan --json']).action(
    (options: CommonOptions) =>
      run(options, async (context) => context.printResult(await context.environment.actions.plan(context.action))),
  );

export const applyVerb: Verb = (run) =>
  verbCommand('apply', 'bring the kernel in line with the configuration, in one transaction', ['weir apply --confirm-within 60s'])
    .option('-y, --yes', 'do not ask before changing the kernel')
    .option('--confirm-within <time>', 'roll back unless `weir confirm` comes within this time: 60s')
    .action((options: ApplyText) =>
      run(options, async (context) =>
        context.printResult(await context.environment.actions.apply(applyOptionsOf(options), context.action)),
      ),
    );

export const confirmVerb: Verb = (run) =>
  verbCommand('confirm', 'keep the last change', ['weir confirm']).action((options: CommonOptions) =>
    run(options, async (context) => context.printResult(await context.environment.actions.confirm(context.action))),
  );

export const rollbackVerb: Verb = (run) =>
  verbCommand('rollback', 'take the last unconfirmed change back now', ['weir rollback']).action((options: CommonOptions) =>
    run(options, async (context) => context.printResult(await context.environment.actions.rollback(context.action))),
  );
