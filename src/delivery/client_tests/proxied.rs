//! Deliveries through proxies: what a proxy is asked for and told, what becomes of its failures, and that none is a way
//! around the guard.

use base64::Engine as _;

use super::over_tls::{Authority, assert_tls};
use super::proxies::{Asked, TestProxy, answering, leading_to};
use super::*;
use crate::model::{Proxy, ProxyKind};

fn through(proxy: Proxy) -> Route {
    Route { proxy: Some(proxy), ..Route::default() }
}

/// A client whose every connection goes through a proxy, under a policy.
fn operated(proxy: Proxy, allow: &[&str], allow_http: &[&str], resolves: bool) -> ClientSettings {
    let owned = |texts: &[&str]| texts.iter().map(ToString::to_string).collect::<Vec<_>>();
    let mut settings = ClientSettings {
        egress: EgressPolicy::parse(&owned(allow), &owned(allow_http)).unwrap(),
        ..ClientSettings::default()
    };
    settings.route.route.proxy = Some(proxy);
    settings.route.proxy_resolves = resolves;
    settings
}

/// What hosts there are.
fn hosts(lines: &str) -> Names {
    let mut hosts = Hosts::default();
    hosts.read_hosts_conf(lines.as_bytes()).unwrap();
    names(hosts, ResolverConfig::default(), ResolverOpts::default())
}

const KINDS: [ProxyKind; 2] = [ProxyKind::Http, ProxyKind::Socks5];

#[tokio::test]
async fn a_proxy_is_asked_for_the_checked_address_and_the_receiver_for_its_name() {
    let authority = Authority::new();
    for kind in KINDS {
        let (plain, mut requests) = Receiver::answering(OK).await;
        let mut proxy = leading_to(kind, plain.address, None).await;
        let client = authority.client();
        let port = plain.address.port();
        for n in 0..3 {
            let url = format!("http://localhost:{port}/in?n={n}");
            let made = attempt_over(&client, &url, &through(proxy.setting())).await;
            assert_eq!((made.status, made.error), (Some(200), None), "{made:?}");
            let request = requests.recv().await.unwrap();
            assert!(request.starts_with(&format!("POST /in?n={n} HTTP/1.1\r\n")), "{request}");
            assert!(request.contains(&format!("host: localhost:{port}\r\n")), "{request}");
        }
        let asked = proxy.asked.recv().await.unwrap();
        assert_eq!(asked.goal, format!("127.0.0.1:{port}"));
        assert!(proxy.asked.try_recv().is_err(), "the tunnel is kept");
        assert_eq!((proxy.connections(), plain.connections(), client.connections()), (1, 1, 1));

        // TLS goes through to the receiver, and it is the name that its certificate is for.
        let secret = super::over_tls::tls_receiver(authority.server("localhost", 2020..2090)).await;
        let mut proxy = leading_to(kind, secret.address, None).await;
        let url = format!("https://localhost:{}/", secret.address.port());
        let made = attempt_over(&client, &url, &through(proxy.setting())).await;
        assert_eq!((made.status, made.error), (Some(200), None), "{made:?}");
        assert_eq!(proxy.asked.recv().await.unwrap().goal, secret.address.to_string());
        let url = format!("https://127.0.0.1:{}/", secret.address.port());
        assert_tls(&attempt_over(&client, &url, &through(proxy.setting())).await, "for another name");
    }
}

#[tokio::test]
async fn a_proxy_is_told_who_we_are_and_the_receiver_is_not() {
    for kind in KINDS {
        let (receiver, mut requests) = Receiver::answering(OK).await;
        let mut proxy = leading_to(kind, receiver.address, None).await;
        let setting = proxy.signed_in("us€r", "pass:w0rd");
        let made = attempt_over(&client(), &receiver.url("/"), &through(setting)).await;
        assert_eq!((made.status, made.error), (Some(200), None), "{made:?}");
        let said = proxy.asked.recv().await.unwrap().said;
        let address = receiver.address;
        let encoded = base64::engine::general_purpose::STANDARD.encode("us€r:pass:w0rd");
        let expected = match kind {
            ProxyKind::Socks5 => "us€r:pass:w0rd".to_owned(),
            _ => format!(
                "CONNECT {address} HTTP/1.1\r\nhost: {address}\r\nproxy-authorization: Basic {encoded}\r\n\r\n"
            ),
        };
        assert_eq!(said, expected);
        assert!(!requests.recv().await.unwrap().contains("proxy-"));
    }
}

#[tokio::test]
async fn a_proxy_may_be_spoken_to_over_tls() {
    let (ours, other) = (Authority::new(), Authority::new());
    let receiver = super::over_tls::tls_receiver(ours.server("localhost", 2020..2090)).await;
    let mut proxy = leading_to(ProxyKind::Https, receiver.address, Some(ours.acceptor("127.0.0.1"))).await;
    let url = format!("https://localhost:{}/", receiver.address.port());
    let made = attempt_over(&ours.client(), &url, &through(proxy.setting())).await;
    assert_eq!((made.status, made.error), (Some(200), None), "TLS within TLS: {made:?}");
    assert_eq!(proxy.asked.recv().await.unwrap().goal, receiver.address.to_string());

    // A route's authority is for its proxy too.
    let tls = Some(testing::tls(Some(&ours.pem), None, None));
    let made = attempt_over(&client(), &url, &Route { tls, ..through(proxy.setting()) }).await;
    assert_eq!((made.status, made.error), (Some(200), None), "{made:?}");

    let stranger = leading_to(ProxyKind::Https, receiver.address, Some(other.acceptor("127.0.0.1"))).await;
    let made = attempt_over(&ours.client(), &url, &through(stranger.setting())).await;
    assert_tls(
        &made,
        &format!("the TLS handshake with the proxy {} failed: no known authority", stranger.shown()),
    );
    let elsewhere =
        leading_to(ProxyKind::Https, receiver.address, Some(ours.acceptor("proxy.example"))).await;
    let made = attempt_over(&ours.client(), &url, &through(elsewhere.setting())).await;
    assert_tls(&made, "its certificate is for another name");
}

#[tokio::test]
async fn the_failures_of_a_proxy_are_told_as_its_own() {
    let (receiver, _requests) = Receiver::answering(OK).await;
    let client = client();
    let (http, socks) = (ProxyKind::Http, ProxyKind::Socks5);
    for (kind, answer, says) in [
        (http, &b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"[..], "answered 407 to CONNECT"),
        (http, b"HTTP/1.0 502 Bad Gateway\r\ncontent-length: 3\r\n\r\nbad", "answered 502 to CONNECT"),
        (http, b"HTTP/1.1 302 Found\r\nlocation: http://canary/\r\n\r\n", "answered 302 to CONNECT"),
        (http, b"HTTP/1.1 99 x\r\n\r\n", "did not answer CONNECT in HTTP/1.1"),
        (http, b"SSH-2.0-OpenSSH\r\n\r\n", "did not answer CONNECT in HTTP/1.1"),
        (http, b"HTTP/1.1 200 OK\r\n", "closed the connection before it answered CONNECT"),
        (http, b"", "closed the connection before it answered CONNECT"),
        (socks, b"HTTP/1.1 400 Bad Request\r\n\r\n", "does not speak SOCKS5"),
        (socks, &[5, 0xff], "wants a user name and password, or another way to sign in"),
        (socks, &[5, 2], "does not speak SOCKS5"),
        (socks, &[5, 0], "closed the connection before it answered our SOCKS5 request"),
        (
            socks,
            &[5, 0, 5, 5, 0, 1, 0, 0, 0, 0, 0, 0],
            "answered 5 (connection refused) to our SOCKS5 request",
        ),
        (socks, &[5, 0, 5, 0, 0, 9], "does not speak SOCKS5"),
        (socks, b"", "closed the connection before it answered our SOCKS5 greeting"),
    ] {
        let proxy = answering(kind, answer).await;
        let made = attempt_over(&client, &receiver.url("/?token=canary"), &through(proxy.setting())).await;
        assert_eq!((made.status, made.error), (None, Some(FailReason::Connect)), "{made:?}");
        let target = receiver.url("");
        assert_eq!(made.detail, format!("no connection to {target}: the proxy {} {says}", proxy.shown()));
    }
    for (answer, says) in [
        (&[5, 0xff][..], "takes no user name and password"),
        (&[5, 2, 1, 1], "refused our user name and password"),
    ] {
        let proxy = answering(socks, answer).await;
        let made =
            attempt_over(&client, &receiver.url("/"), &through(proxy.signed_in("canary", "canary"))).await;
        assert_eq!((made.status, made.error), (None, Some(FailReason::Connect)), "{made:?}");
        assert!(made.detail.ends_with(says) && !made.detail.contains("canary"), "{made:?}");
    }
    assert_eq!(receiver.connections(), 0);
}

#[tokio::test]
async fn an_endless_answer_of_a_proxy_is_cut_and_a_silent_one_is_a_timeout() {
    let client = client();
    let endless =
        Receiver::start(
            |_, mut stream| async move { while stream.write_all(&[b'x'; 4096]).await.is_ok() {} },
        )
        .await;
    let silent =
        Receiver::start(|_, mut stream| async move { while stream.read_u8().await.is_ok() {} }).await;
    let setting = |receiver: &Receiver| through(format!("http://{}", receiver.address).parse().unwrap());
    let made = attempt_over(&client, "http://127.0.0.1:1/", &setting(&endless)).await;
    assert_eq!(made.error, Some(FailReason::Connect), "{made:?}");
    assert!(made.detail.ends_with("answered CONNECT with headers past the limit"), "{made:?}");
    let webhook = Webhook {
        route: Some(Arc::new(setting(&silent))),
        timeout: Duration::from_millis(300),
        ..webhook("http://127.0.0.1:1/")
    };
    let made = testing::attempt(&client, &delivery(1, "e", b"{}"), &webhook, 1).await;
    assert_eq!(made.error, Some(FailReason::Timeout), "{made:?}");
    let proxy = silent.address;
    assert_eq!(
        made.detail,
        format!("no connection to http://127.0.0.1:1 through the proxy {proxy} within 300ms")
    );
    let gone = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let route = through(format!("socks5://{gone}").parse().unwrap());
    let made = attempt_over(&client, "http://127.0.0.1:1/", &route).await;
    assert_eq!(made.error, Some(FailReason::Connect), "{made:?}");
    let says = format!("no connection to http://127.0.0.1:1: no connection to the proxy {gone}: {gone}: ");
    assert!(made.detail.starts_with(&says), "{made:?}");
}

#[tokio::test]
async fn an_address_that_a_proxy_cannot_reach_is_not_the_last() {
    let (receiver, _requests) = Receiver::answering(OK).await;
    let (sender, mut asked) = mpsc::unbounded_channel();
    let address = receiver.address;
    let proxy = Receiver::start(move |number, mut stream| {
        let sender = sender.clone();
        async move {
            let request = read_request(&mut stream).await.unwrap();
            sender.send(request.split(' ').nth(1).unwrap().to_owned()).unwrap();
            if number == 0 {
                stream.write_all(b"HTTP/1.1 504 Gateway Timeout\r\n\r\n").await.unwrap();
                return;
            }
            let mut onward = TcpStream::connect(address).await.unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
            tokio::io::copy_bidirectional(&mut stream, &mut onward).await.ok();
        }
    })
    .await;
    let setting: Proxy = format!("http://{}", proxy.address).parse().unwrap();
    let settings = operated(setting, &[], &["192.0.2.0/24"], false);
    let client =
        Client::with_names(settings, hosts("192.0.2.1 two.example\n192.0.2.2 two.example\n")).unwrap();
    let made = attempt(&client, "http://two.example:8080/").await;
    assert_eq!((made.status, made.error), (Some(200), None), "{made:?}");
    assert_eq!(asked.recv().await.unwrap(), "192.0.2.1:8080");
    assert_eq!(asked.recv().await.unwrap(), "192.0.2.2:8080");
}

#[tokio::test]
async fn a_proxy_is_no_way_around_the_guard() {
    for kind in KINDS {
        let (receiver, _requests) = Receiver::answering(OK).await;
        let proxy = leading_to(kind, receiver.address, None).await;
        // The operator's proxy may be anywhere; what it is asked for may not.
        for resolves in [false, true] {
            let settings = operated(proxy.setting(), &["10.0.0.0/8"], &[], resolves);
            let known = "127.0.0.1 inside.example\n8.8.8.8 localhost\n8.8.8.8 metadata.goog\n";
            let client = Client::with_names(settings, hosts(known)).unwrap();
            let by_address = ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "169.254.169.254", "192.168.0.1"];
            let by_name = ["localhost", "a.localhost", "metadata.google.internal", "metadata.goog"];
            let by_answer = ["inside.example"];
            let refused =
                by_address.iter().chain(&by_name).chain(if resolves { &[][..] } else { &by_answer });
            for host in refused {
                let made = attempt(&client, &format!("https://{host}:8443/")).await;
                let reasons = [Some(FailReason::AddressNotAllowed), Some(FailReason::Dns)];
                assert!(reasons.contains(&made.error), "{host}: {made:?}");
            }
            let made = attempt(&client, "http://10.0.0.1:8080/").await;
            assert_eq!(made.error, Some(FailReason::HttpNotAllowed), "{made:?}");
        }
        assert_eq!((proxy.connections(), receiver.connections()), (0, 0), "nobody was asked for any of it");
    }
}

#[tokio::test]
async fn a_webhooks_own_proxy_is_judged_like_a_receiver() {
    let (receiver, _requests) = Receiver::answering(OK).await;
    let proxy = leading_to(ProxyKind::Http, receiver.address, None).await;
    let client = |allow: &[&str]| {
        let owned: Vec<_> = allow.iter().map(ToString::to_string).collect();
        let egress = EgressPolicy::parse(&owned, &["192.0.2.0/24".to_owned()]).unwrap();
        Client::with_names(
            ClientSettings { egress, ..ClientSettings::default() },
            hosts("127.0.0.1 proxy.example\n"),
        )
        .unwrap()
    };
    let named = Proxy { host: "proxy.example".into(), ..proxy.setting() };
    for setting in [proxy.setting(), named.clone()] {
        let made = attempt_over(&client(&[]), "http://192.0.2.1:8080/", &through(setting.clone())).await;
        assert_eq!(made.error, Some(FailReason::AddressNotAllowed), "{made:?}");
        let shown = setting.authority();
        let says = format!("no connection to the proxy {shown}: 127.0.0.1 is loopback, and [egress] allow");
        assert!(made.detail.contains(&says), "{made:?}");
    }
    assert_eq!(proxy.connections(), 0);
    // A rule for its address is enough: it need not be one of allow_http.
    let rule = format!("127.0.0.1/32:{}", proxy.receiver.address.port());
    let made = attempt_over(&client(&[&rule]), "http://192.0.2.1:8080/", &through(named)).await;
    assert_eq!((made.status, made.error), (Some(200), None), "{made:?}");
}

/// The goals a proxy was asked for up to now.
fn asked(proxy: &mut TestProxy) -> Vec<String> {
    std::iter::from_fn(|| proxy.asked.try_recv().ok()).map(|Asked { goal, .. }| goal).collect()
}

#[tokio::test]
async fn names_are_handed_only_to_the_operators_proxy_and_only_if_he_says_so() {
    let authority = Authority::new();
    for kind in KINDS {
        let receiver = super::over_tls::tls_receiver(authority.server("far.example", 2020..2090)).await;
        let mut proxy = leading_to(kind, receiver.address, None).await;
        let mut settings = operated(proxy.setting(), &[], &[], true);
        settings.route.ca_file = authority.settings().route.ca_file;
        // Nothing resolves here.
        let client = Client::with_names(settings.clone(), hosts("")).unwrap();
        let made = attempt(&client, "https://far.example:8443/").await;
        assert_eq!((made.status, made.error), (Some(200), None), "{made:?}");
        assert_eq!(asked(&mut proxy), ["far.example:8443"]);
        let made = attempt(&client, "http://far.example/").await;
        assert_eq!(made.error, Some(FailReason::HttpNotAllowed), "{made:?}");
        let own = Route { bind_address: Some("127.0.0.1".parse().unwrap()), ..through(proxy.setting()) };
        let made = attempt_over(&client, "https://far.example:8443/", &own).await;
        assert_eq!(made.error, Some(FailReason::Dns), "a webhook's own proxy is told no names: {made:?}");
        assert_eq!(asked(&mut proxy), [""; 0]);

        // Plain http to a name goes where plain http may go anywhere.
        let (plain, _requests) = Receiver::answering(OK).await;
        let mut proxy = leading_to(kind, plain.address, None).await;
        let open = operated(proxy.setting(), &[], &["0.0.0.0/0"], true);
        let client = Client::with_names(open, hosts("")).unwrap();
        assert_eq!(attempt(&client, "http://far.example/").await.error, None);
        assert_eq!(asked(&mut proxy), ["far.example:80"]);
    }
}
