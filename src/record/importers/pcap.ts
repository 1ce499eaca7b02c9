// Packet captures, pcap and pcapng: connections become sessions with what passed, SYNs without a handshake, pings and strays become
// probes. Lines are packets here. Reading files is capture-reader.ts, packets captured-packets.ts, one flow captured-flow.ts.

import { CaptureReader, pcapMagics } from './capture-reader.ts';
import { CapturedPackets } from './captured-packets.ts';
import type { ByteParser, ImportContext, ImportedFile, ImportFormat, UnitTally } from './importer.ts';

class PcapParser implements ByteParser {
  readonly #context: ImportContext;
  readonly #packets: CapturedPackets;
  #reader: CaptureReader | undefined;
  #fallback: number;
  #tally: UnitTally | undefined;

  constructor(context: ImportContext) {
    this.#context = context;
    this.#fallback = context.now;
    this.#packets = new CapturedPackets(context);
  }

  begin(file: ImportedFile): void {
    this.#fallback = file.modifiedAt ?? this.#context.now;
    this.#reader = undefined;
  }

  take(bytes: Uint8Array, tally: UnitTally): void {
    this.#tally = tally;
    this.#reader ??= new CaptureReader(
      {
        frame: (frame) => this.#packets.frame(frame, this.#tally as UnitTally),
        bad: (reason) => this.#tally?.rejected(reason),
      },
      this.#fallback,
    );
    this.#reader.push(bytes);
  }

  finish(_file: ImportedFile, tally: UnitTally): void {
    this.#tally = tally;
    this.#reader?.finish();
    this.#packets.finish(tally);
    this.#reader = undefined;
  }

  end(): void {
    this.#packets.end();
  }
}

export const pcapFormat: ImportFormat = {
  name: 'pcap',
  title: 'packet captures, pcap and pcapng',
  reads: 'bytes',
  detect: ({ bytes }) => {
    if (bytes.length < 4) return 0;
    const magic = Buffer.from(bytes.buffer, bytes.byteOffset, 4).readUInt32LE(0);
    return magic === 0x0a0d0d0a || pcapMagics[magic] ? 0.99 : 0;
  },
  open: (context) => new PcapParser(context),
};
