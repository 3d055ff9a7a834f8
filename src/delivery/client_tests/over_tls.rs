//! TLS with certificates made here: whom it trusts, and what each way of not being trusted is called.

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::TlsAcceptor;

use super::*;

/// An authority of our own, with its certificate in a file.
pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    file: tempfile::NamedTempFile,
    /// Its certificate.
    pub(super) pem: String,
}

impl Authority {
    pub(super) fn new() -> Authority {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // Each has a name of its own, so that none is taken for another with a bad signature.
        let name = format!("authority {}", fastrand::u64(..));
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let certificate = params.self_signed(&key).unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        let pem = certificate.pem();
        std::fs::write(file.path(), &pem).unwrap();
        Authority { issuer: Issuer::new(params, key), file, pem }
    }

    /// Settings that trust it as well.
    pub(super) fn settings(&self) -> ClientSettings {
        with_ca(self.file.path(), settings())
    }

    /// A certificate for `name` that is valid in these years, and its key: PEM.
    pub(super) fn issue(&self, name: &str, years: std::ops::Range<i32>) -> (String, String) {
        let (certificate, key) = self.certificate(name, years);
        (certificate.pem(), key.serialize_pem())
    }

    pub(super) fn client(&self) -> Client {
        Client::new(self.settings()).unwrap()
    }

    /// A receiver whose certificate is for `name` and valid in these years.
    async fn receiver(&self, name: &str, years: std::ops::Range<i32>) -> Receiver {
        tls_receiver(self.server(name, years)).await
    }

    /// Takes TLS connections with a certificate for `name` that is valid today.
    pub(super) fn acceptor(&self, name: &str) -> TlsAcceptor {
        TlsAcceptor::from(Arc::new(self.server(name, 2020..2090)))
    }

    fn certificate(&self, name: &str, years: std::ops::Range<i32>) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(years.start, 1, 1);
        params.not_after = rcgen::date_time_ymd(years.end, 1, 1);
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }

    pub(super) fn server(&self, name: &str, years: std::ops::Range<i32>) -> ServerConfig {
        let (certificate, key) = self.certificate(name, years);
        server_config(&[rustls::ALL_VERSIONS].concat(), certificate.der().to_vec(), &key)
    }
}

fn server_config(
    versions: &[&'static rustls::SupportedProtocolVersion],
    certificate: Vec<u8>,
    key: &KeyPair,
) -> ServerConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.into()],
            PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
        )
        .unwrap()
}

pub(super) async fn tls_receiver(config: ServerConfig) -> Receiver {
    let acceptor = TlsAcceptor::from(Arc::new(config));
    Receiver::start(move |_, stream| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            while read_request(&mut stream).await.is_some() {
                stream.write_all(OK).await.unwrap();
            }
        }
    })
    .await
}

pub(super) async fn attempt_at(client: &Client, host: &str, receiver: &Receiver) -> Attempt {
    attempt(client, &format!("https://{host}:{}/hook?token=abc", receiver.address.port())).await
}

#[track_caller]
pub(super) fn assert_tls(made: &Attempt, words: &str) {
    assert_eq!((made.status, made.error), (None, Some(FailReason::Tls)), "{made:?}");
    assert!(made.detail.contains(words) && !made.detail.contains("token"), "{made:?}");
}

#[tokio::test]
async fn a_certificate_of_our_own_authority_is_trusted() {
    let authority = Authority::new();
    let client = authority.client();
    for host in ["localhost", "127.0.0.1"] {
        let receiver = authority.receiver(host, 2020..2090).await;
        for _ in 0..5 {
            let made = attempt_at(&client, host, &receiver).await;
            assert_eq!((made.status, made.error), (Some(200), None), "{host}: {made:?}");
        }
        assert_eq!(receiver.connections(), 1, "TLS connections are kept too");
    }
}

#[tokio::test]
async fn a_certificate_of_nobody_we_know_is_refused() {
    let receiver = Authority::new().receiver("localhost", 2020..2090).await;
    assert_tls(&attempt_at(&client(), "localhost", &receiver).await, "no known authority");
    assert_tls(&attempt_at(&Authority::new().client(), "localhost", &receiver).await, "its certificate");
}

#[tokio::test]
async fn a_self_signed_certificate_is_refused() {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
    let config = server_config(rustls::ALL_VERSIONS, certificate.der().to_vec(), &key);
    let receiver = tls_receiver(config).await;
    assert_tls(&attempt_at(&client(), "localhost", &receiver).await, "no known authority");
}

#[tokio::test]
async fn a_certificate_for_another_name_or_time_is_refused() {
    let authority = Authority::new();
    let client = authority.client();
    let receiver = authority.receiver("hooks.example.com", 2020..2090).await;
    assert_tls(&attempt_at(&client, "localhost", &receiver).await, "for another name");
    let receiver = authority.receiver("localhost", 2020..2021).await;
    assert_tls(&attempt_at(&client, "localhost", &receiver).await, "has expired");
    let receiver = authority.receiver("localhost", 2089..2090).await;
    assert_tls(&attempt_at(&client, "localhost", &receiver).await, "not valid yet");
}

#[tokio::test]
async fn a_receiver_that_speaks_no_tls_is_a_tls_failure() {
    let (plain, _requests) = Receiver::answering(OK).await;
    let talks_first = Receiver::start(|_, mut stream| async move {
        stream.write_all(b"220 smtp.example ESMTP\r\n").await.ok();
        stream.read_u8().await.ok();
    })
    .await;
    let closes = Receiver::start(|_, mut stream| async move {
        stream.read_u8().await.ok();
    })
    .await;
    for receiver in [&talks_first, &closes] {
        assert_tls(
            &attempt_at(&client(), "127.0.0.1", receiver).await,
            "the TLS handshake with https://127.0.0.1:",
        );
    }
    // It waits for the end of a request line that never comes.
    let url = format!("https://{}/", plain.address);
    let made = attempt_within(&client(), &url, Duration::from_millis(300)).await;
    assert_eq!(made.error, Some(FailReason::Timeout), "{made:?}");
    assert!(made.detail.starts_with("no connection to https://"), "{made:?}");
}

#[tokio::test]
async fn a_receiver_that_wants_our_certificate_is_a_tls_failure() {
    let authority = Authority::new();
    let key = KeyPair::generate().unwrap();
    let certificate =
        CertificateParams::new(["localhost".to_owned()]).unwrap().signed_by(&key, &authority.issuer).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate.der().clone()).unwrap();
    let verifier =
        rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
            .build()
            .unwrap();
    for versions in [&[&rustls::version::TLS12][..], &[&rustls::version::TLS13]] {
        let config = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(versions)
            .unwrap()
            .with_client_cert_verifier(verifier.clone())
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
            )
            .unwrap();
        let receiver = tls_receiver(config).await;
        assert_tls(&attempt_at(&authority.client(), "localhost", &receiver).await, "TLS");
    }
}

#[test]
fn a_ca_file_that_is_not_one_is_a_configuration_error() {
    let refused = |path: &std::path::Path| {
        let settings = with_ca(path, ClientSettings::default());
        Client::new(settings).unwrap_err().to_string()
    };
    assert!(
        refused("/nowhere/ca.pem".as_ref()).starts_with("[egress] ca_file /nowhere/ca.pem: No such file")
    );
    let file = tempfile::NamedTempFile::new().unwrap();
    assert!(refused(file.path()).contains("holds no certificate"));
    std::fs::write(file.path(), "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    assert!(refused(file.path()).contains("not a usable certificate"));
}
