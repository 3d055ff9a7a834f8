"""Checks deliveries with the official Python library: those on standard input, as JSON, from the test."""

import base64
import json
import sys

from standardwebhooks import Webhook, WebhookVerificationError


def accepted(secret, body, headers):
    try:
        Webhook(secret).verify(body, headers)
        return True
    except WebhookVerificationError:
        return False


checks = 0
for delivery in json.load(sys.stdin):
    body = base64.b64decode(delivery["body"])
    headers = delivery["headers"]
    for secret in delivery["secrets"]:
        assert accepted(secret, body, headers), "refused what was delivered"
        for what, other_body, change in [
            ("body", body.replace(b"1", b"2", 1), {}),
            ("id", body, {"webhook-id": headers["webhook-id"] + "x"}),
            ("timestamp", body, {"webhook-timestamp": str(int(headers["webhook-timestamp"]) - 1)}),
            ("signature", body, {"webhook-signature": headers["webhook-signature"].swapcase().replace("V1", "v1")}),
        ]:
            assert (other_body, change) != (body, {})
            assert not accepted(secret, other_body, headers | change), f"accepted another {what}"
        checks += 5
    for secret in delivery["others"]:
        assert not accepted(secret, body, headers), "accepted with a secret that does not sign"
        checks += 1
print(checks)
