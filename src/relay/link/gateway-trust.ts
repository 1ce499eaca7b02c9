// Is this our gateway? Decided by hand, since an agent's clock may be wrong by years: the CA is the pinned one, it signed the
// gateway's certificate, which is for servers and carries the name. Dates are told, not judged. Pure.

import { createHash, X509Certificate } from 'node:crypto';
import net from 'node:net';

export interface TrustAnchor {
  /** SHA-256 of the CA certificate's DER, hex. */
  readonly caFingerprint: string;
  /** A host name or an IP address. */
  readonly serverName: string;
}

/** id-kp-serverAuth (RFC 5280 section 4.2.1.12): an agent's certificate, which has the same CA, has another. */
const serverAuthentication = '1.3.6.1.5.5.7.3.1';

/** Undefined: it is. Otherwise why not. `chain` is DER, the gateway's own certificate first, as it sent them. */
export function distrust(chain: readonly Uint8Array[], { caFingerprint, serverName }: TrustAnchor): string | undefined {
  const wanted = caFingerprint.replaceAll(':', '').toLowerCase();
  const anchor = chain.find((der) => createHash('sha256').update(der).digest('hex') === wanted);
  if (!anchor || !chain[0]) return 'its certificate is not of the CA this agent was enrolled with';
  try {
    const ca = new X509Certificate(anchor);
    const own = new X509Certificate(chain[0]);
    if (!ca.ca) return 'the pinned certificate is not one of a CA';
    if (!own.checkIssued(ca) || !own.verify(ca.publicKey))
      return 'its certificate was not signed by the CA this agent was enrolled with';
    if (own.ca || !own.keyUsage?.includes(serverAuthentication)) return 'its certificate is not one of a gateway';
    const named = net.isIP(serverName) ? own.checkIP(serverName) : own.checkHost(serverName, { subject: 'never' });
    return named === undefined ? `its certificate does not name ${serverName}` : undefined;
  } catch (error) {
    return `its certificate does not parse: ${error instanceof Error ? error.message : String(error)}`;
  }
}
