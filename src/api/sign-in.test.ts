// Signing in: links work once and not for ever, cookies end, guessing is slowed down, no table grows.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { hostAllowed } from './guard.ts';
import { SignIns } from './sign-in.ts';

const minute = 60e6;

function setUp(): { signIns: SignIns; pass: (micros: number) => void } {
  let now = 1e15;
  return {
    signIns: new SignIns(() => now),
    pass: (micros) => {
      now += micros;
    },
  };
}

describe('sign-in', () => {
  it('takes a link once', () => {
    const { signIns } = setUp();
    const { token } = signIns.createLink();
    const first = signIns.redeem(token, 'a');
    assert.equal(first.kind, 'signed-in');
    assert.equal(signIns.redeem(token, 'a').kind, 'refused');
    assert.ok(first.kind === 'signed-in' && signIns.check(first.cookie));
    assert.equal(signIns.check(token), false);
    assert.equal(signIns.check(''), false);
  });

  it('ends a link after 15 minutes, a session after 12 idle hours or a week', () => {
    const { signIns, pass } = setUp();
    const late = signIns.createLink().token;
    pass(15 * minute + 1);
    assert.equal(signIns.redeem(late, 'a').kind, 'refused');
    const result = signIns.redeem(signIns.createLink().token, 'a');
    assert.ok(result.kind === 'signed-in');
    for (let hour = 0; hour < 24 * 7 - 8; hour += 8) {
      pass(8 * 60 * minute);
      assert.ok(signIns.check(result.cookie), `hour ${hour}`);
    }
    pass(9 * 60 * minute);
    assert.equal(signIns.check(result.cookie), false);
    const idle = signIns.redeem(signIns.createLink().token, 'a');
    pass(12 * 60 * minute);
    assert.ok(idle.kind === 'signed-in' && !signIns.check(idle.cookie));
  });

  it('forgets a session that signed out', () => {
    const { signIns } = setUp();
    const one = signIns.redeem(signIns.createLink().token, 'a');
    const two = signIns.redeem(signIns.createLink().token, 'a');
    assert.ok(one.kind === 'signed-in' && two.kind === 'signed-in');
    signIns.signOut(one.cookie);
    assert.equal(signIns.check(one.cookie), false);
    assert.equal(signIns.check(two.cookie), true);
  });

  it('makes an address wait after ten wrong tokens, and no other address', () => {
    const { signIns, pass } = setUp();
    for (let attempt = 0; attempt < 10; attempt += 1) assert.equal(signIns.redeem(`wrong${attempt}`, 'guesser').kind, 'refused');
    const { token } = signIns.createLink();
    assert.equal(signIns.redeem(token, 'guesser').kind, 'wait');
    assert.equal(signIns.redeem(token, 'owner').kind, 'signed-in');
    pass(minute);
    assert.equal(signIns.redeem('again', 'guesser').kind, 'refused');
  });

  it('keeps at most 16 links and 64 sessions, the youngest', () => {
    const { signIns, pass } = setUp();
    const tokens = Array.from({ length: 17 }, () => signIns.createLink().token);
    assert.equal(signIns.redeem(tokens[0], 'a').kind, 'refused');
    assert.equal(signIns.redeem(tokens[16], 'a').kind, 'signed-in');
    const cookies = Array.from({ length: 65 }, () => {
      pass(1);
      const result = signIns.redeem(signIns.createLink().token, 'a');
      return result.kind === 'signed-in' ? result.cookie : '';
    });
    assert.equal(signIns.check(cookies[0]), false);
    assert.equal(signIns.check(cookies[64]), true);
  });
});

describe('the Host header', () => {
  const names = ['sensor', 'sensor.example.org'];
  const cases: [string | undefined, boolean][] = [
    ['127.0.0.1:8443', true],
    ['10.0.0.5', true],
    ['[::1]:8443', true],
    ['localhost:9999', true],
    ['sensor:8443', true],
    ['SENSOR.example.org', true],
    ['sensor.', true],
    ['evil.example', false],
    ['127.0.0.1.evil.example:8443', false],
    ['localhost.evil.example', false],
    ['evil.example:8443\u0000localhost', false],
    ['[::1].evil', false],
    ['', false],
    [undefined, false],
  ];
  for (const [host, allowed] of cases)
    it(`${allowed ? 'lets' : 'refuses'} ${JSON.stringify(host)}`, () => assert.equal(hostAllowed(host, names), allowed));
});
