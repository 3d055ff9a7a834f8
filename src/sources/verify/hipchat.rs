//! `HipChat`: a JSON Web Token by HS256 and nothing else. PURE.
//!
//! By hand, since all that is wanted of RFC 7519 is one algorithm and three times, and no choice of either.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Number;
use url::form_urlencoded;

use super::{NotVerified, mac, time};
use crate::model::{Algorithm, Secret, UnixMs};
use crate::sources::Arrived;

const PARAMETER: &str = "signed_request";
const HEADER: &str = "Authorization";
/// Where the token is, in messages.
const TOKEN: &str = "the token in signed_request or Authorization";
const RIGHT: &str = "JWT and a token of three parts, signed by HS256";

/// Tokens are made for one request; one that is good for much longer is a key.
const LIFE_MAX_S: i64 = 24 * 60 * 60;

#[derive(Deserialize)]
struct Head {
    alg: String,
    /// Extensions that must be understood, and are not.
    crit: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Claims {
    exp: Number,
    iat: Option<Number>,
    nbf: Option<Number>,
}

pub(super) fn verify(secrets: &[Secret], arrived: &Arrived<'_>, now: UnixMs) -> Result<(), NotVerified> {
    let token = token(arrived)?;
    let malformed = || NotVerified::malformed(TOKEN, "three parts in base64url, header.payload.signature");
    let [head, payload, signature] = *token.split('.').collect::<Vec<_>>().as_slice() else {
        return Err(malformed());
    };
    let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).map_err(|_| malformed());
    let (head_json, claims_json, code) = (decode(head)?, decode(payload)?, decode(signature)?);
    match serde_json::from_slice(&head_json) {
        Ok(Head { alg, crit: None }) if alg == "HS256" => {}
        _ => return Err(NotVerified::malformed(TOKEN, "signed by HS256: its alg must say so, without crit")),
    }
    if code.len() != mac::code_bytes(Algorithm::Sha256) {
        return Err(NotVerified::malformed(TOKEN, "signed by HS256: its signature must be 32 bytes"));
    }
    let message: [&[u8]; 3] = [head.as_bytes(), b".", payload.as_bytes()];
    if !mac::any_fits(Algorithm::Sha256, &mac::keys(secrets), &message, &[code]) {
        return Err(NotVerified::mismatch(TOKEN, "header.payload"));
    }
    in_time(&claims_json, now)
}

/// It may be given in both places, but not two of them.
fn token<'a>(arrived: &Arrived<'a>) -> Result<std::borrow::Cow<'a, str>, NotVerified> {
    let mut given = form_urlencoded::parse(arrived.query.unwrap_or_default().as_bytes())
        .filter(|(name, _)| name == PARAMETER)
        .map(|(_, token)| token);
    let parameter = given.next();
    if given.next().is_some() {
        return Err(NotVerified::Malformed(format!("{PARAMETER} is given more than once: once is right")));
    }
    let header = arrived.header(HEADER).map_err(NotVerified::Malformed)?;
    let in_header = header
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("JWT"))
        .map(|(_, token)| token.trim());
    match (parameter, in_header) {
        (Some(parameter), Some(in_header)) if parameter != in_header => Err(NotVerified::Malformed(format!(
            "{PARAMETER} and {HEADER} have different tokens: one is right, or the same in both"
        ))),
        (Some(token), _) => Ok(token),
        (None, Some(token)) => Ok(token.into()),
        (None, None) if header.is_some() => Err(NotVerified::malformed(HEADER, RIGHT)),
        (None, None) => {
            Err(NotVerified::Missing(format!("{PARAMETER} and {HEADER} are missing: one must be {RIGHT}")))
        }
    }
}

fn in_time(claims: &[u8], now: UnixMs) -> Result<(), NotVerified> {
    let right = "claims with exp, and perhaps iat and nbf, in seconds since 1970";
    let malformed = || NotVerified::malformed(TOKEN, right);
    let claims: Claims = serde_json::from_slice(claims).map_err(|_| malformed())?;
    let seconds = |number: &Number| whole(number).ok_or_else(malformed);
    for (place, at) in [("iat of the token", &claims.iat), ("nbf of the token", &claims.nbf)] {
        if let Some(at) = at {
            time::not_ahead(place, seconds(at)?, now)?;
        }
    }
    let past = now.seconds().saturating_sub(seconds(&claims.exp)?);
    if past < -LIFE_MAX_S {
        return Err(NotVerified::Ahead(format!(
            "exp of the token is more than {LIFE_MAX_S} s ahead: a token must be good for a day at most"
        )));
    }
    if past > 0 {
        return Err(NotVerified::Stale(format!("exp of the token was {past} s ago: it must not be past")));
    }
    Ok(())
}

/// Fractions of a second are allowed, and do not matter.
fn whole(number: &Number) -> Option<i64> {
    number.to_string().split('.').next()?.parse().ok()
}
