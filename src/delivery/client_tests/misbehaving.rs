//! Receivers that are down, slow, broken or hostile: each failure has its own name, and none costs more than the
//! attempt's deadline or a bounded piece of memory.

use tokio::time::{Instant, sleep};

use super::*;

/// Long enough to connect on a busy machine.
const SHORT: Duration = Duration::from_millis(700);

/// A receiver that reads the request and then does as told.
async fn after_request<F>(script: impl Fn(TcpStream) -> F + Send + Sync + 'static) -> Receiver
where
    F: Future<Output = ()> + Send + 'static,
{
    let script = Arc::new(script);
    Receiver::start(move |_, mut stream| {
        let script = script.clone();
        async move {
            read_request(&mut stream).await;
            script(stream).await;
        }
    })
    .await
}

/// Answers with these bytes and closes.
async fn answer_of(bytes: &'static [u8]) -> Attempt {
    let receiver = after_request(move |mut stream| async move {
        stream.write_all(bytes).await.ok();
        stream.shutdown().await.ok();
    })
    .await;
    attempt(&client(), &receiver.url("/hook?token=abc")).await
}

#[tokio::test]
async fn every_status_but_2xx_is_a_failure() {
    for status in [200_u16, 201, 202, 204, 299] {
        let answer = format!("HTTP/1.1 {status} x\r\nconnection: close\r\n\r\n").leak();
        let made = answer_of(answer.as_bytes()).await;
        assert_eq!((made.status, made.error), (Some(status), None), "{made:?}");
    }
    for status in [101_u16, 300, 304, 400, 401, 404, 410, 429, 500, 503, 599, 999] {
        let answer = format!("HTTP/1.1 {status} x\r\nconnection: close\r\n\r\n").leak();
        let made = answer_of(answer.as_bytes()).await;
        assert_eq!((made.status, made.error), (Some(status), Some(FailReason::Status)), "{made:?}");
        assert_eq!(made.detail.split(',').next(), Some(format!("the receiver answered {status}").as_str()));
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let (elsewhere, _requests) = Receiver::answering(OK).await;
    for status in [301, 302, 303, 307, 308] {
        let location = elsewhere.url("/");
        let answer = format!("HTTP/1.1 {status} x\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n");
        let (receiver, mut requests) = Receiver::answering(answer.leak().as_bytes()).await;
        let made = attempt(&client(), &receiver.url("/")).await;
        assert_eq!((made.status, made.error), (Some(status), Some(FailReason::Status)));
        assert!(requests.recv().await.is_some() && requests.try_recv().is_err(), "one request");
    }
    assert_eq!(elsewhere.connections(), 0);
}

#[tokio::test]
async fn an_interim_answer_is_not_the_answer() {
    let made =
        answer_of(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 x\r\nlink: y\r\n\r\nHTTP/1.1 204 x\r\n\r\n")
            .await;
    assert_eq!((made.status, made.error), (Some(204), None), "{made:?}");
}

#[tokio::test]
async fn a_receiver_that_is_not_there() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let made = attempt(&client(), &format!("http://{gone}/hook?token=abc")).await;
    assert_eq!((made.status, made.error), (None, Some(FailReason::Connect)));
    assert_eq!(
        made.detail,
        format!("no connection to http://{gone}: {gone}: Connection refused (os error 111)")
    );
}

#[tokio::test]
async fn a_receiver_that_never_answers_costs_the_timeout() {
    let receiver = after_request(|stream| async move {
        sleep(Duration::from_secs(60)).await;
        drop(stream);
    })
    .await;
    let started = Instant::now();
    let made = attempt_within(&client(), &receiver.url("/hook?token=abc"), SHORT).await;
    assert!(started.elapsed() >= SHORT && started.elapsed() < Duration::from_secs(10));
    assert_eq!((made.status, made.error), (None, Some(FailReason::Timeout)));
    assert_eq!(made.detail, format!("http://{} did not answer within 700ms", receiver.address));
    assert!(made.duration_ms >= 700, "{made:?}");
}

#[tokio::test]
async fn a_receiver_that_does_not_even_accept_costs_the_timeout() {
    // A backlog of one that is full: the kernel drops further SYNs, as a dead host would.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut filling = Vec::new();
    while let Ok(stream) = tokio::time::timeout(SHORT, TcpStream::connect(address)).await {
        filling.push(stream.unwrap());
        assert!(filling.len() < 100, "this kernel does not drop SYNs");
    }
    let made = attempt_within(&client(), &format!("http://{address}/"), SHORT).await;
    assert_eq!(made.error, Some(FailReason::Timeout));
    assert_eq!(made.detail, format!("no connection to http://{address} within 700ms"));
}

#[tokio::test]
async fn a_slow_head_costs_the_timeout() {
    let receiver = after_request(|mut stream| async move {
        for byte in b"HTTP/1.1 200 OK\r\nx-endless: ".iter().chain(std::iter::repeat(&b'x')) {
            if stream.write_all(&[*byte]).await.is_err() {
                return;
            }
            sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let made = attempt_within(&client(), &receiver.url("/"), SHORT).await;
    assert_eq!((made.status, made.error), (None, Some(FailReason::Timeout)));
}

#[tokio::test]
async fn a_good_head_decides_whatever_the_body_does() {
    let chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    // Endless and fast: read to the limit, then broken off.
    let endless = after_request(move |mut stream| async move {
        stream.write_all(chunked).await.unwrap();
        let chunk = format!("1000\r\n{}\r\n", "x".repeat(0x1000));
        while stream.write_all(chunk.as_bytes()).await.is_ok() {}
    })
    .await;
    // Endless and slow, or silent: waited for a moment.
    let slow = after_request(move |mut stream| async move {
        stream.write_all(chunked).await.unwrap();
        while stream.write_all(b"1\r\nx\r\n").await.is_ok() {
            sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let silent = after_request(|mut stream| async move {
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc").await.unwrap();
        sleep(Duration::from_secs(60)).await;
    })
    .await;
    let short = after_request(|mut stream| async move {
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc").await.unwrap();
    })
    .await;
    let reset = after_request(|mut stream| async move {
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc").await.unwrap();
        stream.set_zero_linger().unwrap();
    })
    .await;
    let bad_chunk = after_request(move |mut stream| async move {
        stream.write_all(chunked).await.unwrap();
        stream.write_all(b"zz\r\n").await.unwrap();
    })
    .await;
    let client = client();
    for (name, receiver, excerpt) in [
        ("endless", &endless, "xxx"),
        ("slow", &slow, "x"),
        ("silent", &silent, "abc"),
        ("short", &short, "abc"),
        ("reset", &reset, ""),
        ("bad chunk", &bad_chunk, ""),
    ] {
        let started = Instant::now();
        let made = attempt(&client, &receiver.url("/")).await;
        assert_eq!((made.status, made.error), (Some(200), None), "{name}: {made:?}");
        assert!(started.elapsed() < Duration::from_secs(8), "{name} does not cost the whole timeout");
        assert!(made.excerpt.starts_with(excerpt) && made.excerpt.len() <= outcome::EXCERPT_MAX, "{name}");
    }
    wait_until(|| client.connections() == 0).await;
}

#[tokio::test]
async fn a_bad_head_decides_too() {
    let receiver = after_request(|mut stream| async move {
        stream.write_all(b"HTTP/1.1 500 no\r\ncontent-length: 10\r\n\r\nwhy\x1b").await.unwrap();
        sleep(Duration::from_secs(60)).await;
    })
    .await;
    let made = attempt(&client(), &receiver.url("/")).await;
    assert_eq!((made.status, made.error), (Some(500), Some(FailReason::Status)));
    assert_eq!(made.excerpt, "why\\u{1b}");
}

#[tokio::test]
async fn what_is_not_http_is_a_protocol_failure() {
    for garbage in [
        &b"garbage\r\n\r\n"[..],
        b"\x16\x03\x01\x02\x00\x01\x00\x01",
        b"HTTP/0.9 200 OK\r\n\r\n",
        b"HTTP/2.0 200 OK\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nbad header\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        b"220 smtp.example ESMTP\r\n",
    ] {
        let made = answer_of(garbage).await;
        let shown = String::from_utf8_lossy(garbage);
        assert_eq!((made.status, made.error), (None, Some(FailReason::Protocol)), "{shown:?}: {made:?}");
        assert!(!made.detail.contains("token"), "{made:?}");
    }
}

#[tokio::test]
async fn endless_headers_are_a_protocol_failure() {
    let one_long = after_request(|mut stream| async move {
        stream.write_all(b"HTTP/1.1 200 OK\r\nx: ").await.unwrap();
        while stream.write_all(&[b'x'; 4096]).await.is_ok() {}
    })
    .await;
    let many = after_request(|mut stream| async move {
        stream.write_all(b"HTTP/1.1 200 OK\r\n").await.unwrap();
        for number in 0..200 {
            if stream.write_all(format!("x-{number}: y\r\n").as_bytes()).await.is_err() {
                return;
            }
        }
        stream.write_all(b"\r\n").await.ok();
    })
    .await;
    for receiver in [one_long, many] {
        let made = attempt(&client(), &receiver.url("/")).await;
        assert_eq!((made.status, made.error), (None, Some(FailReason::Protocol)), "{made:?}");
        assert!(made.detail.contains("past the limit"), "{made:?}");
    }
}

#[tokio::test]
async fn a_connection_that_ends_before_the_answer_is_a_reset() {
    let closes = after_request(|stream| async move { drop(stream) }).await;
    let closes_midway = after_request(|mut stream| async move {
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-").await.unwrap();
    })
    .await;
    let resets = after_request(|stream| async move { stream.set_zero_linger().unwrap() }).await;
    let at_once = Receiver::start(|_, stream| async move { drop(stream) }).await;
    for (name, receiver) in
        [("closes", closes), ("midway", closes_midway), ("resets", resets), ("at once", at_once)]
    {
        let made = attempt(&client(), &receiver.url("/?token=abc")).await;
        assert_eq!((made.status, made.error), (None, Some(FailReason::Reset)), "{name}: {made:?}");
        assert!(made.detail.starts_with(&format!("http://{} ", receiver.address)), "{name}: {made:?}");
        assert_eq!(receiver.connections(), 1, "{name}: one request per attempt");
    }
}

#[tokio::test]
async fn an_answer_nobody_asked_for_is_nobodys_answer() {
    let (sender, mut sent) = mpsc::unbounded_channel();
    let receiver = Receiver::start(move |number, mut stream| {
        let sender = sender.clone();
        async move {
            read_request(&mut stream).await;
            if number == 0 {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nextra").await.unwrap();
                sender.send(()).unwrap();
                sleep(Duration::from_secs(60)).await;
            } else {
                stream.write_all(b"HTTP/1.1 503 no\r\ncontent-length: 0\r\n\r\n").await.unwrap();
            }
        }
    })
    .await;
    let client = client();
    assert_eq!(attempt(&client, &receiver.url("/")).await.error, None);
    sent.recv().await.unwrap();
    wait_until(|| client.connections() == 0).await;
    assert_eq!(attempt(&client, &receiver.url("/")).await.status, Some(503));
}

#[tokio::test]
async fn an_early_answer_to_a_large_payload_is_the_answer() {
    let receiver = Receiver::start(|_, mut stream| async move {
        stream.read_u8().await.unwrap();
        stream.write_all(b"HTTP/1.1 413 no\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut sink = vec![0; 65_536];
        while stream.read(&mut sink).await.is_ok_and(|count| count > 0) {}
    })
    .await;
    let payload = vec![b'x'; 1024 * 1024];
    let made =
        testing::attempt(&client(), &delivery(1, "e", &payload), &webhook(&receiver.url("/")), 1).await;
    assert_eq!((made.status, made.error), (Some(413), Some(FailReason::Status)), "{made:?}");
}

#[tokio::test]
async fn a_compressed_answer_is_kept_as_it_came() {
    let (receiver, mut requests) = Receiver::answering(
        b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 4\r\n\r\n\x1f\x8b\x08\x00",
    )
    .await;
    let made = attempt(&client(), &receiver.url("/")).await;
    assert_eq!((made.error, made.excerpt.as_str()), (None, "\\u{1f}\u{fffd}\\u{8}\\u{0}"));
    assert!(!requests.recv().await.unwrap().contains("accept-encoding"));
}

#[tokio::test]
async fn an_answer_that_echoes_gives_no_secret_away() {
    let receiver = Receiver::start(|_, mut stream| async move {
        let request = read_request(&mut stream).await.unwrap();
        let answer = format!("HTTP/1.1 500 no\r\ncontent-length: {}\r\n\r\n{request}", request.len());
        stream.write_all(answer.as_bytes()).await.unwrap();
    })
    .await;
    let mut webhook = webhook(&receiver.url("/"));
    webhook.password = Some(Secret::new("canary-password".into()));
    let made = testing::attempt(&client(), &delivery(1, "e", br#"{"canary":"payload"}"#), &webhook, 1).await;
    assert!(made.excerpt.contains("postrider-sequence: 1"), "{made:?}");
    assert!(!format!("{made:?}").contains("canary"), "{made:?}");
}
