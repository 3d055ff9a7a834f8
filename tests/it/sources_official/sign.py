"""Signs requests with the official Python libraries: those on standard input, as JSON, from the test."""

import base64
import datetime
import json
import sys
import time

import jwt
import stripe
from slack_sdk.signature import SignatureVerifier
from standardwebhooks import Webhook


def slack(secret, body, at, _id):
    signature = SignatureVerifier(secret).generate_signature(timestamp=str(at), body=body)
    return [{"headers": {"x-slack-request-timestamp": str(at), "x-slack-signature": signature}}]


def stripe_(secret, body, at, _id):
    header = stripe.WebhookSignature.generate_signature_header(body.decode(), secret, timestamp=at)
    return [{"headers": {"stripe-signature": header}}]


def standard(secret, body, at, id_):
    moment = datetime.datetime.fromtimestamp(at, datetime.timezone.utc)
    signature = Webhook(secret).sign(id_, moment, body.decode())
    return [{"headers": {"webhook-id": id_, "webhook-timestamp": str(at), "webhook-signature": signature}}]


def hipchat(secret, _body, at, _id):
    token = jwt.encode({"iss": "0e0a5f0c", "iat": at, "exp": at + 300}, secret, algorithm="HS256")
    return [{"headers": {"authorization": f"JWT {token}"}}, {"headers": {}, "query": f"signed_request={token}"}]


SIGN = {"slack": slack, "stripe": stripe_, "standard": standard, "hipchat": hipchat}

signed = []
for case in json.load(sys.stdin):
    sign = SIGN[case["kind"]]
    at = int(time.time()) - case["age"]
    signed.append(sign(case["secret"], base64.b64decode(case["body"]), at, case["id"]))
print(json.dumps(signed))
