// Suricata's configuration file: what it listens on, what it may hold in memory, where its alerts go. Pure; its process is
// started by programs/ids-keeper.ts. Bounds are for a small machine and together decide what it can grow to.
// Source: Suricata 7 user guide, "Suricata.yaml" and "EVE JSON Output".

export interface SuricataPlan {
  /** Where frames come, in its own namespace. */
  readonly interface: string;
  readonly ruleFiles: readonly string[];
  /** A named pipe that somebody holds open: Suricata waits for it, and loses nothing. */
  readonly evePipe: string;
  readonly commandSocket: string;
  /** A directory it may write into. */
  readonly logDirectory: string;
  /** classification.config and reference.config of the package, where they are there. */
  readonly classification?: string;
  readonly reference?: string;
  /** Of reassembled streams, all flows together; the rest follows from it. */
  readonly memoryBytes: number;
}

/** Address and port groups that rule sets of others name; everything is a decoy here. */
const addressGroups = [
  'HOME_NET',
  'EXTERNAL_NET',
  'HTTP_SERVERS',
  'SMTP_SERVERS',
  'SQL_SERVERS',
  'DNS_SERVERS',
  'TELNET_SERVERS',
  'AIM_SERVERS',
  'DC_SERVERS',
  'DNP3_SERVER',
  'DNP3_CLIENT',
  'MODBUS_CLIENT',
  'MODBUS_SERVER',
  'ENIP_CLIENT',
  'ENIP_SERVER',
];
const portGroups = [
  'HTTP_PORTS',
  'SHELLCODE_PORTS',
  'ORACLE_PORTS',
  'SSH_PORTS',
  'DNP3_PORTS',
  'MODBUS_PORTS',
  'FILE_DATA_PORTS',
  'FTP_PORTS',
  'GENEVE_PORTS',
  'VXLAN_PORTS',
  'TEREDO_PORTS',
];

const protocols = [
  'http',
  'http2',
  'tls',
  'ssh',
  'smtp',
  'ftp',
  'smb',
  'dcerpc',
  'nfs',
  'rdp',
  'rfb',
  'mqtt',
  'sip',
  'telnet',
  'pgsql',
  'krb5',
  'snmp',
  'tftp',
  'dhcp',
  'ntp',
  'ike',
  'quic',
  'bittorrent-dht',
] as const;

const mebibyte = 2 ** 20;

/** JSON is YAML, and every string is quoted. */
export function renderSuricataConfiguration(plan: SuricataPlan): string {
  const { memoryBytes } = plan;
  const enabled = { enabled: 'yes' };
  const detection = { enabled: 'yes', 'detection-ports': { dp: '53' } };
  const share = (part: number): string => `${Math.max(1, Math.round((memoryBytes * part) / mebibyte))}mb`;
  const settings = {
    vars: {
      'address-groups': Object.fromEntries(addressGroups.map((name) => [name, 'any'])),
      'port-groups': Object.fromEntries(portGroups.map((name) => [name, 'any'])),
    },
    'default-log-dir': plan.logDirectory,
    ...(plan.classification ? { 'classification-file': plan.classification } : {}),
    ...(plan.reference ? { 'reference-config-file': plan.reference } : {}),
    'default-rule-path': '/',
    'rule-files': plan.ruleFiles,
    stats: { enabled: 'yes', interval: 10 },
    outputs: [
      {
        'eve-log': {
          enabled: 'yes',
          filetype: 'regular',
          filename: plan.evePipe,
          types: [{ alert: { metadata: 'yes', 'tagged-packets': 'no', xff: { enabled: 'no' } } }],
        },
      },
    ],
    logging: { 'default-log-level': 'notice', outputs: [{ console: { enabled: 'yes' } }] },
    'af-packet': [
      {
        interface: plan.interface,
        // One thread: what is written first is judged first.
        threads: 1,
        'cluster-id': 90,
        'cluster-type': 'cluster_flow',
        defrag: 'no',
        'use-mmap': 'yes',
        'tpacket-v3': 'yes',
        'block-size': mebibyte,
        'ring-size': 16_384,
        'block-timeout': 5,
        // Frames of ours hold by construction; a copy of a packet that never left a machine has no checksum yet.
        'checksum-checks': 'no',
      },
    ],
    'unix-command': { enabled: 'yes', filename: plan.commandSocket },
    'app-layer': {
      'error-policy': 'ignore',
      protocols: {
        ...Object.fromEntries(
          protocols.map((name) => [name, name === 'tls' ? { ...enabled, 'ja3-fingerprints': 'yes' } : enabled]),
        ),
        dns: { tcp: detection, udp: detection },
        imap: { enabled: 'detection-only' },
        modbus: { ...enabled, 'detection-ports': { dp: '502' }, 'stream-depth': 0 },
        dnp3: { ...enabled, 'detection-ports': { dp: '20000' } },
        enip: { ...enabled, 'detection-ports': { dp: '44818', sp: '44818' } },
        http: { ...enabled, memcap: share(0.5) },
      },
    },
    'max-pending-packets': 1024,
    runmode: 'workers',
    'autofp-scheduler': 'hash',
    'default-packet-size': 1600,
    'host-mode': 'sniffer-only',
    'unix-socket-permissions': '660',
    flow: { memcap: share(0.5), 'hash-size': 16_384, prealloc: 1000, 'emergency-recovery': 30 },
    'flow-timeouts': {
      default: timeouts(30, 60),
      tcp: timeouts(30, 600),
      udp: timeouts(30, 60),
      icmp: timeouts(30, 60),
    },
    vlan: { 'use-for-tracking': true },
    stream: {
      memcap: share(0.5),
      'checksum-validation': 'no',
      midstream: 'true',
      'async-oneside': 'false',
      inline: 'no',
      reassembly: { memcap: share(1), depth: '1mb', 'toserver-chunk-size': 2560, 'toclient-chunk-size': 2560 },
    },
    defrag: { memcap: '8mb', 'hash-size': 4096, trackers: 4096, 'max-frags': 4096, prealloc: 'yes', timeout: 30 },
    host: { 'hash-size': 4096, prealloc: 100, memcap: '8mb' },
    ippair: { 'hash-size': 4096, prealloc: 100, memcap: '8mb' },
    'mpm-algo': 'auto',
    'spm-algo': 'auto',
    detect: { profile: 'low', 'sgh-mpm-context': 'auto', 'inspection-recursion-limit': 3000 },
    pcre: { 'match-limit': 3500, 'match-limit-recursion': 1500 },
  };
  return `%YAML 1.1\n---\n${JSON.stringify(settings, null, 2)}\n`;
}

const timeouts = (fresh: number, established: number): Record<string, number> => ({
  new: fresh,
  established,
  closed: 0,
  bypassed: 60,
  'emergency-new': 5,
  'emergency-established': 60,
  'emergency-closed': 0,
  'emergency-bypassed': 30,
});
