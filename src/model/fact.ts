// One thing worth knowing that a session held: a URL, a command, a fingerprint. Data only. analysis/ finds most of them;
// importers hand in those another program found, which are not in any bytes.

export type FactKind =
  | 'url' // of a download or call-back; never fetched
  | 'domain'
  | 'address' // an address inside a payload
  | 'hash' // md5, sha1, sha256 named or of an upload
  | 'command'
  | 'credential' // `user:password`
  | 'user-agent'
  | 'path' // of an HTTP request
  | 'hassh'
  | 'ja3'
  | 'ja4'
  | 'tls-name'
  | 'client' // SSH's or another protocol's version line
  | 'file'
  | 'alert'; // a rule of another detector that matched: `suricata:GENERATOR:SIGNATURE NAME`

export interface Fact {
  readonly kind: FactKind;
  /** At most 2,048 characters. */
  readonly value: string;
}
