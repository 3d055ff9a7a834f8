//! Each webhook's own way: whom it trusts, who it is, where it comes from; and that ways are kept apart.

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::server::WebPkiClientVerifier;
use tokio_rustls::TlsAcceptor;
use url::Url;

use super::over_tls::{Authority, assert_tls, attempt_at, tls_receiver};
use super::*;
use crate::delivery::address;
use crate::delivery::testing::tls;
use crate::model;

fn trusting(authority: &Authority) -> Route {
    Route { tls: Some(tls(Some(&authority.pem), None, None)), ..Route::default() }
}

/// A route that shows a certificate that `by` has issued, and trusts `authority`.
fn known_as(authority: &Authority, by: &Authority, name: &str, years: std::ops::Range<i32>) -> Route {
    let (certificate, key) = by.issue(name, years);
    Route { tls: Some(tls(Some(&authority.pem), Some(&certificate), Some(&key))), ..Route::default() }
}

/// A receiver that takes only certificates of `authority`, and hands on what it was shown.
async fn demanding(authority: &Authority) -> (Receiver, mpsc::UnboundedReceiver<CertificateDer<'static>>) {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.pem.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
    let mut config = authority.server("localhost", 2020..2090);
    config = {
        let provider = config.crypto_provider().clone();
        let resolver = config.cert_resolver.clone();
        rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(resolver)
    };
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let (sender, shown) = mpsc::unbounded_channel();
    let receiver = Receiver::start(move |_, stream| {
        let (acceptor, sender) = (acceptor.clone(), sender.clone());
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            let certificate = stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned();
            while read_request(&mut stream).await.is_some() {
                sender.send(certificate.clone()).ok();
                stream.write_all(OK).await.unwrap();
            }
        }
    })
    .await;
    (receiver, shown)
}

fn url(receiver: &Receiver) -> String {
    format!("https://localhost:{}/hook?token=abc", receiver.address.port())
}

#[tokio::test]
async fn an_authority_of_a_webhook_is_trusted_by_that_webhook_alone() {
    let (ours, other) = (Authority::new(), Authority::new());
    let client = ours.client();
    let receivers = [
        tls_receiver(ours.server("localhost", 2020..2090)).await,
        tls_receiver(other.server("localhost", 2020..2090)).await,
    ];
    for _ in 0..2 {
        for receiver in &receivers {
            let made = attempt_over(&client, &url(receiver), &trusting(&other)).await;
            assert_eq!((made.status, made.error), (Some(200), None), "beside ca_file: {made:?}");
        }
        assert_eq!(attempt_at(&client, "localhost", &receivers[0]).await.error, None);
        assert_tls(&attempt_at(&client, "localhost", &receivers[1]).await, "its certificate");
        let nobody = attempt_over(&client, &url(&receivers[1]), &trusting(&Authority::new())).await;
        assert_tls(&nobody, "its certificate");
    }
    assert_eq!(receivers[0].connections(), 2, "a route's connections are kept, and its own");
}

#[tokio::test]
async fn a_receiver_that_asks_gets_our_certificate() {
    let authority = Authority::new();
    let (receiver, mut shown) = demanding(&authority).await;
    let client = client();
    let ours = known_as(&authority, &authority, "postrider", 2020..2090);
    let made = attempt_over(&client, &url(&receiver), &ours).await;
    assert_eq!((made.status, made.error), (Some(200), None), "{made:?}");
    let certificate = ours.tls.as_ref().unwrap().certificate.as_deref().unwrap();
    let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
    assert_eq!(shown.recv().await.unwrap(), certificate);
    for (route, says) in [
        (trusting(&authority), "it wants a client certificate"),
        (known_as(&authority, &authority, "postrider", 2020..2021), "our certificate (CertificateExpired)"),
        (known_as(&authority, &Authority::new(), "postrider", 2020..2090), "our certificate (UnknownCA)"),
    ] {
        assert_tls(&attempt_over(&client, &url(&receiver), &route).await, says);
    }
}

#[tokio::test]
async fn nobody_goes_under_anothers_certificate() {
    let authority = Authority::new();
    let (receiver, mut shown) = demanding(&authority).await;
    let client = client();
    let one = known_as(&authority, &authority, "one", 2020..2090);
    let other = known_as(&authority, &authority, "other", 2020..2090);
    let mut seen = Vec::new();
    for route in [&one, &other, &one.clone(), &other] {
        assert_eq!(attempt_over(&client, &url(&receiver), route).await.error, None);
        seen.push(shown.recv().await.unwrap());
    }
    assert!(seen[0] != seen[1] && seen[0] == seen[2] && seen[1] == seen[3]);
    assert_eq!(receiver.connections(), 2, "equal routes are one, however many hold them");
}

#[tokio::test]
async fn the_daemon_has_a_certificate_of_its_own() {
    let authority = Authority::new();
    let (receiver, mut shown) = demanding(&authority).await;
    let dir = tempfile::tempdir().unwrap();
    let (certificate, key) = authority.issue("daemon", 2020..2090);
    let files = (dir.path().join("a.crt"), dir.path().join("a.key"));
    std::fs::write(&files.0, &certificate).unwrap();
    std::fs::write(&files.1, &key).unwrap();
    let with = |files| {
        let mut settings = authority.settings();
        settings.route.client_certificate = Some(files);
        Client::new(settings)
    };
    let client = with(files.clone()).unwrap();
    assert_eq!(attempt_at(&client, "localhost", &receiver).await.error, None);
    let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
    assert_eq!(shown.recv().await.unwrap(), certificate);
    // A webhook's tls is taken as a whole: it has no certificate, so none is shown.
    let made = attempt_over(&client, &url(&receiver), &trusting(&authority)).await;
    assert_tls(&made, "it wants a client certificate");

    let fault = |files| with(files).unwrap_err().to_string();
    let (_, other_key) = authority.issue("daemon", 2020..2090);
    let gone = (files.0.clone(), dir.path().join("gone"));
    assert!(fault(gone).starts_with("[egress] client_key_file "));
    std::fs::write(&files.1, other_key).unwrap();
    assert!(fault(files.clone()).ends_with("a.key: it is not the key of the certificate"));
    std::fs::write(&files.0, "canary").unwrap();
    assert!(fault(files).ends_with("a.crt: it holds no certificate (PEM)"));
}

#[tokio::test]
async fn what_a_webhook_leaves_open_is_its_clients_then_the_daemons() {
    let authority = Authority::new();
    let (sender, mut seen) = mpsc::unbounded_channel();
    let acceptor = authority.acceptor("localhost");
    let receiver = Receiver::start(move |_, stream| {
        let (acceptor, sender) = (acceptor.clone(), sender.clone());
        async move {
            sender.send(stream.peer_addr().unwrap().ip().to_string()).unwrap();
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            while read_request(&mut stream).await.is_some() {
                stream.write_all(OK).await.unwrap();
            }
        }
    })
    .await;
    let mut settings = settings();
    settings.route.route.bind_address = Some("127.0.0.2".parse().unwrap());
    let client = Client::new(settings).unwrap();
    let from = |text: &str| Route { bind_address: Some(text.parse().unwrap()), ..Route::default() };
    let shared = |route| model::Client {
        id: "shared".parse().unwrap(),
        base_url: Url::parse("https://localhost/").unwrap(),
        authorization: None,
        headers: model::Headers::default(),
        route,
        profile: None,
        description: String::new(),
        created_at: model::UnixMs(0),
        updated_at: model::UnixMs(0),
    };
    let delivery = delivery(1, "evt_1", b"{}");
    let trust = trusting(&authority);
    for (own, of_client, error, came_from) in [
        (None, None, Some(FailReason::Tls), "127.0.0.2"),
        (Some(trust.clone()), None, None, "127.0.0.2"),
        (
            None,
            Some(Route { bind_address: from("127.0.0.3").bind_address, ..trust.clone() }),
            None,
            "127.0.0.3",
        ),
        (Some(from("127.0.0.4")), Some(trust.clone()), None, "127.0.0.4"),
        (Some(trust.clone()), Some(from("127.0.0.5")), None, "127.0.0.5"),
        (Some(trusting(&Authority::new())), Some(trust.clone()), Some(FailReason::Tls), "127.0.0.2"),
    ] {
        let webhook = Webhook { route: own.map(Arc::new), ..webhook(&url(&receiver)) };
        let of_client = of_client.map(shared);
        let addressed =
            address(&delivery, &webhook, of_client.as_ref(), &crate::catalogue::Catalogue::shipped())
                .unwrap();
        let made = client.attempt(&addressed, 1).await.attempt;
        assert_eq!(made.error, error, "{made:?}");
        assert_eq!(seen.recv().await.unwrap(), came_from);
    }
}

#[tokio::test]
async fn an_address_that_is_not_ours_is_our_own_trouble() {
    let (receiver, _requests) = Receiver::answering(OK).await;
    let client = client();
    let from = |text: &str| Route { bind_address: Some(text.parse().unwrap()), ..Route::default() };
    let made = attempt_over(&client, &receiver.url("/"), &from("192.0.2.1")).await;
    assert_eq!((made.status, made.error), (None, Some(FailReason::Local)), "{made:?}");
    let target = receiver.url("");
    assert_eq!(
        made.detail,
        format!("no connection to {target}: bind_address 192.0.2.1 is not an address of this machine")
    );
    let made = attempt_over(&client, &receiver.url("/"), &from("::1")).await;
    assert_eq!(made.error, Some(FailReason::Connect), "{made:?}");
    assert!(made.detail.ends_with("it has no address of the same family as bind_address ::1"), "{made:?}");
    assert_eq!(receiver.connections(), 0);
}

#[tokio::test]
async fn other_settings_end_the_connections_of_every_route() {
    let (receiver, _requests) = Receiver::answering(OK).await;
    let client = client();
    let route = Route { bind_address: Some("127.0.0.2".parse().unwrap()), ..Route::default() };
    for connections in [1, 1, 2] {
        if connections == 2 {
            client.replace(settings()).unwrap();
        }
        assert_eq!(attempt_over(&client, &receiver.url("/"), &route).await.error, None);
        assert_eq!(receiver.connections(), connections);
    }
    client.replace(ClientSettings::default()).unwrap();
    let made = attempt_over(&client, &receiver.url("/"), &route).await;
    assert_eq!(made.error, Some(FailReason::AddressNotAllowed), "{made:?}");
}

#[tokio::test]
async fn a_certificate_that_was_saved_and_cannot_be_used_is_our_own_trouble() {
    let (receiver, _requests) = Receiver::answering(OK).await;
    let route = Route { tls: Some(tls(Some("canary"), None, None)), ..Route::default() };
    let client = client();
    for _ in 0..2 {
        let made = attempt_over(&client, &receiver.url("/"), &route).await;
        assert_eq!(made.error, Some(FailReason::Local), "{made:?}");
        assert_eq!(made.detail, "the webhook's tls.ca cannot be used: it holds no certificate (PEM)");
    }
}
