// What `weir exposure` asks of the machine. programs/ does it; a test has its own.

import type { ExposureReport } from '../netops/exposure/exposure-report.ts';

export interface ExposureReading {
  readonly report: ExposureReport;
  /** Devices of the namespace looked from that lead to containers. */
  readonly insideDevices: readonly string[];
  /** Links of the namespace looked from that are down: nobody comes in by them now. */
  readonly downDevices: readonly string[];
  /** Whether rules of Weir divert ports here. */
  readonly diverts: boolean;
}

export interface ExposureActions {
  /** Reads only. Works with any privilege; what could not be seen is in the report. `outside`: links that lead out, as somebody says. */
  read(outside?: readonly string[]): Promise<ExposureReading>;
  /** Undefined where there is none. Throws `not-permitted`. */
  recall(file: string): Promise<string | undefined>;
  /** For its owner alone, durable. Throws `not-permitted`, `disk-full`. */
  remember(file: string, text: string): Promise<void>;
}
