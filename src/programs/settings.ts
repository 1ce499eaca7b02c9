// The slices of the configuration that travel to a program as JSON.

import { isDeepStrictEqual } from 'node:util';
import type { AnalysisSettings } from '../model/analysis-settings.ts';
import type { Configuration, ConsoleSettings, Retention } from '../model/configuration.ts';

export interface RecorderSettings {
  readonly retention: Retention;
  readonly console: ConsoleSettings;
  readonly analysis: AnalysisSettings;
}

export const recorderSettings = ({ retention, console, analysis }: Configuration): RecorderSettings => ({
  retention,
  console,
  analysis,
});

/** What programs are told when they start, by its key in weir.yaml: `weir apply` does not reach it. As JSON has it. */
export const startSettings = (configuration: Configuration): Readonly<Record<string, unknown>> => {
  const { retention, console, limits, baseline = null, analysis } = configuration;
  return JSON.parse(JSON.stringify({ retention, console, limits, baseline, analysis }));
};

/** Keys whose change waits for the next start. `running`: startSettings of what runs. */
export const waitingKeys = (configuration: Configuration, running: Readonly<Record<string, unknown>>): readonly string[] =>
  Object.entries(startSettings(configuration)).flatMap(([key, value]) => (isDeepStrictEqual(value, running[key]) ? [] : [key]));
