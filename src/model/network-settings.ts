// Rules, routes and sysctls of one network namespace as text that is the same as long as they are: no counters, handles or lifetimes. Reading is
// kernel/settings/, keeping and comparing netops/baseline/.

export const settingsParts = [
  'nft',
  'iptables-nft',
  'ip6tables-nft',
  'iptables-legacy',
  'ip6tables-legacy',
  'ebtables-nft',
  'arptables-nft',
  'ipset',
  'routes',
  'routes6',
  'rules',
  'rules6',
  'sysctls',
] as const;
export type SettingsPart = (typeof settingsParts)[number];

export interface NetworkSettings {
  /** Milliseconds since the epoch. */
  readonly takenAt: number;
  /** Canonical text, lines with their ends; empty: there is none of it. Absent: it could not be read. */
  readonly parts: Readonly<Partial<Record<SettingsPart, string>>>;
  readonly missing: readonly { readonly part: SettingsPart; readonly why: string }[];
}

/** One program to be run with an input; the way settings are brought back. */
export interface SettingsStep {
  /** For people: `nft: table inet filter`. */
  readonly what: string;
  readonly program: string;
  readonly args: readonly string[];
  readonly input: string;
}
