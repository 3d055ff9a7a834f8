//! P7 against names: hundreds of orgs whose receivers' names are never answered do not hold up one whose name is.

use std::net::{Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::network::{Network, PUBLIC};
use crate::support::{Site, daemon::retry, wait_until};

const PORT: u16 = 8080;
const DEAD_ORGS: usize = 400;
/// Below this a living name was not held up: a lookup is given up after 5 s.
const BOUND: Duration = Duration::from_secs(4);
const SITE: &str = "[egress]\nallow_http = [\"93.184.216.0/24\"]\n[log]\nlevel = \"warn\"\n[store]\nreserve_bytes = \"1MiB\"\n";

/// Answers A queries with the one address, others with nothing, and none for names below `dead`. No answer may be kept.
fn serve(socket: UdpSocket) {
    let address: Ipv4Addr = PUBLIC.parse().unwrap();
    std::thread::spawn(move || {
        let mut query = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut query) {
            let labels = query[12..length].iter().position(|byte| *byte == 0).unwrap();
            let end = 12 + labels + 5;
            if query[..12 + labels].to_ascii_lowercase().ends_with(b"\x04dead") {
                continue;
            }
            let is_a = query[end - 3] == 1;
            let mut answer = query[..2].to_vec();
            answer.extend([0x81, 0x80, 0, 1, 0, u8::from(is_a), 0, 0, 0, 0]);
            answer.extend(&query[12..end]);
            if is_a {
                answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
                answer.extend(address.octets());
            }
            let _gone = socket.send_to(&answer, from);
        }
    });
}

#[test]
fn p07_hundreds_of_dead_names_do_not_hold_up_a_living_one() {
    // Network namespaces take root.
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let network = Network::new(&[], "127.0.0.1 localhost\n");
    let internet = network.internet(PORT);
    serve(network.name_server());
    let site = Site::with(SITE);
    let daemon = site.start_command(network.serve_command(&site));
    for n in 0..DEAD_ORGS {
        let org = format!("dead{n}");
        daemon.org(&org, &format!("http://org{n}.dead:{PORT}/"), &retry(100, 100, 1.0, 100));
    }
    daemon.org("alive", &format!("http://shop.alive:{PORT}/"), &retry(1, 10, 1.0, 10));
    for n in 0..DEAD_ORGS {
        daemon.enqueue(&format!("dead{n}"), &json!({"type": "t", "payload": {}}));
    }
    for n in 1..=20 {
        let began = Instant::now();
        daemon.enqueue("alive", &json!({"type": "t", "payload": {}}));
        daemon.drained("alive");
        assert!(began.elapsed() < BOUND, "delivery {n} took {:?}", began.elapsed());
    }
    assert_eq!(internet.seen(), [(PUBLIC.parse().unwrap(), 20)].into());
    assert!(daemon.dead_letters("alive").is_empty());
    // They fail as what they are, and are tried again.
    wait_until("a dead name was given up and is tried again", || {
        let head = &daemon.queue("dead7")[0];
        head["attempts"].as_u64() > Some(0) && head["last"]["error"] == "dns"
    });
}
