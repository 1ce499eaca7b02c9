// Sessions a recorder knows of late, for a capture that names the sessions its packets are of.

import type { RecorderReader } from '../cli/reader.ts';
import type { SessionSource } from '../netops/capture/run-capture.ts';

/** Those of the last two minutes, at most 500. After an error nothing is asked any more: that recorder is gone. */
export function recordedSessions(recorder: Pick<RecorderReader, 'sessions'>): SessionSource {
  let gone = false;
  return async () => {
    if (gone) return [];
    try {
      const { items } = await recorder.sessions({ since: '2m', limit: '500' });
      return items.map(({ event, source, destination, network }) => ({
        id: event.id,
        source: source.ip,
        sourcePort: source.port,
        destination: destination.ip,
        destinationPort: destination.port,
        transport: network.transport,
      }));
    } catch (error) {
      gone = true;
      throw error;
    }
  };
}
