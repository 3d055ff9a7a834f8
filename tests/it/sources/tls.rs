//! The listener's own TLS, and a listening socket that a service manager passes.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustix::process::Signal;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::{Value, json};

use crate::support::daemon::BINARY;
use crate::support::http::Reply;
use crate::support::sources::{self, free_address, post_json, post_on, put};
use crate::support::{Daemon, PATIENCE, Receiver, Site, wait_until};

const NAME: &str = "hooks.example.com";

/// An authority that signs by way of another, as public ones do.
struct Authority {
    root: rcgen::Certificate,
    between: rcgen::Certificate,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Authority {
        let params = || {
            let mut params = CertificateParams::new(Vec::new()).unwrap();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params
        };
        let (key, between_key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let root = params().self_signed(&key).unwrap();
        let mut of_between = params();
        of_between.distinguished_name.push(rcgen::DnType::CommonName, "between");
        let between = of_between.signed_by(&between_key, &Issuer::new(params(), key)).unwrap();
        Authority { root, between, issuer: Issuer::new(of_between, between_key) }
    }

    /// A certificate with its chain, and its key; what is shown of it first.
    fn issue(&self, site: &Site) -> CertificateDer<'static> {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([NAME.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        std::fs::write(site.dir().join("tls.crt"), certificate.pem() + &self.between.pem()).unwrap();
        std::fs::write(site.dir().join("tls.key"), key.serialize_pem()).unwrap();
        certificate.der().clone()
    }

    /// A client that trusts the root alone, and offers these protocols.
    fn client(&self, protocols: &[&[u8]]) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config =
            ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let mut config = config.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        Arc::new(config)
    }
}

type Connection = StreamOwned<ClientConnection, TcpStream>;

/// A connection whose handshake is done.
fn connect(address: &str, client: &Arc<ClientConfig>) -> Result<Connection, std::io::Error> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut session = ClientConnection::new(client.clone(), ServerName::try_from(NAME).unwrap()).unwrap();
    while session.is_handshaking() {
        session.complete_io(&mut stream)?;
    }
    Ok(StreamOwned::new(session, stream))
}

/// What the daemon shows of itself.
#[track_caller]
fn shown(address: &str, authority: &Authority) -> CertificateDer<'static> {
    let connection = connect(address, &authority.client(&[])).unwrap();
    connection.conn.peer_certificates().unwrap()[0].clone().into_owned()
}

/// Posts on a connection that is open already.
fn post_within(connection: &mut Connection, url: &str) -> Reply {
    let path = url.strip_prefix("https://").unwrap().split_once('/').unwrap().1;
    let headers = [("content-type".to_owned(), "application/json".to_owned())];
    post_on(connection, path, &headers, br#"{"n":1}"#).unwrap()
}

/// A site with a certificate of this authority, where it listens, and the certificate.
fn site(authority: &Authority) -> (Site, String, CertificateDer<'static>) {
    let (site, address) = sources::site();
    let [certificate, key] = ["tls.crt", "tls.key"].map(|name| site.dir().join(name).display().to_string());
    let tls = format!("tls_certificate_file = {certificate:?}\ntls_key_file = {key:?}\n");
    let first = authority.issue(&site);
    site.configure(&format!("{}{tls}", site.config()));
    (site, address, first)
}

fn start<'site>(site: &'site Site, receiver: &Receiver) -> (Daemon<'site>, String) {
    let daemon = site.start();
    daemon.org("acme", &receiver.url("/hook"), &Value::Null);
    let url = put(&daemon, "acme", "in", &json!({"kind": "token"}));
    (daemon, url)
}

#[test]
fn requests_come_within_tls_and_not_without() {
    let (authority, receiver) = (Authority::new(), Receiver::start());
    let (site, address, certificate) = site(&authority);
    let (daemon, url) = start(&site, &receiver);
    assert!(url.starts_with(&format!("https://{address}/in/acme/in/")), "{url}");
    for protocols in [&[][..], &[&b"http/1.1"[..]], &[&b"h2"[..], b"http/1.1"]] {
        let mut connection = connect(&address, &authority.client(protocols)).unwrap();
        assert_eq!(connection.conn.peer_certificates().unwrap()[0], certificate);
        let agreed = connection.conn.alpn_protocol().map(<[u8]>::to_vec);
        assert_eq!(agreed, (!protocols.is_empty()).then(|| b"http/1.1".to_vec()));
        post_within(&mut connection, &url).expect(200);
    }
    let error =
        connect(&address, &authority.client(&[b"h2"])).map(drop).expect_err("HTTP/2 alone is not spoken");
    assert!(error.to_string().contains("NoApplicationProtocol"), "{error}");
    for version in ["-tls1_2", "-tls1_3"] {
        let said = openssl(&site, &authority, &address, version, &url);
        assert!(said.contains("HTTP/1.1 200 OK"), "{version}: {said}");
    }
    for version in ["-tls1", "-tls1_1"] {
        let said = openssl(&site, &authority, &address, version, &url);
        assert!(!said.contains("HTTP/1.1"), "{version}: {said}");
    }
    // In the clear: the path with its token is not even read.
    let mut plain = TcpStream::connect(&address).unwrap();
    plain.set_read_timeout(Some(PATIENCE)).unwrap();
    let (path, mut said) = (url.rsplit_once("/in/").unwrap().1, Vec::new());
    plain
        .write_all(format!("POST /in/{path} HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{{}}").as_bytes())
        .unwrap();
    // An alert of TLS, or nothing.
    let _reset_perhaps = plain.read_to_end(&mut said);
    assert!(!String::from_utf8_lossy(&said).contains("HTTP"), "{said:?}");
    daemon.drained("acme");
    assert_eq!(receiver.at("/hook").len(), 5);
    let counts = daemon.get("/v1/orgs/acme/sources/in")["counts"].clone();
    assert_eq!(counts, json!({"accepted": 5}));
}

/// Posts with OpenSSL's client, which must find the chain in order; what it says and shows.
fn openssl(site: &Site, authority: &Authority, address: &str, version: &str, url: &str) -> String {
    let roots = site.dir().join("root.pem");
    std::fs::write(&roots, authority.root.pem()).unwrap();
    let mut command = Command::new("openssl");
    command.args([
        "s_client",
        "-quiet",
        "-verify_return_error",
        "-verify_hostname",
        NAME,
        "-connect",
        address,
        version,
    ]);
    command.arg("-CAfile").arg(&roots);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let path = url.strip_prefix("https://").unwrap().split_once('/').unwrap().1;
    let head = format!("POST /{path} HTTP/1.1\r\nhost: {NAME}\r\nconnection: close\r\n");
    let request = format!("{head}content-type: application/json\r\ncontent-length: 7\r\n\r\n{{\"n\":1}}");
    // One that cannot agree on a version is gone before it reads.
    let _seen_below = child.stdin.as_mut().unwrap().write_all(request.as_bytes());
    let output = child.wait_with_output().unwrap();
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

#[test]
fn a_reload_shows_the_new_certificate_without_a_restart() {
    let (authority, receiver) = (Authority::new(), Receiver::start());
    let (site, address, first) = site(&authority);
    let (daemon, url) = start(&site, &receiver);
    // One that was there before goes on under the certificate that it has seen.
    let mut before = connect(&address, &authority.client(&[])).unwrap();
    let second = authority.issue(&site);
    assert_eq!(shown(&address, &authority), first, "files are read when that is asked for");
    daemon.admin("POST", "/v1/reload", &json!({})).expect(200);
    assert_eq!(shown(&address, &authority), second);
    assert_ne!(first, second);
    post_within(&mut before, &url).expect(200);

    let third = authority.issue(&site);
    daemon.signal(Signal::HUP);
    wait_until("the third is shown", || shown(&address, &authority) == third);
    post_within(&mut connect(&address, &authority.client(&[])).unwrap(), &url).expect(200);
    daemon.drained("acme");
    assert_eq!(receiver.at("/hook").len(), 2);
}

#[test]
fn a_certificate_that_cannot_be_used_changes_nothing_and_is_named() {
    let (authority, receiver) = (Authority::new(), Receiver::start());
    let (site, address, first) = site(&authority);
    let (daemon, url) = start(&site, &receiver);
    let (certificate, key) = (site.dir().join("tls.crt"), site.dir().join("tls.key"));
    let [good_certificate, good_key] =
        [&certificate, &key].map(|file| std::fs::read_to_string(file).unwrap());
    let other_key = KeyPair::generate().unwrap().serialize_pem();
    let mut refusals = 0;
    for (file, text) in [
        (&certificate, Some("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")),
        (&certificate, Some(&good_certificate[..good_certificate.len() / 3])),
        (&certificate, Some("")),
        (&certificate, None),
        (&key, Some(&other_key)),
        (&key, Some(&good_certificate)),
        (&key, None),
    ] {
        match text {
            Some(text) => std::fs::write(file, text).unwrap(),
            None => std::fs::remove_file(file).unwrap(),
        }
        let reply = daemon.admin("POST", "/v1/reload", &json!({}));
        let problem = reply.json();
        let detail = problem["detail"].as_str().unwrap();
        assert!((400..500).contains(&reply.status), "{problem}");
        assert!(detail.contains(&file.display().to_string()), "{problem}");
        assert!(!detail.contains("BEGIN") && !detail.contains("AAAA"), "{problem}");
        daemon.signal(Signal::HUP);
        refusals += 2;
        wait_until("the log says so", || {
            site.log().matches("configuration not reloaded").count() == refusals
        });
        assert_eq!(shown(&address, &authority), first);
        std::fs::write(&certificate, &good_certificate).unwrap();
        std::fs::write(&key, &good_key).unwrap();
    }
    // TLS is not given up while it runs, and half of it is none.
    for config in [
        site.config().to_owned(),
        format!("{}tls_certificate_file = {:?}\n", site.config(), certificate.display().to_string()),
    ] {
        let with_tls = std::fs::read_to_string(site.config_file()).unwrap();
        site.configure(&config);
        let problem = daemon.admin("POST", "/v1/reload", &json!({})).json();
        assert!(problem["detail"].as_str().unwrap().contains("sources.tls_"), "{problem}");
        site.configure(&with_tls);
    }
    post_within(&mut connect(&address, &authority.client(&[])).unwrap(), &url).expect(200);
    daemon.admin("POST", "/v1/reload", &json!({})).expect(200);
    assert!(daemon.terminate().success());

    std::fs::write(&key, &other_key).unwrap();
    let (exit, said) = site.serve_refused(|_| {});
    assert_eq!(exit, 78, "{said}");
    assert!(said.contains(&key.display().to_string()) && !said.contains("BEGIN"), "{said}");
}

/// `serve` with a listening socket as descriptor 3, as a service manager passes it.
fn serve_passed(site: &Site, listener: &TcpListener) -> Command {
    const SCRIPT: &str = "export LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=sources; \
                          exec \"$0\" serve 3<&0 0</dev/null";
    let serve = site.serve_command();
    let mut command = Command::new("sh");
    command.args(["-c", SCRIPT, BINARY]).env_clear();
    command.envs(serve.get_envs().filter_map(|(key, value)| Some((key.to_owned(), value?.to_owned()))));
    command.stdin(Stdio::from(OwnedFd::from(listener.try_clone().unwrap())));
    command.stdout(Stdio::null()).stderr(site.log_append());
    command
}

#[test]
fn a_passed_socket_is_served_and_senders_wait_through_a_restart() {
    let receiver = Receiver::start();
    let site = Site::new();
    let address = free_address();
    let listener = TcpListener::bind(&address).unwrap();
    // Someone who comes before the daemon does.
    let mut early = TcpStream::connect(&address).unwrap();
    early.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    let daemon = site.start_command(serve_passed(&site, &listener));
    assert_eq!(crate::support::http::read_reply(&mut early).unwrap().status, 404);
    daemon.org("acme", &receiver.url("/hook"), &Value::Null);
    let url = put(&daemon, "acme", "in", &json!({"kind": "token"}));
    assert!(url.starts_with(&format!("http://{address}/in/acme/in/")), "{url}");
    post_json(&url, "1").expect(200);
    daemon.kill();

    let sender = std::thread::spawn(move || post_json(&url, "2").status);
    let daemon = site.start_command(serve_passed(&site, &listener));
    assert_eq!(sender.join().unwrap(), 200);
    daemon.drained("acme");
    let mut bodies: Vec<_> = receiver.at("/hook").iter().map(|request| request.body.clone()).collect();
    // What was taken just before a kill may be sent once more.
    bodies.dedup();
    assert_eq!(bodies, ["1", "2"]);
    assert!(daemon.terminate().success());
    // It stays with the service manager.
    TcpStream::connect(&address).unwrap();
}

#[test]
fn a_passed_socket_goes_before_the_address_in_the_configuration_and_speaks_tls_too() {
    let (authority, receiver) = (Authority::new(), Receiver::start());
    let (site, configured, certificate) = site(&authority);
    let address = free_address();
    let listener = TcpListener::bind(&address).unwrap();
    let daemon = site.start_command(serve_passed(&site, &listener));
    daemon.org("acme", &receiver.url("/hook"), &Value::Null);
    let url = put(&daemon, "acme", "in", &json!({"kind": "token"}));
    assert_eq!(shown(&address, &authority), certificate);
    post_within(&mut connect(&address, &authority.client(&[])).unwrap(), &url).expect(200);
    assert!(TcpStream::connect(&configured).is_err(), "nothing else is bound");
    daemon.drained("acme");
    assert_eq!(receiver.at("/hook").len(), 1);
}
