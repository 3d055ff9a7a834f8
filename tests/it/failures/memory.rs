//! Memory under everything hostile at once stays below what the unit gives the daemon (`MemoryHigh=`), so that the limit is
//! never what ends it. What the kernel does at a limit is not tried: a control group of one's own is not there on every machine.

use std::io::Write as _;
use std::os::unix::net::UnixStream;

use serde_json::json;

use crate::support::{Answer, Receiver, Site, wait_until};

const MIB: u64 = 1 << 20;

/// What the unit says.
fn memory_high() -> u64 {
    let unit = include_str!("../../../systemd/postrider.service");
    let value = unit.lines().find_map(|line| line.strip_prefix("MemoryHigh=")).unwrap();
    value.strip_suffix('M').unwrap().parse::<u64>().unwrap() * MIB
}

/// The most that was ever resident, in bytes.
fn peak(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

#[test]
fn memory_stays_below_the_units_limit_whatever_comes() {
    const ORGS: usize = 64;
    let (site, receiver) = (Site::new(), Receiver::start());
    let daemon = site.start();
    // Payloads of the largest size in flight, at receivers that hang.
    let payload = "x".repeat(MIB as usize - 200);
    for n in 0..ORGS {
        let org = format!("org{n}");
        receiver.always(&format!("/{org}"), Answer::Hang);
        daemon.org(&org, &receiver.url(&format!("/{org}")), &json!({"timeout": "60s"}));
        daemon.enqueue(&org, &json!({"type": "t", "payload": payload}));
    }
    wait_until("all are in flight", || receiver.count() >= ORGS);
    // Bodies of the largest size that never end, on as many connections as there may be.
    let body = "x".repeat(MIB as usize - 4096);
    let half: Vec<_> = (0..ORGS)
        .map(|_| {
            let mut stream = UnixStream::connect(site.submit_socket()).unwrap();
            stream.set_write_timeout(Some(std::time::Duration::from_millis(50))).unwrap();
            let head = format!(
                "POST /v1/orgs/org0/events HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
                MIB - 1
            );
            // One that is not read stays in the kernel: that is a bound as well.
            let _kept_back = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes()));
            stream
        })
        .collect();
    // And all of it listed with payloads.
    for n in 0..8 {
        daemon.admin("GET", &format!("/v1/orgs/org{n}/queue?payload=true"), &json!(null)).expect(200);
    }
    let peak = peak(daemon.pid());
    assert!(peak < memory_high(), "{} MiB at the most, {} are allowed", peak / MIB, memory_high() / MIB);
    drop(half);
    assert_eq!(daemon.admin("GET", "/readyz", &json!(null)).status, 200);
}
