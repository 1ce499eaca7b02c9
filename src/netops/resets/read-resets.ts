// RSTs of a capture file, judged by their bytes and flows alone: no kernel can be asked any more, so causes that look alike are all named.

import type { Readable } from 'node:stream';
import { filterCapture, type OfflineAccount } from '../capture/offline-capture.ts';
import { viewPacket } from '../capture/packet-view.ts';
import { findingOfChallenge, findingOfReset, type ResetFinding } from './reset-finding.ts';
import { ResetTable } from './reset-table.ts';

/** Throws `bad-request` for the expression. */
export async function readResets(
  bytes: Readable | AsyncIterable<Uint8Array>,
  expression: string,
  onFinding: (finding: ResetFinding) => void,
): Promise<OfflineAccount & { readonly findings: number }> {
  let findings = 0;
  const tell = (finding: ResetFinding): void => {
    findings += 1;
    onFinding(finding);
  };
  const table = new ResetTable((reset) => tell(findingOfReset(reset, { traced: false, senderHere: false })));
  const account = await filterCapture(bytes, expression, ({ bytes: frame, start, end, linkType, at }) => {
    table.packet(viewPacket(frame, start, end, linkType), at);
    for (const seen of table.takeChallenges(at - 700_000)) tell(findingOfChallenge(seen, undefined, undefined));
  });
  for (const seen of table.takeChallenges(Number.POSITIVE_INFINITY)) tell(findingOfChallenge(seen, undefined, undefined));
  return { ...account, findings };
}
