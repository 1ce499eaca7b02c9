// `weir agent`: enrols when it has to, opens what an agent is made of, runs until it is told to end. Any user, any system: nothing
// here or below may need more than Node (test/house/agent-imports.test.ts holds that).

import { join } from 'node:path';
import { CorrectedClock } from '../base/corrected-clock.ts';
import { readWhole, writeDurably } from '../base/durable-file.ts';
import { asWeirError, WeirError } from '../base/errors.ts';
import { Lifetime } from '../base/lifetime.ts';
import { type Log, silentLog } from '../base/log.ts';
import { parsePersonas } from '../config/personas.ts';
import { type CertificateMint, openCertificateMint } from '../honeypot/certificate-mint.ts';
import type { AgentCapability } from '../model/agent.ts';
import { Spool } from '../record/spool.ts';
import { AgentIdentity } from '../relay/agents/agent-identity.ts';
import { parseToken } from '../relay/agents/enrolment-token.ts';
import { enrolOverLink } from '../relay/link/enrol.ts';
import type { LinkClientLimits, UpgradeOffer } from '../relay/link/link-client-options.ts';
import { type AgentOptions, dataDirectoryOf } from './agent-arguments.ts';
import type { Embedded } from './agent-embedded.ts';
import { AgentLife, type AgentMachine } from './agent-life.ts';
import { readAgentRules } from './agent-rules.ts';
import { type AgentSettings, readAgentSettings } from './agent-settings.ts';
import { StatusFile } from './agent-status.ts';
import { ownCapabilities, shareDescriptors } from './agent-system.ts';
import { serveKeeper } from './agent-worker.ts';

export interface StartOptions {
  /** Nobody waits for it any more. */
  readonly signal?: AbortSignal;
  readonly linkLimits?: Partial<LinkClientLimits>;
  /** What of this machine is diverted beside its listeners: a privileged agent's. */
  readonly openMachine?: (made: MadeForMachine) => Promise<AgentMachine>;
  /** Another program is offered; absent: refused. */
  readonly onOffer?: (offer: UpgradeOffer) => void;
  /** What `AgentLife.report` gives may have changed. */
  readonly onChange?: () => void;
}

export interface RunningAgent {
  readonly life: AgentLife;
  /** In order: nobody new, what is open on record, the spool closed. Idempotent. */
  end(): Promise<void>;
}

/** What a machine of a privileged agent is made with. */
export interface MadeForMachine {
  readonly spool: Spool;
  readonly settings: AgentSettings;
  readonly certificates: CertificateMint;
}

const machineCapabilities: readonly AgentCapability[] = ['host', 'network', 'transparent', 'vxlan'];
const retryEnrolmentMs = 5000;

/** Asks for a certificate until the gateway answers; gives up when it says no. */
async function enrol(
  identity: AgentIdentity,
  token: string,
  settings: AgentSettings,
  log: Log,
  signal: AbortSignal,
): Promise<void> {
  const parsed = parseToken(token);
  if (!identity.wants(parsed)) return;
  for (;;) {
    const { credentials, serverName, request } = await identity.beginEnrolment(parsed);
    const { gateway, proxy } = settings;
    try {
      const { agent, certificate } = await enrolOverLink({ gateway, ...(proxy && { proxy }), serverName, credentials, request });
      await identity.accept(certificate);
      log.info('enrolled', { agent });
      return;
    } catch (error) {
      const { code, message } = asWeirError(error);
      if (code !== 'not-running' && code !== 'timeout') throw error;
      log.warn('the gateway was not reached; trying again', { reason: message, inMs: retryEnrolmentMs });
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, retryEnrolmentMs);
        signal.addEventListener('abort', () => {
          clearTimeout(timer);
          resolve();
        });
      });
      if (signal.aborted) throw new WeirError('not-running', 'ended before it was enrolled');
    }
  }
}

const offsetPath = (data: string): string => join(data, 'clock.json');

async function readOffset(data: string): Promise<number> {
  try {
    const { offsetMicros } = JSON.parse((await readWhole(offsetPath(data))) ?? '{}') as { offsetMicros?: unknown };
    return Number.isSafeInteger(offsetMicros) ? (offsetMicros as number) : 0;
  } catch {
    return 0;
  }
}

/** Resolves when its listeners are open (with the rules of before) and it looks for its link. Throws what makes that impossible. */
export async function startAgent(
  options: AgentOptions,
  { version, personaFiles }: Embedded,
  log: Log,
  more: StartOptions = {},
): Promise<RunningAgent> {
  const lifetime = new Lifetime(log);
  try {
    const data = dataDirectoryOf(options);
    const identity = await AgentIdentity.open(data);
    const settings = await readAgentSettings(options);
    if (options.token !== undefined)
      await enrol(identity, options.token, settings, log, more.signal ?? new AbortController().signal);
    identity.credentials();
    const clock = new CorrectedClock(await readOffset(data));
    const spool = await Spool.open({ directory: join(data, 'spool'), maxBytes: settings.spoolBytes, clock: clock.now, log });
    lifetime.own('spool', spool);
    const personas = personasOf(personaFiles);
    const status = new StatusFile(data, log);
    const certificates = await openCertificateMint(join(data, 'tls'), log);
    const machine = await more.openMachine?.({ spool, settings, certificates });
    const life = new AgentLife({
      settings,
      identity,
      spool,
      clock,
      certificates,
      ...(machine ? { machine } : {}),
      personas,
      version,
      capabilities: machine ? [...ownCapabilities(), ...machineCapabilities] : ownCapabilities(),
      sockets: shareDescriptors(),
      log,
      onChange: () => {
        status.changed();
        more.onChange?.();
      },
      ...(more.onOffer === undefined ? {} : { onOffer: more.onOffer }),
      onSkew: (offsetMicros) => {
        writeDurably(offsetPath(data), `${JSON.stringify({ offsetMicros })}\n`).catch((error: unknown) =>
          log.warn('what the gateway says of the time cannot be kept', { error: asWeirError(error).message }),
        );
      },
      ...(more.linkLimits === undefined ? {} : { linkLimits: more.linkLimits }),
    });
    lifetime.own('status', status);
    lifetime.own('agent', life);
    status.start(() => life.report());
    await life.start(await readAgentRules(data, personas, log));
    log.info('ready', { agent: identity.agent, data, listeners: life.listeners.size });
    return { life, end: () => lifetime.end() };
  } catch (error) {
    await lifetime.end();
    throw error;
  }
}

/** In the foreground until SIGTERM or SIGINT, then in order. */
export async function serveAgent(options: AgentOptions, embedded: Embedded, log: Log): Promise<void> {
  const stop = new AbortController();
  const stopped = new Promise<void>((resolve) => {
    for (const signal of ['SIGTERM', 'SIGINT'] as const)
      process.on(signal, () => {
        if (stop.signal.aborted) return;
        log.info('ending', { signal });
        stop.abort();
        resolve();
      });
  });
  const agent = await startAgent(options, embedded, log, { signal: stop.signal });
  await stopped;
  await agent.end();
}

let parsed: { readonly files: Embedded['personaFiles']; readonly personas: ReturnType<typeof parsePersonas> } | undefined;

/** Parsed once: below a keeper before the ports are anybody's, not while nobody answers on them. */
function personasOf(files: Embedded['personaFiles']): ReturnType<typeof parsePersonas> {
  if (parsed?.files !== files) parsed = { files, personas: parsePersonas(files) };
  return parsed.personas;
}

const lookEveryMs = 1000;

/** Below a keeper: opens when it is told to, and again after it let go for a program that was tried and did not stay. */
export async function serveKeptAgent(options: AgentOptions, embedded: Embedded, log: Log): Promise<void> {
  // Whatever takes time and needs nothing for itself alone is done before the keeper hears that we are ready.
  await readAgentRules(dataDirectoryOf(options), personasOf(embedded.personaFiles), silentLog);
  await serveKeeper({
    version: embedded.version,
    data: dataDirectoryOf(options),
    log,
    open: async ({ onState, onOffer, signal }) => {
      let running: RunningAgent | undefined;
      const tell = (): void => {
        if (running) onState(running.life.proof());
      };
      running = await startAgent(options, embedded, log, { signal, onOffer, onChange: tell });
      const { life, end } = running;
      // A disk that fills makes no event.
      const timer = setInterval(tell, lookEveryMs);
      return {
        state: () => life.proof(),
        tellUpgrade: (news) => life.link.send({ kind: 'upgrade', ...news }),
        fetchProgram: (version) => life.link.fetchProgram(version),
        close: () => {
          clearInterval(timer);
          return end();
        },
      };
    },
  });
}
