//! Ids that come again: at the same moment, after a restart, with another body, from a client that did not wait.

use super::*;
use crate::support::{Receiver, wait_until};

fn event(payload: &Value) -> Vec<u8> {
    let event = json!({"type": "a", "id": "same", "payload": payload}).to_string();
    post("/v1/orgs/honest/events", event.as_bytes())
}

#[test]
fn an_id_given_many_times_is_one_event() {
    let site = Site::new();
    let receiver = Receiver::start();
    let daemon = site.start();
    daemon.org("honest", &receiver.url("/"), &Value::Null);
    let answers: Vec<(u16, Value)> = std::thread::scope(|scope| {
        let site = &site;
        let calls: Vec<_> = (0..32)
            .map(|n| scope.spawn(move || parse(&exchange(&sockets(site)[n % 2], &event(&json!(1)), false))))
            .collect();
        calls.into_iter().map(|call| call.join().unwrap()).collect()
    });
    let accepted: Vec<_> = answers.iter().filter(|(status, _)| *status == 202).collect();
    assert_eq!(accepted.len(), 1, "{answers:?}");
    for (status, body) in &answers {
        assert!(*status == 202 || (*status == 200 && body["duplicate"] == true), "{answers:?}");
        assert_eq!((&body["id"], &body["sequence"]), (&json!("same"), &accepted[0].1["sequence"]));
    }
    let other = exchange(&site.submit_socket(), &event(&json!(2)), false);
    assert_eq!(assert_problem("another body", &other, 409, "id-reused")["field"], "/id");
    daemon.drained("honest");
    daemon.kill();

    let daemon = site.start();
    let (status, body) = parse(&exchange(&site.submit_socket(), &event(&json!(1)), false));
    assert_eq!((status, &body["duplicate"]), (200, &json!(true)));
    assert_problem(
        "another body",
        &exchange(&site.submit_socket(), &event(&json!(2)), false),
        409,
        "id-reused",
    );
    daemon.drained("honest");
    assert_eq!(receiver.count(), 1);
}

#[test]
fn a_producer_that_goes_before_its_answer_may_ask_again() {
    let site = Site::new();
    let receiver = Receiver::start();
    let daemon = site.start();
    daemon.org("honest", &receiver.url("/"), &Value::Null);
    for _ in 0..50 {
        let mut stream = connect(&site.submit_socket());
        stream.write_all(&event(&json!(1))).unwrap();
        drop(stream);
    }
    let (status, body) = parse(&exchange(&site.submit_socket(), &event(&json!(1)), false));
    assert!(status == 202 || (status == 200 && body["duplicate"] == true), "{status} {body}");
    daemon.enqueue("honest", &json!({"type": "a", "payload": 1, "id": "last"}));
    wait_until("the last is there", || receiver.received().iter().any(|request| request.id() == "last"));
    let ids: Vec<_> = receiver.received().iter().map(|request| request.id().to_owned()).collect();
    assert_eq!(ids, ["same", "last"]);
}
