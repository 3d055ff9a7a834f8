// Checks deliveries with the official JavaScript library, and ed25519 signatures with Node's own cryptography: those on
// standard input, as JSON, from the test.
"use strict";

const assert = require("node:assert");
const crypto = require("node:crypto");
const fs = require("node:fs");
const { Webhook } = require("standardwebhooks");

// Whether a receiver that has this secret, or public key, takes the request.
function accepted(key, body, headers) {
  if (!key.startsWith("whpk_")) {
    try {
      new Webhook(key).verify(body, headers);
      return true;
    } catch (error) {
      assert.strictEqual(error.name, "WebhookVerificationError");
      return false;
    }
  }
  const x = Buffer.from(key.slice("whpk_".length), "base64").toString("base64url");
  const publicKey = crypto.createPublicKey({ key: { kty: "OKP", crv: "Ed25519", x }, format: "jwk" });
  const text = Buffer.from(`${headers["webhook-id"]}.${headers["webhook-timestamp"]}.${body}`);
  return headers["webhook-signature"].split(" ").some((entry) => {
    const [version, signature] = entry.split(",");
    return version === "v1a" && crypto.verify(null, text, publicKey, Buffer.from(signature, "base64"));
  });
}

let checks = 0;
for (const { body: encoded, headers, secrets, public_keys, others } of JSON.parse(fs.readFileSync(0))) {
  const body = Buffer.from(encoded, "base64").toString();
  for (const key of [...secrets, ...public_keys]) {
    assert(accepted(key, body, headers), "refused what was delivered");
    const swapped = [...headers["webhook-signature"]]
      .map((c) => (c === c.toLowerCase() ? c.toUpperCase() : c.toLowerCase()))
      .join("");
    for (const [what, otherBody, change] of [
      ["body", body.replace("1", "2"), {}],
      ["id", body, { "webhook-id": `${headers["webhook-id"]}x` }],
      ["timestamp", body, { "webhook-timestamp": String(headers["webhook-timestamp"] - 1) }],
      ["signature", body, { "webhook-signature": swapped.replaceAll("V1", "v1").replaceAll("v1A,", "v1a,") }],
    ]) {
      assert(otherBody !== body || Object.keys(change).length === 1);
      assert(!accepted(key, otherBody, { ...headers, ...change }), `accepted another ${what}`);
    }
    checks += 5;
  }
  for (const key of others) {
    assert(!accepted(key, body, headers), "accepted with a secret that does not sign");
    checks += 1;
  }
}
console.log(checks);
