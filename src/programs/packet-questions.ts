// What the half of `weir capture` and `weir rst` that reads packets, as nobody, asks the half that keeps root and never sees one. Starts that half;
// it ends when this one does.

import { spawn } from 'node:child_process';
import { WeirError } from '../base/errors.ts';
import { closeDescriptor } from '../kernel/libc.ts';
import { openQuestionPair, QuestionChannel } from '../kernel/question-channel.ts';
import type { FileMaker } from '../netops/capture/capture-files.ts';
import type { CaptureHelp, SessionSource } from '../netops/capture/run-capture.ts';
import type { PacketEnds } from '../netops/capture/socket-holders.ts';
import type { ResetFacts } from '../netops/resets/reset-facts.ts';
import { ownInstallation } from './installation.ts';
import { packetHelperCommand } from './launch.ts';

/** Said once, while both halves are root: later nothing else can be asked for. */
export interface HelperSettings {
  /** Path of the network namespace that is looked in. */
  readonly netns?: string;
  /** Asks who holds sockets. */
  readonly processes?: boolean;
  /** Asks for this file, once, or for those of a ring of so many. */
  readonly files?: { readonly file: string; readonly ringFiles?: number };
  /** Asks for sessions of a recorder: its socket. */
  readonly recorder?: string;
  /** Asks what `weir rst` asks. */
  readonly resets?: boolean;
}

/** Its descriptor of the channel. */
export const helperDescriptor = 3;
const endsWithinMs = 3000;

export interface PacketHelper extends Required<CaptureHelp> {
  readonly facts: ResetFacts;
  /** Resolves when it has ended. Idempotent. */
  close(): Promise<void>;
}

const factNames = ['begin', 'moment', 'senderAt', 'isOwn', 'rejectRules', 'translations', 'unseen'] as const;
export type FactName = (typeof factNames)[number];
export const factQuestions: readonly FactName[] = factNames;

/** Rules of many namespaces, or many rules, take longer to read than anything else that is asked. */
const rulesWithinMs = 180_000;

/** What the other half is asked about RSTs; nothing is asked here. */
export function factsOf(channel: Pick<QuestionChannel, 'ask'>, close: () => Promise<void>): ResetFacts {
  // JSON has no undefined.
  const ask = async (name: FactName, ...argument: unknown[]): Promise<unknown> =>
    (await channel.ask(`facts.${name}`, argument, name === 'rejectRules' ? rulesWithinMs : undefined)) ?? undefined;
  const asked = Object.fromEntries(factNames.map((name) => [name, (...argument: unknown[]) => ask(name, ...argument)]));
  return { ...asked, close } as unknown as ResetFacts;
}

/** Needs root. Throws `fault` where it cannot be started, and what its beginning threw. */
export async function openPacketHelper(settings: HelperSettings): Promise<PacketHelper> {
  const { command, arguments: argv, environment } = packetHelperCommand(ownInstallation());
  const [asking, answering] = openQuestionPair();
  const child = spawn(command, argv, { stdio: ['ignore', 'ignore', 'inherit', answering], env: environment });
  closeDescriptor(answering);
  const channel = new QuestionChannel(asking);
  const ended = new Promise<string>((resolve) => {
    child.once('error', (error) => resolve(error.message));
    child.once('exit', (code, signal) => resolve(signal ?? `exit code ${code}`));
  });
  let timer: NodeJS.Timeout | undefined;
  const close = async (): Promise<void> => {
    channel.close();
    const late = new Promise((resolve) => {
      timer = setTimeout(resolve, endsWithinMs);
    });
    await Promise.race([ended, late]);
    clearTimeout(timer);
    child.unref();
  };
  const maker: FileMaker = {
    open() {
      const { value, fd } = channel.askNow('open');
      if (fd === undefined) throw new WeirError('fault', 'a file came without its descriptor');
      return { fd, name: String(value) };
    },
    remove: () => void channel.askNow('remove'),
  };
  try {
    await Promise.race([
      channel.ask('begin', settings),
      ended.then((how) => {
        throw new WeirError('fault', `the half that keeps root ended: ${how}`);
      }),
    ]);
  } catch (error) {
    await close();
    throw error;
  }
  return {
    holderOf: (ends: PacketEnds) => (channel.askNow('holder', ends).value as string | null) ?? undefined,
    sessions: (() => channel.ask('sessions')) as SessionSource,
    maker,
    facts: factsOf(channel, close),
    close,
  };
}
