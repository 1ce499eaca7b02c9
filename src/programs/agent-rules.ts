// The rules an agent works by: what its gateway pushed last, parsed, and kept on disk so that it goes on without the gateway.

import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { readWhole, writeDurably } from '../base/durable-file.ts';
import { WeirError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { parseConfiguration } from '../config/configuration.ts';
import type { PersonaLibrary } from '../config/personas.ts';
import type { Configuration } from '../model/configuration.ts';

export interface AgentRules {
  /** First 12 hex digits of the SHA-256 of the text. */
  readonly rules: string;
  readonly text: string;
  readonly configuration: Configuration;
}

const digestOf = (text: string): string => createHash('sha256').update(text).digest('hex').slice(0, 12);

/** Throws `config-invalid`: the gateway is of another version, or it is not our gateway's text. */
export function parseAgentRules(text: string, personas: PersonaLibrary): AgentRules {
  const parsed = parseConfiguration(text, 'rules', { personas });
  if ('mistakes' in parsed) {
    const [first] = parsed.mistakes;
    throw new WeirError('config-invalid', `the gateway's rules do not parse here: ${first?.mistake ?? 'no reason given'}`, {
      mistakes: parsed.mistakes,
      next: 'bring gateway and agent to the same version',
    });
  }
  return { rules: digestOf(text), text, configuration: parsed.configuration };
}

const pathOf = (data: string): string => join(data, 'rules.json');

/** Undefined when there are none yet, or they do not parse any more (a new program): the gateway sends them again. */
export async function readAgentRules(data: string, personas: PersonaLibrary, log: Log): Promise<AgentRules | undefined> {
  const text = await readWhole(pathOf(data));
  if (text === undefined) return undefined;
  try {
    return parseAgentRules(text, personas);
  } catch (error) {
    log.warn('the rules kept on disk do not parse; new ones come with the link', {
      error: error instanceof Error ? error.message : String(error),
    });
    return undefined;
  }
}

export const keepAgentRules = (data: string, text: string): Promise<void> => writeDurably(pathOf(data), text);
