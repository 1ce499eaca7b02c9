// A process that records sessions as fast as it can and says on standard output which are surely old: killed by tests.
// argv: directory of its journal. Output: one line `<sessions ended> <time in ms>` about every 10 ms.

import { systemClock } from '../../src/base/clock.ts';
import { silentLog } from '../../src/base/log.ts';
import { JournalWriter } from '../../src/record/journal-writer.ts';
import { SessionRecorder } from '../../src/record/session-recorder.ts';

const journal = new JournalWriter({ directory: process.argv[2], clock: systemClock, log: silentLog, segmentBytes: 1024 * 1024 });
const recorder = new SessionRecorder({ journal, limits: { sessionBytes: 1_000_000 }, clock: systemClock });
const payload = Buffer.alloc(120, 'x');
let ended = 0;

function session(port: number, start: number): void {
  const handle = recorder.open({
    start,
    transport: 'tcp',
    source: { ip: '192.0.2.9', port },
    destination: { ip: '198.51.100.1', port: 80 },
    sourceReliable: true,
    diversion: 'dmz',
    service: 'catch-all',
    // The number of the session, so that a test can tell which are missing.
    persona: String(ended),
  });
  handle.chunk('in', payload);
  // One in a hundred stays open: it has to come out as interrupted.
  if (ended % 100 !== 99) handle.close('client-closed');
  ended += 1;
}

setInterval(() => {
  for (let index = 0; index < 40; index += 1) session(1 + (ended % 60_000), systemClock());
  process.stdout.write(`${ended} ${Date.now()}\n`);
}, 10);
