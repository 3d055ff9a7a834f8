//! The official libraries of Standard Webhooks for Python and JavaScript, installed below the target directory when they
//! are not there yet.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const PYTHON: &str = "1.1.0";
const NODE: &str = "1.1.1";

/// How many checks the Python library passed.
pub fn python(input: &str) -> usize {
    let dir = dir(&format!("standardwebhooks-python-{PYTHON}"));
    let python = dir.join("bin/python").to_string_lossy().into_owned();
    let there = [
        "-c",
        &format!("import importlib.metadata as m; assert m.version('standardwebhooks') == '{PYTHON}'"),
    ];
    if !works(Command::new(&python).args(there)) {
        let _not_there = std::fs::remove_dir_all(&dir);
        run("python3", &["-m", "venv", &dir.to_string_lossy()], &[], "");
        let package = format!("standardwebhooks=={PYTHON}");
        run(&python, &["-m", "pip", "install", "--quiet", "--disable-pip-version-check", &package], &[], "");
    }
    checks(&run(&python, &[&script("verify.py")], &[], input))
}

/// How many checks the JavaScript library passed.
pub fn node(input: &str) -> usize {
    let dir = dir(&format!("standardwebhooks-node-{NODE}"));
    let modules = dir.join("node_modules").to_string_lossy().into_owned();
    let package = std::fs::read_to_string(dir.join("node_modules/standardwebhooks/package.json"));
    if !package.is_ok_and(|text| text.contains(&format!("\"version\": \"{NODE}\""))) {
        let package = format!("standardwebhooks@{NODE}");
        let quiet = ["--no-audit", "--no-fund", "--no-save", "--loglevel=error"];
        run(
            "npm",
            &[&["install", "--prefix", &dir.to_string_lossy(), &package], &quiet[..]].concat(),
            &[],
            "",
        );
    }
    checks(&run("node", &[&script("verify.cjs")], &[("NODE_PATH", &modules)], input))
}

fn dir(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

fn script(name: &str) -> String {
    format!("{}/tests/it/proof_of_origin/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn checks(output: &str) -> usize {
    output.trim().parse().unwrap()
}

fn works(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// Runs a program that must succeed, and answers its output.
pub fn run(program: &str, args: &[&str], env: &[(&str, &str)], input: &str) -> String {
    let mut command = Command::new(program);
    command.args(args).envs(env.iter().copied());
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{program}: {error}; README.md says what the tests need"));
    // A program that fails at once does not read it all.
    let _reported_below = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{program} {}: {}", args.join(" "), output.status);
    String::from_utf8(output.stdout).unwrap()
}
