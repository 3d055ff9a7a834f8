//! Defaults, layers, faults and their places, all over text.

use super::*;

fn inputs(env: &[(&str, &str)], flags: &[&str]) -> Inputs {
    Inputs {
        file: None,
        env: env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        flags: flags.iter().map(|flag| (*flag).to_owned()).collect(),
    }
}

fn of_file(text: &str) -> Result<Config, Invalid> {
    inputs(&[], &[]).check(Some((Path::new("/p.toml"), text)))
}

fn faults(text: &str) -> Vec<String> {
    of_file(text).unwrap_err().0.iter().map(ToString::to_string).collect()
}

#[test]
fn the_documented_defaults_are_the_defaults() {
    let config = inputs(&[], &[]).check(None).unwrap();
    assert_eq!(config.queue.max_deliveries, 1_000_000);
    assert_eq!(config.queue.max_bytes, 1 << 30);
    assert_eq!(config.limits.max_body_bytes, 1 << 20);
    assert_eq!(config.limits.max_line_bytes, 1 << 20);
    assert_eq!(config.limits.max_attributes, 32);
    assert_eq!(config.scheduler.max_in_flight, 4096);
    assert_eq!(config.scheduler.max_payload_bytes, 256 << 20);
    assert_eq!(config.store.reserve_bytes, None);
    assert!(config.intake.entitled_plans.is_empty());
    assert!(config.egress.allow.is_empty() && config.egress.allow_http.is_empty());
    assert_eq!((config.egress.ca_file, config.egress.client_certificate), (None, None));
    assert_eq!((config.egress.proxy, config.egress.bind_address), (None, None));
    assert!(!config.egress.http2 && !config.egress.proxy_resolves);
    assert_eq!(config.egress.dns, Dns::Builtin);
    assert_eq!(config.log.level, tracing::Level::INFO);
    assert_eq!(config.log.format, LogFormat::Auto);
    assert_eq!(config.shutdown.grace, Duration::from_secs(10));
    assert!(config.settings.values().all(|setting| setting.origin == Origin::Default));
    assert!(config.warnings.is_empty());
}

#[test]
fn the_shipped_file_is_a_valid_configuration_file() {
    let config = of_file(DEFAULTS).unwrap();
    assert!(config.settings.values().all(|setting| matches!(setting.origin, Origin::File { .. })));
}

#[test]
fn file_then_environment_then_flags() {
    let file = "[log]\nlevel = \"warn\"\nformat = \"json\"\n[shutdown]\ngrace = \"1s\"\n";
    let inputs = inputs(
        &[("POSTRIDER_LOG_FORMAT", "text"), ("POSTRIDER_SHUTDOWN_GRACE", "2s"), ("PATH", "/bin")],
        &["shutdown.grace=3s"],
    );
    let config = inputs.check(Some((Path::new("/p.toml"), file))).unwrap();
    assert_eq!(config.log.level, tracing::Level::WARN);
    assert_eq!(config.log.format, LogFormat::Text);
    assert_eq!(config.shutdown.grace, Duration::from_secs(3));
    let origin = |key: &str| config.settings[key].origin.to_string();
    assert_eq!(origin("log.level"), "/p.toml:2");
    assert_eq!(origin("log.format"), "environment POSTRIDER_LOG_FORMAT");
    assert_eq!(origin("shutdown.grace"), "flag --set");
    assert_eq!(origin("queue.max_bytes"), "default");
}

#[test]
fn lists_and_numbers_come_from_the_environment_as_text() {
    let config = inputs(
        &[
            ("POSTRIDER_EGRESS_ALLOW_HTTP", "127.0.0.1/32, ::1/128"),
            ("POSTRIDER_QUEUE_MAX_DELIVERIES", "5"),
            ("POSTRIDER_QUEUE_MAX_BYTES", "2048"),
            ("POSTRIDER_STORE_RESERVE_BYTES", "64MiB"),
            ("POSTRIDER_INTAKE_ENTITLED_PLANS", ""),
        ],
        &["egress.allow=10.0.0.0/8"],
    )
    .check(None)
    .unwrap();
    assert_eq!(config.egress.allow_http, ["127.0.0.1/32", "::1/128"]);
    assert_eq!(config.egress.allow, ["10.0.0.0/8"]);
    assert_eq!(config.queue.max_deliveries, 5);
    assert_eq!(config.queue.max_bytes, 2048);
    assert_eq!(config.store.reserve_bytes, Some(64 << 20));
    assert!(config.intake.entitled_plans.is_empty());
}

#[test]
fn every_fault_is_reported_with_its_place() {
    let text =
        "[egress]\nalow = []\n\n[log]\nlevel = \"loud\"\n[queue]\nmax_deliveries = 0\nmax_bytes = \"1MB\"\n";
    let mut found = faults(text);
    found.sort();
    assert_eq!(
        found,
        [
            "/p.toml:2: egress.alow: unknown key; did you mean allow?",
            "/p.toml:5: log.level: must be one of error, warn, info, debug, trace, not \"loud\"",
            "/p.toml:7: queue.max_deliveries: must be from 1 to 1000000000, not 0",
            "/p.toml:8: queue.max_bytes: \"1MB\" is not a number of bytes; write for example 65536, \"64KiB\", \
             \"512MiB\" or \"1GiB\"",
        ]
    );
}

#[track_caller]
fn check_fault(text: &str, expected: &str) {
    let found = faults(text);
    assert!(found.iter().any(|fault| fault.contains(expected)), "{expected} not in {found:?}");
}

#[test]
fn each_fault_says_what_would_be_right() {
    check_fault("[egres]\nallow = []\n", "egres.allow: unknown key; did you mean egress.allow?");
    check_fault("[egres]\nx = []\n", "egres.x: unknown section; did you mean egress?");
    check_fault("[egres]\n", "egres: unknown section; did you mean egress?");
    check_fault("level = \"info\"\n", "level: unknown key; did you mean log.level?");
    check_fault("[log]\nzzzzzz = 1\n", "unknown key; [log] has format, level");
    check_fault(
        "[zzzzzzzz]\nyyyyy = 1\n",
        "unknown section; there are api, catalogue, changes, dead_letters, egress,",
    );
    check_fault("[log]\nlevel = 3\n", "must be one of error, warn");
    check_fault("[shutdown]\ngrace = 10\n", "must be a duration as text, for example \"10s\", not 10");
    check_fault("[shutdown]\ngrace = \"10x\"\n", "\"10x\" is not a duration");
    check_fault("[shutdown]\ngrace = \"2h\"\n", "must be from 0ms to 1h, not 2h");
    check_fault("[egress]\nallow = \"10.0.0.0/8\"\n", "must be a list of texts");
    check_fault("[egress]\nallow = [1]\n", "must be a list of texts");
    check_fault(
        "[egress]\nallow = [\"everything\"]\n",
        "/p.toml:2: egress.allow: \"everything\" is not an address range",
    );
    check_fault("[egress]\nallow_http = [\"127.0.0.0/8\"]\n", "egress.allow_http: ");
    check_fault("[egress]\nca_file = []\n", "must be a path as text");
    check_fault("[queue]\nmax_deliveries = \"many\"\n", "must be a whole number, not \"many\"");
    check_fault("[queue]\nmax_deliveries = -1\n", "must be from 1 to 1000000000, not -1");
    check_fault("[queue]\nmax_bytes = true\n", "must be a number of bytes, for example \"64MiB\"");
    check_fault("[store]\nreserve_bytes = \"much\"\n", "or \"auto\"");
    check_fault("[limits]\nmax_body_bytes = \"2MiB\"\n", "must be from 1KiB to 1MiB, not 2MiB");
}

#[test]
fn each_fault_of_a_way_out_says_what_would_be_right() {
    check_fault("[egress]\nproxy = \"canary:3128\"\n", "egress.proxy: must be a URL like http://");
    check_fault("[egress]\nproxy = [\"http://u:canary@a\"]\n", "egress.proxy: must be text");
    check_fault("[egress]\nproxy = \"http://u:canary@a:0\"\n", "egress.proxy: must not have port 0");
    check_fault("[egress]\nproxy_resolves = \"yes\"\n", "must be true or false, not \"yes\"");
    check_fault("[egress]\nhttp2 = 2\n", "egress.http2: must be true or false, not 2");
    check_fault("[egress]\nbind_address = \"eth0\"\n", "egress.bind_address: must be an IP address");
    check_fault("[egress]\nbind_address = \"::\"\n", "egress.bind_address: must be an IP address");
    check_fault("[egress]\ndns = \"unbound\"\n", "egress.dns: must be one of builtin, system");
    let alone = "[egress]\nclient_certificate_file = \"/a.crt\"\n";
    check_fault(
        alone,
        "/p.toml:2: egress.client_certificate_file: must go together with egress.client_key_file",
    );
    let alone = "[egress]\nclient_key_file = \"/a.key\"\n";
    check_fault(
        alone,
        "/p.toml:2: egress.client_key_file: must go together with egress.client_certificate_file",
    );
    check_fault("[log]\nlevel = true\n", "must be one of error, warn, info, debug, trace, not true");
}

#[test]
fn the_password_of_a_proxy_is_in_force_and_never_shown() {
    let file = "[egress]\nproxy = \"http://someone:canary@proxy.example:3128\"\n";
    let by_env = inputs(&[("POSTRIDER_EGRESS_PROXY", "socks5://someone:canary@proxy.example")], &[]);
    let by_flag = inputs(&[], &["egress.proxy=https://someone:canary@proxy.example", "egress.http2=true"]);
    for (config, shown) in [
        (of_file(file), "\"http://***@proxy.example:3128\""),
        (by_env.check(None), "\"socks5://***@proxy.example:1080\""),
        (by_flag.check(None), "\"https://***@proxy.example:443\""),
    ] {
        let config = config.unwrap();
        assert_eq!(config.settings["egress.proxy"].value.to_string(), shown);
        let credentials = config.egress.proxy.as_ref().unwrap().credentials.as_ref().unwrap();
        assert_eq!((&*credentials.username, credentials.password.expose()), ("someone", "canary"));
        assert!(!format!("{config:?}").contains("canary"));
    }
    let bad = "[egress]\nproxy = \"http://someone:canary@proxy.example:3128/path\"\n";
    assert!(!faults(bad).concat().contains("canary"));
    let plain = of_file("[egress]\nproxy = \"http://proxy.example\"\n").unwrap();
    assert_eq!(plain.settings["egress.proxy"].value, Typed::Text("http://proxy.example".to_owned()));
}

#[test]
fn broken_toml_says_where() {
    check_fault("[log]\nlevel = \"info\n", "/p.toml:2: not valid TOML");
    check_fault("[log\n", "/p.toml:1: not valid TOML");
    let deep = format!("[log]\nlevel = {}\nformat = \"text\"\n", "[".repeat(500));
    check_fault(&deep, "/p.toml:2: not valid TOML: ");
    let dotted = format!("[log]\n\na{}.b = 1\nformat = \"text\"\n", ".a".repeat(500));
    check_fault(&dotted, "/p.toml:3: not valid TOML: recursion limit");
    check_fault("[log]\nlevel = \"info\"\nlevel = \"warn\"\n", "/p.toml:3: not valid TOML: duplicate key");
}

#[test]
fn flags_are_checked_like_keys() {
    let faults = |flag: &str| inputs(&[], &[flag]).check(None).unwrap_err().to_string();
    assert_eq!(faults("log.levle=info"), "flag --set: log.levle: unknown key; did you mean level?");
    assert!(faults("log.level").contains("write section.key=value"));
    assert!(faults("queue.max_deliveries=x").contains("must be a whole number, not \"x\""));
}

#[test]
fn a_stranger_in_the_environment_is_a_warning() {
    let config =
        inputs(&[("POSTRIDER_EGRESS_ALOW", "x"), ("POSTRIDER_CONFIG", "y"), ("POSTRIDER_DATA", "z")], &[])
            .check(None)
            .unwrap();
    let warnings: Vec<_> = config.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        ["environment POSTRIDER_EGRESS_ALOW: no such setting, ignored; did you mean POSTRIDER_EGRESS_ALLOW?"]
    );
}

#[test]
fn a_bad_value_in_the_environment_is_a_fault() {
    let faults = inputs(&[("POSTRIDER_LOG_LEVEL", "loud")], &[]).check(None).unwrap_err().to_string();
    assert!(faults.starts_with("environment POSTRIDER_LOG_LEVEL: log.level: must be one of"), "{faults}");
}

#[test]
fn a_named_file_must_be_there() {
    let mut named = inputs(&[], &[]);
    named.file = Some("/nowhere/postrider.toml".into());
    assert!(named.load().unwrap_err().to_string().starts_with("/nowhere/postrider.toml: cannot be read"));
    let by_env = inputs(&[("POSTRIDER_CONFIG", "/nowhere/else.toml")], &[]);
    assert!(by_env.load().unwrap_err().to_string().starts_with("/nowhere/else.toml: cannot be read"));
}

#[test]
fn the_command_line_names_the_file_before_the_environment() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.toml");
    std::fs::write(&path, "[log]\nlevel = \"debug\"\n").unwrap();
    let mut inputs = inputs(&[("POSTRIDER_CONFIG", "/nowhere/else.toml")], &[]);
    inputs.file = Some(path);
    assert_eq!(inputs.load().unwrap().log.level, tracing::Level::DEBUG);
}
