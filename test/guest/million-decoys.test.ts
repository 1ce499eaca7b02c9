// The large one of the guest's tests, in a machine and a file of its own: test/guest/inside/million-decoys.ts.

import { test } from 'node:test';
import { withGuest } from '../support/guest.ts';
import { lacksGuest } from '../support/guest-lack.ts';
import { runGuestTests } from '../support/guest-tests.ts';

const { WEIR_SEGMENTS } = process.env;

test('many decoys on a kernel with VLANs', { skip: lacksGuest() }, (t) =>
  withGuest({ memoryMiB: 3072 }, (guest) =>
    runGuestTests(t, guest, 'million-decoys', WEIR_SEGMENTS === undefined ? {} : { WEIR_SEGMENTS }),
  ),
);
