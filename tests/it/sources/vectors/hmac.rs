//! Anyone who signs with HMAC: each hash, each spelling, with and without a prefix and a time; the codes of the RFCs, and
//! those that Python makes.

use serde_json::{Value, json};

use super::{
    ACCEPTED, AHEAD, Bench, Clock, JSON, MALFORMED, MAY_2024, MISMATCH, MISSING, STALE, Vector, site,
};
use crate::support::official;

const SECRET: &str = "a secret of ours, Zürich";
const BODY: &str = "{\"text\": \"Zo\u{eb} \\u00e9 \u{1f600}\" , \"n\": 1.0}\n";
const HEADER: &str = "x-shop-signature";
const TIME: &str = "x-shop-time";

/// A body and what proves it, to a source of any settings.
fn vector(secret: &'static str, body: &str, headers: &[(&'static str, String)]) -> Vector {
    Vector {
        kind: "hmac",
        secret,
        other_secret: "another",
        content_type: JSON,
        body: body.as_bytes().to_vec(),
        headers: headers.to_vec(),
        at: None,
        believed: ACCEPTED,
    }
}

/// The code of each text, by another implementation than the one under test.
fn codes(of: &[(&str, &str, String)]) -> Vec<String> {
    const PROGRAM: &str = r"
import base64, hmac, json, sys
for algorithm, encoding, text in json.loads(sys.argv[1]):
    code = hmac.new(sys.argv[2].encode(), text.encode(), algorithm)
    print(code.hexdigest() if encoding == 'hex' else base64.b64encode(code.digest()).decode())
";
    let said = official::run("python3", &["-c", PROGRAM, &json!(of).to_string(), SECRET], &[], "");
    let codes: Vec<String> = said.lines().map(str::to_owned).collect();
    assert_eq!(codes.len(), of.len());
    codes
}

#[test]
fn the_codes_of_the_rfcs_are_believed() {
    let site = site();
    let clock = Clock::at(&site, MAY_2024);
    let bench = Bench::new(&site, &clock);
    // RFC 2202 and RFC 4231, test case 2. What they sign is no JSON.
    for (algorithm, code) in [
        ("sha1", "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"),
        ("sha256", "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"),
        (
            "sha512",
            "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea2505549758bf75c05a994a6d034f65f8f0e6fd\
             caeab1a34d4a6b4b636e070a38bce737",
        ),
    ] {
        let settings = json!({"kind": "hmac", "secret": "Jefe", "header": HEADER, "algorithm": algorithm});
        let url = bench.put(algorithm, &settings);
        let signed = |body, code: &str| vector("Jefe", body, &[(HEADER, code.to_owned())]);
        let body = "what do ya want for nothing?";
        bench.tells("as published", &url, "", &signed(body, code), (400, "malformed"));
        bench.tells("in capitals", &url, "", &signed(body, &code.to_uppercase()), (400, "malformed"));
        bench.tells("another body", &url, "", &signed("what do ya want for something?", code), MISMATCH);
    }
}

#[test]
fn every_hash_and_spelling_is_believed_if_it_is_the_one_that_was_chosen() {
    let site = site();
    let clock = Clock::at(&site, MAY_2024);
    let bench = Bench::new(&site, &clock);
    let mut ways = Vec::new();
    for algorithm in ["sha1", "sha256", "sha512"] {
        for encoding in ["hex", "base64"] {
            for prefix in ["", "sig:", &format!("{algorithm}=")] {
                ways.push((algorithm, encoding, prefix.to_owned()));
            }
        }
    }
    let texts: Vec<_> =
        ways.iter().map(|(algorithm, encoding, _)| (*algorithm, *encoding, BODY.to_owned())).collect();
    for (number, ((algorithm, encoding, prefix), code)) in ways.iter().zip(codes(&texts)).enumerate() {
        let settings = json!({
            "kind": "hmac", "secret": SECRET, "header": HEADER, "algorithm": algorithm, "encoding": encoding,
            "prefix": prefix,
        });
        let url = bench.put(&format!("way-{number}"), &settings);
        let signed = |code: String| vector(SECRET, BODY, &[(HEADER, code)]);
        bench.tells("as chosen", &url, "", &signed(format!("{prefix}{code}")), ACCEPTED);
        if !prefix.is_empty() {
            bench.tells("no prefix", &url, "", &signed(code.clone()), MALFORMED);
        }
        bench.tells("another prefix", &url, "", &signed(format!("{prefix}{prefix}x={code}")), MALFORMED);
        bench.tells("one digit more", &url, "", &signed(format!("{prefix}{code}00")), MALFORMED);
        bench.tells("no code", &url, "", &signed(prefix.clone()), MALFORMED);
        bench.tells("nothing", &url, "", &vector(SECRET, BODY, &[]), MISSING);
        bench.tells(
            "another body",
            &url,
            "",
            &vector(SECRET, "{}", &[(HEADER, format!("{prefix}{code}"))]),
            MISMATCH,
        );
        // What the other ways make of the same body is no proof here.
        for ((other_algorithm, other_encoding, _), other) in ways.iter().zip(codes(&texts)).step_by(3) {
            if (other_algorithm, other_encoding) != (algorithm, encoding) {
                let what = format!("{other_algorithm} in {other_encoding}");
                bench.tells(&what, &url, "", &signed(format!("{prefix}{other}")), MALFORMED);
            }
        }
        let url = bench.put(&format!("way-{number}-wrong"), &with_secret(&settings, "another"));
        bench.tells("another secret", &url, "", &signed(format!("{prefix}{code}")), MISMATCH);
    }
}

fn with_secret(settings: &Value, secret: &str) -> Value {
    let mut settings = settings.clone();
    settings["secret"] = json!(secret);
    settings
}

#[test]
fn a_time_is_signed_with_the_body_and_must_be_near() {
    let site = site();
    let clock = Clock::at(&site, MAY_2024);
    let bench = Bench::new(&site, &clock);
    let settings = json!({"kind": "hmac", "secret": SECRET, "header": HEADER, "timestamp_header": TIME});
    let (seconds, milliseconds) = (MAY_2024.to_string(), format!("{MAY_2024}999"));
    let texts = [
        format!("{seconds}.{BODY}"),
        format!("{milliseconds}.{BODY}"),
        BODY.to_owned(),
        format!("soon.{BODY}"),
    ];
    let codes = codes(&texts.map(|text| ("sha256", "hex", text)));
    let signed = |time: &str, code: usize| {
        vector(SECRET, BODY, &[(HEADER, codes[code].clone()), (TIME, time.to_owned())])
    };
    for (name, time, code) in [("seconds", &seconds, 0), ("milliseconds", &milliseconds, 1)] {
        let url = bench.put(name, &settings);
        for (off, told) in [(301, STALE), (-301, AHEAD)] {
            clock.set(MAY_2024 + off);
            bench.tells(&format!("{off} s later"), &url, "", &signed(time, code), told);
        }
        clock.set(MAY_2024);
        bench.tells("as it is", &url, "", &signed(time, code), ACCEPTED);
        // The same bytes with the same proof are the same request, until they are too old to be any.
        for (off, told) in [(300, (200, "repeated")), (-300, (200, "repeated")), (301, STALE)] {
            clock.set(MAY_2024 + off);
            bench.tells(&format!("{off} s later"), &url, "", &signed(time, code), told);
        }
        clock.set(MAY_2024);
    }
    let url = bench.put("other", &settings);
    bench.tells("only the body", &url, "", &signed(&seconds, 2), MISMATCH);
    bench.tells("another time", &url, "", &signed(&(MAY_2024 + 1).to_string(), 0), MISMATCH);
    bench.tells("the same time in milliseconds", &url, "", &signed(&milliseconds, 0), MISMATCH);
    bench.tells("a word for a time", &url, "", &signed("soon", 3), MALFORMED);
    let without = vector(SECRET, BODY, &[(HEADER, codes[0].clone())]);
    bench.tells("no time", &url, "", &without, MISSING);
}
