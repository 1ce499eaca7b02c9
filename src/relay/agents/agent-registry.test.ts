// Who gets past the TLS handshake, and who past the gate: over real TLS on loopback. Every way in that is not a good token or a
// certificate on the list is tried.

import assert from 'node:assert/strict';
import { generateKeyPairSync, type KeyObject, X509Certificate } from 'node:crypto';
import { mkdirSync, renameSync, rmSync } from 'node:fs';
import net from 'node:net';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import type tls from 'node:tls';
import { GateBed } from '../../../test/support/gate-bed.ts';
import { WeirError } from '../../base/errors.ts';
import { AgentIdentity } from './agent-identity.ts';
import { deriveEnrolment, gatewayNameOf, makeToken, parseToken } from './enrolment-token.ts';
import { type CertificateFacts, renderCertificate, renderKey, renderPem, renderRequest } from './render-certificate.ts';

const isCode = (code: string) => (error: unknown) => error instanceof WeirError && error.code === code;
const p256 = (): KeyObject => generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
const hour = 3600e6;

/** A certificate of anybody's making. */
const made = (key: KeyObject, issuerKey: KeyObject, facts: Partial<CertificateFacts> = {}): string =>
  renderPem(
    'CERTIFICATE',
    renderCertificate(
      {
        subject: 'branch-1',
        issuer: 'branch-1',
        serial: Buffer.from([1]),
        notBefore: new Date('2020-01-01T00:00:00Z'),
        notAfter: new Date('2090-01-01T00:00:00Z'),
        key,
        usage: 'client',
        ...facts,
      },
      issuerKey,
    ),
  );

describe('the gate of the agents', () => {
  let bed: GateBed;
  beforeEach(async () => {
    bed = new GateBed();
    await bed.open(['weir.example.org', '192.0.2.7']);
  });
  afterEach(() => bed.close());

  const token = async (name = 'branch-1'): Promise<string> => (await bed.registry.add(name)).token;

  it('lets a token enrol, and the certificate it gives be an agent', async () => {
    const identity = await bed.identity('a');
    const text = await token();
    const { credentials } = await identity.beginEnrolment(parseToken(text));
    const peer = await bed.visitAs(credentials);
    assert.deepEqual(peer, { enrolment: deriveEnrolment(parseToken(text)).id });
    await bed.enrol(identity, text);
    assert.equal(identity.agent, 'branch-1');
    const until = bed.registry.agents()[0].certificateUntil ?? '';
    assert.deepEqual(await bed.visitAs(identity.credentials()), { agent: 'branch-1', certificateUntil: until });
    assert.ok(Math.abs((Date.parse(until) - bed.now / 1000) / 86_400_000 - 90) < 1);
  });

  it('shows a certificate of the pinned authority, for every name, and nothing that tells what it is', async () => {
    const text = await token();
    const { authority } = parseToken(text);
    const { credentials } = await (await bed.identity('a')).beginEnrolment(parseToken(text));
    let seen: tls.DetailedPeerCertificate | undefined;
    await bed.visit({ key: credentials.key, cert: credentials.certificate, servername: 'x.example' }, (socket) => {
      seen = socket.getPeerCertificate(true);
    });
    assert.ok(seen);
    const own = new X509Certificate(seen.raw);
    const issuer = new X509Certificate(seen.issuerCertificate.raw);
    assert.equal(issuer.fingerprint256.replaceAll(':', '').toLowerCase(), authority);
    assert.ok(own.verify(issuer.publicKey) && issuer.ca && !own.ca);
    assert.ok(own.checkHost('weir.example.org') && own.checkIP('192.0.2.7') && own.checkHost(gatewayNameOf(authority)));
    for (const { subject, issuer: by } of [own, issuer]) assert.doesNotMatch(subject + by, /weir|agent|honey|decoy/i);
  });

  it('stops everybody else in the handshake', async () => {
    const good = await bed.enrol(await bed.identity('a'), await token());
    await token('branch-2');
    const key = p256();
    const other = p256();
    const authorityName = new X509Certificate(good.certificate).issuer.replace('CN=', '');
    const cases: Record<string, tls.ConnectionOptions> = {
      'no certificate': {},
      'self-signed': { key: renderKey(key), cert: made(key, key) },
      'another authority of the same name': {
        key: renderKey(key),
        cert:
          made(key, other, { issuer: authorityName }) +
          made(other, other, { subject: authorityName, issuer: authorityName, usage: 'authority' }),
      },
      'TLS 1.2': { key: good.key, cert: good.certificate, maxVersion: 'TLSv1.2' },
      'a token of another gateway': (({ key: k, certificate }) => ({
        key: renderKey(k),
        cert: renderPem('CERTIFICATE', certificate),
      }))(deriveEnrolment(makeToken('ab'.repeat(32)))),
    };
    for (const [name, options] of Object.entries(cases)) assert.equal(await bed.visit(options), 'handshake', name);
    const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 });
    const pem = rsa.privateKey.export({ type: 'pkcs8', format: 'pem' }) as string;
    // A leaf of RSA needs an issuer we can sign with: it is refused for its kind before its signature is looked at.
    assert.equal(await bed.visit({ key: pem, cert: made(rsa.publicKey, other) }), 'handshake', 'RSA');
    assert.equal(bed.admitted, 1);
    assert.deepEqual(await bed.visitAs(good), { agent: 'branch-1', certificateUntil: bed.registry.agents()[0].certificateUntil });
  });

  it('has no use for plain text, noise, or half a handshake', async () => {
    const errors: string[] = [];
    bed.listener.on('tlsClientError', (error: NodeJS.ErrnoException) => errors.push(error.code ?? error.message));
    const hello = Buffer.from('160301020001000100', 'hex');
    for (const bytes of [Buffer.from('GET / HTTP/1.1\r\n\r\n'), Buffer.alloc(3000, 0xff), hello]) {
      const before = errors.length;
      await new Promise<void>((resolve) => {
        const socket = net.connect(bed.port, '127.0.0.1', () => socket.end(bytes));
        socket.on('error', () => {});
        socket.on('close', () => resolve());
        socket.resume();
      });
      while (errors.length === before) await new Promise((resolve) => bed.listener.once('tlsClientError', resolve));
    }
    assert.equal(bed.admitted, 0);
  });

  it('takes a token once: not from a second key, not once its certificate was seen', async () => {
    const text = await token();
    const identity = await bed.identity('a');
    const good = await bed.enrol(identity, text);
    // Somebody else has read it over the shoulder and comes before the agent did.
    const thief = await AgentIdentity.open(`${bed.directory}/at-thief`);
    await assert.rejects(bed.enrol(thief, text), isCode('not-permitted'));
    assert.match(bed.registry.agents()[0].reason ?? '', /another key/);
    const again = await bed.reopen();
    assert.match(again.agents()[0].reason ?? '', /another key/, 'after a restart too');
    await again.close();
    assert.equal(typeof (await bed.visitAs(good)), 'object');
    assert.equal(await bed.visitAs((await thief.beginEnrolment(parseToken(text))).credentials), 'handshake');
  });

  it('lets an enrolment whose answer was lost be done again, by the same key', async () => {
    const text = await token();
    const identity = await bed.identity('a');
    const { credentials, request } = await identity.beginEnrolment(parseToken(text));
    const { id } = deriveEnrolment(parseToken(text));
    await bed.registry.enrol(id, request);
    const restarted = await bed.identity('a');
    assert.deepEqual(await bed.visitAs(credentials), { enrolment: id });
    await bed.enrol(restarted, text);
    assert.deepEqual(Object.keys((await bed.visitAs(restarted.credentials())) as object), ['agent', 'certificateUntil']);
    assert.equal(restarted.wants(parseToken(text)), false);
  });

  it('takes no token that has expired, was withdrawn, or was replaced by a later one', async () => {
    const withdrawn = await token('branch-2');
    const replaced = await token('branch-3');
    const last = await token('branch-3');
    const { token: short } = await bed.registry.add('branch-4', 60_000);
    assert.equal(await bed.registry.remove('branch-2'), 'withdrawn');
    const comes = async (text: string) =>
      bed.visitAs((await (await bed.identity('x')).beginEnrolment(parseToken(text))).credentials);
    assert.equal(await comes(withdrawn), 'handshake');
    assert.equal(await comes(replaced), 'handshake');
    assert.equal(typeof (await comes(last)), 'object');
    bed.now += 61e6;
    assert.equal(await comes(short), 'gate', 'the list is older than its end');
    await bed.registry.refresh();
    assert.equal(await comes(short), 'handshake');
    await assert.rejects(
      bed.registry.enrol(deriveEnrolment(parseToken(short)).id, renderRequest(p256())),
      isCode('not-permitted'),
    );
    assert.match(bed.registry.agents().find(({ name }) => name === 'branch-4')?.reason ?? '', /token has expired/);
  });

  it('gives the holder of a token nothing but one request', async () => {
    const text = await token();
    const { key, certificate } = deriveEnrolment(parseToken(text));
    const own = p256();
    const facts = { subject: 'branch-9', issuer: deriveEnrolment(parseToken(text)).id };
    const cert = made(own, key, facts) + renderPem('CERTIFICATE', certificate);
    assert.equal(await bed.visit({ key: renderKey(own), cert }), 'handshake', 'it signs no others');
    const id = deriveEnrolment(parseToken(text)).id;
    await assert.rejects(bed.registry.enrol(id, renderRequest(key)), isCode('bad-request'), 'nor is its key an agent');
    await assert.rejects(bed.registry.renew('branch-1', renderRequest(own)), isCode('not-permitted'));
  });

  it('refuses an agent from the moment it is removed, and forgets it the second time', async () => {
    const good = await bed.enrol(await bed.identity('a'), await token());
    await bed.visitAs(good);
    assert.equal(await bed.registry.remove('branch-1'), 'revoked');
    assert.deepEqual(bed.gone, ['branch-1']);
    assert.equal(await bed.visitAs(good), 'gate');
    assert.equal(bed.registry.agents()[0].state, 'revoked');
    await assert.rejects(bed.registry.renew('branch-1', renderRequest(p256())), isCode('not-permitted'));
    assert.equal(await bed.registry.remove('branch-1'), 'forgotten');
    assert.equal(await bed.visitAs(good), 'gate', 'our own signature alone opens nothing');
    await assert.rejects(bed.registry.remove('branch-1'), isCode('not-found'));
  });

  it('keeps the old certificate until the new one was seen, whether renewed or enrolled again', async () => {
    const identity = await bed.identity('a');
    const first = await bed.enrol(identity, await token());
    await bed.visitAs(first);
    assert.equal(identity.renewalDue(bed.now), false);
    assert.equal(identity.renewalDue(bed.now + 61 * 24 * hour), true);
    await identity.accept(await bed.registry.renew('branch-1', await identity.beginRenewal()));
    const second = identity.credentials();
    assert.notEqual(second.key, first.key);
    assert.equal(typeof (await bed.visitAs(first)), 'object');
    assert.equal(typeof (await bed.visitAs(second)), 'object');
    assert.equal(await bed.visitAs(first), 'gate');
    const moved = await bed.identity('b');
    const third = await bed.enrol(moved, await token());
    assert.equal(typeof (await bed.visitAs(second)), 'object');
    assert.equal(typeof (await bed.visitAs(third)), 'object');
    assert.equal(await bed.visitAs(second), 'gate');
    assert.deepEqual(bed.gone, []);
  });

  it('lets nobody renew past an enrolment, nor more often than is of use', async () => {
    const identity = await bed.identity('a');
    await bed.visitAs(await bed.enrol(identity, await token()));
    // Whoever stole this certificate renews it, while the owner enrols again.
    const moved = await bed.identity('b');
    const owner = await bed.enrol(moved, await token());
    await identity.accept(await bed.registry.renew('branch-1', await identity.beginRenewal()));
    await assert.rejects(bed.registry.renew('branch-1', renderRequest(p256())), isCode('bad-request'));
    assert.equal(typeof (await bed.visitAs(identity.credentials())), 'object');
    assert.equal(typeof (await bed.visitAs(owner)), 'object');
    assert.equal(await bed.visitAs(identity.credentials()), 'gate');
  });

  it('resumes no session: a verdict is of now', async () => {
    const good = await bed.enrol(await bed.identity('a'), await token());
    // The first visit changes the list of tokens, and tickets end with it anyway.
    await bed.visitAs(good);
    let session: Buffer | undefined;
    await bed.visit({ key: good.key, cert: good.certificate }, (socket) => {
      socket.on('session', (ticket) => {
        session = ticket;
      });
    });
    let reused = false;
    const second = await bed.visit({ key: good.key, cert: good.certificate, ...(session ? { session } : {}) }, (socket) => {
      reused = socket.isSessionReused();
    });
    assert.equal(reused, false);
    assert.equal(typeof second, 'object');
  });

  it('keeps former tokens, and what was revoked revoked, when new ones cannot be written', async () => {
    const text = await token();
    await bed.enrol(await bed.identity('b'), await token('branch-2'));
    await bed.registry.remove('branch-2');
    const before = [bed.registry.agents(), bed.registry.tlsOptions().ca];
    // Another file system would be full; a directory in the file's place cannot be written either.
    const path = join(bed.directory, 'agents', 'registry.json');
    renameSync(path, `${path}.away`);
    mkdirSync(join(path, 'in-the-way'), { recursive: true });
    await assert.rejects(bed.registry.addAll(['branch-1', 'branch-2', 'branch-3']));
    rmSync(path, { recursive: true });
    renameSync(`${path}.away`, path);
    assert.deepEqual([bed.registry.agents(), bed.registry.tlsOptions().ca], before);
    assert.equal(typeof (await bed.enrol(await bed.identity('a'), text)), 'object', 'its first token is good');
  });

  it('survives the gateway: everything is on disk when it was said', async () => {
    const text = await token('branch-2');
    const good = await bed.enrol(await bed.identity('a'), await token());
    await bed.registry.add('branch-3');
    await bed.registry.remove('branch-3');
    const again = await bed.reopen(['weir.example.org', '192.0.2.7']);
    assert.equal(again.authority, bed.registry.authority);
    assert.equal(again.tlsOptions().cert, bed.registry.tlsOptions().cert);
    assert.deepEqual(again.agents(), bed.registry.agents());
    assert.deepEqual(again.tlsOptions().ca, bed.registry.tlsOptions().ca);
    assert.equal((again.tlsOptions().ca as string[]).length, 3, 'the authority and two tokens: one of them not seen yet');
    assert.equal(typeof (await bed.visitAs(good)), 'object');
    assert.equal((bed.registry.tlsOptions().ca as string[]).length, 2);
    assert.ok(parseToken(text));
    await again.close();
    bed.now += 25 * hour;
    const later = await bed.reopen();
    assert.equal((later.tlsOptions().ca as string[]).length, 1, 'what expired meanwhile is not trusted for a moment');
    await later.close();
  });

  it('says it when the clock is a year ahead or behind, and lets in again when it is right', async () => {
    const good = await bed.enrol(await bed.identity('a'), await token());
    await bed.enrol(await bed.identity('b'), await token('branch-2'));
    assert.deepEqual(bed.registry.reasons(), []);
    const year = 365 * 24 * hour;
    bed.now += year;
    assert.match(bed.registry.reasons().join('\n'), /certificates of all 2 agents have ended by this machine's clock/);
    assert.match(bed.registry.agents()[0].reason ?? '', /has ended by this machine's clock/);
    await bed.registry.refresh();
    const ahead = new X509Certificate(bed.registry.tlsOptions().cert as string);
    assert.ok(Date.parse(ahead.validTo) > bed.now / 1000);
    bed.now -= 2 * year;
    assert.match(bed.registry.reasons().join('\n'), /clock says .* set the clock right/);
    bed.now += year;
    await bed.registry.refresh();
    assert.deepEqual(bed.registry.reasons(), []);
    assert.equal(typeof (await bed.visitAs(good)), 'object');
  });

  it('turns certificates away that ended by the clock of the machine, and lets in those made when that was ahead', async () => {
    const year = 365 * 24 * hour;
    // The handshake goes by the machine's clock, so the certificates are made a year before or after it instead.
    bed.now -= year;
    const old = await bed.enrol(await bed.identity('a'), await token());
    assert.equal(await bed.visitAs(old), 'handshake');
    bed.now += 2 * year;
    const early = await bed.enrol(await bed.identity('b'), await token('branch-2'));
    bed.now -= year;
    assert.deepEqual(Object.keys((await bed.visitAs(early)) as object), ['agent', 'certificateUntil']);
    assert.match(bed.registry.agents()[0].reason ?? '', /has ended by this machine's clock/);
  });

  it('has its list of tokens made once for a fleet that is added, and not for each that enrols', async () => {
    let made = 0;
    bed.registry.onChange(() => {
      made += 1;
    });
    const names = Array.from({ length: 40 }, (_, index) => `fleet-${index}`);
    const added = await bed.registry.addAll([...names, 'fleet-0']);
    assert.equal(added.length, 40);
    assert.equal(made, 1);
    await assert.rejects(bed.registry.addAll(['fleet-x', 'not a name']), isCode('bad-request'));
    assert.ok(!bed.registry.agents().some(({ name }) => name === 'fleet-x'));
    const good = await bed.enrol(await bed.identity('a'), added[0].token);
    assert.equal(typeof (await bed.visitAs(good)), 'object');
    const { credentials } = await (await bed.identity('b')).beginEnrolment(parseToken(added[0].token));
    assert.equal(await bed.visitAs(credentials), 'gate', 'the list still has it, the gate does not');
    assert.equal(made, 1);
    const again = Array.from({ length: 1001 }, (_, index) => `more-${index}`);
    await assert.rejects(bed.registry.addAll(again), /1000 tokens may wait/);
  });
});
