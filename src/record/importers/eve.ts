// Suricata's EVE log: events of many kinds, joined to sessions by flow. The flow's own record tells who began, when and how it
// ended; requests, client hellos and alerts of the same flow add to it. Flows without a handshake are probes.
// Source: Suricata user guide, "Eve JSON Format". Byte counts of flows include packet headers.

import { addEveEvent } from './eve-events.ts';
import { eveFlow, FlowDraft, flowOutcome, flowProbe } from './eve-flow.ts';
import type { ImportContext, ImportFormat, LineOutcome, LineParser, Place } from './importer.ts';
import { Rejection, rejected } from './importer.ts';
import { type JsonObject, member, objectOf, parseJsonLine, parseLogTime, textOf } from './json-line.ts';
import { SessionTable } from './session-table.ts';

/** Flow records come when a flow timed out, at most an hour of Suricata's defaults after its last packet. */
const idleMicros = 2 * 3600e6;

class EveParser implements LineParser {
  readonly #context: ImportContext;
  readonly #flows: SessionTable<FlowDraft>;

  constructor(context: ImportContext) {
    this.#context = context;
    const close = (draft: FlowDraft, key: string): void => this.#close(draft, key);
    this.#flows = new SessionTable<FlowDraft>(context, { idleMicros, close });
  }

  take(text: string, place: Place): LineOutcome {
    const object = parseJsonLine(text);
    if (object instanceof Rejection) return object;
    const type = textOf(object, 'event_type');
    if (!type || type.length > 64) return rejected('no event_type');
    const flowless = member(object, 'flow_id') === undefined;
    // A packet that decoding refused is no part of any flow, whatever addresses it bore.
    if (type === 'stats' || (flowless && (type === 'anomaly' || textOf(object, 'src_ip') === undefined))) return 'merged';
    const at = parseLogTime(textOf(object, 'timestamp') ?? '', this.#context.zoneMinutes);
    if (Number.isNaN(at)) return rejected('no timestamp');
    const began = flowStart(object, this.#context.zoneMinutes);
    const flow = eveFlow(object, type, began ?? at);
    if (flow instanceof Rejection) return flow;
    if (!flow) return 'merged';
    const known = this.#flows.get(flow.key);
    const draft = known ?? new FlowDraft(place, flow, began ?? at);
    known?.orient(flow);
    draft.begin(began, at);
    addEveEvent(draft, type, at, object, this.#context.zoneMinutes);
    if (known) this.#flows.grew(flow.key, at);
    else this.#flows.add(flow.key, draft, at);
    if (type === 'flow') this.#flows.ended(flow.key, at);
    return known ? 'merged' : 'session';
  }

  end(): void {
    this.#flows.end();
  }

  #close(draft: FlowDraft, key: string): void {
    const probe = flowProbe(draft, key);
    if (probe) this.#context.probe(probe);
    else {
      draft.settle();
      draft.outcome = flowOutcome(draft);
      this.#context.session(draft.done(this.#context));
    }
  }
}

function flowStart(object: JsonObject, zoneMinutes: number): number | undefined {
  const flow = objectOf(object, 'flow') ?? objectOf(object, 'netflow');
  const start = parseLogTime((flow && textOf(flow, 'start')) ?? '', zoneMinutes);
  return Number.isNaN(start) ? undefined : start;
}

export const eveFormat: ImportFormat = {
  name: 'eve',
  title: 'Suricata, EVE JSON (flow, alert, http, tls, ssh, dns, fileinfo, ...)',
  reads: 'lines',
  detect: ({ objects }) => {
    const mine = objects.some(
      (object) =>
        textOf(object, 'event_type') !== undefined &&
        textOf(object, 'timestamp') !== undefined &&
        (member(object, 'flow_id') !== undefined || 'stats' in object || 'proto' in object),
    );
    return mine ? 0.96 : 0;
  },
  open: (context) => new EveParser(context),
};
