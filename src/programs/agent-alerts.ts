// Alerts that agents hand in with their records (loss of records, for one): few, short, and under the agent's name, so that no
// agent can bury those of others or speak for them.

import type { Clock } from '../base/clock.ts';
import { printable } from '../base/printable.ts';
import { RateBudget } from '../base/rate-budget.ts';
import { RecencyMap } from '../base/recency-map.ts';
import type { AlertRecord } from '../model/event.ts';

/** Of one agent at once, and then one a minute. */
const alertBurst = 20;
const alertsPerSecond = 1 / 60;
const agentsKnown = 1024;
const maxDetails = 16;
const maxText = 200;
const maxMessage = 400;

export class AgentAlerts {
  readonly #clock: Clock;
  readonly #budgets = new RecencyMap<string, RateBudget>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** False: this agent has had its share. */
  take(agent: string): boolean {
    const budget = this.#budgets.get(agent) ?? new RateBudget(alertBurst, alertsPerSecond, this.#clock);
    this.#budgets.set(agent, budget);
    const { oldest } = this.#budgets;
    if (this.#budgets.size > agentsKnown && oldest) this.#budgets.delete(oldest[0]);
    return budget.take();
  }
}

/** As the agent's, under the identifier `id`; undefined: no alert of ours reads like that. Pure. */
export function alertOfAgent(agent: string, id: string, alert: AlertRecord): AlertRecord | undefined {
  if (!/^[a-z0-9][a-z0-9-]{0,63}$/.test(alert.name)) return undefined;
  const said: Record<string, string | number | boolean> = {};
  for (const [key, value] of Object.entries(alert.details).slice(0, maxDetails)) {
    if (!/^[A-Za-z][A-Za-z0-9-]{0,31}$/.test(key)) continue;
    if (typeof value === 'string') said[key] = printable(value, maxText);
    else if (typeof value === 'number' || typeof value === 'boolean') said[key] = value;
  }
  const { at, name, severity, message } = alert;
  return {
    id,
    at,
    name,
    severity,
    message: `agent ${agent}: ${printable(message, maxMessage)}`,
    details: { ...said, agent },
  };
}
