// `weir doctor` alone: whether Weir can do its work here. Asks the running programs, looks at the machine, touches some decoys of every diversion as an
// attacker would, and looks whether such a touch came out as a session with the right source.

import { asWeirError, WeirError } from '../base/errors.ts';
import { printable } from '../base/printable.ts';
import { type Address, parseAddress, renderAddress } from '../model/address.ts';
import type { Configuration } from '../model/configuration.ts';
import type { PortSet } from '../model/port-set.ts';
import type { Status } from '../model/status.ts';
import { checkStatus, exitCodeOf, type WeirCheck } from '../netops/doctor/weir-check.ts';
import type { CommandContext } from './command-context.ts';
import { findLiving } from './decoy-rows.ts';
import type { RecorderReader } from './reader.ts';
import { plural } from './wording.ts';

/** Decoys of each diversion that are touched. */
const touchesEach = 4;
const mostDiversions = 64;
const recordedWithinMs = 10_000;
const askEveryMs = 200;

const marks: Readonly<Record<WeirCheck['state'], string>> = { pass: 'ok', warn: '!', fail: 'FAIL', 'not-measured': '-' };

async function statusOf(context: CommandContext, recorder: RecorderReader): Promise<Status | undefined> {
  try {
    return await recorder.status();
  } catch (error) {
    if (!(error instanceof WeirError) || (error.code !== 'not-running' && error.code !== 'timeout')) throw error;
    const status = await context.environment.actions.status(context.action);
    return (
      status && {
        ...status,
        health: 'bad',
        reasons: [...(status.reasons ?? []), `the recorder does not answer: ${error.message}`],
      }
    );
  }
}

export async function doctorOfWeir(context: CommandContext): Promise<number> {
  const configuration = await context.configuration();
  const recorder = await context.recorder();
  const status = await statusOf(context, recorder);
  const gateway = status?.processes?.find(({ name }) => name === 'gateway');
  const { doctor } = context.environment.actions;
  const checks: WeirCheck[] = [...checkStatus(status), ...(await doctor.machine(configuration.data, gateway?.pid))];
  if (status) checks.push(...(await touches(context, configuration, recorder, status)));
  const exitCode = exitCodeOf(checks);
  if (context.json) await context.printJson({ checks, exit_code: exitCode });
  else await context.print(render(checks, context));
  return exitCode;
}

function render(checks: readonly WeirCheck[], { style }: CommandContext): string {
  const { bold, red, yellow, green, dim } = style;
  const bad = checks.filter(({ state }) => state === 'fail').length;
  const odd = checks.filter(({ state }) => state === 'warn').length;
  const blind = checks.filter(({ state }) => state === 'not-measured').length;
  const head =
    bad > 0
      ? bold(red(`${plural(bad, 'check')} failed`))
      : odd > 0
        ? bold(yellow(`${plural(odd, 'warning')}`))
        : blind > 0
          ? bold(yellow('nothing wrong was found, but not everything was looked at'))
          : bold(green('all well'));
  const width = Math.min(40, Math.max(...checks.map(({ name }) => name.length)));
  const lines = checks.flatMap(({ name, state, detail, next }) => [
    `  ${marks[state].padEnd(4)}  ${printable(name, 80).padEnd(width)}  ${printable(detail, 1000)}`,
    ...(next ? [dim(`        ${''.padEnd(width)}  next: ${printable(next, 500)}`)] : []),
  ]);
  return `${head}\n${lines.join('\n')}\n`;
}

const firstPort = (ports: PortSet): number | undefined => ports[0]?.first;

interface Wanted {
  readonly diversion: string;
  readonly address: Address;
  readonly port: number;
}

function sampleOf(configuration: Configuration, diversion: string): Wanted[] {
  const { decoys } = findLiving(configuration, { diversion, limit: 64 });
  const open = decoys.flatMap(({ ip, persona }) => {
    const port = firstPort(persona.tcp.open);
    const address = parseAddress(ip);
    return port === undefined || !address ? [] : [{ diversion, address, port }];
  });
  // Spread over those found: neighbours of one address are likely to fare alike.
  const step = Math.max(1, Math.floor(open.length / touchesEach));
  return open.filter((_, index) => index % step === 0).slice(0, touchesEach);
}

async function touches(
  context: CommandContext,
  configuration: Configuration,
  recorder: RecorderReader,
  status: Status,
): Promise<WeirCheck[]> {
  const checks: WeirCheck[] = [];
  const running = (status.diversions ?? []).filter(({ kind }) => kind === 'host' || kind === 'network').slice(0, mostDiversions);
  for (const { name, interface: link, network } of running) {
    const check = `decoys of ${name}`;
    const sample = sampleOf(configuration, name);
    if (sample.length === 0) {
      checks.push({ name: check, state: 'not-measured', detail: 'nobody with an open TCP port was found in it' });
      continue;
    }
    try {
      checks.push(
        ...(await touchSome(context, recorder, check, sample, {
          ...(link && { link }),
          ...(network && { netns: network.netns }),
        })),
      );
    } catch (error) {
      checks.push({ name: check, state: 'not-measured', detail: asWeirError(error).message });
    }
  }
  return checks;
}

async function touchSome(
  context: CommandContext,
  recorder: RecorderReader,
  name: string,
  sample: readonly Wanted[],
  place: { readonly link?: string; readonly netns?: string },
): Promise<WeirCheck[]> {
  const { doctor } = context.environment.actions;
  let answered = 0;
  let came: string | undefined;
  let expected: string | undefined;
  for (const { address, port } of sample) {
    const touch = await doctor.touch(place, address, port);
    if ('why' in touch) return [{ name, state: 'not-measured', detail: touch.why }];
    const shown = `${renderAddress(address)}:${port}`;
    if (touch.result !== 'answered')
      return [
        {
          name,
          state: 'fail',
          detail: `${shown} ${touch.result === 'refused' ? 'refused' : 'did not answer'} a SYN as if from ${touch.source}`,
          next: `weir doctor --from ${touch.source} --to ${address.family === 6 ? `[${renderAddress(address)}]:${port}` : shown} --inject`,
        },
      ];
    answered += 1;
    if (expected === undefined) {
      expected = `${touch.source}:${touch.sourcePort} to ${shown}`;
      came = await sessionOf(recorder, touch.source, touch.sourcePort, renderAddress(address));
    }
  }
  return [
    { name, state: 'pass', detail: `${answered} of ${sample.length} touched answered` },
    came
      ? { name: `${name}: end to end`, state: 'pass', detail: `a touch from ${expected} is session ${came}` }
      : {
          name: `${name}: end to end`,
          state: 'fail',
          detail: `a touch from ${expected} was answered, but came out as no session within ${recordedWithinMs / 1000} s`,
          next: '`weir status` shows what is behind or was lost',
        },
  ];
}

/** The identifier of the session a touch came out as: with its very source. */
async function sessionOf(recorder: RecorderReader, ip: string, port: number, destination: string): Promise<string | undefined> {
  const end = performance.now() + recordedWithinMs;
  for (;;) {
    const { items } = await recorder.sessions({ source: ip, destination, limit: '50' });
    const found = items.find(({ source }) => source.ip === ip && source.port === port);
    if (found) return found.weir.session.id;
    if (performance.now() > end) return undefined;
    await new Promise((resolve) => setTimeout(resolve, askEveryMs));
  }
}
