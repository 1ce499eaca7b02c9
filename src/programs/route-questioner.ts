// Puts the questions of netops about routes to the kernel, in whichever namespace they are about.

import { asWeirError } from '../base/errors.ts';
import { type RouteAnswer, routeGet } from '../kernel/machine/route-get.ts';
import type { RouteQuestioner } from '../netops/exposure/path-walk.ts';

/** A namespace that ended since it was read leads nowhere. Throws `not-permitted`. */
export const askKernel: RouteQuestioner = (namespace, question) => {
  let answer: RouteAnswer;
  try {
    answer = routeGet(namespace.path, question);
  } catch (error) {
    if (asWeirError(error).code === 'not-found') return { kind: 'none', errno: 'ENETUNREACH' };
    throw error;
  }
  return answer.kind === 'none'
    ? answer
    : { kind: 'route', type: answer.route.type, ...(answer.device === undefined ? {} : { device: answer.device }) };
};
