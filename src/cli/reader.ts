// Where the reading verbs get their answers: the recorder's API over its unix socket, or the store itself when no
// recorder runs. Both give the same documents. Owns nothing that outlives a call but an offline store.

import http from 'node:http';
import { type CampaignDocument, campaignsOf, readCampaigns } from '../analysis/read-campaigns.ts';
import { askReport, type ReportText } from '../analysis/report/ask-report.ts';
import type { Report } from '../analysis/report/report.ts';
import type { Micros } from '../base/clock.ts';
import { type ErrorCode, errorCodes, WeirError } from '../base/errors.ts';
import type { Status } from '../model/status.ts';
import { parseBehaviours } from '../record/behaviour-names.ts';
import {
  type AlertDocument,
  alertDocument,
  type ProbeDocument,
  probeDocument,
  type SessionDocument,
  type StoredSessionDocument,
} from '../record/documents.ts';
import { checkFindings, type ExportFormat, type ExportKind, exportPieces } from '../record/exporters/export.ts';
import { type FilterText, type FindingText, parseFilter, parseFindings } from '../record/filter-text.ts';
import {
  type AttackerDocument,
  type AttackerPageDocument,
  attackerDocument,
  type TopDocument,
  type VerdictDocument,
} from '../record/insight-documents.ts';
import {
  type AnySubject,
  type AskedStore,
  type AttackerOrder,
  listSessions,
  listVerdicts,
  readAttacker,
  readSession,
  readTop,
} from '../record/insight-questions.ts';
import type { Counts, Filter } from '../record/store.ts';

export interface Page<T> {
  readonly items: readonly T[];
  /** Pass as `before` for the next page. */
  readonly next?: string;
}

export interface LiveUpdate {
  readonly sessions: readonly SessionDocument[];
  readonly skipped: number;
  readonly missed?: number;
  readonly alerts?: readonly AlertDocument[];
  readonly verdicts?: readonly VerdictDocument[];
  /** Alerts and verdicts that came too fast to be told. */
  readonly unsaid?: number;
}

export interface Reader {
  sessions(filter: FilterText & FindingText): Promise<Page<SessionDocument>>;
  /** Undefined when there is none. */
  session(id: string): Promise<StoredSessionDocument | undefined>;
  probes(filter: FilterText): Promise<Page<ProbeDocument>>;
  alerts(filter: FilterText): Promise<Page<AlertDocument>>;
  verdicts(filter: FilterText, behaviour?: string): Promise<Page<VerdictDocument>>;
  attackers(by: AttackerOrder, filter: FilterText): Promise<readonly AttackerDocument[]>;
  /** Undefined when nothing of it is recorded. */
  attacker(ip: string, filter: FilterText): Promise<AttackerPageDocument | undefined>;
  /** Largest first; those of one source when `member` is given. */
  campaigns(filter: FilterText, member?: string): Promise<readonly CampaignDocument[]>;
  top(subject: AnySubject, by: 'hits' | 'sources', filter: FilterText): Promise<readonly TopDocument[]>;
  counts(filter: FilterText): Promise<Counts>;
  report(text: ReportText): Promise<Report>;
  /** Pieces of whole lines. */
  exported(
    format: ExportFormat,
    kinds: readonly ExportKind[],
    filter: FilterText & FindingText,
  ): AsyncIterable<string | Uint8Array>;
  close(): Promise<void>;
}

const maxAnswerBytes = 256 << 20;
const maxLineBytes = 32 << 20;
const answerTimeoutMs = 60_000;
/** Whoever asks for the status wants to know also of a recorder that hangs. */
const statusTimeoutMs = 10_000;

function errorOf(status: number | undefined, body: string): WeirError {
  try {
    const { error } = JSON.parse(body) as { error: { code: string; message: string; details: Record<string, unknown> } };
    const code = Object.hasOwn(errorCodes, error.code) ? (error.code as ErrorCode) : 'fault';
    return new WeirError(code, error.message, error.details);
  } catch {
    return new WeirError('fault', `the recorder answered with status ${status}`);
  }
}

const queryOf = (parameters: Readonly<Record<string, string | undefined>>): string => {
  const query = new URLSearchParams();
  for (const [key, value] of Object.entries(parameters)) if (value !== undefined && value !== '') query.set(key, value);
  const text = query.toString();
  return text === '' ? '' : `?${text}`;
};

/** Speaks HTTP to the recorder. Throws `not-running`, `not-permitted`, `timeout`, or what the API answered. */
export class RecorderReader implements Reader {
  readonly #socketPath: string;

  constructor(socketPath: string) {
    this.#socketPath = socketPath;
  }

  sessions(filter: FilterText & FindingText): Promise<Page<SessionDocument>> {
    return this.#get(`/api/sessions${queryOf(filter)}`);
  }

  session(id: string): Promise<StoredSessionDocument | undefined> {
    return this.#find(`/api/sessions/${encodeURIComponent(id)}`);
  }

  probes(filter: FilterText): Promise<Page<ProbeDocument>> {
    return this.#get(`/api/probes${queryOf(filter)}`);
  }

  alerts(filter: FilterText): Promise<Page<AlertDocument>> {
    return this.#get(`/api/alerts${queryOf(filter)}`);
  }

  verdicts(filter: FilterText, behaviour?: string): Promise<Page<VerdictDocument>> {
    return this.#get(`/api/verdicts${queryOf({ ...filter, behaviour })}`);
  }

  async attackers(by: AttackerOrder, filter: FilterText): Promise<readonly AttackerDocument[]> {
    const { items } = await this.#get<{ items: AttackerDocument[] }>(`/api/attackers${queryOf({ ...filter, by })}`);
    return items;
  }

  attacker(ip: string, filter: FilterText): Promise<AttackerPageDocument | undefined> {
    return this.#find(`/api/attackers/${encodeURIComponent(ip)}${queryOf(filter)}`);
  }

  async campaigns(filter: FilterText, member?: string): Promise<readonly CampaignDocument[]> {
    const { items } = await this.#get<{ items: CampaignDocument[] }>(`/api/campaigns${queryOf({ ...filter, member })}`);
    return items;
  }

  async top(subject: AnySubject, by: 'hits' | 'sources', filter: FilterText): Promise<readonly TopDocument[]> {
    const { items } = await this.#get<{ items: TopDocument[] }>(`/api/top${queryOf({ ...filter, subject, by })}`);
    return items;
  }

  counts(filter: FilterText): Promise<Counts> {
    return this.#get(`/api/counts${queryOf(filter)}`);
  }

  report(text: ReportText): Promise<Report> {
    return this.#get(`/api/report${queryOf(text)}`);
  }

  status(): Promise<Status> {
    return this.#get('/api/status', 'GET', statusTimeoutMs);
  }

  createSignInLink(): Promise<{ url: string; expires: string }> {
    return this.#get('/api/sign-in-links', 'POST', statusTimeoutMs);
  }

  async *exported(
    format: ExportFormat,
    kinds: readonly ExportKind[],
    filter: FilterText & FindingText,
  ): AsyncIterable<Uint8Array> {
    const { response, request } = await this.#open(
      `/api/export/${format}${queryOf({ ...filter, kinds: kinds.join(',') })}`,
      'GET',
    );
    try {
      yield* response;
    } finally {
      request.destroy();
    }
  }

  /** Ends when `signal` fires or the recorder stops. An empty update comes with each heartbeat. */
  async *live(filter: FilterText & FindingText, rows: number, signal: AbortSignal): AsyncIterable<LiveUpdate> {
    const { response, request } = await this.#open(
      `/api/live${queryOf({ ...filter, limit: undefined, rows: String(rows) })}`,
      'GET',
    );
    const stop = (): void => void request.destroy();
    signal.addEventListener('abort', stop, { once: true });
    let text = '';
    try {
      response.setEncoding('utf8');
      for await (const piece of response) {
        text += piece;
        for (let end = text.indexOf('\n'); end >= 0; end = text.indexOf('\n')) {
          const line = text.slice(0, end);
          text = text.slice(end + 1);
          if (line.startsWith('data: {"')) yield JSON.parse(line.slice(6)) as LiveUpdate;
          else if (line === ':') yield { sessions: [], skipped: 0 };
        }
        if (text.length > maxLineBytes) throw new WeirError('fault', 'a line of the live stream is too long');
      }
    } catch (error) {
      if (!signal.aborted && (error as NodeJS.ErrnoException).code !== 'ECONNRESET') throw error;
    } finally {
      signal.removeEventListener('abort', stop);
      request.destroy();
    }
  }

  async close(): Promise<void> {}

  async #find<T>(path: string): Promise<T | undefined> {
    try {
      return await this.#get<T>(path);
    } catch (error) {
      if (error instanceof WeirError && error.code === 'not-found') return undefined;
      throw error;
    }
  }

  async #get<T>(path: string, method: 'GET' | 'POST' = 'GET', timeoutMs = answerTimeoutMs): Promise<T> {
    const { response, request } = await this.#open(path, method, timeoutMs);
    const body = await this.#collect(response, request);
    return JSON.parse(body) as T;
  }

  async #collect(response: http.IncomingMessage, request: http.ClientRequest): Promise<string> {
    const pieces: Buffer[] = [];
    let bytes = 0;
    for await (const piece of response as AsyncIterable<Buffer>) {
      bytes += piece.length;
      if (bytes > maxAnswerBytes) {
        request.destroy();
        throw new WeirError('fault', `the recorder's answer is longer than ${maxAnswerBytes} bytes`);
      }
      pieces.push(piece);
    }
    return Buffer.concat(pieces).toString('utf8');
  }

  #open(
    path: string,
    method: string,
    timeoutMs = answerTimeoutMs,
  ): Promise<{ response: http.IncomingMessage; request: http.ClientRequest }> {
    return new Promise((resolve, reject) => {
      const request = http.request({ socketPath: this.#socketPath, path, method, headers: { Host: 'recorder' }, agent: false });
      request.setTimeout(timeoutMs, () =>
        request.destroy(new WeirError('timeout', `the recorder did not answer within ${timeoutMs / 1000} s`)),
      );
      request.on('error', (error: NodeJS.ErrnoException) => {
        if (error instanceof WeirError) return reject(error);
        const absent = error.code === 'ENOENT' || error.code === 'ECONNREFUSED';
        const denied = error.code === 'EACCES' || error.code === 'EPERM';
        reject(
          new WeirError(
            absent ? 'not-running' : denied ? 'not-permitted' : 'system-call',
            absent
              ? `no recorder answers on ${this.#socketPath}`
              : denied
                ? `${this.#socketPath}: permission denied`
                : `${this.#socketPath}: ${error.message}`,
            { path: this.#socketPath, ...(denied ? { next: 'run the same command with sudo' } : {}) },
            error,
          ),
        );
      });
      request.on('response', (response) => {
        if (response.statusCode === 200) return resolve({ response, request });
        this.#collect(response, request).then((body) => reject(errorOf(response.statusCode, body)), reject);
      });
      request.end();
    });
  }
}

const nextOf = (filter: Filter, rows: readonly { readonly id: string }[]): string | undefined =>
  rows.length === filter.limit ? rows.at(-1)?.id : undefined;

/** Reads a store that no recorder has open. */
export class StoreReader implements Reader {
  readonly #store: AskedStore;
  readonly #now: () => Micros;

  constructor(store: AskedStore, now: () => Micros) {
    this.#store = store;
    this.#now = now;
  }

  async sessions(text: FilterText & FindingText): Promise<Page<SessionDocument>> {
    const filter = { ...parseFilter(text, this.#now()), ...parseFindings(text) };
    const rows = await this.#store.sessions(filter);
    return { items: await listSessions(this.#store, rows), next: nextOf(filter, rows) };
  }

  session(id: string): Promise<StoredSessionDocument | undefined> {
    return readSession(this.#store, id);
  }

  async probes(text: FilterText): Promise<Page<ProbeDocument>> {
    const filter = parseFilter(text, this.#now());
    const rows = await this.#store.probes(filter);
    return { items: rows.map(probeDocument), next: nextOf(filter, rows) };
  }

  async alerts(text: FilterText): Promise<Page<AlertDocument>> {
    const filter = parseFilter(text, this.#now());
    const rows = await this.#store.alerts(filter);
    return { items: rows.map(alertDocument), next: nextOf(filter, rows) };
  }

  async verdicts(text: FilterText, behaviour?: string): Promise<Page<VerdictDocument>> {
    const filter = { ...parseFilter(text, this.#now()), ...parseBehaviours(behaviour) };
    const items = await listVerdicts(this.#store, filter);
    return {
      items,
      next: nextOf(
        filter,
        items.map(({ event }) => event),
      ),
    };
  }

  async attackers(by: AttackerOrder, text: FilterText): Promise<readonly AttackerDocument[]> {
    return (await this.#store.attackers(by, parseFilter(text, this.#now()))).map(attackerDocument);
  }

  attacker(ip: string, text: FilterText): Promise<AttackerPageDocument | undefined> {
    return readAttacker(this.#store, ip, parseFilter(text, this.#now()));
  }

  async campaigns(text: FilterText, member?: string): Promise<readonly CampaignDocument[]> {
    const filter = parseFilter(text, this.#now());
    const campaigns = await readCampaigns(this.#store, filter);
    return (member === undefined ? campaigns : campaignsOf(campaigns, member)).slice(0, filter.limit);
  }

  top(subject: AnySubject, by: 'hits' | 'sources', text: FilterText): Promise<readonly TopDocument[]> {
    return readTop(this.#store, subject, by, parseFilter(text, this.#now(), 20));
  }

  counts(text: FilterText): Promise<Counts> {
    return this.#store.counts(parseFilter(text, this.#now()));
  }

  report(text: ReportText): Promise<Report> {
    return askReport(this.#store, text, this.#now());
  }

  exported(
    format: ExportFormat,
    kinds: readonly ExportKind[],
    text: FilterText & FindingText,
  ): AsyncIterable<string | Uint8Array> {
    const findings = parseFindings(text);
    checkFindings(findings, format, kinds);
    const { limit, ...filter } = parseFilter(text, this.#now());
    const selected = { ...filter, ...findings, ...(text.limit && { limit }) };
    return exportPieces(this.#store, format, selected, this.#now(), kinds);
  }

  close(): Promise<void> {
    return this.#store.close();
  }
}
