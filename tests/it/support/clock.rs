//! The wall clock of a daemon, by libfaketime: it stands still where a test puts it.

use std::path::PathBuf;

use super::{Daemon, Site};

/// See the module's documentation. Time that is waited for goes on as ever.
pub struct Clock(PathBuf);

impl Clock {
    /// Of the daemons of this site; it is this second.
    pub fn at(site: &Site, second: i64) -> Clock {
        let clock = Clock(site.dir().join("clock"));
        clock.set(second);
        clock
    }

    /// From now on it is this second.
    pub fn set(&self, second: i64) {
        let text = jiff::Timestamp::from_second(second).unwrap().strftime("%Y-%m-%d %H:%M:%S").to_string();
        let new = self.0.with_extension("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, &self.0).unwrap();
    }

    /// Starts a daemon that goes by this clock.
    #[track_caller]
    pub fn start<'site>(&self, site: &'site Site) -> Daemon<'site> {
        let mut command = site.serve_command();
        command.env("LD_PRELOAD", library()).env("TZ", "UTC");
        command.env("FAKETIME_TIMESTAMP_FILE", &self.0).env("FAKETIME_NO_CACHE", "1");
        command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        site.start_command(command)
    }
}

/// Where libfaketime is: below the directory of the machine's own libraries.
fn library() -> PathBuf {
    let places = ["/usr/lib", "/usr/lib64", "/usr/local/lib"].map(std::fs::read_dir);
    let below = places.into_iter().flatten().flatten().flatten().map(|entry| entry.path());
    let candidates = below.flat_map(|dir| {
        [
            dir.join("faketime/libfaketime.so.1"),
            dir.join("libfaketime.so.1"),
            dir.with_file_name("libfaketime.so.1"),
        ]
    });
    let found = candidates.into_iter().find(|path| path.exists());
    found.expect("libfaketime.so.1 of the package faketime is there; README.md says what the tests need")
}
