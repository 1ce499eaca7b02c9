// The one error type of Weir and the complete list of its codes.
// Expected outcomes are returned, not thrown; code above matches on `code`, never on a message.

/** Every fault a user or a caller can meet; the text after each is what it means. */
export const errorCodes = {
  'config-invalid': 'the configuration holds a mistake; details name file, line and the next step',
  'config-unreadable': 'the configuration file cannot be read',
  'not-permitted': 'the caller lacks a privilege (root, a capability, a file permission)',
  'not-running': 'the program that has to answer is not running',
  'already-running': 'another instance holds this network namespace or data directory',
  'lock-out': 'the change would divert a management port, address or session',
  'address-in-use': 'an address of the range belongs to a live host',
  'kernel-refused': 'the kernel or nft refused a transaction; nothing of it was applied',
  'kernel-missing': 'this kernel lacks a feature; details say which and what it costs',
  'tool-missing': 'a program Weir runs (nft, ip, setpriv) is not installed',
  'system-call': 'a system call failed; details carry errno and the call',
  'journal-damaged': 'a journal segment does not parse; it is cut at the last good record',
  'store-damaged': 'the store does not open; it is set aside and rebuilt from the journal',
  'store-unavailable': 'the store cannot answer now',
  'identity-damaged': 'a key, a certificate or the list of agents on disk does not parse',
  'disk-full': 'the data directory has no room',
  'not-found': 'no such object',
  'bad-request': 'a request or argument does not parse',
  unauthorized: 'no valid sign-in',
  timeout: 'an answer did not come in time',
  fault: 'a defect in Weir: please report it',
} as const;

export type ErrorCode = keyof typeof errorCodes;

/** A fault with a stable code. `details` is for people and JSON: plain data, no attacker bytes unescaped. */
export class WeirError extends Error {
  readonly code: ErrorCode;
  readonly details: Readonly<Record<string, unknown>>;

  constructor(code: ErrorCode, message: string, details: Record<string, unknown> = {}, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = 'WeirError';
    this.code = code;
    this.details = details;
  }
}

/** Any thrown value as a WeirError; unknown ones become `fault`. */
export function asWeirError(error: unknown): WeirError {
  if (error instanceof WeirError) return error;
  if (error instanceof Error) return new WeirError('fault', error.message, {}, error);
  return new WeirError('fault', String(error));
}
