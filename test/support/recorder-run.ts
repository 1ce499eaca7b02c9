// A recorder with the embedded store, to be killed by tests. argv: data directory. Prints a line for each batch applied.

import { systemClock } from '../../src/base/clock.ts';
import { silentLog } from '../../src/base/log.ts';
import { DuckDbStore } from '../../src/record/duckdb-store.ts';
import { Recorder } from '../../src/record/recorder.ts';

const dataDirectory = process.argv[2];
const store = await DuckDbStore.open({ dataDirectory, partitionBytes: 512 * 1024 });
const recorder = new Recorder({
  dataDirectory,
  store,
  retention: { days: 36_500, sizeBytes: 1e12 },
  clock: systemClock,
  log: silentLog,
  gatherMs: 1,
  onEvents: (events) => process.stdout.write(`${events.length}\n`),
});
await recorder.start();
