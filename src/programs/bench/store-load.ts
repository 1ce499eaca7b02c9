// The records `weir bench store` asks about: days of an all-port sensor, skewed as real traffic is, made by SQL straight into
// the store's own tables, because 25 million through `apply` take ten minutes. Reads and measures nothing: that is store.ts.

import { join } from 'node:path';
import { type DuckDBConnection, DuckDBInstance } from '@duckdb/node-api';
import { dayMicros, dayStart } from '../../record/day.ts';

export interface LoadShape {
  /** Sessions and probe records together, over all days. */
  readonly events: number;
  readonly days: number;
  /** The first day, `2026-03-01`. */
  readonly from: string;
}

/** Of ten events three are probes; a probe has one to three targets. */
const probeShare = 0.3;
const alphabet = '0123456789abcdefghjkmnpqrstvwxyz';

/** A number from 0 to 1 that depends on the row and on what it is for. */
const chance = (purpose: string): string => `((hash(i, '${purpose}') % 1000003) / 1000003.0)`;
/** Ranks 1 to `most`, the first ones far more often: rank r about 1/r as often as rank 1. */
const rank = (purpose: string, most: number): string => `(${most} ** ${chance(purpose)})::BIGINT`;

const base32 = (value: string, digits: number): string =>
  Array.from({ length: digits }, (_, index) => {
    const shift = 5 * (digits - 1 - index);
    return `substr('${alphabet}', ((${value} >> ${shift}) & 31)::INTEGER + 1, 1)`;
  }).join(' || ');

/** Ports as in public data of real sensors: a few have most, a fourth is spread over all. */
const port = `(CASE WHEN p < 0.12 THEN 445 WHEN p < 0.22 THEN 22 WHEN p < 0.32 THEN 23 WHEN p < 0.40 THEN 5038 WHEN p < 0.46 THEN 80
  WHEN p < 0.50 THEN 443 WHEN p < 0.53 THEN 6379 WHEN p < 0.56 THEN 5555 WHEN p < 0.59 THEN 8080 WHEN p < 0.62 THEN 3389
  WHEN p < 0.75 THEN 1000 + (hash(q, 'common') % 2000) ELSE hash(q, 'any') % 65536 END)::USMALLINT`;

/**
 * One row an event: source `v`, address, time. A third of the events come from sources of every day. Every other source comes
 * back to two ports of four decoys; the others roam over 1,024 decoys: `q` is what chance depends on then.
 */
function eventRows(day: number, from: number, to: number, start: number): string {
  const perDay = to - from;
  return `SELECT *, concat(v >> 24, '.', (v >> 16) & 255, '.', (v >> 8) & 255, '.', v & 255) AS source,
      (281470681743360::HUGEINT + v)::UHUGEINT AS source_key,
      concat('10.66.', d >> 8, '.', d & 255) AS destination, (281470681743360::HUGEINT + 172097536 + d)::UHUGEINT AS destination_key,
      ${base32('start', 11)} || ${base32('(hash(i, 7) >> 1)::BIGINT', 8)} AS id
    FROM (SELECT *, (hash(q, 'port') % 1000003) / 1000003.0 AS p, (hash(q, 'decoy') % 1024)::BIGINT AS d FROM
      (SELECT *, CASE WHEN v % 2 = 0 THEN hash(v, i % 4) ELSE i::UBIGINT END AS q FROM
        (SELECT i, ${start} + ((i - ${from}) * ${dayMicros / perDay})::BIGINT AS start,
          (16777216 + (hash(CASE WHEN hash(i, 'steady') % 3 = 0 THEN ${rank('all', 60_000)}
            ELSE 1000000 + ${day} * 20000 + ${rank('day', 40_000)} END) % 3700000000))::BIGINT AS v
          FROM range(${from}, ${to}) AS t(i))))`;
}

function sessionInsert(catalog: string, events: string): string {
  return `INSERT INTO ${catalog}.sessions BY NAME SELECT id, 0::UINTEGER AS sequence, start, start + 1500000 AS ended,
      'client-closed' AS outcome, CASE WHEN p > 0.97 THEN 'udp' ELSE 'tcp' END AS transport, source, source_key,
      (32768 + hash(i, 'sport') % 28000)::USMALLINT AS source_port, destination, destination_key, ${port} AS destination_port,
      true AS source_reliable, 'dmz' AS diversion, 'catch-all' AS service, 'linux-web' AS persona,
      CASE WHEN p BETWEEN 0.12 AND 0.22 THEN 'ssh' WHEN p BETWEEN 0.22 AND 0.32 THEN 'telnet' WHEN said AND p > 0.40 THEN
        ['http', 'tls', 'rdp', 'redis', 'socks', 'sip'][(hash(i, 'protocol') % 6)::INTEGER + 1] END AS protocol,
      CASE WHEN said AND p BETWEEN 0.12 AND 0.32 THEN concat('user', ${rank('user', 60)}) END AS user_name,
      CASE WHEN said AND p BETWEEN 0.12 AND 0.32 THEN concat('pass', ${rank('password', 5000)}) END AS password,
      CASE WHEN said THEN 90 ELSE 0 END AS bytes_in, 0::BIGINT AS bytes_out, false AS truncated,
      CASE WHEN said THEN 1 ELSE 0 END::UINTEGER AS chunk_count,
      CASE WHEN said THEN sha256(payload::VARCHAR) END AS payload_hash,
      CASE WHEN said THEN encode(concat('GET /path-', payload, ' HTTP/1.1')) END AS preview,
      CASE WHEN hash(i, 'syn') % 5 < 2 THEN concat('{"ttl":', 30 + hash(i, 'ttl') % 200, ',"ipId":', hash(i, 'ip') % 65536,
        ',"doNotFragment":true,"window":', 1024 * (1 + v % 40), ',"sequence":', hash(i, 'sq') % 4000000000,
        ',"options":"mss,sok,ts,nop,ws","mss":1460}') END AS syn,
      'gateway#1' AS writer, start + 1500000 AS recorded_at,
      CASE WHEN said THEN encode(concat('GET /path-', payload, ' HTTP/1.1', chr(13), chr(10), 'Host: ', destination, chr(13), chr(10),
        'User-Agent: agent/', ${rank('agent', 400)}, chr(13), chr(10))) END AS packed
    FROM (SELECT *, hash(i, 'said') % 10 < 4 AS said, ${rank('payload', 20_000)} AS payload FROM (${events}))`;
}

const insightInsert = (catalog: string): string =>
  `INSERT INTO ${catalog}.insights BY NAME SELECT id, start, source, source_key, lpad(to_hex(hash(preview) % 3000), 16, '0') AS family,
      CASE WHEN i % 3 = 0 THEN [concat('rule-', 1 + hash(preview) % 180)] ELSE []::VARCHAR[] END AS rules,
      list_filter([CASE WHEN user_name IS NOT NULL THEN concat('credential ', user_name, ':', password) END,
        CASE WHEN protocol = 'ssh' THEN concat('hassh ', md5((i % 40)::VARCHAR)) END,
        CASE WHEN protocol = 'ssh' THEN concat('client SSH-2.0-Go', i % 7) END,
        CASE WHEN protocol = 'tls' THEN concat('ja4 t13d', i % 60) END,
        CASE WHEN protocol = 'http' THEN concat('user-agent agent/', (400 ** ((i % 1009) / 1009.0))::BIGINT) END,
        CASE WHEN protocol = 'http' THEN concat('path /path-', hash(preview) % 20000) END,
        CASE WHEN protocol = 'telnet' AND i % 4 = 0 THEN concat('command wget http://192.0.2.', i % 200, '/a') END,
        CASE WHEN protocol = 'telnet' AND i % 4 = 0 THEN concat('url http://192.0.2.', i % 200, '/a') END],
        lambda x: x IS NOT NULL) AS facts,
      CASE WHEN i % 3 = 0 THEN concat('[{"rule":"rule-', 1 + hash(preview) % 180, '","name":"a rule","intention":"exploit","severity":"high",
        "tags":["iot"],"cves":[],"techniques":["T1190"],"captures":{}}]') END AS signatures
    FROM (SELECT *, hash(id) % 1000000 AS i FROM ${catalog}.sessions WHERE payload_hash IS NOT NULL)`;

const targetInsert = (catalog: string, events: string): string =>
  `INSERT INTO ${catalog}.targets BY NAME SELECT id, start, source, source_key, 'dmz' AS diversion,
      concat('10.66.', t >> 8, '.', t & 255) AS ip, (281470681743360::HUGEINT + 172097536 + t)::UHUGEINT AS ip_key, ${port} AS port,
      'tcp' AS transport, 'closed' AS kind, 1::BIGINT AS packets
    FROM (SELECT *, (d + n * 37) % 1024 AS t FROM (SELECT *, unnest(range(1 + (hash(i, 'targets') % 3)::BIGINT)) AS n FROM (${events})))`;

const probeInsert = (catalog: string): string =>
  `INSERT INTO ${catalog}.probes BY NAME SELECT id, min(start) AS start, min(source) AS source, min(source_key) AS source_key,
      'dmz' AS diversion, sum(packets)::BIGINT AS packets, encode('') AS body FROM ${catalog}.targets GROUP BY id ORDER BY id`;

const verdictInsert = (catalog: string): string =>
  `INSERT INTO ${catalog}.verdicts BY NAME SELECT substr(id, 1, 11) || 'verdict0' AS id, start, source, source_key,
      ['port-scan', 'sweep', 'brute-force', 'exploitation', 'slow-scan'][(hash(id, 1) % 5)::INTEGER + 1] AS behaviour,
      20::BIGINT AS hits, CASE WHEN hash(id, 2) % 3 = 0 THEN 'ZMap' END AS tool,
      concat('{"id":"', substr(id, 1, 11), 'verdict0","behaviour":"port-scan","source":"', source, '","start":', start, ',"end":', start,
        ',"severity":"low","confidence":"certain","hits":20,"ports":20,"hosts":1,"credentials":0,"techniques":["T1046"],"cves":[],
        "evidence":["20 ports of one decoy"],"records":[]}') AS body
    FROM (SELECT id, start, source, source_key FROM ${catalog}.sessions WHERE hash(id) % 90 = 0)`;

/** Fills a store that has a partition for each of the days, and no process. */
export async function loadStore(storeDirectory: string, shape: LoadShape, say: (text: string) => void): Promise<void> {
  const instance = await DuckDBInstance.create(':memory:', {
    memory_limit: '1GiB',
    threads: '1',
    temp_directory: join(storeDirectory, 'load-tmp'),
  });
  const connection = await instance.connect();
  try {
    const sources: string[] = [];
    for (const [day, name] of daysOf(shape).entries()) {
      await loadDay(connection, storeDirectory, name, day, shape);
      sources.push(`SELECT source FROM "${name}".sessions UNION SELECT source FROM "${name}".probes`);
      say(`${name}: made`);
    }
    await connection.run(`ATTACH '${join(storeDirectory, 'analysis.duckdb')}' AS analysis`);
    await connection.run(`INSERT INTO analysis.places SELECT DISTINCT source, chr((65 + hash(source) % 13)::INTEGER) || chr((65 + hash(source, 1) % 13)::INTEGER),
      64500 + hash(source, 2) % 3000, concat('Network ', hash(source, 2) % 3000) FROM (${sources.join(' UNION ')}) WHERE hash(source) % 10 > 0`);
    await connection.run(`INSERT INTO analysis.families SELECT lpad(to_hex(i), 16, '0'), ${dayStart(shape.from)} + i, sha256(i::VARCHAR),
      encode('x'), encode('y'), concat('family ', i) FROM range(3000) AS t(i)`);
  } finally {
    connection.closeSync();
    instance.closeSync();
  }
}

async function loadDay(
  connection: DuckDBConnection,
  directory: string,
  name: string,
  day: number,
  { events, days }: LoadShape,
): Promise<void> {
  const perDay = Math.floor(events / days);
  const from = day * perDay;
  const cut = from + Math.floor(perDay * (1 - probeShare));
  const catalog = `"${name}"`;
  await connection.run(`ATTACH '${join(directory, `${name}.duckdb`)}' AS ${catalog}`);
  await connection.run(sessionInsert(catalog, eventRows(day, from, cut, dayStart(name))));
  await connection.run(insightInsert(catalog));
  await connection.run(targetInsert(catalog, eventRows(day, cut, from + perDay, dayStart(name))));
  await connection.run(probeInsert(catalog));
  await connection.run(verdictInsert(catalog));
  await connection.run(`CHECKPOINT ${catalog}`);
}

/** Names of the days of a shape. */
export const daysOf = ({ from, days }: LoadShape): string[] =>
  Array.from({ length: days }, (_, index) => new Date((dayStart(from) + index * dayMicros) / 1000).toISOString().slice(0, 10));
