// Suricata and its feeder as netd runs them, in namespaces of the test's own: ten thousand sessions out of a journal, each with
// its alert, also when Suricata is killed on the way; nothing is left when it is taken down.

import assert from 'node:assert/strict';
import { chmodSync, chownSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { callControl } from '../../src/api/control.ts';
import { systemClock } from '../../src/base/clock.ts';
import { silentLog } from '../../src/base/log.ts';
import { type NamespaceLab, withLab } from '../../src/kernel/namespace-lab.ts';
import { deleteNetns } from '../../src/kernel/netns.ts';
import type { AlertRecord } from '../../src/model/event.ts';
import type { SessionRecord } from '../../src/model/session.ts';
import type { DesiredState } from '../../src/plan/desired-state.ts';
import { IdsController, ownRuleDirectory } from '../../src/plan/ids-controller.ts';
import { ensureAccount, ensureDirectories } from '../../src/programs/account.ts';
import type { IdsReport } from '../../src/programs/ids-house.ts';
import { IdsKeeper } from '../../src/programs/ids-keeper.ts';
import { JournalReader } from '../../src/record/journal-reader.ts';
import { JournalWriter } from '../../src/record/journal-writer.ts';
import { lacksKernelTests, lacksProgram, until } from '../support/namespace.ts';
import { sampleChunk, sampleSession } from '../support/sample-records.ts';

const skip = lacksKernelTests() || lacksProgram('suricata', 'suricata');
const home = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../../..');
const count = 10_000;
let made = 0;

const desired = {
  services: [],
  bindings: [],
  groups: [],
  personas: [],
  segments: [],
  ids: { settings: { rules: [], memoryBytes: 64 << 20, hops: [] }, tags: { dmz: 1, floor: 2 } },
} as unknown as DesiredState;

const withRules = (file: string): DesiredState =>
  ({ ...desired, ids: { ...desired.ids, settings: { ...desired.ids?.settings, rules: [file] } } }) as DesiredState;

class Bed {
  readonly data: string;
  readonly tag: string;
  readonly keeper: IdsKeeper;
  readonly controller: IdsController;

  private constructor(data: string, lab: NamespaceLab, sensor: string, lookMs?: number) {
    made += 1;
    this.data = data;
    this.tag = `${lab.prefix.replaceAll(/[^a-z0-9]/g, '')}${made}`;
    const events = { started: () => {}, died: () => {} };
    this.keeper = new IdsKeeper({ data, log: silentLog, events, ...(lookMs === undefined ? {} : { lookMs }) });
    this.controller = new IdsController({
      tag: this.tag,
      log: silentLog,
      ruleDirectory: ownRuleDirectory(home),
      processes: this.keeper,
      legs: () => [],
      accounts: () => this.keeper.accounts(),
      netns: sensor,
    });
  }

  static async lay(lab: NamespaceLab, t: TestContext, lookMs?: number): Promise<Bed> {
    const directory = mkdtempSync(path.join(tmpdir(), 'weir-ids-'));
    chmodSync(directory, 0o755);
    const data = path.join(directory, 'data');
    const account = await ensureAccount();
    await ensureDirectories(data, account);
    // This process writes as root what the gateway would write as the account.
    chownSync(path.join(data, 'journal/gateway'), 0, account.gid);
    chmodSync(path.join(data, 'journal/gateway'), 0o2750);
    const bed = new Bed(data, lab, (await lab.namespace('s')).path, lookMs);
    t.after(async () => {
      await bed.controller.apply(undefined);
      await bed.controller.close();
      assert.ok(!existsSync(`/run/weir-${bed.tag}.ids`));
      assert.ok(!existsSync(`/run/netns/weir-${bed.tag}.ids`));
      rmSync(directory, { recursive: true });
    });
    return bed;
  }

  report(): Promise<IdsReport> {
    return callControl(path.join(this.data, 'run/ids.sock'), 'status', null, 5000) as Promise<IdsReport>;
  }

  async heard(): Promise<void> {
    await until('Suricata answers', async () => (await this.report().catch(() => undefined))?.heard, 30_000);
  }

  /** Every alert on record, by its identifier. */
  async alerts(): Promise<Map<string, AlertRecord>> {
    const directory = path.join(this.data, 'journal');
    const reader = new JournalReader({ directory, writers: ['ids'], checkpoint: {}, log: silentLog });
    const found = new Map<string, AlertRecord>();
    for (let batch = await reader.read(); batch; batch = await reader.read())
      for (const event of batch.events) if (event.kind === 'alert') found.set(event.alert.id, event.alert);
    await reader.close();
    return found;
  }

  suricata(): number[] {
    return readdirSync('/proc')
      .filter((entry) => /^\d+$/.test(entry))
      .filter((pid) => {
        try {
          return readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(`suricata\0-c\0/run/weir-${this.tag}.ids/`);
        } catch {
          return false;
        }
      })
      .map(Number);
  }
}

/** Half of them in another network, with the five-tuples of the first half. */
function sessionOf(number: number, count: number): SessionRecord {
  const at = systemClock();
  const half = number % (count / 2);
  const chunks = [
    sampleChunk(at, 'in', `GET /../../etc/passwd?${number} HTTP/1.1\r\nHost: decoy\r\n\r\n`),
    sampleChunk(at, 'out', 'HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n'),
  ];
  return sampleSession(at, number, {
    source: { ip: `198.51.${100 + (half >> 8)}.${half & 255}`, port: 1024 + half },
    destination: { ip: '10.66.3.4', port: 8080 },
    diversion: number < count / 2 ? 'dmz' : 'floor',
    end: at,
    chunks,
  });
}

async function feed(
  bed: Bed,
  count: number,
  meanwhile: () => Promise<void> = async () => {},
): Promise<Map<string, SessionRecord>> {
  const writer = new JournalWriter({ directory: path.join(bed.data, 'journal/gateway'), clock: systemClock, log: silentLog });
  const sessions = new Map<string, SessionRecord>();
  for (let number = 0; number < count; number += 1) {
    const session = sessionOf(number, count);
    sessions.set(session.id, session);
    writer.append({ kind: 'session', session });
    if (number % 500 === 499) await until('it is written', () => writer.counters().pendingBytes === 0);
    if (number === count / 2) await meanwhile();
  }
  await writer.close();
  return sessions;
}

/** Which sessions have no alert of the rule for their address; the alerts there are name the right ends. */
async function missing(bed: Bed, sessions: ReadonlyMap<string, SessionRecord>): Promise<Set<string>> {
  const left = new Set(sessions.keys());
  for (const { details } of (await bed.alerts()).values()) {
    const {
      session: id,
      source,
      destination,
      signature,
      diversion,
    } = details as Record<string, never> & {
      session?: string;
      signature: { id: number };
    };
    const session = id === undefined ? undefined : sessions.get(id);
    assert.ok(session, JSON.stringify(details));
    assert.deepEqual([source, destination, diversion], [session.source, session.destination, session.diversion]);
    if (signature.id === 1_100_002) left.delete(session.id);
  }
  return left;
}

describe('sessions out of a journal', { skip, timeout: 170_000 }, () => {
  it('ten thousand of them are ten thousand alerts, each of its own session, with nothing lost on the way', (t) =>
    withLab(async (lab) => {
      const bed = await Bed.lay(lab, t);
      await bed.controller.apply(desired);
      assert.deepEqual(await bed.controller.difference(desired), []);
      await bed.heard();
      const begun = performance.now();
      const sessions = await feed(bed, count);
      await until('every session has its alert', async () => (await bed.report()).alerts.joined >= 2 * count, 20_000).catch(
        async (error) => {
          throw new Error(`${error}: ${JSON.stringify(await bed.report())}`);
        },
      );
      t.diagnostic(`${count} sessions in ${Math.round(performance.now() - begun)} ms`);
      await until('all is on record', async () => (await missing(bed, sessions)).size === 0, 10_000);
      const { alerts, feed: fed, badLines, gaveUp, sessions: shown } = await bed.report();
      assert.deepEqual(
        [alerts.joined, alerts.unmatched, fed.refused, fed.shed, badLines, gaveUp, shown.sessions],
        [2 * count, 0, 0, 0, 0, {}, count],
      );
      const [pid] = bed.suricata();
      t.diagnostic(`Suricata: ${/^VmRSS:.*$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[0]}`);
      await bed.controller.apply(undefined);
      assert.deepEqual(bed.suricata(), []);
    }));

  it('are as many alerts also when Suricata is killed again and again, and a rule of the user bears the first local number', (t) =>
    withLab(async (lab) => {
      const bed = await Bed.lay(lab, t);
      const rules = path.join(bed.data, 'local.rules');
      writeFileSync(rules, 'alert tcp any any -> any any (msg:"of the user"; content:"never said"; sid:1000001; rev:9;)\n');
      await bed.controller.apply(withRules(rules));
      await bed.heard();
      const kills: number[] = [];
      const sessions = await feed(bed, 2000, async () => {
        for (let round = 0; round < 3; round += 1) {
          const pid = await until('another Suricata', () => bed.suricata().find((one) => !kills.includes(one)), 20_000);
          kills.push(pid);
          process.kill(pid, 'SIGKILL');
        }
      });
      await until('every session has its alert', async () => (await missing(bed, sessions)).size === 0, 60_000);
      assert.equal((await bed.report()).alerts.unmatched, 0);
      // Two rules match in each session: shown again, they are the same alerts again.
      assert.equal((await bed.alerts()).size, 4000);
      assert.match(bed.controller.status().lines.join(), /suricata running, pid \d+, restarted 3 times/);
      const before = await bed.report();
      writeFileSync(
        rules,
        'alert tcp any any -> any (msg:"cut of\nalert tcp any any -> any any (msg:"of the user"; content:"x"; sid:1000001;)\n',
      );
      await bed.controller.apply(withRules(rules));
      const broken = await until('it says so', async () => (await bed.report()).rules?.failed || undefined, 20_000);
      const { rules: counts } = await bed.report();
      assert.deepEqual([broken, counts?.loaded], [1, before.rules?.loaded]);
      assert.match(counts?.firstFailed ?? '', /^local\.rules:1: alert tcp any any -> any \(msg/);
      rmSync(rules);
      await assert.rejects(bed.controller.apply(withRules(rules)), { code: 'config-unreadable' });
      assert.deepEqual((await bed.report()).rules, counts);
    }));

  it('that are open when the feeder is killed, or Suricata hangs, have their alerts at the time of what these are about', (t) =>
    withLab(async (lab) => {
      const bed = await Bed.lay(lab, t, 250);
      await bed.controller.apply(desired);
      await bed.heard();
      const writer = new JournalWriter({ directory: path.join(bed.data, 'journal/gateway'), clock: systemClock, log: silentLog });
      const hourAgo = systemClock() - 3_600_000_000;
      const open: SessionRecord = { ...sessionOf(1, 2), start: hourAgo, outcome: 'open', chunks: [] };
      const say = (minute: number): void => {
        // Nobody answers: the next thing that happens is a minute later.
        const [attack] = sessionOf(1, 2).chunks;
        const chunks = [{ ...attack, at: hourAgo + minute * 60_000_000 }];
        writer.append({ kind: 'session', session: { ...open, sequence: minute, firstChunk: minute - 1, chunks } });
      };
      const times = async (): Promise<number[]> =>
        [...(await bed.alerts()).values()]
          .filter(({ details }) => details.session === open.id && (details.signature as { id: number }).id === 1_100_002)
          .map(({ at }) => (at - hourAgo) / 60_000_000)
          .sort((a, b) => a - b);
      const alerted = (minute: number): Promise<unknown> =>
        until(`an alert of minute ${minute}`, async () => (await times()).includes(minute), 20_000);
      say(1);
      await alerted(1);
      await until('the position is kept', () => readFileSync(path.join(bed.data, 'ids/position.json'), 'utf8'));
      const feeder = /ids running, pid (\d+)/;
      const pidOf = (): number => Number(feeder.exec(bed.controller.status().lines.join())?.[1] ?? 0);
      const [suricata] = bed.suricata();
      process.kill(pidOf(), 'SIGKILL');
      await until('both are others', () => !bed.suricata().includes(suricata) && bed.suricata().length === 1, 20_000);
      await bed.heard();
      say(2);
      await alerted(2);
      const [hung] = bed.suricata();
      process.kill(hung, 'SIGSTOP');
      say(3);
      await until('it is killed', () => bed.suricata().some((one) => one !== hung), 40_000);
      await alerted(3);
      assert.deepEqual([...new Set(await times())], [1, 2, 3]);
      await writer.close();
    }));

  it('are not given up when Suricata cannot be built again at once', (t) =>
    withLab(async (lab) => {
      const bed = await Bed.lay(lab, t);
      const rules = path.join(bed.data, 'local.rules');
      writeFileSync(rules, '');
      await bed.controller.apply(withRules(rules));
      rmSync(rules);
      await deleteNetns([`weir-${bed.tag}.ids`]);
      for (let round = 0; round < 2; round += 1) {
        await assert.rejects(bed.controller.repair(), { code: 'config-unreadable' });
        assert.match(bed.controller.status().reasons.join(), /Suricata does not run: .*local\.rules/);
      }
      writeFileSync(rules, '');
      assert.equal((await bed.controller.repair()).length, 1);
      assert.deepEqual(await bed.controller.repair(), []);
      await bed.heard();
    }));
});
