//! Out of file descriptors: our own trouble, named as such, and over once there are some again.

use std::fs::File;
use std::process::Command;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::*;

/// Set in the process in which descriptors run out; it must not be the one of the other tests.
const IN_CHILD: &str = "POSTRIDER_TEST_OUT_OF_DESCRIPTORS";
const TEST: &str = "delivery::client::tests::descriptors::out_of_descriptors_is_our_own_trouble";

#[test]
fn out_of_descriptors_is_our_own_trouble() {
    if std::env::var_os(IN_CHILD).is_some() {
        return run_out();
    }
    let ran = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", TEST, "--nocapture"])
        .env(IN_CHILD, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success() && said.contains("1 passed"), "{ran:?}");
}

#[tokio::main(flavor = "current_thread")]
async fn run_out() {
    let limit = Rlimit { current: Some(64), ..getrlimit(Resource::Nofile) };
    setrlimit(Resource::Nofile, limit).unwrap();
    let (receiver, _requests) = Receiver::answering(OK).await;
    let client = client();
    let mut hoard = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        hoard.push(file);
    }
    let made = attempt(&client, &receiver.url("/")).await;
    assert_eq!(made.error, Some(FailReason::Local), "{made:?}");
    assert!(made.detail.contains("Too many open files"), "{made:?}");
    drop(hoard);
    let made = attempt(&client, &receiver.url("/")).await;
    assert_eq!(made.error, None, "{made:?}");
}
