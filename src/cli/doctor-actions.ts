// What `weir doctor` asks for: a diagnosis, and a fix for a moment. programs/ does it; a test has its own.

import type { Diagnosis, DiagnosisFix } from '../model/diagnosis.ts';
import type { DiagnosisWish } from '../netops/doctor/diagnose.ts';
import type { FixTrial } from '../netops/doctor/try-fix.ts';

export interface DoctorActions {
  /** Throws `not-found` (namespace, link), `not-permitted`, `bad-request`. */
  diagnose(wish: DiagnosisWish): Promise<Diagnosis>;
  /** Throws `kernel-refused`. */
  tryFix(fix: DiagnosisFix, forMs: number): Promise<FixTrial>;
}
