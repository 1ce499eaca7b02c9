// What the gateway answers about agents on its control socket: who there is, a token, an end, a touch of an agent's own decoy, an
// upgrade. Joins the registry with the link; the command line is cli/agents.ts, and the proof of a touch is what the store has.

import { networkInterfaces } from 'node:os';
import type { ControlVerb } from '../api/control.ts';
import { asWeirError, WeirError } from '../base/errors.ts';
import { parseAddress, renderAddress } from '../model/address.ts';
import type {
  AgentReport,
  AgentRollOut,
  AgentStatus,
  AgentToken,
  AgentTouch,
  AgentTouches,
  AgentUpgradeOrder,
  RefusedListener,
} from '../model/agent.ts';
import { type PortSet, subtractPorts, unitePorts } from '../model/port-set.ts';
import type { AgentDiversion, AgentSettings } from '../model/relayed-service.ts';
import type { Endpoint, Transport } from '../model/session.ts';
import type { AgentEntry } from '../relay/agents/agent-gate.ts';
import type { AddedAgent } from '../relay/agents/agent-registry.ts';

/** What of AgentRegistry is asked here. */
export interface AgentKeeper {
  addAll(names: readonly string[], expiresInMs?: number): Promise<readonly AddedAgent[]>;
  remove(name: string): Promise<'revoked' | 'withdrawn' | 'forgotten'>;
  agents(): readonly AgentEntry[];
  reasons(): readonly string[];
}

/** What of LinkServer is asked here. */
export interface AgentLinks {
  statuses(): readonly AgentStatus[];
  touch(
    agent: string,
    touch: { readonly transport: Transport; readonly ip: string; readonly port: number; readonly payload: string },
    timeoutMs: number,
  ): Promise<{ readonly from: string }>;
}

/** What of AgentUpgrades is asked here: brings agents to another version of the program, by stages. */
export interface AgentUpgrader {
  put(
    program: { readonly version: string; readonly sha256: string; readonly bytes: number },
    offset: number,
    piece: Uint8Array,
  ): Promise<number>;
  begin(order: AgentUpgradeOrder & { readonly names: readonly string[] }): AgentRollOut;
  progress(change: number): Promise<AgentRollOut>;
  stop(): AgentRollOut;
}

export interface AgentVerbsOptions {
  readonly registry: AgentKeeper;
  readonly links: AgentLinks;
  readonly upgrades: AgentUpgrader;
  /** As applied. */
  settings(): { readonly agents: AgentSettings; readonly diversions: readonly AgentDiversion[] };
}

const touchMs = 5_000;
/** Of one agent in one test: a few decoys prove the way as well as all do. */
const maxTouches = 8;

/** What the status and `weir agents` show: the links' view, with what the registry knows of each identity. */
export function agentReport({
  registry,
  links,
  settings,
}: Pick<AgentVerbsOptions, 'registry' | 'links' | 'settings'>): AgentReport {
  const entries = new Map(registry.agents().map((entry) => [entry.name, entry]));
  const { agents } = settings();
  const linked = links.statuses().map((status) => {
    const entry = entries.get(status.name);
    const reasons = [...status.reasons];
    if (entry?.reason !== undefined) reasons.push(entry.reason);
    if (status.state === 'linked' && !agents.rules.has(status.name))
      reasons.push(`nothing in weir.yaml is for it: add a diversion with \`agent: ${status.name}\``);
    const health = status.health === 'good' && reasons.length > status.reasons.length ? 'degraded' : status.health;
    return { ...status, health, reasons };
  });
  return { agents: linked, reasons: [...registry.reasons(), ...unaddedReasons(agents, entries)] };
}

/** Agents that the configuration counts on and nobody added. */
function unaddedReasons({ rules }: AgentSettings, entries: ReadonlyMap<string, AgentEntry>): string[] {
  const unknown = [...rules.keys()].filter((name) => !entries.has(name));
  if (unknown.length === 0) return [];
  const names = unknown.slice(0, 5).join(', ') + (unknown.length > 5 ? `, ${unknown.length - 5} more` : '');
  return [`weir.yaml has diversions for agents nobody added (${names}): \`weir agents add ${unknown[0]}\``];
}

/** `192.0.2.1:22`, `[2001:db8::1]:22`; undefined for anything else. An agent says it: hostile. */
export function parseEndpoint(text: string): Endpoint | undefined {
  const match = /^(?:\[([0-9a-fA-F:.]{2,45})\]|([0-9.]{7,15})):(\d{1,5})$/.exec(text);
  const address = match && parseAddress(match[1] ?? match[2]);
  const port = Number(match?.[3]);
  return address && port >= 1 && port <= 65_535 ? { ip: renderAddress(address), port } : undefined;
}

const hostPort = (host: string, port: number): string => (host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`);

/** Where an agent elsewhere reaches us: the configured names, the address we listen on, else our own addresses. */
function gatewaysOf({ listen, publicNames }: AgentSettings): string[] {
  if (!listen) return [];
  const address = renderAddress(listen.address);
  const anywhere = address === '0.0.0.0' || address === '::';
  const own = anywhere
    ? Object.values(networkInterfaces())
        .flatMap((all) => all ?? [])
        .filter((one) => !one.internal && !one.address.startsWith('fe80') && (address === '::' || one.family === 'IPv4'))
        .map((one) => one.address)
    : [address];
  return [...publicNames, ...own].slice(0, 16).map((host) => hostPort(host, listen.port));
}

const firstOpen = (ports: PortSet, transport: Transport, refused: readonly RefusedListener[]): number | undefined => {
  const shut = refused.filter((one) => one.transport === transport).map(({ port }) => ({ first: port, last: port }));
  return subtractPorts(ports, unitePorts(shut))[0]?.first;
};

/** Addresses of the machine itself, those others reach before those only it does; one of each family. */
function reachable(addresses: readonly string[]): string[] {
  const weight = (ip: string): number => (ip === '::1' || ip.startsWith('127.') ? 1 : 0);
  const usable = addresses.filter((ip) => parseAddress(ip) && !/^fe[89ab]/i.test(ip)).sort((a, b) => weight(a) - weight(b));
  const four = usable.find((ip) => !ip.includes(':'));
  const six = usable.find((ip) => ip.includes(':'));
  return [four, six].filter((ip) => ip !== undefined);
}

/** Which decoys an agent should touch: of each diversion the first port it listens on, by each transport and family. */
export function planTouches(
  diversions: readonly AgentDiversion[],
  { rules }: AgentStatus,
): Omit<AgentTouch, 'source' | 'error'>[] {
  const refused = rules?.refused ?? [];
  const plans = diversions.flatMap(({ name, tcp, udp, addresses }) => {
    const ports = { tcp: firstOpen(tcp, 'tcp', refused), udp: firstOpen(udp, 'udp', refused) };
    const own = reachable(addresses.length > 0 ? addresses.map(renderAddress) : (rules?.addresses ?? []));
    return own.flatMap((ip) =>
      (['tcp', 'udp'] as const).flatMap((transport) => {
        const port = ports[transport];
        return port === undefined ? [] : [{ diversion: name, transport, decoy: { ip, port } }];
      }),
    );
  });
  return plans.slice(0, maxTouches);
}

async function touchAll(name: string, { links, settings, registry }: AgentVerbsOptions): Promise<AgentTouches> {
  const failed = (step: 'known' | 'link' | 'rules', message: string, next?: string): AgentTouches => ({
    agent: name,
    touches: [],
    error: { step, message, ...(next === undefined ? {} : { next }) },
  });
  const entry = registry.agents().find((agent) => agent.name === name);
  const status = agentReport({ registry, links, settings }).agents.find((agent) => agent.name === name);
  if (!entry || !status) return failed('known', 'there is no agent of this name', 'weir agents lists them');
  if (status.state !== 'linked')
    return failed(
      'link',
      [`it is ${status.state}`, ...status.reasons].join('; '),
      `look at its log: is \`weir agent\` running there?`,
    );
  const { agents, diversions } = settings();
  const own = diversions.filter(({ agent }) => agent === name);
  if (own.length === 0)
    return failed(
      'rules',
      agents.rules.has(name) ? 'it has no ports of its own to touch (`kind: agent`)' : 'nothing in weir.yaml is for it',
      `add a diversion of kind agent with \`agent: ${name}\``,
    );
  if (status.rules?.applied === undefined || status.rules.applied !== status.rules.wanted)
    return failed('rules', 'it has not applied its rules yet', 'try again; if it stays so, look at its log');
  const plans = planTouches(own, status);
  if (plans.length === 0)
    return failed('rules', 'it listens on none of its ports', 'weir agents --json says which it refused, and why');
  const touches: AgentTouch[] = [];
  for (const plan of plans) {
    const { transport, decoy } = plan;
    try {
      const payload = `self-test ${Date.now()}\r\n`;
      const { from } = await links.touch(name, { transport, ...decoy, payload }, touchMs);
      const source = parseEndpoint(from);
      touches.push(source ? { ...plan, source } : { ...plan, error: 'it did not say where it came from' });
    } catch (error) {
      touches.push({ ...plan, error: asWeirError(error).message });
    }
  }
  return { agent: name, touches };
}

const isRecord = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null;

function nameOf(args: unknown): string {
  if (isRecord(args) && typeof args.name === 'string') return args.name;
  throw new WeirError('bad-request', 'name an agent: {"name":".."}');
}

/** The verbs of the gateway's control socket; root alone reaches it. */
export function agentVerbs(options: AgentVerbsOptions): Readonly<Record<string, ControlVerb>> {
  const { registry, links, upgrades, settings } = options;
  return {
    agents: (): AgentReport => agentReport(options),
    'agents-add': async (args): Promise<readonly AgentToken[]> => {
      const { names, expiresInMs } = (args ?? {}) as { names?: unknown; expiresInMs?: unknown };
      if (!(Array.isArray(names) && names.length > 0 && names.every((name) => typeof name === 'string')))
        throw new WeirError('bad-request', 'names is a list of agents');
      if (expiresInMs !== undefined && typeof expiresInMs !== 'number')
        throw new WeirError('bad-request', 'expiresInMs is a number of milliseconds');
      const { agents } = settings();
      const gateways = gatewaysOf(agents);
      const added = await registry.addAll(names, expiresInMs);
      return added.map((one) => ({ ...one, gateways, unused: !agents.rules.has(one.name) }));
    },
    'agents-remove': async (args) => ({ name: nameOf(args), was: await registry.remove(nameOf(args)) }),
    'agents-touch': (args): Promise<AgentTouches> => touchAll(nameOf(args), options),
    'agents-program': async (args): Promise<{ readonly have: number }> => {
      const { program, offset, piece } = readPiece(args);
      return { have: await upgrades.put(program, offset, piece) };
    },
    'agents-upgrade': (args): AgentRollOut => {
      const order = readOrder(args);
      const known = links.statuses();
      const unknown = order.names?.find((name) => !known.some((agent) => agent.name === name));
      if (unknown !== undefined)
        throw new WeirError('not-found', `there is no agent '${unknown.slice(0, 40)}'`, { next: 'weir agents lists them' });
      const names = order.names ?? known.filter(({ state }) => state !== 'revoked').map(({ name }) => name);
      return upgrades.begin({ ...order, names });
    },
    'agents-upgrade-progress': (args): Promise<AgentRollOut> => {
      const { change } = isRecord(args) ? args : {};
      if (!Number.isSafeInteger(change)) throw new WeirError('bad-request', 'change is that of the last answer, or 0');
      return upgrades.progress(change as number);
    },
    'agents-upgrade-stop': (): AgentRollOut => upgrades.stop(),
  };
}

const maxStageMs = 3_600_000;

function readOrder(args: unknown): AgentUpgradeOrder {
  const { names, stage, force, withinMs, sha256 } = isRecord(args) ? args : {};
  const wrong = (message: string): WeirError => new WeirError('bad-request', message);
  if (names !== undefined && !(Array.isArray(names) && names.every((name) => typeof name === 'string')))
    throw wrong('names is a list of agents; absent: all');
  if (stage !== undefined && !(Number.isInteger(stage) && (stage as number) >= 1))
    throw wrong('stage is how many agents at a time, from 1');
  if (force !== undefined && typeof force !== 'boolean') throw wrong('force is true or false');
  if (
    withinMs !== undefined &&
    !(Number.isInteger(withinMs) && (withinMs as number) >= 1000 && (withinMs as number) <= maxStageMs)
  )
    throw wrong(`withinMs is from 1000 to ${maxStageMs}`);
  if (typeof sha256 !== 'string' || !/^[0-9a-f]{64}$/.test(sha256)) throw wrong('sha256 names the program: 64 hex digits');
  return {
    ...(names === undefined ? {} : { names: names as string[] }),
    ...(stage === undefined ? {} : { stage: stage as number }),
    ...(force === undefined ? {} : { force }),
    ...(withinMs === undefined ? {} : { withinMs: withinMs as number }),
    sha256,
  };
}

interface ProgramPiece {
  readonly program: { readonly version: string; readonly sha256: string; readonly bytes: number };
  readonly offset: number;
  readonly piece: Uint8Array;
}

function readPiece(args: unknown): ProgramPiece {
  const { version, sha256, bytes, offset, piece } = isRecord(args) ? args : {};
  if (typeof version !== 'string' || typeof sha256 !== 'string' || typeof bytes !== 'number')
    throw new WeirError('bad-request', 'a program has a version, a SHA-256 and a size');
  if (!Number.isSafeInteger(offset) || typeof piece !== 'string')
    throw new WeirError('bad-request', 'a piece has an offset and base64');
  return { program: { version, sha256, bytes }, offset: offset as number, piece: Buffer.from(piece, 'base64') };
}
