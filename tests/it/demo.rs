//! `postrider demo`: what a new user sees first. It tells only what happened, and leaves nothing behind.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use crate::support::{Site, wait_until};

/// The demo with a temporary directory of its own below the site's.
fn demo(site: &Site) -> Command {
    let mut command = site.command("demo");
    command.env("TMPDIR", site.dir().join("t")).stdout(Stdio::piped()).stderr(Stdio::piped());
    // A real daemon's settings are none of the demo's.
    command.env("POSTRIDER_LOG_LEVEL", "nonsense");
    std::fs::create_dir(site.dir().join("t")).unwrap();
    command
}

#[track_caller]
fn nothing_is_left(site: &Site) {
    assert_eq!(std::fs::read_dir(site.dir().join("t")).unwrap().count(), 0);
}

#[test]
fn shows_order_a_retry_and_a_dead_letter() {
    let site = Site::new();
    let output = demo(&site).output().unwrap();
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{told}\n{}", String::from_utf8_lossy(&output.stderr));
    let lines: Vec<&str> = told.lines().filter(|line| line.starts_with("   #")).collect();
    let told_of = |id: &str| lines.iter().filter(|line| line.contains(id)).copied().collect::<Vec<_>>();
    assert_eq!(lines.len(), 14, "{told}");
    assert!(told_of("order-").iter().all(|line| line.contains("200 delivered")), "{told}");
    let retried = told_of("invoice-1");
    assert!(
        retried[0].contains("attempt 1   503") && retried[2].contains("attempt 3   200 delivered"),
        "{told}"
    );
    assert!(told.contains("attempts-exhausted"), "{told}");
    nothing_is_left(&site);
}

#[test]
fn leaves_nothing_behind_when_interrupted() {
    let site = Site::new();
    let mut child = demo(&site).spawn().unwrap();
    let mut told = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    told.read_line(&mut line).unwrap();
    assert!(line.starts_with("A daemon of its own runs in "), "{line}");
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::INT)
        .unwrap();
    wait_until("the demo ends", || child.try_wait().unwrap().is_some());
    nothing_is_left(&site);
}
