// What `weir doctor` asks for: a diagnosis, a fix for a moment, and touches of decoys. programs/ does it; a test has its own.

import type { Address } from '../model/address.ts';
import type { Diagnosis, DiagnosisFix } from '../model/diagnosis.ts';
import type { DecoyTouch } from '../netops/doctor/decoy-touch.ts';
import type { DiagnosisWish } from '../netops/doctor/diagnose.ts';
import type { FixTrial } from '../netops/doctor/try-fix.ts';
import type { WeirCheck } from '../netops/doctor/weir-check.ts';

export interface DoctorActions {
  /** Throws `not-found` (namespace, link), `not-permitted`, `bad-request`. */
  diagnose(wish: DiagnosisWish): Promise<Diagnosis>;
  /** Clock, disk, limits, rules in the way. `gateway` is its process. */
  machine(dataDirectory: string, gateway: number | undefined): Promise<readonly WeirCheck[]>;
  /** A handshake as if from outside, by a link or in a segment's namespace; `why` it cannot be made. Throws `not-permitted`, `kernel-missing`. */
  touch(
    place: { readonly link?: string; readonly netns?: string },
    decoy: Address,
    port: number,
  ): Promise<DecoyTouch | { readonly why: string }>;
  /** Throws `kernel-refused`. */
  tryFix(fix: DiagnosisFix, forMs: number): Promise<FixTrial>;
}
