// What the feeder is made of: sessions out of the journals and packets out of sockets become frames on the wire Suricata
// watches; its alerts come back by a pipe, find their session and are recorded.

import { join } from 'node:path';
import { type Clock, steadyClock } from '../base/clock.ts';
import { asWeirError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { AlertJoiner, type AlertJoinerCounters } from '../ids/alert-joiner.ts';
import { macLookup } from '../ids/decoy-faces.ts';
import { parseEveLine } from '../ids/eve-alert.ts';
import { EveReader } from '../ids/eve-reader.ts';
import { FlowIndex, type SessionSight } from '../ids/flow-index.ts';
import { FrameFeed, type FrameFeedCounters } from '../ids/frame-feed.ts';
import { JournalFeed, type JournalFeedCounters } from '../ids/journal-feed.ts';
import { DecoyPackets } from '../ids/packet-filter.ts';
import { ProxyStripper, type ProxyStripperCounters } from '../ids/proxy-stripper.ts';
import { RulesReload } from '../ids/rules-reload.ts';
import { SessionFeeder, type SessionFeederCounters } from '../ids/session-feeder.ts';
import { commandSuricata } from '../ids/suricata-command.ts';
import { parseBounds, parseRuleCounts, RestartingCounts, type RuleCounts } from '../ids/suricata-counters.ts';
import { SuricataLink } from '../ids/suricata-link.ts';
import { readPacketClock } from '../kernel/libc.ts';
import { SniffReader } from '../kernel/sniff-socket.ts';
import { parseRange, uniteRanges } from '../model/address.ts';
import type { EventSink } from '../model/event.ts';
import { commonTag, feedLink } from '../model/suricata-settings.ts';
import { spoolWriter } from '../record/spool-batch.ts';
import { eveDescriptor, type IdsSettings } from './ids-settings.ts';
import type { IdsHearing } from './ids-watch.ts';

export interface IdsHouseOptions {
  readonly data: string;
  readonly settings: IdsSettings;
  readonly sink: EventSink;
  /** Resolves when everything given to `sink` is on disk; false: it is not. */
  readonly settle: () => Promise<boolean>;
  readonly clock: Clock;
  readonly log: Log;
  /** Puts a frame onto the TAP; false where it refuses. */
  readonly write: (frame: Uint8Array) => boolean;
  /** Nothing more is heard of Suricata: another process has to begin anew. */
  readonly onBroken: (why: string) => void;
}

export interface IdsHopReport {
  readonly interface: string;
  readonly lost: number;
  readonly counters?: ProxyStripperCounters;
  /** Packets of bound decoys, where it is a service's wire. */
  readonly packets?: number;
}

/** What the feeder answers to `status`. */
export interface IdsReport extends IdsHearing {
  readonly feed: FrameFeedCounters;
  readonly sessions: SessionFeederCounters;
  readonly alerts: AlertJoinerCounters;
  readonly journals: JournalFeedCounters;
  /** Lines of Suricata that were too long or no EVE. */
  readonly badLines: number;
  /** Alerts a feeder before this one left unheard; their sessions were or are shown again. */
  readonly staleAlerts: number;
  readonly lagBytes: number;
  readonly hops: readonly IdsHopReport[];
  /** Alerts the feeder's own journal had no room for. */
  readonly journal?: { readonly droppedRecords?: number };
  /** As Suricata says it; absent while it does not answer. */
  readonly rules?: RuleCounts;
  /** Changed rules that Suricata has not taken yet, for how long. */
  readonly rulesWaitMs?: number;
  /** What Suricata itself gave up to stay within its bounds, its ring of frames among them, by what. */
  readonly gaveUp: Readonly<Record<string, number>>;
}

const commandMs = 1500;
const ringDrops = 'frames its own ring dropped';
const lookMs = 5000;

export class IdsHouse {
  readonly #options: IdsHouseOptions;
  readonly #index = new FlowIndex(undefined, () => this.#feed.liveDelayMs * 1000);
  readonly #feed: FrameFeed;
  readonly #feeder: SessionFeeder;
  readonly #joiner: AlertJoiner;
  readonly #journals: JournalFeed;
  readonly #readers: { readonly reader: SniffReader; readonly report: () => IdsHopReport }[] = [];
  #eve: EveReader | undefined;
  #link: SuricataLink | undefined;
  #badLines = 0;
  #hasAnswered = false;
  readonly #rulesReload: RulesReload;
  #staleAlerts = 0;
  readonly #gaveUp = new RestartingCounts();
  /** Tags whose alerts are of packets: nobody shows those again. */
  readonly #packetTags: ReadonlySet<number>;
  #look: NodeJS.Timeout | undefined;

  constructor(options: IdsHouseOptions) {
    this.#options = options;
    const { settings, sink, settle, clock, log, data } = options;
    const diversions = new Map(Object.entries(settings.tags).map(([name, tag]) => [tag, name]));
    this.#packetTags = new Set(settings.hops.map(({ tag }) => tag));
    this.#rulesReload = new RulesReload(settings.commandSocket, log);
    this.#feed = new FrameFeed({ write: options.write, token: settings.token });
    this.#joiner = new AlertJoiner({ index: this.#index, sink, clock: steadyClock, diversionOf: (vlan) => diversions.get(vlan) });
    const native = new Set(
      settings.legs.length > 0 ? settings.native.map(({ diversion, service }) => `${diversion} ${service}`) : [],
    );
    const watched = new Set(settings.hops.flatMap(({ diversion }) => diversion ?? []));
    this.#feeder = new SessionFeeder({
      index: this.#index,
      write: (frame) => this.#feed.write(frame),
      clock: readPacketClock,
      sightOf: ({ diversion, service }): { sight: SessionSight; vlan?: number } => {
        if (native.has(`${diversion} ${service}`)) return { sight: 'native' };
        return { sight: watched.has(diversion) ? 'stripped' : 'synthesised', vlan: settings.tags[diversion] ?? commonTag };
      },
      macOf: macLookup(settings.faces),
      onFlow: (flow) => this.#joiner.arrived(flow),
    });
    this.#journals = new JournalFeed({
      directory: join(data, 'journal'),
      writers: ['gateway', spoolWriter],
      positionFile: join(data, 'ids/position.json'),
      feed: this.#feed,
      feeder: this.#feeder,
      settle,
      onAnswered: () => this.#joiner.settle(),
      clock,
      log,
    });
  }

  async open(): Promise<void> {
    const { settings, log, onBroken } = this.#options;
    this.#eve = new EveReader(
      eveDescriptor,
      (line) => this.#take(line),
      (why) => onBroken(`Suricata's alerts cannot be read: ${why}`),
    );
    this.#watch();
    await this.#journals.start();
    this.#look = setInterval(() => void this.#rulesReload.again(), lookMs);
    this.#link = new SuricataLink({
      path: settings.commandSocket,
      onConnected: () => {
        log.info('Suricata is there');
        this.#feed.start();
      },
      onLost: () => {
        log.warn('Suricata is gone; what it did not answer for is shown again');
        this.#feed.reset();
        this.#journals.restart();
      },
    });
  }

  /** For whoever ends those that hang. */
  hearing(): IdsHearing {
    return { connected: this.#link?.connected ?? false, heard: this.#feed.isHeard };
  }

  /** Where Suricata does not take the rules now, it is asked again. */
  async reload(): Promise<{ readonly asked: boolean }> {
    return { asked: await this.#rulesReload.ask() };
  }

  async report(): Promise<IdsReport> {
    const rulesWaitMs = this.#rulesReload.waitMs;
    const [rules] = await Promise.all([this.#rules(), this.#readBounds()]);
    return {
      ...this.hearing(),
      feed: this.#feed.counters(),
      sessions: this.#feeder.counters(),
      alerts: this.#joiner.counters(),
      journals: this.#journals.counters(),
      staleAlerts: this.#staleAlerts,
      badLines: this.#badLines + (this.#eve?.overlong ?? 0),
      lagBytes: await this.#journals.lagBytes(),
      hops: this.#readers.map(({ report }) => report()),
      ...(rules ? { rules } : {}),
      ...(rulesWaitMs === undefined ? {} : { rulesWaitMs }),
      gaveUp: this.#gaveUp.sums(),
    };
  }

  /** Idempotent. */
  async close(): Promise<void> {
    for (const { reader } of this.#readers.splice(0)) reader.close();
    clearInterval(this.#look);
    this.#link?.close();
    const ended = this.#journals.close();
    this.#feed.close();
    await ended;
    this.#eve?.close();
    this.#joiner.close();
  }

  #take(line: string): void {
    const parsed = parseEveLine(line);
    if (parsed.kind === 'bad') this.#badLines += 1;
    if (parsed.kind !== 'alert') return;
    if (this.#feed.takeAnswer(parsed.alert)) {
      this.#hasAnswered ||= this.#feed.isHeard;
      return;
    }
    // Left in the pipe by a feeder before this one: it is shown again, and comes again.
    const { vlan } = parsed.alert;
    if (!this.#hasAnswered && vlan !== undefined && !this.#packetTags.has(vlan)) {
      this.#staleAlerts += 1;
      return;
    }
    this.#joiner.take(parsed.alert);
  }

  #watch(): void {
    const { settings } = this.#options;
    let fd = eveDescriptor;
    const offer = (frame: Uint8Array): void => this.#feed.offer(frame);
    for (const { interface: name, ports, tag, withoutHeader } of settings.hops) {
      fd += 1;
      const stripper = new ProxyStripper({ ports, vlan: tag, withoutHeader, write: offer });
      const reader = new SniffReader(fd, (frame) => stripper.take(frame, steadyClock()));
      this.#readers.push({ reader, report: () => ({ interface: name, lost: reader.lost, counters: stripper.counters() }) });
    }
    const decoys = new DecoyPackets(
      uniteRanges(settings.native.flatMap(({ ranges }) => ranges.flatMap((text) => parseRange(text) ?? []))),
    );
    for (const name of settings.legs) {
      fd += 1;
      let packets = 0;
      const reader = new SniffReader(fd, (frame) => {
        if (!decoys.holds(frame)) return;
        packets += 1;
        // It may have to wait, and the buffer is used again.
        offer(frame.slice());
      });
      this.#readers.push({ reader, report: () => ({ interface: name, lost: reader.lost, packets }) });
    }
  }

  async #rules(): Promise<IdsReport['rules']> {
    return parseRuleCounts(...(await Promise.all([this.#ask('ruleset-stats'), this.#ask('ruleset-failed-rules')])));
  }

  async #readBounds(): Promise<void> {
    const [counters, link] = await Promise.all([this.#ask('dump-counters'), this.#ask('iface-stat', { iface: feedLink })]);
    const { drop } = (link ?? {}) as { drop?: unknown };
    this.#gaveUp.take({ ...parseBounds(counters), ...(typeof drop === 'number' ? { [ringDrops]: drop } : {}) });
  }

  async #ask(command: string, parameters?: Readonly<Record<string, string>>): Promise<unknown> {
    try {
      return await commandSuricata(this.#options.settings.commandSocket, command, parameters, commandMs);
    } catch (error) {
      this.#options.log.debug('Suricata does not say', { command, error: asWeirError(error).message });
      return undefined;
    }
  }
}
