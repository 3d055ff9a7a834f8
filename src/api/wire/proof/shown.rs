//! Authorizations, signatures and headers as shown: what they are, never what they hold. PURE.

use serde::{Serialize, Serializer};

use super::MASK;
use crate::delivery::sign::Key;
use crate::model::{Authorization, Headers, Signature, SigningSecret, UnixMs};

/// An authorization as shown.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub(in crate::api) enum AuthorizationOut<'a> {
    Basic {
        username: &'a str,
        password_set: bool,
    },
    Bearer {
        token_set: bool,
    },
    Header {
        name: &'a str,
        value_set: bool,
    },
    #[serde(rename = "hmac-sha256")]
    HmacSha256 {
        secret_set: bool,
    },
}

impl<'a> From<&'a Authorization> for AuthorizationOut<'a> {
    fn from(authorization: &'a Authorization) -> AuthorizationOut<'a> {
        match authorization {
            Authorization::Basic { username, .. } => AuthorizationOut::Basic { username, password_set: true },
            Authorization::Bearer { .. } => AuthorizationOut::Bearer { token_set: true },
            Authorization::Header { name, .. } => AuthorizationOut::Header { name, value_set: true },
            Authorization::HmacSha256 { .. } => AuthorizationOut::HmacSha256 { secret_set: true },
        }
    }
}

/// A signature as shown; the public keys are what receivers need to check it, the newest first.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub(in crate::api) enum SignatureOut<'a> {
    Standard {
        secrets: Vec<SecretOut>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        public_keys: Vec<String>,
    },
    Hex {
        header: &'a str,
        secrets: Vec<SecretOut>,
    },
}

/// A secret that signs, as shown.
#[derive(Serialize)]
pub(in crate::api) struct SecretOut {
    kind: &'static str,
    /// `null` while nothing has replaced it.
    valid_until: Option<UnixMs>,
}

impl<'a> From<&'a Signature> for SignatureOut<'a> {
    fn from(signature: &'a Signature) -> SignatureOut<'a> {
        match signature {
            Signature::Standard { secrets } => {
                let keys: Vec<_> = secrets.iter().map(|one| (one, Key::parse(&one.secret).ok())).collect();
                let kind = |key: Option<&Key>| key.map_or("unreadable", Key::kind);
                let shown = keys.iter().map(|(one, key)| shown(one, kind(key.as_ref()))).collect();
                let public_keys = keys.iter().filter_map(|(_, key)| key.as_ref()?.public()).collect();
                SignatureOut::Standard { secrets: shown, public_keys }
            }
            Signature::Hex { header, secrets } => {
                let secrets = secrets.iter().map(|one| shown(one, "hmac-sha256")).collect();
                SignatureOut::Hex { header, secrets }
            }
        }
    }
}

fn shown(one: &SigningSecret, kind: &'static str) -> SecretOut {
    SecretOut { kind, valid_until: one.until }
}

/// Static headers as shown: names, and a mask for every value.
pub(in crate::api) struct HeadersOut<'a>(pub(in crate::api) &'a Headers);

impl Serialize for HeadersOut<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.0.iter().map(|(name, _)| (name, MASK)))
    }
}
