//! Kept connections: what was not asked for is nobody's answer, and a close at the wrong moment costs no attempt.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::raw::{Turn, hold, script};
use super::*;

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// Says `more` after the answer to the first request, and refuses whatever comes on other connections.
fn says_more(more: &'static str) -> Script {
    script(move |mut turn: Turn| async move {
        if turn.request().await.is_none() {
            return;
        }
        if turn.number == 0 {
            turn.say(format!("{OK}{more}")).await;
            hold(turn.stream).await;
        } else {
            turn.say("HTTP/1.1 503 no\r\nconnection: close\r\ncontent-length: 0\r\n\r\n").await;
        }
    })
}

#[test]
fn an_answer_nobody_asked_for_is_nobodys_answer() {
    let site = Site::new();
    let servers: Vec<_> = [
        OK,
        "garbage",
        "\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
    ]
    .into_iter()
    .map(|more| Server::start(says_more(more)))
    .collect();
    let daemon = site.start();
    for (n, server) in servers.iter().enumerate() {
        let org = format!("org{n}");
        daemon.org(&org, &format!("http://127.0.0.1:{}/", server.port()), &retry(1, 10, 1.0, 10));
        daemon.enqueue(&org, &json!({"type": "t", "id": "first", "payload": 1}));
    }
    for (n, server) in servers.iter().enumerate() {
        let org = format!("org{n}");
        daemon.drained(&org);
        assert!(daemon.dead_letters(&org).is_empty(), "{org}: the first is delivered");
        daemon.enqueue(&org, &json!({"type": "t", "id": "second", "payload": 2}));
        wait_until("the second is refused", || !daemon.dead_letters(&org).is_empty());
        let dead = daemon.dead_letters(&org);
        assert_eq!(
            (&dead[0]["event_id"], &dead[0]["last"]["status"]),
            (&json!("second"), &json!(503)),
            "{dead:#?}"
        );
        let ids: Vec<_> = server.seen().into_iter().map(|seen| seen.id).collect();
        assert_eq!(ids, ["first", "second"]);
    }
}

#[test]
fn a_connection_closed_just_as_the_next_request_goes_out_costs_no_attempt() {
    let site = Site::new();
    // Every connection is good for one request, and says so only when the next one has begun.
    let fickle = Server::start(script(|mut turn: Turn| async move {
        turn.request().await;
        turn.say(OK).await;
        turn.stream.read_u8().await.ok();
    }));
    // The same, after it has taken all of it: it sees that one twice, as the same attempt.
    let forgetful = Server::start(script(|mut turn: Turn| async move {
        turn.request().await;
        turn.say(OK).await;
        turn.request().await;
        turn.stream.shutdown().await.ok();
    }));
    let daemon = site.start();
    for (org, server) in [("fickle", &fickle), ("forgetful", &forgetful)] {
        daemon.org(org, &format!("http://127.0.0.1:{}/", server.port()), &retry(1, 10, 1.0, 10));
        // All of them while the first waits: the next follows at once, on the kept connection.
        daemon.admin("POST", &format!("/v1/orgs/{org}/pause"), &json!({})).expect(200);
        for n in 0..20 {
            daemon.enqueue(org, &json!({"type": "t", "id": format!("e{n}"), "payload": n}));
        }
        daemon.admin("POST", &format!("/v1/orgs/{org}/resume"), &json!({})).expect(200);
        daemon.drained(org);
        // One attempt each, and none of them failed.
        assert!(daemon.dead_letters(org).is_empty(), "{org}: {:#?}", daemon.dead_letters(org));
        let mut ids: Vec<_> = server.seen().into_iter().map(|seen| (seen.id, seen.attempt)).collect();
        let all = ids.len();
        ids.dedup();
        assert_eq!(ids, (0..20).map(|n| (format!("e{n}"), 1)).collect::<Vec<_>>(), "{org}");
        assert!(all == 20 || org == "forgetful", "{all} requests");
    }
}
