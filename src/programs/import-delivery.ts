// Where an import's records go: to the recorder that runs, batch by batch over its socket, or, where none runs, to one opened
// here for as long as the import takes. A batch handed in twice is no harm, so what the connection lost is sent again.

import http from 'node:http';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import type { ImportAnswer } from '../api/imports.ts';
import { asWeirError, type ErrorCode, errorCodes, WeirError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import type { Deliver } from '../record/importers/record-queue.ts';
import { ImportThread } from './import-thread.ts';
import type { RecorderSettings } from './settings.ts';

export interface Delivery {
  /** True when records went to a recorder that was running before. */
  readonly running: boolean;
  readonly deliver: Deliver;
  /** Resolves when everything delivered can be asked for; of an import that failed, at once. */
  close(failed: boolean): Promise<void>;
}

/** A recorder that is started again is back within this. */
const comebackMs = 15_000;
/** Whether a store that somebody has is free. */
const lookAgainMs = 1000;
/** Longer than the intake itself waits for its store. */
const answerMs = 180_000;
const maxAnswerBytes = 1 << 20;

/**
 * Waits for another import that has the store, until `signal`. Throws `not-permitted` when the recorder's socket or the data
 * directory is not this account's.
 */
export async function openDelivery(data: string, settings: RecorderSettings, log: Log, signal: AbortSignal): Promise<Delivery> {
  for (let waited = false; ; waited = true) {
    const running = await openRunning(join(data, 'run/recorder.sock'));
    if (running) return running;
    try {
      return await openOwn(data, settings);
    } catch (error) {
      if (asWeirError(error).code !== 'already-running' || signal.aborted) throw error;
      if (!waited)
        log.warn('another process has the store open, such as another import: this one begins when it is done', { data });
    }
    await pause(lookAgainMs, undefined, { signal }).catch(() => {});
  }
}

/** Undefined when none runs. */
async function openRunning(socketPath: string): Promise<Delivery | undefined> {
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
  try {
    await post(agent, socketPath, new Uint8Array(0));
    return {
      running: true,
      deliver: (batch) => persistently(() => post(agent, socketPath, batch)),
      close: async () => agent.destroy(),
    };
  } catch (error) {
    agent.destroy();
    if (asWeirError(error).code === 'not-running') return undefined;
    throw error;
  }
}

async function openOwn(data: string, settings: RecorderSettings): Promise<Delivery> {
  const thread = await ImportThread.open({ data, settings });
  return { running: false, deliver: (batch) => thread.take(batch), close: (failed) => thread.close(failed) };
}

async function persistently<T>(attempt: () => Promise<T>): Promise<T> {
  const until = performance.now() + comebackMs;
  for (;;) {
    try {
      return await attempt();
    } catch (error) {
      const { code } = asWeirError(error);
      if ((code !== 'not-running' && code !== 'system-call') || performance.now() > until) throw error;
      await pause(100);
    }
  }
}

function post(agent: http.Agent, socketPath: string, batch: Uint8Array): Promise<readonly number[]> {
  return new Promise((resolve, reject) => {
    const headers = { Host: 'recorder', 'Content-Type': 'application/octet-stream', 'Content-Length': batch.length };
    const request = http.request({ socketPath, agent, path: '/api/import', method: 'POST', headers, timeout: answerMs });
    request.on('timeout', () => request.destroy(new WeirError('timeout', 'the recorder did not take a batch in time')));
    request.on('error', (error: NodeJS.ErrnoException) => reject(asConnectionError(error, socketPath)));
    request.on('response', (response) => {
      const pieces: Buffer[] = [];
      let bytes = 0;
      response.on('data', (piece: Buffer) => {
        bytes += piece.length;
        if (bytes > maxAnswerBytes) request.destroy(new WeirError('fault', 'the recorder answered with too much'));
        else pieces.push(piece);
      });
      response.on('error', (error: NodeJS.ErrnoException) => reject(asConnectionError(error, socketPath)));
      response.on('end', () => {
        const body = Buffer.concat(pieces).toString('utf8');
        if (response.statusCode === 200) resolve((JSON.parse(body) as ImportAnswer).known);
        else reject(refusalOf(response.statusCode, body));
      });
    });
    request.end(batch);
  });
}

function asConnectionError(error: NodeJS.ErrnoException, path: string): WeirError {
  if (error instanceof WeirError) return error;
  if (error.code === 'ENOENT' || error.code === 'ECONNREFUSED')
    return new WeirError('not-running', `no recorder answers on ${path}`, {}, error);
  if (error.code === 'EACCES' || error.code === 'EPERM')
    return new WeirError('not-permitted', `${path}: permission denied`, { next: 'run the same command with sudo' }, error);
  return new WeirError('system-call', `${path}: ${error.message}`, {}, error);
}

interface Refusal {
  readonly code: string;
  readonly message: string;
  readonly details?: Readonly<Record<string, unknown>>;
}

/** As the recorder's API says it (app.ts), with the next step where it names one. */
export function refusalOf(status: number | undefined, body: string): WeirError {
  try {
    const { code, message, details } = (JSON.parse(body) as { error: Refusal }).error;
    const next = details?.next;
    return new WeirError(
      Object.hasOwn(errorCodes, code) ? (code as ErrorCode) : 'fault',
      message,
      typeof next === 'string' ? { next } : {},
    );
  } catch {
    return new WeirError('fault', `the recorder answered with status ${status}`);
  }
}
