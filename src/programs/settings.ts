// The slices of the configuration that travel to a program as JSON.

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
