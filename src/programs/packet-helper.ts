// The half of `weir capture` and `weir rst` that keeps root: tells who holds a socket, makes files, asks a recorder and the kernel. It gets tuples and
// names of questions, never a packet; its settings come once, before the other half reads one. Ends when that half does.

import { WeirError } from '../base/errors.ts';
import { NamespaceHandle } from '../kernel/namespace-handle.ts';
import { type Answer, AnswerChannel, type Answers } from '../kernel/question-channel.ts';
import { type FileMaker, OwnFiles } from '../netops/capture/capture-files.ts';
import type { SessionSource } from '../netops/capture/run-capture.ts';
import { type PacketEnds, SocketHolders } from '../netops/capture/socket-holders.ts';
import type { Tuple } from '../netops/resets/machine-facts.ts';
import { KernelResetFacts, type ResetFacts } from '../netops/resets/reset-facts.ts';
import { type HelperSettings, helperDescriptor } from './packet-questions.ts';
import { recordedSessions } from './recorded-sessions.ts';

const refused = (): WeirError => new WeirError('bad-request', 'not a question of the other half');

type Fields = Readonly<Record<string, unknown>>;

function fieldsOf(value: unknown): Fields {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw refused();
  return value as Fields;
}

function textOf(value: unknown): string {
  if (typeof value !== 'string' || value.length > 64) throw refused();
  return value;
}

function numberOf(value: unknown): number {
  if (typeof value !== 'number' || !Number.isSafeInteger(value)) throw refused();
  return value;
}

function flagOf(value: unknown): boolean | undefined {
  if (value !== undefined && typeof value !== 'boolean') throw refused();
  return value;
}

function tupleOf(fields: Fields): Tuple {
  return {
    source: textOf(fields.source),
    sourcePort: numberOf(fields.sourcePort),
    destination: textOf(fields.destination),
    destinationPort: numberOf(fields.destinationPort),
  };
}

function endsOf(value: unknown): PacketEnds {
  const fields = fieldsOf(value);
  const outgoing = flagOf(fields.outgoing);
  return {
    transport: fields.transport === 'udp' ? 'udp' : 'tcp',
    ...tupleOf(fields),
    ...(outgoing === undefined ? {} : { outgoing }),
  };
}

function placeOf(value: unknown): { interface?: string; outgoing?: boolean } {
  const { interface: name, outgoing } = fieldsOf(value);
  const way = flagOf(outgoing);
  return { ...(name === undefined ? {} : { interface: textOf(name) }), ...(way === undefined ? {} : { outgoing: way }) };
}

/** What may be asked from now on; set once. */
class Helper {
  #begun = false;
  #netns: NamespaceHandle | undefined;
  #holders: SocketHolders | undefined;
  #files: FileMaker | undefined;
  #sessions: SessionSource | undefined;
  #facts: ResetFacts | undefined;

  readonly answers: Answers = {
    begin: (settings) => this.#begin(fieldsOf(settings) as HelperSettings),
    holder: (ends) => ({ value: this.#asked(this.#holders).describe(endsOf(ends)) }),
    open: () => {
      const { fd, name } = this.#asked(this.#files).open();
      return { value: name, fd };
    },
    remove: () => ({ value: this.#asked(this.#files).remove() }),
    sessions: async () => ({ value: await this.#asked(this.#sessions)() }),
    ...this.#factAnswers(),
  };

  async close(): Promise<void> {
    await this.#facts?.close();
    this.#netns?.close();
  }

  async #begin({ netns, processes, files, recorder, resets }: HelperSettings): Promise<Answer> {
    if (this.#begun) throw refused();
    this.#begun = true;
    if (netns !== undefined) this.#netns = new NamespaceHandle(netns);
    const path = this.#netns?.path;
    if (processes) this.#holders = new SocketHolders(path);
    if (files) this.#files = new OwnFiles(files.file, files.ringFiles);
    if (resets) this.#facts = new KernelResetFacts(path);
    // Much comes with it that nothing else here needs.
    if (recorder !== undefined)
      this.#sessions = recordedSessions(new (await import('../cli/reader.ts')).RecorderReader(recorder));
    return { value: null };
  }

  #asked<T>(part: T | undefined): T {
    if (part === undefined) throw refused();
    return part;
  }

  #factAnswers(): Answers {
    const answer = (ask: (facts: ResetFacts, args: readonly unknown[]) => Promise<unknown>) => async (argument: unknown) => {
      if (!Array.isArray(argument)) throw refused();
      return { value: await ask(this.#asked(this.#facts), argument) };
    };
    return {
      'facts.begin': answer((facts) => facts.begin()),
      'facts.moment': answer((facts, [count]) => facts.moment(flagOf(count) === true)),
      'facts.senderAt': answer((facts, [ip, place]) => facts.senderAt(textOf(ip), placeOf(place))),
      'facts.isOwn': answer((facts, [ip]) => facts.isOwn(textOf(ip))),
      'facts.rejectRules': answer((facts, [ip, at]) => facts.rejectRules(textOf(ip), numberOf(at))),
      'facts.translations': answer((facts, [tuple]) => facts.translations(tupleOf(fieldsOf(tuple)))),
      'facts.unseen': answer((facts) => facts.unseen()),
    };
  }
}

// The other half decides when it is over; a terminal's interrupt is for it.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => {});
const helper = new Helper();
new AnswerChannel(helperDescriptor, helper.answers, () => {
  void helper.close().finally(() => process.exit());
});
