//! `postrider bench` against a daemon that it starts itself. What the figures are does not matter here.

use std::path::Path;
use std::process::Stdio;

use serde_json::Value;

use crate::support::{Site, wait_until};

fn bench_dirs(site: &Site) -> Vec<String> {
    let names = std::fs::read_dir(site.dir()).unwrap().map(|entry| entry.unwrap().file_name());
    names.map(|name| name.into_string().unwrap()).filter(|name| name.contains("bench")).collect()
}

#[test]
fn it_measures_the_rows_asked_for_and_leaves_nothing_behind() {
    let site = Site::new();
    let mut command = site.command("bench");
    command.args(["--json", "--only", "latency", "--only", "binary-size", "--dir"]).arg(site.dir());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let rows = report["rows"].as_array().unwrap();
    let names: Vec<_> = rows.iter().map(|row| row["row"].as_str().unwrap()).collect();
    assert_eq!(names, ["latency-p50", "latency-p99", "binary-size"]);
    for row in rows {
        assert!(row["measured"].as_f64().unwrap() > 0.0, "{row}");
        assert!(["ok", "below"].contains(&row["verdict"].as_str().unwrap()), "{row}");
    }
    assert!(report["warnings"][0].as_str().unwrap().contains("debug build"));
    assert_eq!(bench_dirs(&site), Vec::<String>::new());
}

#[test]
fn an_unknown_row_is_a_usage_error() {
    let output = Site::new().command("bench").args(["--only", "speed"]).output().unwrap();
    assert_eq!(output.status.code(), Some(64));
    assert!(String::from_utf8_lossy(&output.stderr).contains("bench --list"));
}

#[test]
fn interrupted_it_takes_its_daemon_and_its_directories_along() {
    let site = Site::new();
    let mut command = site.command("bench");
    command.args(["--only", "latency-p50", "--dir"]).arg(site.dir()).stderr(Stdio::null());
    let mut bench = command.spawn().unwrap();
    let store = || Some(site.dir().join(bench_dirs(&site).pop()?).join("latency/data/store"));
    wait_until("its daemon has a store", || store().is_some_and(|store| store.exists()));
    let daemon = child_of(bench.id()).unwrap();

    let pid = rustix::process::Pid::from_raw(i32::try_from(bench.id()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(bench.wait().unwrap().code(), Some(130));
    wait_until("its daemon is gone", || !Path::new(&format!("/proc/{daemon}/exe")).exists());
    assert_eq!(bench_dirs(&site), Vec::<String>::new());
}

fn child_of(parent: u32) -> Option<u32> {
    std::fs::read_dir("/proc").unwrap().find_map(|entry| {
        let pid: u32 = entry.unwrap().file_name().to_str()?.parse().ok()?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        status.contains(&format!("PPid:\t{parent}\n")).then_some(pid)
    })
}
