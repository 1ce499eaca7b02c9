// What a key of the schema carries for people: its form, its default as written, its meaning. schema.ts and
// network-schema.ts build on it, guide.ts renders it.

import type { z } from 'zod';

/** What docs/configuration.md says about a key. */
export interface KeyNotes {
  readonly form: string;
  readonly description: string;
  /** As text; absent for keys that have none. */
  readonly fallback?: string;
}

const show = (value: unknown): string => (typeof value === 'string' ? value : JSON.stringify(value));

/** A key with a default, written as the user would write it. */
export const fallback = <T>(schema: z.ZodType<T>, written: unknown, form: string, description: string) =>
  schema.prefault(written as never).meta({ form, description, fallback: show(written) });
export const optional = <T>(schema: z.ZodType<T>, form: string, description: string) =>
  schema.optional().meta({ form, description });
export const required = <T>(schema: z.ZodType<T>, form: string, description: string) => schema.meta({ form, description });
