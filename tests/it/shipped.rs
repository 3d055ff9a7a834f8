//! What comes along for shells and readers: completions that complete, and manual pages that the tools for them accept.

use std::path::Path;
use std::process::Command;

use crate::support::Site;
use crate::support::daemon::BINARY;
use crate::support::official::run;

/// The script for a shell, in a file.
fn completions(site: &Site, shell: &str, name: &str) -> String {
    let output = site.command("completions").arg(shell).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let path = site.dir().join(name);
    std::fs::write(&path, output.stdout).unwrap();
    path.to_string_lossy().into_owned()
}

#[test]
fn shipped_completions_for_bash_complete() {
    let site = Site::new();
    let script = completions(&site, "bash", "postrider.bash");
    let ask = |words: &str| {
        let ask = format!(
            "set -eu; source {script}; COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
             _postrider postrider \"${{COMP_WORDS[-1]}}\" \"${{COMP_WORDS[-2]}}\"; echo \"${{COMPREPLY[@]}}\""
        );
        run("bash", &["--norc", "-c", &ask], &[], "")
    };
    assert_eq!(ask("postrider que"), "queue\n");
    assert_eq!(ask("postrider queue ret"), "retry-now\n");
    assert_eq!(ask("postrider enqueue --nd"), "--ndjson\n");
    assert_eq!(ask("postrider completions f"), "fish\n");
}

#[test]
fn shipped_completions_for_fish_complete() {
    let site = Site::new();
    let script = completions(&site, "fish", "postrider.fish");
    let ask = |line: &str| {
        let ask = format!("source {script}; complete --do-complete '{line}'");
        run("fish", &["--no-config", "-c", &ask], &[("HOME", &site.dir().to_string_lossy())], "")
    };
    assert!(ask("postrider que").starts_with("queue\t"), "{}", ask("postrider que"));
    assert!(ask("postrider queue ret").starts_with("retry-now\t"));
    assert!(ask("postrider enqueue --nd").starts_with("--ndjson\t"));
}

#[test]
fn shipped_completions_for_zsh_are_loaded() {
    let site = Site::new();
    completions(&site, "zsh", "_postrider");
    let ask = format!(
        "fpath=({} $fpath); autoload -Uz compinit; compinit -D -u; autoload -Uz +X _postrider; \
         print -r -- $_comps[postrider]; functions _postrider",
        site.dir().display()
    );
    let said = run("zsh", &["-f", "-c", &ask], &[], "");
    let (first, rest) = said.split_once('\n').unwrap();
    assert_eq!(first, "_postrider");
    assert!(rest.contains("retry-now") && rest.contains("--ndjson"), "{rest}");
}

#[test]
fn shipped_manual_pages_are_well_formed_and_lead_to_each_other() {
    let site = Site::new();
    let dir = site.dir().join("man");
    let written = site.command("man").arg(&dir).output().unwrap();
    assert!(written.status.success() && written.stdout.is_empty(), "{written:?}");
    let pages: Vec<String> = ["man1", "man5"].map(|section| files(&dir, section)).concat();
    assert!(String::from_utf8_lossy(&written.stderr).starts_with(&format!("{} pages written", pages.len())));
    for page in &pages {
        let text = shown(&dir.join(page));
        for (name, section) in references(&text) {
            assert!(
                pages.contains(&format!("man{section}/{name}.{section}")),
                "{page} refers to {name}({section}), which is not there"
            );
        }
    }
    let all = shown(&dir.join("man1/postrider.1"));
    assert!(all.contains("postrider-queue(1)") && all.contains("EXIT STATUS"), "{all}");
    let settings = shown(&dir.join("man5/postrider.toml.5"));
    assert!(settings.contains("allow_http = []") && settings.contains("https only"), "{settings}");
    // Without a directory, the first page.
    let first = Command::new(BINARY).arg("man").output().unwrap().stdout;
    assert_eq!(first, std::fs::read(dir.join("man1/postrider.1")).unwrap());
}

/// The files of a section, by their paths from `dir`.
fn files(dir: &Path, section: &str) -> Vec<String> {
    let entries = std::fs::read_dir(dir.join(section)).unwrap();
    entries.map(|entry| format!("{section}/{}", entry.unwrap().file_name().to_str().unwrap())).collect()
}

/// A page as man(1) shows it, which must find nothing to warn of.
#[track_caller]
fn shown(page: &Path) -> String {
    let output = Command::new("man")
        .args(["--warnings", "--encoding=UTF-8", "--no-hyphenation", "--local-file"])
        .arg(page)
        .env("MANWIDTH", "100")
        .env("LC_ALL", "C.UTF-8")
        .output()
        .expect("man is installed: Debian has it in the package man-db");
    let warned = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && warned.is_empty(), "{}: {warned}", page.display());
    String::from_utf8(output.stdout).unwrap()
}

/// Names of our pages that a page mentions, with their sections.
fn references(text: &str) -> Vec<(String, char)> {
    text.split(|c: char| c.is_whitespace() || c == ',')
        .filter_map(|word| word.strip_suffix(')')?.rsplit_once('('))
        .filter(|(name, section)| name.starts_with("postrider") && section.len() == 1)
        .filter_map(|(name, section)| Some((name.to_owned(), section.chars().next()?)))
        .collect()
}

#[test]
fn shipped_pages_that_cannot_be_written_are_said() {
    let site = Site::new();
    let file = site.dir().join("file");
    std::fs::write(&file, "").unwrap();
    let output = site.command("man").arg(&file).output().unwrap();
    assert_eq!(output.status.code(), Some(73));
    assert!(String::from_utf8_lossy(&output.stderr).contains(&*file.to_string_lossy()), "{output:?}");
}
