//! HTTP/2, for those who ask for it: the same requests over one connection, and what each way of breaking it is called.

use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::AsyncWrite;
use tokio_rustls::server::TlsStream;

use super::over_tls::{Authority, attempt_at};
use super::*;

/// A client that offers HTTP/2 to everyone, and trusts this authority.
pub(super) fn offering(authority: &Authority) -> Client {
    let mut settings = authority.settings();
    settings.route.route.http2 = Some(true);
    Client::new(settings).unwrap()
}

/// A receiver that negotiates one of these protocols, and then does what its script says.
pub(super) async fn negotiating<F>(
    authority: &Authority,
    protocols: &[&str],
    script: impl Fn(usize, TlsStream<TcpStream>) -> F + Send + Sync + 'static,
) -> Receiver
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut config = authority.server("localhost", 2020..2090);
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let script = Arc::new(script);
    Receiver::start(move |number, stream| {
        let (acceptor, script) = (acceptor.clone(), script.clone());
        async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            script(number, stream).await;
        }
    })
    .await
}

/// Serves whatever was negotiated, and hands on the version and the head of each request with its body.
pub(super) async fn served(
    authority: &Authority,
    protocols: &[&str],
) -> (Receiver, mpsc::UnboundedReceiver<(http::request::Parts, Bytes)>) {
    let (sender, requests) = mpsc::unbounded_channel();
    let receiver = negotiating(authority, protocols, move |_, stream| {
        let sender = sender.clone();
        async move {
            let answer = hyper::service::service_fn(move |request: Request<Incoming>| {
                let sender = sender.clone();
                async move {
                    let (head, body) = request.into_parts();
                    let body = body.collect().await?.to_bytes();
                    sender.send((head, body)).ok();
                    Ok::<_, hyper::Error>(http::Response::new(http_body_util::Full::new(Bytes::from("ok"))))
                }
            });
            let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
            server.serve_connection(TokioIo::new(stream), answer).await.ok();
        }
    })
    .await;
    (receiver, requests)
}

#[tokio::test]
async fn http2_is_spoken_where_it_is_asked_for_and_offered() {
    let authority = Authority::new();
    for (protocols, asked, spoken) in [
        (&["h2", "http/1.1"][..], Some(true), http::Version::HTTP_2),
        (&["h2", "http/1.1"], None, http::Version::HTTP_11),
        (&["h2", "http/1.1"], Some(false), http::Version::HTTP_11),
        (&["http/1.1"], Some(true), http::Version::HTTP_11),
        (&[], Some(true), http::Version::HTTP_11),
    ] {
        let (receiver, mut requests) = served(&authority, protocols).await;
        let url = format!("https://localhost:{}/hook?x=1&y=%20", receiver.address.port());
        let route = Route { http2: asked, ..Route::default() };
        let client = authority.client();
        for _ in 0..3 {
            let made = attempt_over(&client, &url, &route).await;
            assert_eq!((made.status, made.error, &*made.excerpt), (Some(200), None, "ok"), "{made:?}");
            let (head, body) = requests.recv().await.unwrap();
            assert_eq!((head.version, &head.method), (spoken, &http::Method::POST));
            assert_eq!(head.uri.path_and_query().unwrap(), "/hook?x=1&y=%20");
            assert_eq!(
                (&head.headers["webhook-id"], &body[..]),
                (&"evt_1".parse().unwrap(), &b"{\"n\":1}"[..])
            );
            assert_eq!(head.headers["content-length"], "7");
        }
        assert_eq!(receiver.connections(), 1, "{protocols:?}");
    }
}

#[tokio::test]
async fn only_http1_is_offered_by_default() {
    let authority = Authority::new();
    let (receiver, _requests) = served(&authority, &["h2"]).await;
    let made = attempt_at(&authority.client(), "localhost", &receiver).await;
    assert_eq!(made.error, Some(FailReason::Tls), "{made:?}");
    assert!(made.detail.contains("NoApplicationProtocol"), "{made:?}");
}

#[tokio::test]
async fn many_requests_share_a_connection() {
    let authority = Authority::new();
    let (receiver, mut requests) = served(&authority, &["h2"]).await;
    let client = offering(&authority);
    assert_eq!(attempt_at(&client, "localhost", &receiver).await.error, None);
    let url = format!("https://localhost:{}/", receiver.address.port());
    let payload = vec![b'x'; 1024 * 1024];
    let delivery = delivery(1, "evt_1", &payload);
    let webhook = webhook(&url);
    let all = (0..50).map(|_| testing::attempt(&client, &delivery, &webhook, 1));
    for made in futures_util::future::join_all(all).await {
        assert_eq!((made.status, made.error), (Some(200), None), "{made:?}");
    }
    for size in std::iter::once(7).chain(std::iter::repeat_n(payload.len(), 50)) {
        assert_eq!(requests.recv().await.unwrap().1.len(), size);
    }
    assert_eq!((receiver.connections(), client.connections()), (1, 1));
}

const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
const PUSH_PROMISE: u8 = 5;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;
/// `:status: 200` in HPACK.
const STATUS_200: u8 = 0x88;

pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

fn goaway(last: u32, code: u32) -> Vec<u8> {
    frame(GOAWAY, 0, 0, &[last.to_be_bytes(), code.to_be_bytes()].concat())
}

fn reset(stream: u32, code: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &code.to_be_bytes())
}

/// Reads frames up to the end of the next request; answers its stream.
pub(super) async fn next_request(stream: &mut (impl AsyncRead + Unpin)) -> Option<u32> {
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        stream.read_exact(&mut payload).await.ok()?;
        if matches!(head[3], DATA | HEADERS) && head[4] & END_STREAM != 0 {
            return Some(u32::from_be_bytes([head[5], head[6], head[7], head[8]]));
        }
    }
}

/// Says hello in HTTP/2.
pub(super) async fn begin(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) {
    stream.read_exact(&mut [0; 24]).await.unwrap();
    stream.write_all(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
}

/// A receiver that answers every request with these frames, made from its stream, and then reads on for ever.
async fn answering(
    authority: &Authority,
    answer: impl Fn(usize, u32) -> Vec<u8> + Clone + Send + Sync + 'static,
) -> Receiver {
    negotiating(authority, &["h2"], move |number, mut stream| {
        let answer = answer.clone();
        async move {
            begin(&mut stream).await;
            while let Some(asked) = next_request(&mut stream).await {
                stream.write_all(&answer(number, asked)).await.ok();
            }
        }
    })
    .await
}

/// The frames of an answer to a stream.
pub(super) type Script = Arc<dyn Fn(u32) -> Vec<u8> + Send + Sync>;

pub(super) fn ok(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &[STATUS_200])
}

#[tokio::test]
async fn each_way_of_breaking_http2_has_its_name() {
    let authority = Authority::new();
    let huge = |stream: u32| {
        // One header block of 1 MiB that never ends: a literal header of 16 KiB, again and again.
        let mut block = vec![STATUS_200];
        let mut frames = Vec::new();
        for number in 0..64 {
            block.extend([0x00, 0x01, b'x', 0x7f, 0x81, 0x7e]);
            block.extend(vec![b'a'; 16_256]);
            let kind = if number == 0 { HEADERS } else { CONTINUATION };
            frames.extend(frame(kind, 0, stream, &block));
            block.clear();
        }
        frames
    };
    let push = |stream: u32| {
        let promised = [&2_u32.to_be_bytes()[..], &[0x82, 0x84, 0x87, 0x41, 0x01, b'a']].concat();
        frame(PUSH_PROMISE, END_HEADERS, stream, &promised)
    };
    let scripts: [(&str, Script, FailReason, &str); 9] = [
        (
            "internal error",
            Arc::new(|stream| reset(stream, 2)),
            FailReason::Reset,
            "reset the HTTP/2 stream: INTERNAL_ERROR",
        ),
        (
            "calm",
            Arc::new(|_| goaway(0, 11)),
            FailReason::Reset,
            "closed the HTTP/2 connection: ENHANCE_YOUR_CALM",
        ),
        ("wants 1.1", Arc::new(|stream| reset(stream, 13)), FailReason::Reset, "HTTP_1_1_REQUIRED"),
        (
            "body before head",
            Arc::new(|stream| frame(DATA, 0, stream, b"x")),
            FailReason::Protocol,
            "broke the rules of HTTP/2: PROTOCOL_ERROR",
        ),
        (
            "bad compression",
            Arc::new(|stream| frame(HEADERS, END_HEADERS, stream, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff])),
            FailReason::Protocol,
            "broke the rules of HTTP/2",
        ),
        (
            "huge frame",
            Arc::new(|stream| frame(HEADERS, END_HEADERS, stream, &vec![0; 20_000])),
            FailReason::Protocol,
            "broke the rules of HTTP/2: FRAME_SIZE_ERROR",
        ),
        ("push", Arc::new(push), FailReason::Protocol, "broke the rules of HTTP/2: PROTOCOL_ERROR"),
        ("headers without end", Arc::new(huge), FailReason::Protocol, "broke the rules of HTTP/2"),
        (
            "other protocol",
            Arc::new(|_| b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_vec()),
            FailReason::Protocol,
            "broke the rules of HTTP/2",
        ),
    ];
    for (what, script, reason, says) in scripts {
        let receiver = answering(&authority, move |_, stream| script(stream)).await;
        let client = offering(&authority);
        let made = attempt_at(&client, "localhost", &receiver).await;
        assert_eq!((made.status, made.error), (None, Some(reason)), "{what}: {made:?}");
        assert!(made.detail.contains(says) && !made.detail.contains("token"), "{what}: {made:?}");
        assert_eq!(receiver.connections(), 1, "{what}: it was not sent again");
    }
}

#[tokio::test]
async fn a_connection_that_ends_before_an_answer_is_a_reset_and_silence_a_timeout() {
    let authority = Authority::new();
    let closing = negotiating(&authority, &["h2"], |_, mut stream| async move {
        begin(&mut stream).await;
        next_request(&mut stream).await;
    })
    .await;
    let made = attempt_at(&offering(&authority), "localhost", &closing).await;
    assert_eq!((made.status, made.error), (None, Some(FailReason::Reset)), "{made:?}");
    let silent = answering(&authority, |_, _| Vec::new()).await;
    let client = offering(&authority);
    let url = format!("https://localhost:{}/", silent.address.port());
    let made = attempt_within(&client, &url, Duration::from_millis(300)).await;
    assert_eq!(made.error, Some(FailReason::Timeout), "{made:?}");
    assert_eq!(
        made.detail,
        format!("https://localhost:{} did not answer within 300ms", silent.address.port())
    );
}

#[tokio::test]
async fn a_request_that_was_not_taken_is_sent_again_once() {
    let authority = Authority::new();
    for refuse in [|_: u32| goaway(1, 0), |stream: u32| reset(stream, 7)] {
        // The first request is answered, the second is not taken; the second connection takes all.
        let receiver = answering(&authority, move |connection, stream| match (connection, stream) {
            (0, 3..) => refuse(stream),
            _ => ok(stream),
        })
        .await;
        let client = offering(&authority);
        for _ in 0..2 {
            let made = attempt_at(&client, "localhost", &receiver).await;
            assert_eq!((made.status, made.error), (Some(200), None), "{made:?}");
        }
        assert_eq!(receiver.connections(), 2);
        // The second one was for that request alone.
        wait_until(|| client.connections() <= 1).await;

        let hopeless = answering(&authority, move |_, stream| match refuse(stream) {
            frame if frame[3] == GOAWAY => goaway(0, 0),
            frame => frame,
        })
        .await;
        let made = attempt_at(&client, "localhost", &hopeless).await;
        assert_eq!((made.status, made.error), (None, Some(FailReason::Reset)), "{made:?}");
        assert_eq!(hopeless.connections(), 2);
    }
}

#[tokio::test]
async fn after_a_timeout_others_get_a_new_connection_and_those_on_the_old_one_their_answer() {
    let authority = Authority::new();
    // On the first connection nothing is answered after the first request, until the test says so.
    let late = Arc::new(tokio::sync::Notify::new());
    let (sender, mut asked) = mpsc::unbounded_channel();
    let notify = late.clone();
    let receiver = negotiating(&authority, &["h2"], move |connection, mut stream| {
        let (notify, sender) = (notify.clone(), sender.clone());
        async move {
            begin(&mut stream).await;
            loop {
                tokio::select! {
                    asked = next_request(&mut stream) => {
                        let Some(asked) = asked else { return };
                        sender.send((connection, asked)).ok();
                        if connection > 0 || asked == 1 {
                            stream.write_all(&ok(asked)).await.unwrap();
                        }
                    }
                    () = notify.notified() => stream.write_all(&ok(3)).await.unwrap(),
                }
            }
        }
    })
    .await;
    let client = offering(&authority);
    let url = format!("https://localhost:{}/", receiver.address.port());
    assert_eq!(attempt(&client, &url).await.error, None);
    let patient = tokio::spawn({
        let (client, url) = (client.clone(), url.clone());
        async move { attempt(&client, &url).await }
    });
    for expected in [(0, 1), (0, 3)] {
        assert_eq!(asked.recv().await.unwrap(), expected);
    }
    let made = attempt_within(&client, &url, Duration::from_millis(200)).await;
    assert_eq!(made.error, Some(FailReason::Timeout), "{made:?}");
    assert_eq!(asked.recv().await.unwrap(), (0, 5));
    for _ in 0..2 {
        assert_eq!(attempt(&client, &url).await.error, None);
    }
    assert_eq!(receiver.connections(), 2);
    late.notify_one();
    let made = patient.await.unwrap();
    assert_eq!((made.status, made.error), (Some(200), None), "{made:?}");
}

#[tokio::test]
async fn a_connection_that_is_closed_with_a_request_on_it_is_a_failed_attempt() {
    let authority = Authority::new();
    let receiver = negotiating(&authority, &["h2"], |_, mut stream| async move {
        begin(&mut stream).await;
        next_request(&mut stream).await;
        stream.write_all(&ok(1)).await.unwrap();
        next_request(&mut stream).await;
        stream.shutdown().await.ok();
    })
    .await;
    let client = offering(&authority);
    assert_eq!(attempt_at(&client, "localhost", &receiver).await.error, None);
    let made = attempt_at(&client, "localhost", &receiver).await;
    assert_eq!((made.status, made.error), (None, Some(FailReason::Reset)), "{made:?}");
    assert_eq!(receiver.connections(), 1, "others may be on their way, so nothing is known of this one");
}
