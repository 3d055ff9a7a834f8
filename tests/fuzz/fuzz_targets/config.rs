//! A configuration of any text: reading it never panics, every fault says where it is, and what is accepted can be used.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use postrider::config::{Config, Inputs, Origin};
use postrider::delivery::EgressPolicy;

fuzz_target!(|data: &[u8]| {
    // The file, then `--set` flags, then variables, between zero bytes.
    let text = String::from_utf8_lossy(data);
    let mut parts = text.split('\0');
    let file = parts.next().unwrap_or_default();
    let mut inputs = Inputs::default();
    for part in parts.take(8) {
        match part.strip_prefix('$').and_then(|variable| variable.split_once('=')) {
            Some((name, value)) => drop(inputs.env.insert(format!("POSTRIDER_{name}"), value.to_owned())),
            None => inputs.flags.push(part.to_owned()),
        }
    }
    match inputs.check(Some((Path::new("fuzzed.toml"), file))) {
        Ok(config) => usable(&config),
        Err(invalid) => {
            assert!(!invalid.0.is_empty());
            for problem in invalid.0 {
                let placed = match &problem.origin {
                    Origin::File { path, line } => {
                        path == "fuzzed.toml" && *line > 0 && *line <= file.lines().count().max(1) + 1
                    }
                    Origin::Env(name) => inputs.env.contains_key(name) && !problem.key.is_empty(),
                    Origin::Flag => !inputs.flags.is_empty(),
                    Origin::Default => false,
                };
                assert!(placed && !problem.message.is_empty(), "{problem:?}");
                let shown = problem.to_string();
                assert!(!shown.contains(|c: char| c.is_control()), "{shown:?}");
            }
        }
    }
});

/// What was accepted keeps its promises to those who use it.
fn usable(config: &Config) {
    EgressPolicy::parse(&config.egress.allow, &config.egress.allow_http).expect("checked");
    assert!(
        config.queue.max_deliveries > 0
            && config.scheduler.max_in_flight > 0
            && config.api.max_connections > 0
    );
    assert!(config.limits.max_body_bytes <= 1 << 20 && config.limits.max_line_bytes <= 1 << 20);
    for (key, setting) in &config.settings {
        assert!(key.contains('.') && !setting.value.to_string().is_empty());
    }
}
