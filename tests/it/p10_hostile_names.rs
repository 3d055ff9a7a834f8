//! P10 against names that lie: a name server that rebinds, mixes, aliases and embeds, in a network where everything it
//! points to exists and listens.

use serde_json::{Value, json};

use crate::support::dns::{Says, Zone};
use crate::support::network::{Everyone, Network, OWN, PUBLIC};
use crate::support::{Daemon, Site, daemon::retry, wait_until};

/// What listens there, on the machine and everywhere else.
const PORT: u16 = 8080;
/// Special addresses that the machine has.
const INSIDE: [&str; 5] =
    ["169.254.169.254/32", "10.0.0.7/32", "100.100.100.200/32", "fd00:ec2::254/128", "fc00::7/128"];
const SITE: &str = "[egress]\nallow_http = [\"93.184.216.0/24\"]\n[log]\nlevel = \"debug\"\n[store]\nreserve_bytes = \"1MiB\"\n";

/// A network where every address listens, and one may be reached.
struct Field {
    network: Network,
    machine: Everyone,
    internet: Everyone,
}

impl Field {
    /// `None` without root: network namespaces take that.
    fn new(hosts: &str) -> Option<Field> {
        if !rustix::process::geteuid().is_root() {
            return None;
        }
        let network = Network::new(&INSIDE, hosts);
        let (machine, internet) = (network.machine(PORT), network.internet(PORT));
        Some(Field { network, machine, internet })
    }

    /// The one receiver was reached so often, and nothing else ever.
    #[track_caller]
    fn only_the_public_one_was_reached(&self, times: usize) {
        assert_eq!(self.machine.seen(), [].into(), "on the machine");
        assert_eq!(self.internet.seen(), [(PUBLIC.parse().unwrap(), times)].into(), "out there");
    }
}

/// Sends one event to `http://HOST:PORT/` with one attempt; the dead letter's last attempt, or null once delivered.
fn send(daemon: &Daemon<'_>, org: &str, host: &str) -> Value {
    daemon.org(org, &format!("http://{host}:{PORT}/"), &retry(1, 10, 1.0, 10));
    again(daemon, org)
}

/// One more event to where the first one went.
fn again(daemon: &Daemon<'_>, org: &str) -> Value {
    let dead = daemon.dead_letters(org).len();
    daemon.enqueue(org, &json!({"type": "t", "payload": {}}));
    daemon.drained(org);
    let letters = daemon.dead_letters(org);
    letters.get(dead).map_or(Value::Null, |letter| letter["last"].clone())
}

#[test]
fn p10_no_name_leads_inside() {
    let hosts =
        "127.0.0.1 localhost\n127.0.0.1 loop.hosts\n10.1.2.3 db.hosts\n93.184.216.34 metadata public.hosts\n";
    let Some(field) = Field::new(hosts) else { return };
    let loopback = "127.0.0.1";
    let zone = [
        ("public.test", Says::addresses(&[PUBLIC])),
        ("loop.test", Says::addresses(&[loopback])),
        ("far-loop.test", Says::addresses(&["127.9.8.7", "::1"])),
        ("any.test", Says::addresses(&["0.0.0.0", "::"])),
        ("mapped.test", Says::addresses(&["::ffff:127.0.0.1"])),
        ("mapped-cloud.test", Says::addresses(&["::ffff:169.254.169.254"])),
        ("compatible.test", Says::addresses(&["::127.0.0.1"])),
        ("nat64.test", Says::addresses(&["64:ff9b::7f00:1"])),
        ("sixtofour.test", Says::addresses(&["2002:7f00:1::1"])),
        ("isatap.test", Says::addresses(&["2606:2800::5efe:a00:7"])),
        ("private.test", Says::addresses(&["10.0.0.7", "fc00::7"])),
        ("beyond.test", Says::addresses(&["10.1.2.3", "192.168.7.9", "100.64.0.9", "198.18.0.9"])),
        ("cloud.test", Says::addresses(&["169.254.169.254", "fd00:ec2::254"])),
        ("other-cloud.test", Says::addresses(&["100.100.100.200"])),
        ("own.test", Says::addresses(&[OWN[0]])),
        ("own-second.test", Says::addresses(&[OWN[1]])),
        ("own-six.test", Says::addresses(&["2606:2800::1"])),
        ("inside.test", Says::addresses(&[loopback, "10.1.2.3"])),
        ("alias.test", Says::Alias { name: "inside.test", along: true }),
        ("alias-alone.test", Says::Alias { name: "inside.test", along: false }),
        ("alias-twice.test", Says::Alias { name: "alias-alone.test", along: false }),
        ("x.localhost", Says::addresses(&[PUBLIC])),
        ("metadata.google.internal", Says::addresses(&[PUBLIC])),
        ("instance-data.ec2.internal", Says::addresses(&[PUBLIC])),
        ("broken.test", Says::ServFail),
        ("empty.test", Says::addresses(&[])),
    ];
    let names: Vec<_> = zone.iter().map(|(name, _)| *name).collect();
    let zone = Zone::serve(field.network.name_server(), zone.clone());
    let site = Site::with(SITE);
    let daemon = site.start_command(field.network.serve_command(&site));
    assert_eq!(send(&daemon, "public", "public.test"), Value::Null, "the one that may be reached is");
    assert_eq!(send(&daemon, "hosts", "public.hosts"), Value::Null);
    assert_eq!(zone.asked("public.test"), 1);
    let in_hosts = ["localhost", "loop.hosts", "db.hosts", "metadata"];
    for (n, name) in names.into_iter().skip(1).chain(in_hosts).enumerate() {
        let last = send(&daemon, &format!("org{n}"), name);
        let expected =
            if matches!(name, "broken.test" | "empty.test") { "dns" } else { "address-not-allowed" };
        assert_eq!(last["error"], expected, "{name}: {last}");
    }
    field.only_the_public_one_was_reached(2);
}

#[test]
fn p10_a_name_that_is_rebound_is_judged_at_every_attempt() {
    let Some(field) = Field::new("") else { return };
    let alternating: Vec<&[&str]> =
        (0..12).map(|n| if n % 2 == 0 { &[PUBLIC][..] } else { &["127.0.0.1"] }).collect();
    let zone = Zone::serve(
        field.network.name_server(),
        [
            ("rebound.test", Says::in_turn(&[&[PUBLIC], &["127.0.0.1"]])),
            ("to-cloud.test", Says::in_turn(&[&[PUBLIC], &["169.254.169.254"]])),
            ("alternating.test", Says::in_turn(&alternating)),
        ],
    );
    let site = Site::with(SITE);
    let daemon = site.start_command(field.network.serve_command(&site));
    for (org, name) in [("a", "rebound.test"), ("b", "to-cloud.test")] {
        assert_eq!(send(&daemon, org, name), Value::Null, "public at first");
        assert_eq!(zone.asked(name), 1, "looked up once per connection: what was judged is what was dialled");
        for _ in 0..3 {
            let last = again(&daemon, org);
            assert_eq!(last["error"], "address-not-allowed", "{last}");
        }
        assert_eq!(zone.asked(name), 4);
    }
    daemon.org("c", &format!("http://alternating.test:{PORT}/"), &retry(4, 1, 1.0, 1));
    for _ in 0..8 {
        daemon.enqueue("c", &json!({"type": "t", "payload": {}}));
    }
    wait_until("the queue is empty", || daemon.queue("c").is_empty());
    // Of the twelve answers in turn every other one was dialled.
    field.only_the_public_one_was_reached(2 + 6);
}

#[test]
fn p10_of_mixed_answers_the_refused_ones_are_never_dialled() {
    let Some(field) = Field::new("") else { return };
    let nobody = "93.184.216.99";
    field.network.cut_off(nobody);
    let inside =
        ["127.0.0.1", "10.1.2.3", "169.254.169.254", OWN[1], "::1", "fd00:ec2::254", "64:ff9b::7f00:1"];
    let with = |first: &'static str| [&inside[..3], &[first], &inside[3..]].concat();
    let _zone = Zone::serve(
        field.network.name_server(),
        [
            ("mixed.test", Says::addresses(&with(PUBLIC))),
            ("mixed-dead.test", Says::addresses(&with(nobody))),
            ("mixed-six.test", Says::addresses(&[PUBLIC, "::ffff:127.0.0.1"])),
        ],
    );
    let site = Site::with(SITE);
    let daemon = site.start_command(field.network.serve_command(&site));
    for (org, name) in [("a", "mixed.test"), ("b", "mixed-six.test")] {
        assert_eq!(send(&daemon, org, name), Value::Null, "{name}");
        for _ in 0..5 {
            assert_eq!(again(&daemon, org), Value::Null, "{name}");
        }
    }
    // Nobody is at the one allowed address: what is refused is no way out.
    let last = send(&daemon, "c", "mixed-dead.test");
    assert_eq!(last["error"], "connect", "{last}");
    field.only_the_public_one_was_reached(12);
}
