// RSA keys take long to make, so the imposters of one process share them by
// name: what is different by name is different, in each test anew.

import crypto from 'node:crypto';

const made = new Map();

/** {publicKey, privateKey} in PEM, the same one for the same name. */
export function pair(name) {
  if (!made.has(name)) {
    made.set(name, crypto.generateKeyPairSync('rsa', {
      modulusLength: 2048,
      publicKeyEncoding: { type: 'spki', format: 'pem' },
      privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
    }));
  }
  return made.get(name);
}
