//! Certificates and keys as PEM text. PURE: text in, what TLS needs or a sentence on what is wrong out. No error quotes
//! the text.

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use crate::model::Tls;

/// Which text is at fault, as a setting is called: `ca`, `certificate` or `key`.
pub type Part = &'static str;

/// Whether a connection can be made with these certificates and this key.
///
/// # Errors
/// The member at fault (`ca`, `certificate` or `key`) and a sentence that says what would be right.
pub fn check_tls(tls: &Tls) -> Result<(), (&'static str, String)> {
    if let Some(ca) = &tls.ca {
        add_authorities(&mut RootCertStore::empty(), ca.as_bytes()).map_err(|problem| ("ca", problem))?;
    }
    identity(tls).map(drop)
}

/// Adds what is trusted.
pub(super) fn add_authorities(roots: &mut RootCertStore, text: &[u8]) -> Result<(), String> {
    for certificate in certificates(text)? {
        roots.add(certificate).map_err(|error| format!("not a usable certificate: {error}"))?;
    }
    Ok(())
}

/// Who we are, if that is said.
pub fn identity(tls: &Tls) -> Result<Option<CertifiedKey>, (Part, String)> {
    let (chain, key) = match (&tls.certificate, &tls.key) {
        (None, None) => return Ok(None),
        (Some(_), None) => return Err(("key", "is missing; give the certificate's private key".to_owned())),
        (None, Some(_)) => return Err(("certificate", "is missing; give the key's certificate".to_owned())),
        (Some(chain), Some(key)) => (chain, key),
    };
    let chain = certificates(chain.as_bytes()).map_err(|problem| ("certificate", problem))?;
    let key = private_key(key.expose().as_bytes()).map_err(|problem| ("key", problem))?;
    let identity = CertifiedKey::from_der(chain, key, &provider()).map_err(|error| match error {
        rustls::Error::InvalidCertificate(_) => ("certificate", format!("not a usable certificate: {error}")),
        rustls::Error::InconsistentKeys(_) => ("key", "it is not the key of the certificate".to_owned()),
        _ => ("key", "not a usable private key (RSA, ECDSA P-256 or P-384, or Ed25519)".to_owned()),
    })?;
    Ok(Some(identity))
}

/// The provider is named, not taken from a process-wide default that another part could set.
pub fn provider() -> CryptoProvider {
    rustls::crypto::ring::default_provider()
}

fn certificates(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(text).collect();
    let found = found.map_err(|error| format!("not PEM text: {}", what_is_wrong(&error)))?;
    if found.is_empty() { Err("it holds no certificate (PEM)".to_owned()) } else { Ok(found) }
}

fn private_key(text: &[u8]) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_slice(text).map_err(|error| match error {
        pem::Error::NoItemsFound => {
            "it holds no private key (PEM: PKCS#8, SEC1 or PKCS#1, not encrypted)".to_owned()
        }
        error => format!("not PEM text: {}", what_is_wrong(&error)),
    })
}

/// The library's own sentences quote the text.
fn what_is_wrong(error: &pem::Error) -> &'static str {
    match error {
        pem::Error::MissingSectionEnd { .. } => "a section has no end",
        pem::Error::IllegalSectionStart { .. } => "a section has no proper start",
        pem::Error::Base64Decode(_) => "a section is not base64",
        _ => "it cannot be read",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::testing::{self_signed, tls};

    #[test]
    fn what_is_wrong_with_a_certificate_or_key_is_said_of_the_right_one() {
        let (certificate, key) = self_signed();
        let (other, other_key) = self_signed();
        let check = |ca: Option<&str>, certificate: Option<&str>, key: Option<&str>| {
            check_tls(&tls(ca, certificate, key)).map_err(|(part, problem)| format!("{part}: {problem}"))
        };
        assert_eq!(check(None, None, None), Ok(()));
        assert_eq!(check(Some(&certificate), Some(&certificate), Some(&key)), Ok(()));
        assert_eq!(check(Some(&format!("# two\n{certificate}{other}")), None, None), Ok(()));
        let broken = certificate.replace("MII", "M-I");
        let cut = certificate.split("-----END").next().unwrap();
        let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let sealed = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
        let no_key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        for (ca, certificate, key, says) in [
            (Some("canary"), None, None, "ca: it holds no certificate"),
            (Some(&*broken), None, None, "ca: not PEM text: a section is not base64"),
            (Some(cut), None, None, "ca: not PEM text: a section has no end"),
            (Some(garbage), None, None, "ca: not a usable certificate"),
            (Some(&*key), None, None, "ca: it holds no certificate"),
            (None, Some(&*certificate), None, "key: is missing"),
            (None, None, Some(&*key), "certificate: is missing"),
            (None, Some(&*certificate), Some(&*other_key), "key: it is not the key of the certificate"),
            (None, Some(&*certificate), Some(sealed), "key: it holds no private key"),
            (None, Some(&*certificate), Some(no_key), "key: not a usable private key"),
            (None, Some(&*certificate), Some("canary"), "key: it holds no private key"),
            (None, Some("canary"), Some(&*key), "certificate: it holds no certificate"),
            (None, Some(garbage), Some(&*key), "certificate: not a usable certificate"),
        ] {
            let problem = check(ca, certificate, key).unwrap_err();
            assert!(problem.starts_with(says) && !problem.contains("canary"), "{says}: {problem}");
        }
    }

    #[test]
    fn keys_come_in_three_forms() {
        // PKCS#1, of nobody: nothing here can make an RSA key.
        let rsa = include_str!("testing/rsa-pkcs1.pem");
        assert_eq!(check_tls(&tls(None, Some(rsa), Some(rsa))), Ok(()), "one text may hold both");
        let (certificate, pkcs8) = self_signed();
        assert!(pkcs8.starts_with("-----BEGIN PRIVATE KEY-----"));
        // What PKCS#8 wraps is SEC1: for P-256 the last 109 bytes.
        let PrivateKeyDer::Pkcs8(der) = private_key(pkcs8.as_bytes()).unwrap() else { panic!("not PKCS#8") };
        let sec1 = &der.secret_pkcs8_der()[der.secret_pkcs8_der().len() - 109..];
        let sec1 = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, sec1);
        let sec1 = format!("-----BEGIN EC PRIVATE KEY-----\n{sec1}\n-----END EC PRIVATE KEY-----\n");
        assert_eq!(check_tls(&tls(None, Some(&certificate), Some(&sec1))), Ok(()));
    }
}
