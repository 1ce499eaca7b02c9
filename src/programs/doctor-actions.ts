// Gives `weir doctor` the machine it runs on.

import type { DoctorActions } from '../cli/doctor-actions.ts';
import { diagnose } from '../netops/doctor/diagnose.ts';
import { tryFix } from '../netops/doctor/try-fix.ts';

export const doctorActions: DoctorActions = {
  diagnose: async (wish) => (await diagnose(wish)).diagnosis,
  tryFix,
};
