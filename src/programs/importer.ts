// The process that reads other people's logs: never as root. Files come as descriptors, records go to the recorder.

import { readFileSync } from 'node:fs';
import { systemClock } from '../base/clock.ts';
import { asWeirError, WeirError } from '../base/errors.ts';
import { openLog } from '../base/log.ts';
import { recogniseDatagram } from '../honeypot/datagrams/registry.ts';
import { detect, detectionLimit } from '../honeypot/detect.ts';
import type { Transport } from '../model/session.ts';
import { importFormats } from '../record/importers/formats.ts';
import { type FileResult, type ImportProgress, runImport } from '../record/importers/import-run.ts';
import type { InputSource } from '../record/importers/input-file.ts';
import { openDelivery } from './import-delivery.ts';
import { firstFileDescriptor, type ImportMessage, type ImportSettings, settingsDescriptor } from './import-messages.ts';

const settings = JSON.parse(readFileSync(settingsDescriptor, 'utf8')) as ImportSettings;
const interrupt = new AbortController();
const progressEveryMs = 200;

const say = (message: ImportMessage): void => void process.stdout.write(`${JSON.stringify(message)}\n`);

/** As the catch-all names what it hears. */
function protocolOf(input: Uint8Array, port: number, transport: Transport): string | undefined {
  const bytes = Buffer.from(input.buffer, input.byteOffset, Math.min(input.length, detectionLimit));
  if (transport === 'udp') return recogniseDatagram(bytes, port)?.protocol;
  const found = detect(bytes, undefined, true);
  return found.verdict === 'match' ? found.protocol : undefined;
}

function sourcesOf({ files, unopened }: ImportSettings): InputSource[] {
  let descriptor = firstFileDescriptor;
  return files.map((name, index) => {
    if (name === '-') return { name, from: { stream: process.stdin } };
    // Those that the caller could not open have none, and their reason is the caller's.
    return { name, from: unopened[index] === undefined ? { descriptor: descriptor++ } : { reason: unopened[index] } };
  });
}

function progressTeller(): (progress: ImportProgress) => void {
  let nextMs = 0;
  return (progress) => {
    const nowMs = performance.now();
    if (nowMs < nextMs) return;
    nextMs = nowMs + progressEveryMs;
    say({ kind: 'progress', progress });
  };
}

async function main(): Promise<void> {
  const { data, format: wanted, zoneMinutes, year, bootedAt, joinWindowMs, recorder } = settings;
  const format = importFormats.find(({ name }) => name === wanted);
  if (!format && wanted !== 'auto') throw new WeirError('bad-request', `there is no import format ${wanted}`);
  const begunMs = performance.now();
  const delivery = await openDelivery(data, recorder, openLog('import', 'warn'), interrupt.signal);
  let files: FileResult[] | undefined;
  try {
    files = await runImport({
      sources: sourcesOf(settings),
      formats: importFormats,
      format,
      dataDirectory: data,
      now: systemClock(),
      zoneMinutes,
      year,
      bootedAt,
      joinWindowMicros: joinWindowMs === undefined ? undefined : joinWindowMs * 1000,
      protocolOf,
      deliver: delivery.deliver,
      onProgress: progressTeller(),
      signal: interrupt.signal,
    });
  } finally {
    await delivery.close(files === undefined);
  }
  say({ kind: 'done', files, seconds: (performance.now() - begunMs) / 1000, running: delivery.running });
}

process.on('SIGINT', () => interrupt.abort());
process.on('SIGTERM', () => interrupt.abort());
// Nobody is left to tell.
process.stdout.on('error', () => interrupt.abort());
main().then(
  () => process.stdin.destroy(),
  (error) => {
    const { code, message, details } = asWeirError(error);
    say({ kind: 'failed', code, message, details });
    process.exitCode = 1;
    process.stdin.destroy();
  },
);
