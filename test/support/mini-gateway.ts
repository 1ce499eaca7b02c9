// The smallest gateway there can be, for tests of the handover: greets every connection, echoes every datagram, prints
// one line of JSON per event. Argument: path of the handover socket.

import { openLog } from '../../src/base/log.ts';
import { HandoverClient } from '../../src/kernel/handover-client.ts';
import type { DecoyGroup } from '../../src/model/decoy.ts';
import { DecoyDirectory } from '../../src/model/decoy.ts';
import type { Persona } from '../../src/model/persona.ts';
import { Intake } from '../../src/relay/intake.ts';

const say = (event: Record<string, unknown>): void => void process.stdout.write(`${JSON.stringify(event)}\n`);
let intake: Intake | undefined;

new HandoverClient({
  path: process.argv[2],
  log: openLog('mini-gateway', 'warn'),
  retryMs: 10,
  onOffer: (offer) => {
    const { networks: described, personas } = offer.description as {
      networks: { name: string; groups: DecoyGroup[] }[];
      personas: Map<string, Persona>;
    };
    const networks = described.map(({ name, groups }) => ({
      name,
      directory: new DecoyDirectory(groups, personas),
      interfaces: {},
      subnets: [],
    }));
    if (intake) {
      intake.setNetworks(networks);
      intake.setSockets(offer.sockets);
    } else
      intake = new Intake({
        networks,
        sockets: offer.sockets,
        log: openLog('mini-gateway', 'warn'),
        onConnection: ({ socket, syn, network }) => {
          socket.on('error', () => {}).resume();
          socket.end(`hello ${syn ? 'syn' : 'no syn'}${network && ` ${network}`}\n`);
        },
        onDatagram: (datagram) => datagram.reply(datagram.payload),
        onProbe: (record) => say({ event: 'probe', targets: record.targets.length }),
        onConflict: (conflict) => say({ event: 'conflict', ip: conflict.ip }),
      });
    say({ event: 'offer', generation: offer.generation, added: offer.added.length, removed: offer.removed.length });
  },
});
