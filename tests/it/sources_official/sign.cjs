// Signs requests with the official JavaScript libraries: those on standard input, as JSON, from the test.
"use strict";

const fs = require("node:fs");
const path = require("node:path");
const { pathToFileURL } = require("node:url");
const Stripe = require("stripe");
const { Webhook } = require("standardwebhooks");

// It is a module of the newer kind, which is not looked for in NODE_PATH.
const octokit = path.join(process.env.NODE_PATH, "@octokit/webhooks-methods/dist-node/index.js");

async function main() {
  const github = await import(pathToFileURL(octokit));
  const stripe = new Stripe("sk_test_none");
  const sign = {
    github: async ({ secret }, body) => ({ "x-hub-signature-256": await github.sign(secret, body) }),
    stripe: ({ secret, at }, body) => ({
      "stripe-signature": stripe.webhooks.generateTestHeaderString({ payload: body, secret, timestamp: at }),
    }),
    standard: ({ secret, at, id }, body) => ({
      "webhook-id": id,
      "webhook-timestamp": String(at),
      "webhook-signature": new Webhook(secret).sign(id, new Date(at * 1000), body),
    }),
  };
  const signed = [];
  for (const one of JSON.parse(fs.readFileSync(0))) {
    const body = Buffer.from(one.body, "base64").toString();
    const at = Math.floor(Date.now() / 1000) - one.age;
    signed.push([{ headers: await sign[one.kind]({ ...one, at }, body) }]);
  }
  console.log(JSON.stringify(signed));
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
