//! What an HTTP/2 receiver cannot do: send without end, keep other orgs waiting, or hold a connection for ever.

use super::http2::{
    END_HEADERS, HEADERS, SETTINGS, Script, begin, frame, negotiating, next_request, offering, ok, served,
};
use super::over_tls::{Authority, attempt_at};
use super::*;
use crate::delivery::address;
use crate::model::OrgNumber;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endless_frames_cost_the_attempt_and_then_the_connection() {
    const PING: u8 = 6;
    let authority = Authority::new();
    // 103 in HPACK: a literal status, not to be indexed.
    let early = |stream: u32| frame(HEADERS, END_HEADERS, stream, &[0x08, 0x03, b'1', b'0', b'3']);
    let scripts: [(&str, Script); 3] = [
        ("pings", Arc::new(|_| frame(PING, 0, 0, &[7; 8]))),
        ("settings", Arc::new(|_| frame(SETTINGS, 0, 0, &[]))),
        ("early hints", Arc::new(early)),
    ];
    let authority = &authority;
    let all = scripts.map(|(what, script)| async move {
        let receiver = negotiating(authority, &["h2"], move |_, mut stream| {
            let script = script.clone();
            async move {
                begin(&mut stream).await;
                let Some(asked) = next_request(&mut stream).await else { return };
                let frames = script(asked).repeat(100);
                let (mut reading, mut writing) = tokio::io::split(stream);
                let mut nowhere = tokio::io::sink();
                tokio::select! {
                    () = async { while writing.write_all(&frames).await.is_ok() {} } => {}
                    _ = tokio::io::copy(&mut reading, &mut nowhere) => {}
                }
            }
        })
        .await;
        let client = offering(authority);
        let url = format!("https://localhost:{}/", receiver.address.port());
        let made = attempt_within(&client, &url, Duration::from_millis(300)).await;
        let reasons = [Some(FailReason::Timeout), Some(FailReason::Protocol), Some(FailReason::Reset)];
        assert!(made.status.is_none() && reasons.contains(&made.error), "{what}: {made:?}");
        assert!(made.duration_ms < 5_000, "{what}: {made:?}");
        wait_until(|| client.connections() == 0).await;
    });
    futures_util::future::join_all(all).await;
}

#[tokio::test]
async fn a_receiver_that_hangs_keeps_no_other_org_of_its_host_waiting() {
    let authority = Authority::new();
    // The first connection never answers.
    let receiver = negotiating(&authority, &["h2"], |number, mut stream| async move {
        begin(&mut stream).await;
        while let Some(asked) = next_request(&mut stream).await {
            if number > 0 {
                stream.write_all(&ok(asked)).await.ok();
            }
        }
    })
    .await;
    let client = offering(&authority);
    let (delivery, webhook) =
        (delivery(1, "evt_1", b"{}"), webhook(&format!("https://localhost:{}/", receiver.address.port())));
    let of = |org| {
        address(&delivery, &webhook, None, &crate::catalogue::Catalogue::shipped())
            .unwrap()
            .of(OrgNumber(org))
    };
    let (hanging, other) = (of(1), of(2));
    let other = async {
        wait_until(|| receiver.connections() == 1).await;
        client.attempt(&other, 1).await
    };
    tokio::select! {
        made = client.attempt(&hanging, 1) => panic!("it hangs: {made:?}"),
        made = other => assert_eq!((made.attempt.status, made.attempt.error), (Some(200), None), "{made:?}"),
    }
}

#[tokio::test]
async fn an_idle_connection_is_not_kept_for_ever() {
    let authority = Authority::new();
    let (receiver, _requests) = served(&authority, &["h2"]).await;
    let client = offering(&authority);
    assert_eq!(attempt_at(&client, "localhost", &receiver).await.error, None);
    assert_eq!(client.connections(), 1);
    wait_until(|| client.connections() == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_sends_on_after_its_answer_loses_the_connection_soon() {
    /// A kind that nobody knows, and that everybody must pass over (RFC 9113, 4.1).
    const UNKNOWN: u8 = 0xfa;
    /// The bound on an answer, and what the sockets hold on the way.
    const SENT_MAX: usize = 32 << 20;
    let authority = Authority::new();
    let (report, mut reported) = mpsc::unbounded_channel();
    let receiver = negotiating(&authority, &["h2"], move |_, mut stream| {
        let report = report.clone();
        async move {
            begin(&mut stream).await;
            let Some(asked) = next_request(&mut stream).await else { return };
            stream.write_all(&ok(asked)).await.ok();
            let frames = frame(UNKNOWN, 0, 0, &[7; 1000]).repeat(16);
            let mut sent = 0;
            while sent <= SENT_MAX && stream.write_all(&frames).await.is_ok() {
                sent += frames.len();
            }
            report.send(sent).ok();
        }
    })
    .await;
    let client = offering(&authority);
    let made = attempt_at(&client, "localhost", &receiver).await;
    assert_eq!((made.status, made.error), (Some(200), None), "{made:?}");
    let sent = reported.recv().await.unwrap();
    assert!(sent <= SENT_MAX, "it was read on and on");
}
