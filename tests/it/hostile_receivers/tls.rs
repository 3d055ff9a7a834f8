//! TLS as it goes wrong, with certificates made here: each fault has its words, and none is talked around.

use std::future::Future;
use std::net::TcpListener as StdListener;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{ResolvesServerCertUsingSni, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::raw::{Notes, hold, says, script};
use super::*;

const BASE: &str = "https://localhost";
const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const BOTH: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];

/// An authority of our own.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
    certificate: CertificateDer<'static>,
}

impl Authority {
    fn new() -> Authority {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // An authority is found by its name: of the same name, another's signature would merely look wrong.
        params.distinguished_name.push(DnType::CommonName, format!("authority {}", fastrand::u64(..)));
        let certificate = params.self_signed(&key).unwrap();
        let (pem, der) = (certificate.pem(), certificate.der().clone());
        Authority { pem, certificate: der, issuer: Issuer::new(params, key) }
    }

    fn sign(&self, params: &CertificateParams) -> Identity {
        let key = KeyPair::generate().unwrap();
        Identity { chain: vec![params.signed_by(&key, &self.issuer).unwrap().der().clone()], key }
    }

    fn good(&self) -> Identity {
        self.sign(&named("localhost", 2020..2090))
    }
}

/// A certificate for `name` that is valid in these years.
fn named(name: &str, years: std::ops::Range<i32>) -> CertificateParams {
    let mut params = CertificateParams::new([name.to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(years.start, 1, 1);
    params.not_after = rcgen::date_time_ymd(years.end, 1, 1);
    params
}

struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: KeyPair,
}

impl Identity {
    fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.serialize_der()))
    }

    fn config(self, versions: &[&'static SupportedProtocolVersion]) -> ServerConfig {
        let key = self.key();
        builder(versions).with_no_client_auth().with_single_cert(self.chain, key).unwrap()
    }
}

fn builder(
    versions: &[&'static SupportedProtocolVersion],
) -> rustls::ConfigBuilder<ServerConfig, rustls::WantsVerifier> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ServerConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap()
}

/// Takes the connection by TLS, and then does so; a handshake that fails is the other side's doing.
fn over<F>(
    config: ServerConfig,
    play: impl Fn(Notes, TlsStream<TcpStream>) -> F + Send + Sync + 'static,
) -> Script
where
    F: Future<Output = ()> + Send + 'static,
{
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let play = Arc::new(play);
    script(move |turn| {
        let (acceptor, play) = (acceptor.clone(), play.clone());
        async move {
            let (turn, stream) = turn.split();
            if let Ok(stream) = acceptor.accept(stream).await {
                play(turn, stream).await;
            }
        }
    })
}

/// Answers every request.
fn answers(config: ServerConfig) -> Script {
    over(config, |turn, mut stream| async move {
        while turn.request_over(&mut stream).await.is_some() {
            stream.write_all(OK).await.ok();
        }
    })
}

fn tls(name: &'static str, script: Script, expect: Expect) -> Way {
    Way { base: BASE, ..way(name, script, expect) }
}

fn refused(name: &'static str, config: ServerConfig, words: &'static str) -> Way {
    tls(name, answers(config), Expect::Fails("tls", None, words))
}

fn certificates(authority: &Authority) -> Vec<Way> {
    let own = {
        let key = KeyPair::generate().unwrap();
        let certificate = named("localhost", 2020..2090).self_signed(&key).unwrap();
        Identity { chain: vec![certificate.der().clone()], key }
    };
    let mut in_cn_only = CertificateParams::new(Vec::new()).unwrap();
    in_cn_only.distinguished_name.push(DnType::CommonName, "localhost");
    let mut an_authority = named("localhost", 2020..2090);
    an_authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let long = {
        let mut long = authority.good();
        let more = authority.certificate.clone();
        long.chain.extend(std::iter::repeat_n(more, (1 << 20) / authority.certificate.len()));
        long
    };
    vec![
        tls("good", answers(authority.good().config(BOTH)), Expect::Delivered),
        refused("self-signed", own.config(BOTH), "no known authority signed its certificate"),
        refused("unknown-authority", Authority::new().good().config(BOTH), "no known authority"),
        refused(
            "expired",
            authority.sign(&named("localhost", 2020..2021)).config(BOTH),
            "its certificate has expired",
        ),
        refused(
            "not-yet-valid",
            authority.sign(&named("localhost", 2089..2090)).config(BOTH),
            "its certificate is not valid yet",
        ),
        refused(
            "wrong-host",
            authority.sign(&named("example.com", 2020..2090)).config(BOTH),
            "its certificate is for another name",
        ),
        refused(
            "name-in-cn-only",
            authority.sign(&in_cn_only).config(BOTH),
            "its certificate is for another name",
        ),
        refused(
            "authority-as-server",
            authority.sign(&an_authority).config(BOTH),
            "its certificate is not valid",
        ),
        refused("long-chain", long.config(BOTH), "the TLS handshake"),
    ]
}

fn handshakes(authority: &Authority) -> Vec<Way> {
    let asks = |versions| {
        let mut roots = RootCertStore::empty();
        roots.add(authority.certificate.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
        let good = authority.good();
        let key = good.key();
        builder(versions).with_client_cert_verifier(verifier).with_single_cert(good.chain, key).unwrap()
    };
    let nobody =
        builder(BOTH).with_no_client_auth().with_cert_resolver(Arc::new(ResolvesServerCertUsingSni::new()));
    let no_connection = "no connection to https://localhost";
    let stalled = |name, script| Way { base: BASE, ..stalls(name, script, no_connection) };
    vec![
        refused("wants-certificate-1.2", asks(&[&rustls::version::TLS12]), "certificate"),
        refused("wants-certificate-1.3", asks(&[&rustls::version::TLS13]), "certificate"),
        refused("knows-no-such-name", nobody, "the TLS handshake"),
        stalled("handshake-stall", script(|turn| hold(turn.stream))),
        stalled(
            "handshake-drip",
            script(|mut turn| async move {
                // A record that is begun, and grows byte by byte.
                turn.say([0x16, 3, 3, 0x40, 0]).await;
                while turn.say([2]).await {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }),
        ),
        tls(
            "handshake-closed",
            script(|mut turn| async move {
                turn.stream.read_u8().await.ok();
                turn.stream.shutdown().await.ok();
            }),
            Expect::Fails("tls", None, "the TLS handshake"),
        ),
        tls(
            "handshake-reset",
            script(|mut turn| async move {
                turn.stream.read_u8().await.ok();
                turn.stream.set_zero_linger().unwrap();
            }),
            Expect::Fails("tls", None, "the TLS handshake"),
        ),
        tls(
            "speaks-plain-http",
            script(|mut turn| async move {
                turn.stream.read_u8().await.ok();
                turn.say(
                    "HTTP/1.1 400 The plain HTTP request was sent to HTTPS port\r\ncontent-length: 0\r\n\r\n",
                )
                .await;
                hold(turn.stream).await;
            }),
            Expect::Fails("tls", None, "the TLS handshake"),
        ),
        tls(
            "garbage-records",
            script(|mut turn| async move {
                turn.stream.read_u8().await.ok();
                turn.say([0x16, 3, 3, 0, 4, 2, 0xff, 0xff, 0xff].repeat(10)).await;
                hold(turn.stream).await;
            }),
            Expect::Fails("tls", None, "the TLS handshake"),
        ),
    ]
}

/// The handshake is good, and then the connection ends without the notice that TLS closes with, or with an early answer.
fn endings(authority: &Authority) -> Vec<Way> {
    let good = |versions| authority.good().config(versions);
    vec![
        tls(
            "cut-off-before-answer",
            over(good(BOTH), |turn, mut stream| async move {
                turn.request_over(&mut stream).await;
                stream.get_mut().0.shutdown().await.ok();
            }),
            Expect::Fails("reset", None, "before it answered"),
        ),
        tls(
            "cut-off-in-body",
            over(good(BOTH), |turn, mut stream| async move {
                turn.request_over(&mut stream).await;
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc").await.ok();
                stream.get_mut().0.shutdown().await.ok();
            }),
            Expect::Delivered,
        ),
        tls(
            "cut-off-without-length",
            over(good(BOTH), |turn, mut stream| async move {
                turn.request_over(&mut stream).await;
                stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nabc").await.ok();
                stream.get_mut().0.shutdown().await.ok();
            }),
            Expect::Delivered,
        ),
        Way {
            payload: 1_000_000,
            ..tls(
                "early-413",
                over(good(BOTH), |_, mut stream| async move {
                    stream.read_u8().await.ok();
                    stream
                        .write_all(b"HTTP/1.1 413 no\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
                        .await
                        .ok();
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }),
                Expect::Fails("status", Some(413), "answered 413"),
            )
        },
        tls(
            "refuses-by-alert",
            script(|mut turn| async move {
                turn.stream.read_u8().await.ok();
                turn.say([0x15, 3, 3, 0, 2, 2, 40]).await;
                hold(turn.stream).await;
            }),
            Expect::Fails("tls", None, "the TLS handshake"),
        ),
        Way {
            base: "http://127.0.0.1",
            ..tls(
                "http-to-a-tls-port",
                says(b"\x15\x03\x03\0\x02\x02\x16".to_vec()),
                Expect::Fails("protocol", None, "did not answer in HTTP/1.1"),
            )
        },
    ]
}

/// OpenSSL's server, for what our own library does not even offer; killed when dropped.
struct OpenSsl {
    child: Child,
    port: u16,
}

impl OpenSsl {
    fn start(site: &Site, name: &str, identity: &Identity, arguments: &[&str]) -> OpenSsl {
        let file = |suffix: &str| site.dir().join(format!("{name}.{suffix}"));
        std::fs::write(file("crt"), &identity.chain[0]).unwrap();
        std::fs::write(file("key"), identity.key.serialize_der()).unwrap();
        let port = StdListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = Command::new("openssl")
            .args([
                "s_server",
                "-quiet",
                "-accept",
                &format!("127.0.0.1:{port}"),
                "-certform",
                "DER",
                "-keyform",
                "DER",
            ])
            .args([
                std::ffi::OsStr::new("-cert"),
                file("crt").as_os_str(),
                std::ffi::OsStr::new("-key"),
                file("key").as_os_str(),
            ])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("openssl is installed");
        wait_until("openssl listens", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
        OpenSsl { child, port }
    }
}

impl Drop for OpenSsl {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn site_that_trusts(authority: &Authority) -> Site {
    let site = Site::new();
    let file = site.dir().join("ca.pem");
    std::fs::write(&file, &authority.pem).unwrap();
    let config = site
        .config()
        .replace("[egress]\n", &format!("[egress]\nca_file = {:?}\n", file.display().to_string()));
    site.configure(&config);
    site
}

#[test]
fn tls_faults_fail_with_their_reason() {
    let authority = Authority::new();
    let ways: Vec<_> = [certificates(&authority), handshakes(&authority), endings(&authority)]
        .into_iter()
        .flatten()
        .collect();
    run(&site_that_trusts(&authority), &ways);
}

#[test]
fn old_versions_and_weak_suites_are_not_spoken() {
    let authority = Authority::new();
    let site = site_that_trusts(&authority);
    let good = authority.good();
    let server = |name: &str, arguments: &[&str]| OpenSsl::start(&site, name, &good, arguments);
    let servers = [
        ("tls-1.0", server("tls-1.0", &["-tls1", "-cipher", "ALL:@SECLEVEL=0"])),
        ("tls-1.1", server("tls-1.1", &["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"])),
        ("cbc-only", server("cbc-only", &["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA"])),
        ("no-shared-group", server("no-shared-group", &["-tls1_3", "-groups", "P-521"])),
    ];
    let daemon = site.start();
    for (org, server) in &servers {
        daemon.org(org, &format!("{BASE}:{}/", server.port), &retry(2, 20, 1.0, 20));
        daemon.enqueue(org, &json!({"type": "t", "payload": 1}));
    }
    for (org, _) in &servers {
        wait_until("it is given up", || !daemon.dead_letters(org).is_empty());
        let last = daemon.dead_letters(org)[0]["last"].clone();
        assert_eq!(last["error"], "tls", "{org}: {last}");
        assert!(
            last["detail"].as_str().unwrap().starts_with("the TLS handshake with https://localhost:"),
            "{org}: {last}"
        );
        println!("{org}: {}", last["detail"]);
    }
}
