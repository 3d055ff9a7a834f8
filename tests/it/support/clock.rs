//! The wall clock of a daemon, by libfaketime: it stands where it is put, or runs as far from the real one as it is put.
//! Monotonic time stays what it is.

use std::path::PathBuf;

use super::{Daemon, Site};

/// Kept in a file that the daemon's clock looks at.
pub struct Clock {
    file: PathBuf,
    /// Whether the daemon looks only once a second: for runs of many events.
    cached: bool,
}

impl Clock {
    /// Of the daemons of this site; it runs with the real one until [`Clock::step_to`].
    pub fn of(site: &Site) -> Clock {
        let clock = Clock { file: site.dir().join("clock"), cached: false };
        clock.step_to(0);
        clock
    }

    /// Of the daemons of this site; it stands at this second.
    pub fn at(site: &Site, second: i64) -> Clock {
        let clock = Clock::of(site);
        clock.set(second);
        clock
    }

    /// What is set counts within a second only, and looking at the clock costs less.
    pub fn cached(self) -> Clock {
        Clock { cached: true, ..self }
    }

    /// From now on it is this second.
    pub fn set(&self, second: i64) {
        self.write(&jiff::Timestamp::from_second(second).unwrap().strftime("%Y-%m-%d %H:%M:%S").to_string());
    }

    /// From now on it runs so many seconds ahead of the real one, or behind it.
    pub fn step_to(&self, seconds: i64) {
        self.write(&format!("{seconds:+}"));
    }

    fn write(&self, text: &str) {
        let new = self.file.with_extension("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, &self.file).unwrap();
    }

    /// A daemon by this clock, ready.
    #[track_caller]
    pub fn start<'site>(&self, site: &'site Site) -> Daemon<'site> {
        let mut command = site.serve_command();
        command.env("LD_PRELOAD", library()).env("TZ", "UTC");
        command.env("FAKETIME_TIMESTAMP_FILE", &self.file);
        let (looks, how) = if self.cached { ("CACHE_DURATION", "1") } else { ("NO_CACHE", "1") };
        command.env(format!("FAKETIME_{looks}"), how);
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
