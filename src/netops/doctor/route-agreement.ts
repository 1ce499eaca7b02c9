// Whether the kernel's own word on a route is what the tables we read say. Where it is not, what follows in a walk stands on sand: the kernel
// is right about the packet, and the tables are all that tells why. Pure.

import { type Address, renderAddress } from '../../model/address.ts';
import type { RouteDecision } from './route-decision.ts';

/** The kernel's decision, as it may be shown, and as it may be compared. */
export interface KernelRoute {
  readonly text: string;
  readonly outcome:
    | { readonly kind: 'local' }
    | { readonly kind: 'device'; readonly device: string; readonly via?: Address }
    | { readonly kind: 'error'; readonly errno: string };
}

const leaving = (device: string | undefined, via: Address | undefined): string =>
  `by ${device ?? '?'}${via ? ` via ${renderAddress(via)}` : ''}`;

const kernelWords = ({ outcome }: KernelRoute): string =>
  outcome.kind === 'local' ? 'here' : outcome.kind === 'error' ? outcome.errno : leaving(outcome.device, outcome.via);

/** Of what the tables say, the ways there may be; undefined where they do not decide. */
function waysOf(decision: RouteDecision): readonly string[] | undefined {
  if (decision.kind === 'unknown') return undefined;
  if (decision.kind !== 'route') return ['no way'];
  const { route, device, via } = decision;
  if (route.type === 'local') return ['here'];
  // Of several hops the kernel picks one by a hash of its own.
  const alive = route.hops.filter(({ dead }) => !dead);
  return alive.length > 1 ? alive.map((hop) => leaving(hop.device, hop.via)) : [leaving(device, via)];
}

/** Both sides in words where they contradict each other. `foreseen` are errors of the kernel that a hop of ours accounts for. */
export function contradiction(
  decision: RouteDecision,
  kernel: KernelRoute | undefined,
  foreseen: readonly string[] = [],
): string | undefined {
  const ways = kernel && waysOf(decision);
  if (!ways) return undefined;
  const { outcome } = kernel;
  if (outcome.kind === 'error' && (ways[0] === 'no way' || foreseen.includes(outcome.errno))) return undefined;
  const said = kernelWords(kernel);
  return ways.includes(said) ? undefined : `the tables that were read say ${ways.join(' or ')}, the kernel says ${said}`;
}
