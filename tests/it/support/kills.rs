//! kill -9 under load, at no particular moment.

use std::time::Duration;

use fastrand::Rng;

use super::{Daemon, Receiver, Site, wait_until};

/// How often, and by whose choices: `POSTRIDER_TEST_KILLS` (else `usual`), `POSTRIDER_TEST_SEED` (else any).
pub fn asked(usual: u64) -> (u64, u64) {
    let kills = number_of("POSTRIDER_TEST_KILLS").unwrap_or(usual);
    let seed = number_of("POSTRIDER_TEST_SEED").unwrap_or_else(|| fastrand::u64(..));
    (kills, seed)
}

/// What an environment variable says, if it is set; it must be a number then.
pub fn number_of(variable: &str) -> Option<u64> {
    std::env::var(variable)
        .ok()
        .map(|text| text.parse().unwrap_or_else(|_| panic!("{variable} is not a number")))
}

/// Kills and starts the daemon `kills` times while `count` grows. The last daemon, and how many crashes there were.
pub fn kill_under_load<'site>(
    (site, mut daemon): (&'site Site, Daemon<'site>),
    receiver: &Receiver,
    kills: u64,
    rng: &mut Rng,
    count: impl Fn() -> usize,
) -> (Daemon<'site>, usize) {
    let mut crashes = 0;
    for _ in 0..kills {
        // Under load, however slow the machine is: some more later, and at no particular moment then.
        let enough = count() + rng.usize(1..40);
        wait_until("there is load", || count() >= enough);
        std::thread::sleep(Duration::from_micros(rng.u64(0..50_000)));
        daemon.kill();
        crashes += 1;
        // What the dead daemon had sent is read to its end, so that arrivals are in the order in which they were sent.
        wait_until("its connections are closed", || receiver.open_connections() == 0);
        if rng.u8(..) < 64 {
            // Now and then not even a start is completed.
            let halfway = site.spawn(&mut site.serve_command());
            std::thread::sleep(Duration::from_millis(rng.u64(1..100)));
            halfway.kill();
            crashes += 1;
            wait_until("its connections are closed", || receiver.open_connections() == 0);
        }
        daemon = site.start();
    }
    (daemon, crashes)
}
