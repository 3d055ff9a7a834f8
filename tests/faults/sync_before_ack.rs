//! P1 at the system calls: between a request and its 202 lies an fsync of the store's log that began after the request
//! was read and succeeded before the answer was written; `sync_file_range`, which proves nothing, is never called.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::lossyfs::{Faults, LossyFs};
use crate::rig::alone;
use crate::rig::daemon::{Daemon, Options, wait_until};
use crate::rig::http::Connection;
use crate::rig::ledger::Ledger;
use crate::rig::load::{self, Load, Numbers};
use crate::rig::receiver::{Receiver, SharedLedger, lock};

/// Acknowledgements that must be seen in a trace.
const EVENTS: usize = 100;

/// A system call, from its entry (line number in the trace) to its end.
struct Call {
    name: String,
    arguments: String,
    result: String,
    began: usize,
    ended: usize,
}

/// Reads `strace -f` output. One tracer writes the lines, so their order is the order in which calls began and ended.
fn calls(trace: &str) -> Vec<Call> {
    let mut open: HashMap<&str, (usize, String)> = HashMap::new();
    let mut calls = Vec::new();
    for (number, line) in trace.lines().enumerate() {
        let Some((thread, rest)) = line.split_once(' ') else { continue };
        let rest = rest.trim_start();
        let (began, whole) = if let Some(start) = rest.strip_suffix(" <unfinished ...>") {
            open.insert(thread, (number, start.to_owned()));
            continue;
        } else if let Some((_, end)) = rest.split_once(" resumed>") {
            let Some((began, start)) = open.remove(thread) else { continue };
            (began, start + end)
        } else {
            (number, rest.to_owned())
        };
        let Some((name, arguments)) = whole.split_once('(') else { continue };
        let Some((arguments, result)) = arguments.rsplit_once(" = ") else { continue };
        calls.push(Call {
            name: name.to_owned(),
            arguments: arguments.to_owned(),
            result: result.to_owned(),
            began,
            ended: number,
        });
    }
    calls
}

/// The ids of events in a buffer as strace shows it (quotes escaped).
fn ids(buffer: &str) -> impl Iterator<Item = &str> {
    buffer.split(r#"\"id\":\""#).skip(1).filter_map(|rest| rest.split('\\').next())
}

/// What a trace says of each acknowledged event.
#[derive(Debug, Default)]
struct Verdict {
    acknowledged: usize,
    too_early: Vec<String>,
    false_syncs: usize,
}

fn verdict(trace: &str, log: &Path) -> Verdict {
    let mut calls = calls(trace);
    calls.sort_by_key(|call| call.ended);
    let log = format!("<{}>", log.display());
    let mut verdict = Verdict::default();
    let mut read_at: HashMap<String, usize> = HashMap::new();
    let syncs: Vec<(usize, usize)> = calls
        .iter()
        .filter(|call| matches!(call.name.as_str(), "fsync" | "fdatasync"))
        .filter(|call| call.arguments.contains(&log) && call.result.starts_with('0'))
        .map(|call| (call.began, call.ended))
        .collect();
    for call in &calls {
        match call.name.as_str() {
            "sync_file_range" => verdict.false_syncs += 1,
            "read" | "recvfrom" | "readv" | "recvmsg" => {
                for id in ids(&call.arguments) {
                    read_at.entry(id.to_owned()).or_insert(call.ended);
                }
            }
            "write" | "writev" | "sendto" | "sendmsg" if call.arguments.contains(r#"\"sequence\":"#) => {
                for id in ids(&call.arguments) {
                    let Some(read) = read_at.get(id) else { continue };
                    verdict.acknowledged += 1;
                    if !syncs.iter().any(|(began, ended)| began > read && *ended < call.began) {
                        verdict.too_early.push(id.to_owned());
                    }
                }
            }
            _ => {}
        }
    }
    verdict
}

#[test]
fn p1_no_answer_before_a_successful_fsync() {
    let _alone = alone();
    let dir = tempfile::tempdir().expect("a directory");
    let (data, trace) = (dir.path().join("data"), dir.path().join("trace"));
    let calls =
        "trace=fsync,fdatasync,sync_file_range,read,recvfrom,readv,recvmsg,write,writev,sendto,sendmsg";
    let strace = ["strace", "-f", "-y", "-qq", "-s", "300000", "-e", calls, "-e", "signal=none", "-o"];
    let under = strace.into_iter().map(str::to_owned).chain([trace.display().to_string()]).collect();
    let daemon = Daemon::start(&data, &Options { under, ..Options::default() });
    let ledger: SharedLedger = Arc::new(Mutex::new(Ledger::default()));
    let receiver = Receiver::start(Arc::clone(&ledger));
    load::configure(&daemon, &receiver);
    let load = Load::start(&daemon.submit_socket(), &ledger, &Numbers::default());
    wait_until("enough events are acknowledged", || lock(&ledger).acknowledged.len() > 3 * EVENTS);
    load.stop();
    daemon.stop();
    let trace = std::fs::read_to_string(trace).expect("a trace: is strace installed?");
    let log = data.canonicalize().expect("a data directory").join("store/db");
    let verdict = verdict(&trace, &log);
    assert!(verdict.acknowledged > EVENTS, "only {} acknowledgements in the trace", verdict.acknowledged);
    assert_eq!(verdict.false_syncs, 0, "sync_file_range was called");
    assert_eq!(verdict.too_early, [""; 0], "acknowledged without an fsync of the log in between");
}

#[test]
fn an_answer_waits_for_a_slow_fsync() {
    const DELAY: Duration = Duration::from_millis(700);
    let _alone = alone();
    let fs = LossyFs::mount();
    let daemon = Daemon::start(&fs.path().join("data"), &Options::default());
    let ledger: SharedLedger = Arc::new(Mutex::new(Ledger::default()));
    let receiver = Receiver::start(Arc::clone(&ledger));
    load::configure(&daemon, &receiver);
    fs.set_faults(Faults { fsync_delay: DELAY, ..Faults::default() });
    let mut connection = Connection::open(&daemon.submit_socket()).expect("a socket");
    let started = Instant::now();
    let status = load::enqueue(&mut connection, &ledger, "acme", "slow-1").expect("an answer");
    assert_eq!(status, 202);
    assert!(started.elapsed() >= DELAY, "answered after {:?}", started.elapsed());
}

#[test]
fn the_reader_of_traces_sees_an_early_answer() {
    let read = |id: &str| format!(r#"7  recvfrom(9, "POST /v1/orgs/a/events \"id\":\"{id}\"", 99, 0) = 50"#);
    let answer = |id: &str| format!(r#"7  sendto(9, "{{\"id\":\"{id}\",\"sequence\":1}}", 40, 0) = 40"#);
    let sync = r"8  fsync(5</d/store/db>) = 0";
    let check = |lines: &[&str], too_early: &[&str]| {
        let verdict = verdict(&lines.join("\n"), Path::new("/d/store/db"));
        assert_eq!(verdict.acknowledged, 1, "{lines:#?}");
        assert_eq!(verdict.too_early, too_early, "{lines:#?}");
    };
    let (read, answer) = (read("x"), answer("x"));
    check(&[&read, sync, &answer], &[]);
    check(&[sync, &read, &answer], &["x"]);
    check(&[&read, &answer, sync], &["x"]);
    check(&[&read, "8  fsync(5</d/store/db>) = -1 EIO (Input/output error)", &answer], &["x"]);
    check(&[&read, "8  fsync(5</d/other>) = 0", &answer], &["x"]);
    let (begin, end) = ("8  fsync(5</d/store/db> <unfinished ...>", "8  <... fsync resumed>) = 0");
    check(&[&read, begin, end, &answer], &[]);
    check(&[begin, &read, end, &answer], &["x"]);
    check(&[&read, begin, &answer, end], &["x"]);
}
