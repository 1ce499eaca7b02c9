// The slices of the configuration that travel to a program as JSON.

import type { Configuration, ConsoleSettings, Retention } from '../model/configuration.ts';

export interface RecorderSettings {
  readonly retention: Retention;
  readonly console: ConsoleSettings;
}

export const recorderSettings = ({ retention, console }: Configuration): RecorderSettings => ({ retention, console });
