//! `postrider sink` as a process: it says where it is, prints what it gets, answers as told and ends cleanly.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use crate::support::wait_until;

struct Sink {
    process: Child,
    address: String,
}

fn start(arguments: &[&str]) -> Sink {
    let mut process = Command::new(env!("CARGO_BIN_EXE_postrider"))
        .arg("sink")
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    BufReader::new(process.stderr.take().unwrap()).read_line(&mut said).unwrap();
    let address = said.trim().strip_prefix("listening on http://").unwrap().to_owned();
    Sink { process, address }
}

/// Posts and answers the status line.
fn post(sink: &Sink, path: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(&sink.address).unwrap();
    let length = body.len();
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nwebhook-id: evt_1\r\npostrider-attempt: 2\r\n\
         postrider-sequence: 7\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.lines().next().unwrap().to_owned()
}

fn stop(mut sink: Sink, signal: rustix::process::Signal) -> String {
    let pid = rustix::process::Pid::from_child(&sink.process);
    rustix::process::kill_process(pid, signal).unwrap();
    wait_until("the sink has ended", || sink.process.try_wait().unwrap().is_some());
    assert!(sink.process.wait().unwrap().success());
    let mut printed = String::new();
    sink.process.stdout.take().unwrap().read_to_string(&mut printed).unwrap();
    printed
}

#[test]
fn it_answers_as_told_and_prints_a_line_per_request() {
    let sink = start(&["--fail", "1", "--status", "503", "--path", "/p=status:429,delay:20ms"]);
    let statuses: Vec<_> = ["/", "/", "/p", "/status/410"].map(|path| post(&sink, path, r#"{"n":1}"#)).into();
    assert_eq!(
        statuses,
        [
            "HTTP/1.1 503 Service Unavailable",
            "HTTP/1.1 200 OK",
            "HTTP/1.1 429 Too Many Requests",
            "HTTP/1.1 410 Gone"
        ]
    );
    let printed = stop(sink, rustix::process::Signal::TERM);
    let lines: Vec<_> = printed.lines().map(|line| line.split_once(' ').unwrap().1).collect();
    assert_eq!(
        lines,
        [
            r#"POST / id=evt_1 attempt=2 sequence=7 503 {"n":1}"#,
            r#"POST / id=evt_1 attempt=2 sequence=7 200 {"n":1}"#,
            r#"POST /p id=evt_1 attempt=2 sequence=7 429 {"n":1}"#,
            r#"POST /status/410 id=evt_1 attempt=2 sequence=7 410 {"n":1}"#,
        ]
    );
}

#[test]
fn for_machines_it_prints_everything() {
    let sink = start(&["--json"]);
    post(&sink, "/x?y=1", &"z".repeat(5000));
    let printed = stop(sink, rustix::process::Signal::INT);
    let value: serde_json::Value = serde_json::from_str(printed.trim()).unwrap();
    assert_eq!((value["path"].as_str(), value["status"].as_u64()), (Some("/x?y=1"), Some(200)));
    assert_eq!(value["headers"]["webhook-id"], "evt_1");
    assert_eq!(value["body"].as_str().unwrap().len(), 5000);
}
