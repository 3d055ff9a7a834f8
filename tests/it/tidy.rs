//! The rules of the source tree that no compiler checks, each with the reason it is a rule.

use std::path::{Path, PathBuf};

/// Longer files are split by promise, not by kind.
const FILE_LINES_MAX: usize = 450;
/// Longer functions hide their shape.
const FUNCTION_LINES_MAX: usize = 80;

/// The visible top level; dotfiles stand beside it, `target` is what cargo makes.
const TOP_LEVEL: [&str; 8] =
    ["Cargo.lock", "Cargo.toml", "LICENSE", "README.md", "data", "src", "systemd", "tests"];

/// A source file: its path from the top, and its text.
struct Source {
    path: String,
    text: String,
}

impl Source {
    /// What is compiled into the product: everything before the tests of the file.
    fn product(&self) -> &str {
        self.text.split("\n#[cfg(test)]").next().unwrap_or_default()
    }

    /// The product without its comments.
    fn code(&self) -> String {
        let lines = self.product().lines();
        lines.filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
    }

    /// The module's own documentation.
    fn doc(&self) -> String {
        self.text.lines().take_while(|line| line.starts_with("//!")).collect::<Vec<_>>().join("\n")
    }

    fn is_in(&self, places: &[&str]) -> bool {
        places.iter().any(|place| self.path.starts_with(place))
    }
}

fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources(below: &str) -> Vec<Source> {
    let mut found = Vec::new();
    let mut dirs = vec![top().join(below)];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(&dir).unwrap() {
            let path: PathBuf = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|ext| ext == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                found.push(Source {
                    path: path.strip_prefix(top()).unwrap().to_str().unwrap().to_owned(),
                    text,
                });
            }
        }
    }
    assert!(!found.is_empty(), "no sources below {below}");
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

/// Fails with one line per offence.
#[track_caller]
fn none(offences: &[String]) {
    assert!(offences.is_empty(), "\n{}\n", offences.join("\n"));
}

/// Every line of code outside `allowed` that has one of `words`, but for those that also have one of `excused`.
fn mentions(below: &str, allowed: &[&str], words: &[&str], excused: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources(below).iter().filter(|source| !source.is_in(allowed)) {
        for line in source.code().lines() {
            let has = |words: &[&str]| words.iter().any(|word| line.contains(word));
            if has(words) && !has(excused) {
                found.push(format!("{}: {}", source.path, line.trim()));
            }
        }
    }
    found
}

#[test]
fn only_the_queue_names_its_storage_engine() {
    none(&mentions("src", &["src/queue/"], &["sled::", "use sled", "sled ="], &[]));
}

#[test]
fn only_delivery_sends_http_out() {
    // The commands talk HTTP too, but to our own sockets; sink and bench are receivers and yardsticks.
    let allowed = [
        "src/delivery/client",
        "src/delivery/connector",
        "src/delivery/http",
        "src/delivery/tls",
        "src/cli/transport",
        "src/cli/sink",
        "src/cli/bench",
        "src/cli/demo",
    ];
    let words = ["hyper_util::client", "hyper::client", "hyper_rustls", "TcpStream::connect", "TcpSocket"];
    none(&mentions("src", &allowed, &words, &[]));
}

#[test]
fn what_is_pure_stays_pure() {
    let words = [
        "tokio::",
        "std::fs",
        "std::net::Tcp",
        "std::net::Udp",
        "std::process",
        "std::thread",
        "crate::clock",
        "clock::now",
        "fastrand::",
        "Instant::now",
        "SystemTime",
        "std::env::var",
    ];
    let all = sources("src");
    let pure: Vec<_> =
        all.iter().filter(|source| says_pure(&source.doc())).map(|source| source.path.as_str()).collect();
    for must in ["src/scheduler/plan.rs", "src/scheduler/backoff.rs", "src/delivery/outcome.rs"] {
        assert!(pure.contains(&must) || !top().join(must).exists(), "{must} does not say that it is PURE");
    }
    let mut impure = Vec::new();
    for source in all.iter().filter(|source| pure.contains(&source.path.as_str())) {
        let code = source.code();
        impure.extend(
            words
                .iter()
                .filter(|word| code.contains(**word))
                .map(|word| format!("{} uses {word}", source.path)),
        );
    }
    none(&impure);
}

/// A file says so of itself by the word at the start of a sentence; a map of other files puts it in parentheses.
fn says_pure(doc: &str) -> bool {
    doc.contains("PURE:") || doc.contains("PURE.")
}

#[test]
fn the_wall_clock_is_read_in_one_place() {
    none(&mentions("src", &["src/clock.rs"], &["SystemTime::now", "Timestamp::now", "Zoned::now"], &[]));
}

#[test]
fn unsafe_code_is_in_one_file() {
    let unsafe_in: Vec<_> = sources("src")
        .into_iter()
        .filter(|source| {
            source.code().lines().any(|line| {
                ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern", "[unsafe("]
                    .iter()
                    .any(|word| line.contains(word))
            })
        })
        .map(|source| source.path)
        .collect();
    assert!(unsafe_in.len() <= 1, "{unsafe_in:?}");
}

#[test]
fn files_are_short_enough_to_read() {
    let long = |source: &Source| {
        // A file's own unit tests count too, unless they are a file of their own.
        let lines = source.text.lines().count();
        (lines > FILE_LINES_MAX)
            .then(|| format!("{} has {lines} lines, more than {FILE_LINES_MAX}", source.path))
    };
    none(&[sources("src"), sources("tests")].concat_map(long));
}

#[test]
fn functions_are_short_enough_to_read() {
    none(&[sources("src"), sources("tests")].concat_map(|source| {
        let found = long_functions(&source.text);
        (!found.is_empty()).then(|| format!("{}: {}", source.path, found.join(", ")))
    }));
}

/// Found by indentation, which is exact in formatted code.
fn long_functions(text: &str) -> Vec<String> {
    let lines: Vec<_> = text.lines().collect();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let code = line.trim_start();
        let indent = line.len() - code.len();
        let is_function = (code.starts_with("fn ") || code.contains(" fn ")) && !code.starts_with("//");
        if !is_function || code.ends_with(';') || code.ends_with('}') {
            continue;
        }
        let ends = |line: &&str| line.len() == indent + 1 && line.trim_start() == "}";
        let length = lines[start..].iter().position(ends).unwrap_or(0) + 1;
        if length > FUNCTION_LINES_MAX {
            found.push(format!("line {} begins a function of {length} lines", start + 1));
        }
    }
    found
}

#[test]
fn every_file_says_what_it_is_for() {
    none(&[sources("src"), sources("tests")].concat_map(|source| {
        // Tests in a file of their own belong to the module that names them.
        let is_tests = source.path.ends_with("/tests.rs");
        (!is_tests && !source.text.starts_with("//! "))
            .then(|| format!("{} does not begin with //!", source.path))
    }));
}

#[test]
fn nothing_is_left_for_later() {
    // Put together here so that this file does not find itself.
    let words = [
        ["TO", "DO"],
        ["FIX", "ME"],
        ["XX", "X"],
        ["HA", "CK"],
        ["db", "g!("],
        ["to", "do!("],
        ["unimple", "mented!("],
        ["#[ig", "nore"],
        ["../sha", "red"],
    ]
    .map(|halves| halves.concat());
    none(&[sources("src"), sources("tests")].concat_map(|source| {
        let found: Vec<_> =
            words.iter().filter(|word| source.text.contains(word.as_str())).map(String::as_str).collect();
        (!found.is_empty()).then(|| format!("{} has {}", source.path, found.join(", ")))
    }));
}

#[test]
fn the_top_level_holds_what_belongs_there() {
    let mut visible: Vec<_> = std::fs::read_dir(top())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.starts_with('.') && name != "target")
        .collect();
    visible.sort();
    assert_eq!(visible, TOP_LEVEL);
}

/// One pass over several lists of sources.
trait ConcatMap {
    fn concat_map(&self, look: impl Fn(&Source) -> Option<String>) -> Vec<String>;
}

impl ConcatMap for [Vec<Source>] {
    fn concat_map(&self, look: impl Fn(&Source) -> Option<String>) -> Vec<String> {
        self.iter().flatten().filter_map(look).collect()
    }
}
