// Tokens and identities at the agent: what is typed wrong is told, what was asked for twice is the same, what is not ours is
// refused; and OpenSSL reads what we write.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { generateKeyPairSync, X509Certificate } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, describe, it } from 'node:test';
import fc from 'fast-check';
import { parseMicros } from '../../base/clock.ts';
import { WeirError } from '../../base/errors.ts';
import { AgentIdentity } from './agent-identity.ts';
import { openAuthority } from './certification-authority.ts';
import { deriveEnrolment, gatewayNameOf, makeToken, parseToken, renderToken } from './enrolment-token.ts';
import { readRequest } from './read-request.ts';
import { ed25519Key, keyFingerprint, renderKey, renderPem, renderRequest } from './render-certificate.ts';

const isCode = (code: string) => (error: unknown) => error instanceof WeirError && error.code === code;
const now = parseMicros('2026-03-04T05:06:07.000000Z');

describe('a token', () => {
  const tokens = fc.record({
    secret: fc.uint8Array({ minLength: 16, maxLength: 16 }),
    authority: fc.uint8Array({ minLength: 32, maxLength: 32 }).map((bytes) => Buffer.from(bytes).toString('hex')),
  });

  it('is one line that survives a terminal and a shell', () => {
    fc.assert(
      fc.property(tokens, fc.nat(75), (token, at) => {
        const text = renderToken(token);
        assert.match(text, /^weir1\.[A-Za-z0-9_-]{70}$/);
        const wrapped = ` ${text.slice(0, at)}\r\n  ${text.slice(at)}\n`;
        const back = parseToken(wrapped);
        assert.deepEqual([...back.secret], [...token.secret]);
        assert.equal(back.authority, token.authority);
      }),
    );
  });

  it('tells of every single slip, and of what is missing', () => {
    fc.assert(
      fc.property(tokens, fc.nat(75), fc.constantFrom(...'abzAZ059_-.'), (token, at, character) => {
        const text = renderToken(token);
        const slipped = text.slice(0, at) + character + text.slice(at + 1);
        if (slipped !== text) assert.throws(() => parseToken(slipped), isCode('bad-request'));
        assert.throws(() => parseToken(text.slice(0, at)), isCode('bad-request'));
        assert.throws(() => parseToken(text + character), isCode('bad-request'));
      }),
    );
    assert.throws(() => parseToken('weir2.abc'), /another version/);
    assert.throws(() => parseToken('weir1.abc'), /end is missing/);
    assert.throws(() => parseToken(''), /does not begin/);
  });

  it('gives the same certificate each time, another for another gateway, and no hint of the secret', () => {
    const token = makeToken('cd'.repeat(32));
    const first = deriveEnrolment(token);
    assert.ok(first.certificate.equals(deriveEnrolment(parseToken(renderToken(token))).certificate));
    const other = deriveEnrolment({ ...token, authority: 'ef'.repeat(32) });
    assert.notEqual(other.id, first.id);
    assert.notEqual(keyFingerprint(other.key), keyFingerprint(first.key));
    const parsed = new X509Certificate(first.certificate);
    assert.ok(parsed.verify(parsed.publicKey) && !parsed.ca && parsed.checkPrivateKey(first.key));
    assert.ok(!first.certificate.includes(Buffer.from(token.secret)));
  });
});

describe('an identity', () => {
  const directory = mkdtempSync(path.join(tmpdir(), 'weir-identity-'));
  after(() => rmSync(directory, { recursive: true }));
  const file = (name: string): string => path.join(directory, name);

  it('asks for the same key until it has a certificate, across restarts, and keeps it for itself', async () => {
    const authority = await openAuthority(directory, now);
    const token = makeToken(authority.fingerprint);
    const identity = await AgentIdentity.open(file('one'));
    assert.throws(() => identity.credentials(), isCode('unauthorized'));
    assert.equal(identity.wants(token), true);
    const { request, serverName, credentials } = await identity.beginEnrolment(token);
    assert.equal(serverName, gatewayNameOf(authority.fingerprint));
    assert.equal(credentials.caFingerprint, authority.fingerprint);
    const restarted = await AgentIdentity.open(file('one'));
    const key = await readRequest((await restarted.beginEnrolment(token)).request);
    assert.equal(keyFingerprint(key), keyFingerprint(await readRequest(request)));
    await restarted.accept(authority.issue('branch-1', key, now).certificate);
    const enrolled = await AgentIdentity.open(file('one'));
    assert.equal(enrolled.agent, 'branch-1');
    assert.equal(enrolled.wants(token), false);
    assert.equal(enrolled.wants(makeToken(authority.fingerprint)), true);
    assert.equal(enrolled.renewalDue(now), false);
    assert.equal(enrolled.renewalDue(now + 61 * 86_400e6), true);
    assert.equal(statSync(file('one')).mode & 0o777, 0o700);
    assert.equal(statSync(path.join(file('one'), 'identity.json')).mode & 0o777, 0o600);
  });

  it('takes no certificate but the one it asked for', async () => {
    const authority = await openAuthority(directory, now);
    const identity = await AgentIdentity.open(file('two'));
    const anybody = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
    const issue = (name: string, key = anybody): string => authority.issue(name, key, now).certificate;
    await assert.rejects(identity.accept(issue('branch-1')), /nobody asked for/);
    const { request } = await identity.beginEnrolment(makeToken(authority.fingerprint));
    await assert.rejects(identity.accept(issue('branch-1')), /another key/);
    await assert.rejects(identity.accept('no certificate'), isCode('bad-request'));
    await identity.accept(issue('branch-1', await readRequest(request)));
    const renewal = await readRequest(await identity.beginRenewal());
    await assert.rejects(identity.accept(issue('branch-2', renewal)), /another agent/);
    const before = identity.credentials();
    await identity.accept(issue('branch-1', renewal));
    assert.notDeepEqual(identity.credentials(), before);
    assert.deepEqual((await AgentIdentity.open(file('two'))).credentials(), identity.credentials());
  });

  it('says what to do with a file that is none', async () => {
    const identity = await AgentIdentity.open(file('three'));
    await identity.beginEnrolment(makeToken('ab'.repeat(32)));
    const text = readFileSync(path.join(file('three'), 'identity.json'), 'utf8');
    for (const damaged of [text.slice(0, -20), '{}', '{"version":1,"key":"x"}', '{"version":1,"pending":{"key":7}}']) {
      writeFileSync(path.join(file('three'), 'identity.json'), damaged);
      await assert.rejects(AgentIdentity.open(file('three')), isCode('identity-damaged'), damaged);
    }
  });

  it('writes what OpenSSL reads, and reads what OpenSSL writes', async () => {
    const openssl = (argv: readonly string[], input: string): string =>
      execFileSync('openssl', argv, { input, encoding: 'utf8', stdio: ['pipe', 'pipe', 'pipe'] });
    const keys = [generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey, ed25519Key(Buffer.alloc(32, 7))];
    const authority = await openAuthority(directory, now);
    for (const key of keys) {
      assert.match(openssl(['req', '-verify', '-noout', '-text'], renderRequest(key)), /Certificate Request/);
      writeFileSync(file('key.pem'), renderKey(key));
      const theirs = openssl(
        ['req', '-new', '-key', file('key.pem'), '-subj', '/CN=root/O=x', '-addext', 'subjectAltName=DNS:a'],
        '',
      );
      assert.equal(keyFingerprint(await readRequest(theirs)), keyFingerprint(key));
      writeFileSync(file('ca.pem'), authority.certificate);
      const issued = authority.issue('branch-1', key, parseMicros(new Date().toISOString())).certificate;
      writeFileSync(file('leaf.pem'), issued);
      const verified = openssl(
        ['verify', '-x509_strict', '-purpose', 'sslclient', '-CAfile', file('ca.pem'), file('leaf.pem')],
        '',
      );
      assert.match(verified, /OK/);
    }
  });

  it('signs nothing for a request that is none', async () => {
    const key = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
    const good = renderRequest(key);
    const body = Buffer.from(good.replaceAll(/-----.*-----/g, ''), 'base64');
    const pem = (bytes: Uint8Array): string => renderPem('CERTIFICATE REQUEST', bytes);
    await fc.assert(
      fc.asyncProperty(fc.nat(body.length - 1), fc.integer({ min: 1, max: 255 }), async (at, by) => {
        const changed = Buffer.from(body);
        changed[at] ^= by;
        // What is not signed (a length around it all, the algorithm's name) may differ; whose request it is may not.
        const read = await readRequest(pem(changed)).catch((error) => error);
        if (read instanceof Error) assert.ok(isCode('bad-request')(read), read.message);
        else assert.equal(keyFingerprint(read), keyFingerprint(key));
      }),
      { numRuns: 1000 },
    );
    const subject = body.indexOf('agent');
    body[subject] ^= 1;
    await assert.rejects(readRequest(pem(body)), /signature is wrong/);
    await assert.rejects(readRequest(pem(body.subarray(0, 60))), isCode('bad-request'));
    await assert.rejects(readRequest(pem(Buffer.concat([body, Buffer.alloc(3000)]))), isCode('bad-request'));
    await assert.rejects(readRequest('hello'), isCode('bad-request'));
    const p384 = generateKeyPairSync('ec', { namedCurve: 'P-384' }).privateKey;
    await assert.rejects(readRequest(renderRequest(p384)), /neither P-256 nor Ed25519/);
    const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey;
    await assert.rejects(readRequest(renderRequest(rsa)), isCode('bad-request'));
  });
});
