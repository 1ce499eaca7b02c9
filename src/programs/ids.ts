// The feeder program: shows Suricata what the decoys were told, as frames on a TAP it was handed, and joins what Suricata says
// with the sessions. Runs as uid weir without capabilities; the device, the sockets and Suricata itself are netd's.

import { writeSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { ControlServer } from '../api/control.ts';
import { systemClock } from '../base/clock.ts';
import { asWeirError } from '../base/errors.ts';
import { Lifetime } from '../base/lifetime.ts';
import { openLog } from '../base/log.ts';
import { JournalWriter } from '../record/journal-writer.ts';
import { watchLifeline } from './child.ts';
import { IdsHouse } from './ids-house.ts';
import type { IdsSettings } from './ids-settings.ts';
import { tapDescriptor } from './ids-settings.ts';

const { values } = parseArgs({ options: { data: { type: 'string' }, settings: { type: 'string' } } });
const data = values.data ?? '';
const settings = JSON.parse(values.settings ?? '{}') as IdsSettings;
const log = openLog('ids');
const lifetime = new Lifetime(log);

async function main(): Promise<void> {
  const journal = lifetime.own(
    'journal',
    new JournalWriter({ directory: join(data, 'journal/ids'), clock: systemClock, log, segmentBytes: 4 << 20 }),
  );
  const house = new IdsHouse({
    data,
    settings,
    sink: journal,
    settle: () => journal.flush(),
    clock: systemClock,
    log,
    onBroken: (why) => {
      log.error('cannot go on; another begins anew', { error: why });
      process.exit(1);
    },
    write: (frame) => {
      try {
        return writeSync(tapDescriptor, frame) === frame.length;
      } catch {
        return false;
      }
    },
  });
  lifetime.own('house', house);
  await house.open();
  const control = new ControlServer({
    path: join(data, 'run/ids.sock'),
    mode: 0o600,
    log,
    verbs: {
      ready: () => true,
      hearing: () => house.hearing(),
      reload: () => house.reload(),
      status: async () => ({ ...(await house.report()), journal: journal.counters() }),
    },
  });
  await control.listen();
  lifetime.own('control', control);
  log.info('ready', { pid: process.pid });
}

async function end(reason: string): Promise<void> {
  if (lifetime.ending) return;
  log.info('ending', { reason });
  await lifetime.end();
  process.exit(0);
}

process.on('SIGTERM', () => void end('SIGTERM'));
process.on('SIGINT', () => {});
process.on('SIGHUP', () => {});
watchLifeline(() => void end('netd is gone'));
main().catch((error) => {
  // A start that was cut short fails somewhere; whoever cut it decides how this ends.
  if (lifetime.ending) return;
  const { code, message } = asWeirError(error);
  log.error(message, { code });
  process.exit(1);
});
