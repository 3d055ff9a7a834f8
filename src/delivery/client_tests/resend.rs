//! A kept connection that its receiver closes just as the next request goes out costs no attempt, and no other
//! request is ever sent twice.

use tokio::io::AsyncWrite;
use tokio::time::{Instant, sleep};

use super::over_tls::{Authority, attempt_at};
use super::*;

/// What a receiver does on a connection that was kept, once the first byte of the next request is there.
#[derive(Clone, Copy)]
enum Ending {
    /// It closes, and what it has not read makes the kernel reset.
    Resets,
    /// It reads the whole request and closes.
    Closes,
    /// It sends the first byte of an answer and closes.
    Answers,
}

/// Answers one request on this connection, then ends it when the next one comes.
async fn once_then(ending: Ending, mut stream: impl AsyncRead + AsyncWrite + Unpin) -> Vec<String> {
    let mut requests = Vec::from_iter(read_request(&mut stream).await);
    stream.write_all(OK).await.unwrap();
    match ending {
        Ending::Resets => {
            stream.read_u8().await.ok();
        }
        Ending::Closes => requests.extend(read_request(&mut stream).await),
        Ending::Answers => {
            requests.extend(read_request(&mut stream).await);
            stream.write_all(b"H").await.ok();
        }
    }
    stream.shutdown().await.ok();
    requests
}

/// A receiver whose first connection ends so, and whose later ones answer all that comes.
async fn dying(ending: Ending) -> (Receiver, mpsc::UnboundedReceiver<(usize, String)>) {
    let (sender, requests) = mpsc::unbounded_channel();
    let receiver = Receiver::start(move |number, mut stream| {
        let sender = sender.clone();
        async move {
            if number == 0 {
                for request in once_then(ending, stream).await {
                    sender.send((number, request)).ok();
                }
                return;
            }
            while let Some(request) = read_request(&mut stream).await {
                sender.send((number, request)).ok();
                stream.write_all(OK).await.unwrap();
            }
        }
    })
    .await;
    (receiver, requests)
}

#[tokio::test]
async fn a_kept_connection_closed_under_a_request_costs_no_attempt() {
    for ending in [Ending::Resets, Ending::Closes] {
        let (receiver, mut requests) = dying(ending).await;
        let client = client();
        assert_eq!(attempt(&client, &receiver.url("/")).await.error, None);
        let payload = vec![b'x'; 1024 * 1024];
        let made =
            testing::attempt(&client, &delivery(2, "evt_2", &payload), &webhook(&receiver.url("/")), 7).await;
        assert_eq!((made.number, made.status, made.error), (7, Some(200), None), "{made:?}");
        assert_eq!(receiver.connections(), 2);
        let second = loop {
            let (connection, request) = requests.recv().await.unwrap();
            if connection == 1 {
                break request;
            }
        };
        assert!(second.contains("webhook-id: evt_2\r\n") && second.contains("postrider-attempt: 7\r\n"));
        assert!(second.ends_with(std::str::from_utf8(&payload).unwrap()), "the whole payload again");
        wait_until(|| client.connections() == 0).await;
    }
}

#[tokio::test]
async fn the_same_holds_over_tls() {
    let authority = Authority::new();
    for ending in [Ending::Resets, Ending::Closes] {
        let acceptor = authority.acceptor("localhost");
        let receiver = Receiver::start(move |number, stream| {
            let acceptor = acceptor.clone();
            async move {
                let mut stream = acceptor.accept(stream).await.unwrap();
                if number == 0 {
                    once_then(ending, stream).await;
                } else {
                    read_request(&mut stream).await;
                    stream.write_all(OK).await.unwrap();
                }
            }
        })
        .await;
        let client = authority.client();
        for _ in 0..2 {
            let made = attempt_at(&client, "localhost", &receiver).await;
            assert_eq!((made.status, made.error), (Some(200), None), "{made:?}");
        }
        assert_eq!(receiver.connections(), 2);
    }
}

#[tokio::test]
async fn a_request_is_sent_again_once_and_on_a_new_connection_only() {
    // Two kept connections, both about to end: the second sending must not fall for the other one.
    let both = Arc::new(tokio::sync::Barrier::new(2));
    let receiver = Receiver::start(move |number, mut stream| {
        let both = both.clone();
        async move {
            if number < 2 {
                both.wait().await;
                once_then(Ending::Resets, stream).await;
            } else {
                read_request(&mut stream).await;
                stream.write_all(OK).await.unwrap();
            }
        }
    })
    .await;
    let client = client();
    let url = receiver.url("/");
    let (one, other) = tokio::join!(attempt(&client, &url), attempt(&client, &url));
    assert_eq!((one.error, other.error), (None, None));
    assert_eq!(receiver.connections(), 2);
    assert_eq!(attempt(&client, &url).await.error, None);
    assert_eq!(receiver.connections(), 3);

    // The new connection ends as well: that is a failed attempt.
    let hopeless = Receiver::start(|number, stream| async move {
        if number == 0 {
            once_then(Ending::Closes, stream).await;
        }
    })
    .await;
    assert_eq!(attempt(&client, &hopeless.url("/")).await.error, None);
    let made = attempt(&client, &hopeless.url("/")).await;
    assert_eq!((made.status, made.error), (None, Some(FailReason::Reset)), "{made:?}");
    assert_eq!(hopeless.connections(), 2);
}

#[tokio::test]
async fn an_answer_that_has_begun_is_not_asked_for_again() {
    let (receiver, mut requests) = dying(Ending::Answers).await;
    let client = client();
    assert_eq!(attempt(&client, &receiver.url("/")).await.error, None);
    let made = attempt(&client, &receiver.url("/")).await;
    assert_eq!((made.status, made.error), (None, Some(FailReason::Reset)), "{made:?}");
    assert_eq!(receiver.connections(), 1);
    for _ in 0..2 {
        assert_eq!(requests.recv().await.unwrap().0, 0);
    }
}

#[tokio::test]
async fn sending_again_stays_within_the_attempts_deadline() {
    let receiver = Receiver::start(|number, mut stream| async move {
        if number == 0 {
            once_then(Ending::Closes, stream).await;
        } else {
            read_request(&mut stream).await;
            sleep(Duration::from_secs(60)).await;
        }
    })
    .await;
    let client = client();
    assert_eq!(attempt(&client, &receiver.url("/")).await.error, None);
    let started = Instant::now();
    let made = attempt_within(&client, &receiver.url("/"), Duration::from_millis(700)).await;
    assert_eq!(made.error, Some(FailReason::Timeout), "{made:?}");
    assert_eq!(made.detail, format!("http://{} did not answer within 700ms", receiver.address));
    assert!(started.elapsed() < Duration::from_secs(10));
    assert_eq!(receiver.connections(), 2);
}
