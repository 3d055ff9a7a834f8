//! How receivers are reached, as operators and applications set it: proxies, certificates, the system's resolver.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

use crate::support::daemon::retry;
use crate::support::{Daemon, Receiver, Site, wait_until};

/// An HTTP proxy that remembers what it was asked for, and puts through whoever says who he is.
struct Proxy {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    fn start() -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let notes = asked.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let notes = notes.clone();
                std::thread::spawn(move || lead(stream.unwrap(), &notes));
            }
        });
        Proxy { address, asked }
    }

    /// The first lines of all requests up to now.
    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

fn lead(mut stream: TcpStream, asked: &Mutex<Vec<String>>) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        let Ok(1) = stream.read(&mut byte) else { return };
        request.push(byte[0]);
    }
    let request = String::from_utf8(request).unwrap();
    let line = request.lines().next().unwrap().to_owned();
    asked.lock().unwrap().push(line.clone());
    // someone:canary-7
    if !request.contains("proxy-authorization: Basic c29tZW9uZTpjYW5hcnktNw==\r\n") {
        let _gone = stream.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n");
        return;
    }
    let onward = TcpStream::connect(line.split(' ').nth(1).unwrap()).unwrap();
    stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
    let (mut from, mut to) = (stream.try_clone().unwrap(), onward.try_clone().unwrap());
    std::thread::spawn(move || {
        let _broken = std::io::copy(&mut from, &mut to);
        let _closed = to.shutdown(Shutdown::Write);
    });
    let (mut from, mut to) = (onward, stream);
    let _broken = std::io::copy(&mut from, &mut to);
    let _closed = to.shutdown(Shutdown::Write);
}

fn deliver(daemon: &Daemon<'_>, org: &str) {
    daemon.enqueue(org, &json!({"type": "t", "payload": {}}));
    daemon.drained(org);
}

/// Whether any file below holds this text.
fn holds(dir: &Path, text: &[u8]) -> bool {
    std::fs::read_dir(dir).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            return holds(&path, text);
        }
        std::fs::read(&path).is_ok_and(|content| content.windows(text.len()).any(|part| part == text))
    })
}

#[test]
fn routes_proxies_of_the_environment_are_never_used() {
    let site = Site::new();
    let trap = Proxy::start();
    let mut command = site.serve_command();
    for name in ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
        command.env(name, format!("http://someone:canary-7@{}", trap.address));
    }
    let daemon = site.start_command(command);
    let receiver = Receiver::start();
    daemon.org("acme", &receiver.url("/"), &Value::Null);
    daemon.webhook("acme", "tls", &format!("https://127.0.0.1:{}/", receiver.port()), &retry(1, 1, 1.0, 1));
    deliver(&daemon, "acme");
    assert_eq!(receiver.count(), 1);
    assert_eq!(trap.asked(), [""; 0]);
    assert!(!site.log().contains("canary"));
}

#[test]
fn routes_a_webhook_goes_through_its_proxy_and_its_password_stays_here() {
    let site = Site::new();
    let receiver = Receiver::start();
    let proxy = Proxy::start();
    let daemon = site.start();
    let url = format!("http://localhost:{}/in", receiver.port());
    let setting = format!("http://someone:canary-7@{}", proxy.address);
    daemon.org("acme", &url, &json!({ "proxy": setting }));
    deliver(&daemon, "acme");
    let received = receiver.received().remove(0);
    assert_eq!(received.header("host"), format!("localhost:{}", receiver.port()));
    assert!(!received.headers.contains_key("proxy-authorization"));
    assert_eq!(proxy.asked(), [format!("CONNECT 127.0.0.1:{} HTTP/1.1", receiver.port())]);

    let shown = daemon.get("/v1/orgs/acme/webhooks/main");
    assert_eq!(shown["proxy"], format!("http://{}", proxy.address));
    assert_eq!(shown["proxy_credentials_set"], true);
    drop(daemon);
    let daemon = site.start();
    deliver(&daemon, "acme");
    assert_eq!((receiver.count(), proxy.asked().len()), (2, 2), "it survives a restart");

    // Wrong credentials are a failed attempt, said as it is.
    let mut settings = retry(1, 1, 1.0, 1);
    settings["proxy"] = json!(format!("http://someone:canary-8@{}", proxy.address));
    daemon.webhook("acme", "main", &url, &settings);
    deliver(&daemon, "acme");
    let dead = daemon.dead_letters("acme").remove(0);
    assert_eq!(dead["last"]["error"], "connect");
    let whole = daemon.get(&format!("/v1/dead-letters/{}", dead["id"].as_str().unwrap())).to_string();
    assert!(whole.contains("answered 407 to CONNECT") && !whole.contains("canary"), "{whole}");
    let said = format!("the proxy {} answered 407 to CONNECT", proxy.address);
    wait_until("the log says it too", || site.log().contains(&said));
    for secret in ["canary-7", "canary-8", "c29tZW9uZTpjYW5hcnkt"] {
        assert!(!site.log().contains(secret) && !holds(&site.data_dir(), secret.as_bytes()), "{secret}");
    }
    for (field, body) in [
        ("/proxy", json!({"url": url, "proxy": "proxy.example:3128"})),
        ("/tls/ca", json!({"url": url, "tls": {"ca": "nonsense"}})),
        ("/bind_address", json!({"url": url, "bind_address": "eth0"})),
        ("/http2", json!({"url": url, "http2": "yes"})),
    ] {
        let reply = daemon.admin("PUT", "/v1/orgs/acme/webhooks/bad", &body).expect(422);
        assert_eq!(reply.json()["field"], field);
    }
}

#[test]
fn routes_the_daemons_proxy_follows_a_reload() {
    let site = Site::new();
    let receiver = Receiver::start();
    let proxy = Proxy::start();
    let daemon = site.start();
    daemon.org("acme", &receiver.url("/"), &Value::Null);
    deliver(&daemon, "acme");
    assert_eq!(proxy.asked().len(), 0);
    let with_proxy = |setting: &str| {
        let config = site.config().replace("[egress]\n", &format!("[egress]\nproxy = \"{setting}\"\n"));
        site.configure(&config);
    };
    with_proxy(&format!("ftp://someone:canary-7@{}", proxy.address));
    let refused = daemon.admin("POST", "/v1/reload", &Value::Null).expect(422).text();
    assert!(refused.contains("egress.proxy") && !refused.contains("canary"), "{refused}");
    with_proxy(&format!("http://someone:canary-7@{}", proxy.address));
    assert!(daemon.admin("POST", "/v1/reload", &Value::Null).status < 300);
    deliver(&daemon, "acme");
    assert_eq!((receiver.count(), proxy.asked().len()), (2, 1), "at once, for the next attempt");
    let checked = site.command("check-config").arg("--json").output().unwrap();
    let text = String::from_utf8(checked.stdout).unwrap();
    let shown: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(shown["settings"]["egress.proxy"]["value"], format!("http://***@{}", proxy.address));
    assert!(!text.contains("canary") && !site.log().contains("canary"));
    site.configure(site.config());
    assert!(daemon.admin("POST", "/v1/reload", &Value::Null).status < 300);
    deliver(&daemon, "acme");
    assert_eq!((receiver.count(), proxy.asked().len()), (3, 1));
}

#[test]
fn routes_what_the_daemon_cannot_use_it_refuses_at_the_start() {
    let site = Site::new();
    let missing = site.dir().join("missing.pem");
    for (settings, says) in [
        (vec!["egress.proxy=http://someone:canary-7@"], "egress.proxy: must"),
        (vec!["egress.client_key_file=/a.key"], "must go together with egress.client_certificate_file"),
        (vec!["egress.dns=other"], "egress.dns: must be one of builtin, system"),
        (vec!["egress.http2=maybe"], "egress.http2: must be true or false"),
        (
            vec!["egress.client_certificate_file=MISSING", "egress.client_key_file=MISSING"],
            "[egress] client_key_file",
        ),
    ] {
        let (code, said) = site.serve_refused(|command| {
            for setting in &settings {
                command.args(["--set", &setting.replace("MISSING", missing.to_str().unwrap())]);
            }
        });
        assert_eq!(code, 78, "{said}");
        assert!(said.contains(says) && !said.contains("canary"), "{said}");
    }
}

#[test]
fn routes_the_system_resolves_names_where_it_is_told_to() {
    let site = Site::new();
    let receiver = Receiver::start();
    let mut command = site.serve_command();
    command.args(["--set", "egress.dns=system"]);
    let daemon = site.start_command(command);
    daemon.org("acme", &format!("http://localhost:{}/", receiver.port()), &Value::Null);
    let unknown = format!("http://name.invalid:{}/", receiver.port());
    daemon.webhook("acme", "unknown", &unknown, &retry(1, 1, 1.0, 1));
    deliver(&daemon, "acme");
    assert_eq!(receiver.count(), 1);
    assert_eq!(daemon.dead_letters("acme")[0]["last"]["error"], "dns");
}

/// An authority, its certificate, and what it issues.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: rcgen::Certificate,
}

impl Authority {
    fn new() -> Authority {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        Authority { issuer: Issuer::new(params, key), certificate }
    }

    fn issue(&self, name: &str) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }

    /// A receiver on loopback that takes only certificates of this authority; every request is answered with 200.
    fn demanding_receiver(&self) -> (u16, Arc<Mutex<Vec<CertificateDer<'static>>>>) {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.der().clone()).unwrap();
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build().unwrap();
        let (certificate, key) = self.issue("127.0.0.1");
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
            )
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let shown: Arc<Mutex<Vec<_>>> = Arc::default();
        let (config, notes) = (Arc::new(config), shown.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let connection = ServerConnection::new(config.clone()).unwrap();
                answer(StreamOwned::new(connection, stream.unwrap()), &notes);
            }
        });
        (port, shown)
    }
}

/// Answers one request, if the other side is let in.
fn answer(mut stream: StreamOwned<ServerConnection, TcpStream>, shown: &Mutex<Vec<CertificateDer<'static>>>) {
    let mut request = Vec::new();
    while !request.ends_with(b"{}") {
        let mut part = [0; 1024];
        match stream.read(&mut part) {
            Ok(length @ 1..) => request.extend_from_slice(&part[..length]),
            _ => return,
        }
    }
    let certificate = stream.conn.peer_certificates().unwrap()[0].clone().into_owned();
    shown.lock().unwrap().push(certificate);
    let _gone = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    stream.conn.send_close_notify();
    let _gone = stream.flush();
}

#[test]
fn routes_a_webhook_has_an_authority_and_a_certificate_of_its_own() {
    let site = Site::new();
    let authority = Authority::new();
    let (port, shown) = authority.demanding_receiver();
    let daemon = site.start();
    let url = format!("https://127.0.0.1:{port}/");
    let (certificate, key) = authority.issue("postrider");
    let key_pem = key.serialize_pem();
    let ca = authority.certificate.pem();
    let full = json!({"ca": ca, "certificate": certificate.pem(), "key": key_pem});
    daemon.org("acme", &url, &json!({ "tls": full }));
    daemon.org("other", &url, &retry(1, 1, 1.0, 1));
    let mut no_certificate = retry(1, 1, 1.0, 1);
    no_certificate["tls"] = json!({ "ca": ca });
    daemon.org("third", &url, &no_certificate);
    // A client's settings serve the webhooks that have none.
    daemon.org_only("fourth");
    let client = json!({"base_url": format!("https://127.0.0.1:{port}"), "tls": full});
    assert_eq!(daemon.admin("PUT", "/v1/orgs/fourth/clients/shared", &client).status, 201);
    let webhook = json!({"client": "shared", "path": "/in"});
    assert_eq!(daemon.admin("PUT", "/v1/orgs/fourth/webhooks/main", &webhook).status, 201);
    for org in ["acme", "other", "third", "fourth"] {
        deliver(&daemon, org);
    }
    assert_eq!(*shown.lock().unwrap(), [certificate.der().clone(), certificate.der().clone()]);
    for (org, dead) in [("acme", 0), ("other", 1), ("third", 1), ("fourth", 0)] {
        let letters = daemon.dead_letters(org);
        assert_eq!(letters.len(), dead, "{org}");
        assert!(letters.iter().all(|letter| letter["last"]["error"] == "tls"), "{letters:?}");
    }
    wait_until("the log says why", || site.log().contains("it wants a client certificate"));
    let expected = json!({"ca_set": true, "certificate_set": true, "key_set": true});
    for path in ["/v1/orgs/acme/webhooks/main", "/v1/orgs/fourth/clients/shared"] {
        assert_eq!(daemon.get(path)["tls"], expected);
    }
    let secret = key_pem.lines().nth(1).unwrap();
    assert!(!site.log().contains(secret) && !holds(&site.data_dir(), secret.as_bytes()));
}
