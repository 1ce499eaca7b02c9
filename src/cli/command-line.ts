// The `weir` command: parses arguments, runs one verb, turns errors into messages and exit codes. Everything external
// comes in through the environment, so a test runs a whole command. One file per verb, or per family of thin verbs.

import { Command, CommanderError } from 'commander';
import { asWeirError, type ErrorCode, type WeirError } from '../base/errors.ts';
import { printable } from '../base/printable.ts';
import { agentVerb } from './agent.ts';
import { agentsVerb } from './agents.ts';
import { alertsVerb } from './alerts.ts';
import { attackerVerb } from './attacker.ts';
import { attackersVerb } from './attackers.ts';
import { baselineVerb } from './baseline.ts';
import { campaignsVerb } from './campaigns.ts';
import { captureVerb } from './capture.ts';
import { applyVerb, confirmVerb, downVerb, planVerb, rollbackVerb, upVerb } from './change-verbs.ts';
import { CommandContext, type CommonOptions } from './command-context.ts';
import { decoysVerb } from './decoys.ts';
import { doctorVerb } from './doctor.ts';
import type { CommandEnvironment } from './environment.ts';
import { exportVerb } from './export.ts';
import { exposureVerb } from './exposure.ts';
import { importVerb } from './import.ts';
import { killVerb } from './kill.ts';
import { benchVerb, demoVerb, testVerb } from './lab-verbs.ts';
import { probesVerb } from './probes.ts';
import { reportVerb } from './report.ts';
import { rstVerb } from './rst.ts';
import { rulesVerb } from './rules.ts';
import { sessionVerb } from './session.ts';
import { sessionsVerb } from './sessions.ts';
import { statusVerb } from './status.ts';
import { styleFor } from './style.ts';
import { topVerb } from './top.ts';
import type { Verb } from './verb.ts';
import { verdictsVerb } from './verdicts.ts';
import { whoVerb } from './who.ts';

const families: readonly (readonly [string, readonly Verb[]])[] = [
  ['Run:', [upVerb, downVerb, statusVerb]],
  ['Change the kernel:', [planVerb, applyVerb, confirmVerb, rollbackVerb]],
  [
    'See what happened:',
    [sessionsVerb, sessionVerb, probesVerb, alertsVerb, topVerb, reportVerb, decoysVerb, exportVerb, importVerb],
  ],
  ['Who did what:', [attackersVerb, attackerVerb, verdictsVerb, campaignsVerb, rulesVerb]],
  ['Operate the network:', [doctorVerb, whoVerb, exposureVerb, captureVerb, rstVerb, killVerb, baselineVerb]],
  ['Other machines:', [agentVerb, agentsVerb]],
  ['Try it:', [demoVerb, benchVerb, testVerb]],
];

const exitCodes: Partial<Record<ErrorCode, number>> = {
  'config-invalid': 2,
  'config-unreadable': 2,
  'bad-request': 2,
  'lock-out': 2,
  'address-in-use': 2,
  'not-permitted': 3,
  'kernel-missing': 3,
  'tool-missing': 3,
};

/** 2 for what the user wrote, 3 for what is not permitted or cannot be measured, 1 for every other fault. */
export const exitCodeOf = (code: ErrorCode): number => exitCodes[code] ?? 1;

const isText = (value: unknown): value is string => typeof value === 'string' && value !== '';

/** The lines people read: the message, each mistake with its place, and the next step. */
export function renderError(error: WeirError): string[] {
  const { details } = error;
  const lines: string[] = [];
  if (Array.isArray(details.mistakes) && details.mistakes.length > 0) {
    for (const item of details.mistakes as { file?: string; line?: number; mistake?: string; next?: string }[]) {
      const place = isText(item.file) ? `${item.file}${item.line ? `:${item.line}` : ''}: ` : '';
      lines.push(`${place}${item.mistake ?? ''}`);
      if (isText(item.next)) lines.push(`  next: ${item.next}`);
    }
  } else {
    const place =
      isText(details.file) && !error.message.includes(details.file)
        ? `${details.file}${details.line ? `:${details.line}` : ''}: `
        : '';
    lines.push(...`${place}${error.message}`.split('\n'));
    if (isText(details.next)) lines.push(`  next: ${details.next}`);
  }
  if (error.code === 'fault') lines.push('  this is a defect in Weir: please report it with what you did');
  return lines.map((text) => printable(text, 2000));
}

async function fail(error: WeirError, environment: CommandEnvironment, json: boolean): Promise<number> {
  const exitCode = exitCodeOf(error.code);
  if (json) {
    const { code, message, details } = error;
    await environment.stdout.write(`${JSON.stringify({ error: { code, message, details } })}\n`);
  }
  const { red } = styleFor(environment.stderr, environment.variables);
  const [first, ...rest] = renderError(error);
  await environment.stderr.write([`${red('weir:')} ${first} (${error.code})`, ...rest].map((line) => `${line}\n`).join(''));
  return exitCode;
}

/** Runs one command and gives its exit code. Never throws for what a user can cause; `argv` is without node and script. */
export async function runCommandLine(argv: readonly string[], environment: CommandEnvironment): Promise<number> {
  let exitCode = 0;
  const pending: Promise<void>[] = [];
  const program = new Command('weir');
  const output = {
    writeOut: (text: string): void => void pending.push(environment.stdout.write(text)),
    writeErr: (text: string): void => void pending.push(environment.stderr.write(printableLines(text))),
    getOutHelpWidth: () => (environment.stdout.isTerminal ? Math.min(110, environment.stdout.columns()) : 100),
    getErrHelpWidth: () => (environment.stderr.isTerminal ? Math.min(110, environment.stderr.columns()) : 100),
  };
  const run = async (options: CommonOptions, body: (context: CommandContext) => Promise<number>): Promise<void> => {
    try {
      exitCode = await body(new CommandContext(environment, options));
    } catch (error) {
      exitCode = await fail(asWeirError(error), environment, options.json === true);
    }
  };
  program
    .description('Weir turns unused addresses and ports into decoys and records every touch with its true source.')
    .version(environment.version, '-V, --version')
    .configureOutput(output)
    .exitOverride()
    .helpCommand('help [command]', 'help for a command')
    .addHelpText(
      'after',
      '\nExamples:\n  weir demo                  see it work, in a lab of its own\n  weir up                    every free port of this machine becomes a decoy\n  weir sessions --follow     watch who touches them\n',
    );
  for (const [heading, verbs] of families)
    for (const verb of verbs) {
      const command = verb(run).helpGroup(heading);
      command.copyInheritedSettings(program);
      for (const part of command.commands) part.copyInheritedSettings(command);
      program.addCommand(command);
    }
  try {
    if (argv.length === 0) {
      program.outputHelp({ error: true });
      exitCode = 2;
    } else await program.parseAsync([...argv], { from: 'user' });
  } catch (error) {
    if (!(error instanceof CommanderError)) exitCode = await fail(asWeirError(error), environment, false);
    else exitCode = error.exitCode === 0 ? 0 : 2;
  }
  await Promise.all(pending);
  return exitCode;
}

/** Arguments echoed in a usage message may hold anything; line ends stay. */
const printableLines = (text: string): string =>
  text
    .split('\n')
    .map((line) => printable(line, 4000))
    .join('\n');
