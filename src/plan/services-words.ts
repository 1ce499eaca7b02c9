// What the services network is and what is wrong with it, in words for plans and the status. Pure.

import { renderAddress } from '../model/address.ts';
import type { KernelPathService } from '../model/configuration.ts';
import type { ServicesNetwork } from './services-network.ts';
import { describeTunnel } from './tunnel-network.ts';

/** What comes once the namespace is there. */
export const describeServicesNetwork = (wanted: ServicesNetwork | undefined): string[] => [
  ...(wanted?.legs ?? []).map(({ interface: link, tunnel }) =>
    tunnel ? `open ${describeTunnel(tunnel)}` : `reach services on the wire of ${link} by a macvlan of it`,
  ),
  ...(wanted?.ports ?? []).map(({ network, lower, tunnel }) => {
    const to = tunnel === undefined ? 'their services' : 'the gateway';
    return `lead frames to bound decoys on ${lower}${network === '' ? '' : ` of ${network}`} to ${to}`;
  }),
];

/** Of a service whose MAC the kernel asks for in vain. */
export const describeUnanswered = ({
  name,
  address,
  interface: link,
  tunnel,
}: Pick<KernelPathService, 'name' | 'address' | 'interface' | 'tunnel'>): string =>
  tunnel
    ? `${describeTunnel(tunnel)} leads nowhere: nobody answers at its other end; packets to decoys of ${name.split(' ')[1]} are lost until it does`
    : `service ${name}: nobody answers for ${renderAddress(address)} on the wire of ${link}; check that it is up and on that wire`;
