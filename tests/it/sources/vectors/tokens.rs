//! `HipChat`: a token by HS256 and by nothing else, in either of its places, as long as it says.

use serde_json::{Value, json};

use super::{
    ACCEPTED, AHEAD, Bench, Clock, JSON, MALFORMED, MAY_2024, MISMATCH, MISSING, STALE, Vector, site,
};
use crate::support::official;

const SECRET: &str = "hipchat-shared-secret";
const CLIENT: &str = "0e0a5f0c-7c55-4f1e-8f5e-1d2c3b4a5f60";
const TOKEN: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.\
    eyJpc3MiOiIwZTBhNWYwYy03YzU1LTRmMWUtOGY1ZS0xZDJjM2I0YTVmNjAiLCJpYXQiOjE3MTQ2NDAwMDAsImV4cCI6MTcxNDY0MDkwMH0.\
    tJgae1rRotnqRxMQ8ts_YRYMNlJkgNvZeiBkLLdvu6E";
const BODY: &str = concat!(
    r#"{"event":"room_message","webhook_id":"31","oauth_client_id":"0e0a5f0c-7c55-4f1e-8f5e-1d2c3b4a5f60","#,
    r#""item":{"message":{"id":"4c6d9a52-3f0b-4a57-9a5c-6a0f1b2c3d4e","date":"2018-05-02T10:00:00.000000+00:00","#,
    r#""type":"message","from":{"id":501,"mention_name":"dana","name":"Dana Kim"},"mentions":[],"#,
    r#""message":"/track Landing page in Website"},"room":{"id":77,"name":"Web team"}}}"#
);

/// The published message, with this in `Authorization`.
fn message(authorization: Option<&str>) -> Vector {
    Vector {
        kind: "hipchat",
        secret: SECRET,
        other_secret: "another",
        content_type: JSON,
        body: BODY.as_bytes().to_vec(),
        headers: authorization.map(|value| ("authorization", value.to_owned())).into_iter().collect(),
        at: Some(MAY_2024),
        believed: ACCEPTED,
    }
}

/// By another implementation than the one under test: head, claims, and the hash that signs them with the secret.
fn made(tokens: &[(Value, Value, &str)]) -> Vec<String> {
    const PROGRAM: &str = r"
import base64, hmac, json, sys
encode = lambda data: base64.urlsafe_b64encode(data).rstrip(b'=')
for head, claims, algorithm in json.loads(sys.argv[1]):
    signed = b'.'.join(encode(json.dumps(part).encode()) for part in (head, claims))
    code = hmac.new(sys.argv[2].encode(), signed, algorithm).digest() if algorithm else b''
    print((signed + b'.' + encode(code)).decode())
";
    let said = official::run("python3", &["-c", PROGRAM, &json!(tokens).to_string(), SECRET], &[], "");
    let made: Vec<String> = said.lines().map(str::to_owned).collect();
    assert_eq!(made.len(), tokens.len());
    made
}

fn head(algorithm: &str) -> Value {
    json!({"alg": algorithm, "typ": "JWT"})
}

fn claims() -> Value {
    json!({"iss": CLIENT, "iat": MAY_2024, "exp": MAY_2024 + 900})
}

#[test]
fn the_published_token_is_believed_in_either_place_until_it_expires() {
    let (site, mut number) = (site(), 0);
    let clock = Clock::at(&site, MAY_2024);
    let bench = Bench::new(&site, &clock);
    // The message's own id makes it a repeat where it came before: a source for each that is believed.
    let mut source = |secret: &str| {
        number += 1;
        bench.put(&format!("room-{number}"), &json!({"kind": "hipchat", "secret": secret}))
    };
    let signed = message(Some(&format!("JWT {TOKEN}")));
    let (unsigned, query) = (message(None), format!("?signed_request={TOKEN}"));
    bench.tells("in Authorization", &source(SECRET), "", &signed, ACCEPTED);
    bench.tells("in the query", &source(SECRET), &query, &unsigned, ACCEPTED);
    bench.tells("in both", &source(SECRET), &query, &signed, ACCEPTED);
    let url = source(SECRET);
    bench.tells("in neither", &url, "", &unsigned, MISSING);
    bench.tells("another secret", &source("another"), "", &signed, MISMATCH);
    bench.tells("twice", &url, &format!("{query}&signed_request={TOKEN}"), &unsigned, MALFORMED);
    bench.tells("two of them", &url, &query, &message(Some(&format!("JWT {TOKEN}x"))), MALFORMED);
    bench.tells("of another scheme", &url, "", &message(Some(&format!("Bearer {TOKEN}"))), MALFORMED);
    for (off, told) in [(901, STALE), (-301, AHEAD), (86400 * 365, STALE)] {
        clock.set(MAY_2024 + off);
        bench.tells(&format!("{off} s later"), &url, "", &signed, told);
        bench.tells(&format!("{off} s later"), &url, &query, &unsigned, told);
    }
    for off in [900, -300] {
        clock.set(MAY_2024 + off);
        bench.tells(&format!("{off} s later"), &source(SECRET), "", &signed, ACCEPTED);
    }
}

#[test]
fn no_token_but_one_by_hs256_with_the_secret_is_believed() {
    let site = site();
    let clock = Clock::at(&site, MAY_2024);
    let bench = Bench::new(&site, &clock);
    let url = bench.put("room", &json!({"kind": "hipchat", "secret": SECRET}));
    let critical = json!({"alg": "HS256", "crit": ["exp"]});
    let past = json!({"iss": CLIENT, "iat": MAY_2024 - 900, "exp": MAY_2024 - 1});
    let coming = json!({"iss": CLIENT, "iat": MAY_2024 + 301, "exp": MAY_2024 + 900});
    let not_yet = json!({"iss": CLIENT, "nbf": MAY_2024 + 301, "exp": MAY_2024 + 900});
    let forever = json!({"iss": CLIENT, "iat": MAY_2024});
    let in_words = json!({"iss": CLIENT, "iat": MAY_2024, "exp": "never"});
    let cases = [
        (head("none"), claims(), "", MALFORMED),
        (head("none"), claims(), "sha256", MALFORMED),
        (head("NONE"), claims(), "", MALFORMED),
        (head("HS512"), claims(), "sha512", MALFORMED),
        (head("HS512"), claims(), "sha256", MALFORMED),
        (head("HS384"), claims(), "sha384", MALFORMED),
        (head("hs256"), claims(), "sha256", MALFORMED),
        (head("RS256"), claims(), "sha256", MALFORMED),
        (head("HS256"), claims(), "sha512", MALFORMED),
        (head("HS256"), claims(), "", MALFORMED),
        (json!({"typ": "JWT"}), claims(), "sha256", MALFORMED),
        (json!(["HS256"]), claims(), "sha256", MALFORMED),
        (critical, claims(), "sha256", MALFORMED),
        (head("HS256"), forever, "sha256", MALFORMED),
        (head("HS256"), in_words, "sha256", MALFORMED),
        (head("HS256"), past, "sha256", STALE),
        (head("HS256"), coming, "sha256", AHEAD),
        (head("HS256"), not_yet, "sha256", AHEAD),
        (head("HS256"), claims(), "sha256", ACCEPTED),
    ];
    let parts: Vec<_> =
        cases.iter().map(|(head, claims, hash, _)| (head.clone(), claims.clone(), *hash)).collect();
    for ((head, claims, hash, told), token) in cases.iter().zip(made(&parts)) {
        let what = format!("{head} {claims} by {hash:?}");
        if *told != ACCEPTED {
            bench.tells(&what, &url, &format!("?signed_request={token}"), &message(None), *told);
        }
        bench.tells(&what, &url, "", &message(Some(&format!("JWT {token}"))), *told);
    }
    for (what, token, told) in spoilt() {
        bench.tells(&what, &url, "", &message(Some(&format!("JWT {token}"))), told);
    }
}

/// What can be done to a token on the way.
fn spoilt() -> Vec<(String, String, (u16, &'static str))> {
    let parts: Vec<&str> = TOKEN.split('.').collect();
    let [head, claims, code] = parts[..] else { panic!("three parts") };
    let mut all = vec![
        ("two parts".to_owned(), format!("{head}.{claims}"), MALFORMED),
        ("four parts".to_owned(), format!("{TOKEN}.{code}"), MALFORMED),
        ("nothing".to_owned(), String::new(), MALFORMED),
        ("padded".to_owned(), format!("{TOKEN}="), MALFORMED),
        ("a short code".to_owned(), TOKEN[..TOKEN.len() - 4].to_owned(), MALFORMED),
        // Longer to live, under the code of the one that is not.
        ("other claims".to_owned(), format!("{head}.{}.{code}", made_claims()), MISMATCH),
    ];
    for place in [claims.len() / 2, claims.len() - 4] {
        let digit = if claims.as_bytes()[place] == b'A' { "B" } else { "A" };
        let mut changed = claims.to_owned();
        changed.replace_range(place..=place, digit);
        all.push((
            format!("another letter {place} of the claims"),
            format!("{head}.{changed}.{code}"),
            MISMATCH,
        ));
    }
    all
}

fn made_claims() -> String {
    let longer = json!({"iss": CLIENT, "iat": MAY_2024, "exp": MAY_2024 + 9000});
    made(&[(head("HS256"), longer, "")])[0].split('.').nth(1).unwrap().to_owned()
}
