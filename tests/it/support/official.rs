//! Official libraries for Python and JavaScript, of pinned versions, installed below the target directory when they are not
//! there yet; and programs that use them.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A package of a registry, and its version.
pub type Package = (&'static str, &'static str);

/// What a script in Python says to this input. `place` names where the packages are installed.
pub fn python(place: &str, packages: &[Package], script: &str, input: &str) -> String {
    let dir = dir(&format!("{place}-python"));
    let python = dir.join("bin/python").to_string_lossy().into_owned();
    let there = |(name, version): &Package| {
        let check = format!("import importlib.metadata as m; assert m.version('{name}') == '{version}'");
        works(Command::new(&python).args(["-c", &check]))
    };
    if !packages.iter().all(there) {
        let _not_there = std::fs::remove_dir_all(&dir);
        run("python3", &["-m", "venv", &dir.to_string_lossy()], &[], "");
        let mut install = vec!["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
        let packages: Vec<_> = packages.iter().map(|(name, version)| format!("{name}=={version}")).collect();
        install.extend(packages.iter().map(String::as_str));
        run(&python, &install, &[], "");
    }
    run(&python, &[&path(script)], &[], input)
}

/// What a script in JavaScript says to this input; `NODE_PATH` is where its packages are.
pub fn node(place: &str, packages: &[Package], script: &str, input: &str) -> String {
    let dir = dir(&format!("{place}-node"));
    let modules = dir.join("node_modules");
    let there = |(name, version): &Package| {
        let package = std::fs::read_to_string(modules.join(name).join("package.json"));
        package.is_ok_and(|text| text.contains(&format!("\"version\": \"{version}\"")))
    };
    if !packages.iter().all(there) {
        let dir = dir.to_string_lossy();
        let mut install = vec!["install", "--prefix", &dir];
        let packages: Vec<_> = packages.iter().map(|(name, version)| format!("{name}@{version}")).collect();
        install.extend(packages.iter().map(String::as_str));
        install.extend(["--no-audit", "--no-fund", "--no-save", "--loglevel=error"]);
        run("npm", &install, &[], "");
    }
    run("node", &[&path(script)], &[("NODE_PATH", &modules.to_string_lossy())], input)
}

fn dir(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

/// Where a script is, by its place among the tests.
fn path(script: &str) -> String {
    format!("{}/tests/it/{script}", env!("CARGO_MANIFEST_DIR"))
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
