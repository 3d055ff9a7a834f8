//! PURE. The records of what proves that a request is ours.

use bincode::{Decode, Encode};

use crate::model::{Authorization, Headers, Secret, Signature, SigningSecret, UnixMs};

#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub(super) enum AuthorizationRecord {
    Basic { username: String, password: String },
    Bearer { token: String },
    Header { name: String, value: String },
    HmacSha256 { secret: String },
}

/// A secret, and until when it signs.
pub(super) type SigningSecretRecord = (String, Option<i64>);

#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub(super) enum SignatureRecord {
    Standard { secrets: Vec<SigningSecretRecord> },
    Hex { header: String, secrets: Vec<SigningSecretRecord> },
}

pub(super) fn exposed(secret: &Secret) -> String {
    secret.expose().to_owned()
}

pub(super) fn headers_record(headers: &Headers) -> Vec<(String, String)> {
    headers.0.iter().map(|(name, value)| (name.to_string(), exposed(value))).collect()
}

pub(super) fn headers(record: Vec<(String, String)>) -> Headers {
    Headers(record.into_iter().map(|(name, value)| (name.into_boxed_str(), Secret::new(value))).collect())
}

impl From<&Authorization> for AuthorizationRecord {
    fn from(authorization: &Authorization) -> AuthorizationRecord {
        match authorization {
            Authorization::Basic { username, password } => {
                AuthorizationRecord::Basic { username: username.clone(), password: exposed(password) }
            }
            Authorization::Bearer { token } => AuthorizationRecord::Bearer { token: exposed(token) },
            Authorization::Header { name, value } => {
                AuthorizationRecord::Header { name: name.clone(), value: exposed(value) }
            }
            Authorization::HmacSha256 { secret } => {
                AuthorizationRecord::HmacSha256 { secret: exposed(secret) }
            }
        }
    }
}

impl From<AuthorizationRecord> for Authorization {
    fn from(record: AuthorizationRecord) -> Authorization {
        match record {
            AuthorizationRecord::Basic { username, password } => {
                Authorization::Basic { username, password: Secret::new(password) }
            }
            AuthorizationRecord::Bearer { token } => Authorization::Bearer { token: Secret::new(token) },
            AuthorizationRecord::Header { name, value } => {
                Authorization::Header { name, value: Secret::new(value) }
            }
            AuthorizationRecord::HmacSha256 { secret } => {
                Authorization::HmacSha256 { secret: Secret::new(secret) }
            }
        }
    }
}

fn secrets_record(secrets: &[SigningSecret]) -> Vec<SigningSecretRecord> {
    secrets.iter().map(|one| (exposed(&one.secret), one.until.map(|until| until.0))).collect()
}

fn secrets(record: Vec<SigningSecretRecord>) -> Vec<SigningSecret> {
    let secret = |(text, until): SigningSecretRecord| SigningSecret {
        secret: Secret::new(text),
        until: until.map(UnixMs),
    };
    record.into_iter().map(secret).collect()
}

impl From<&Signature> for SignatureRecord {
    fn from(signature: &Signature) -> SignatureRecord {
        match signature {
            Signature::Standard { secrets } => SignatureRecord::Standard { secrets: secrets_record(secrets) },
            Signature::Hex { header, secrets } => {
                SignatureRecord::Hex { header: header.clone(), secrets: secrets_record(secrets) }
            }
        }
    }
}

impl From<SignatureRecord> for Signature {
    fn from(record: SignatureRecord) -> Signature {
        match record {
            SignatureRecord::Standard { secrets: all } => Signature::Standard { secrets: secrets(all) },
            SignatureRecord::Hex { header, secrets: all } => Signature::Hex { header, secrets: secrets(all) },
        }
    }
}
