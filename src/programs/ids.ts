// The feeder program: shows Suricata what the decoys were told, as frames on a TAP it was handed, and joins what Suricata says
// with the sessions. Runs as uid weir without capabilities; the device, the sockets and Suricata itself are netd's.

import { writeSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { ControlServer } from '../api/control.ts';
import { systemClock } from '../base/clock.ts';
import { Lifetime } from '../base/lifetime.ts';
import { openLog } from '../base/log.ts';
import { JournalWriter } from '../record/journal-writer.ts';
import { IdsHouse } from './ids-house.ts';
import type { IdsSettings } from './ids-settings.ts';
import { tapDescriptor } from './ids-settings.ts';
import { liveUntilTold } from './program-life.ts';

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

liveUntilTold({ main, lifetime, log, onLost: 'netd is gone' });
