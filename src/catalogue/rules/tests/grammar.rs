//! What people type, and the parts that are found in it.

use std::time::{Duration, Instant};

use super::super::grammar::Grammar;

const COMMANDS: [&str; 8] = [
    "/track [task_name] in [project_name]",
    "/stop [task_name]",
    "/project add [name] for [customer]",
    "/project",
    "/task add [name] in [project]",
    "/time add [task] in [project] from [start] to [end]",
    "help me",
    "/ÉTAT [x] À [y]",
];

/// The command's name and its parts, as `name=part` with `; ` between them. A command that is none is "none".
fn read(text: &str) -> String {
    let grammar = Grammar::new(COMMANDS).unwrap();
    let Some(meant) = grammar.read(text) else { return "none".to_owned() };
    assert!(COMMANDS.contains(&meant.usage) && meant.usage.starts_with(meant.name), "{}", meant.usage);
    let parts = meant.parts.iter().map(|(name, part)| format!("{name}={part}"));
    format!("{}: {}", meant.name, parts.collect::<Vec<_>>().join("; "))
}

#[test]
fn a_task_and_its_project_are_told_apart() {
    for (text, task, project) in [
        ("Landing page in Website", Some("Landing page"), Some("Website")),
        ("[Landing page] in [Website]", Some("Landing page"), Some("Website")),
        ("Sign in in Mobile app", Some("Sign in"), Some("Mobile app")),
        ("Check in", Some("Check in"), None),
        ("Write report", Some("Write report"), None),
        ("\"Fix bug in login\"", Some("Fix bug in login"), None),
        ("\"Fix bug in login\" in Website", Some("Fix bug in login"), Some("Website")),
        ("  Landing   page  IN  Website ", Some("Landing page"), Some("Website")),
        ("Déjà vu in Café ☕", Some("Déjà vu"), Some("Café ☕")),
        ("", None, None),
        ("in Website", Some("in Website"), None),
        // Brackets keep together as quotes do, and only what wraps a whole part is left out.
        ("[Fix bug in login]", Some("Fix bug in login"), None),
        ("[Fix [old] bug in login] in [Web in site]", Some("Fix [old] bug in login"), Some("Web in site")),
        ("[bug] Sign in", Some("[bug] Sign in"), None),
        ("[bug] Footer in Website", Some("[bug] Footer"), Some("Website")),
        ("Say \"in or out\" in Website", Some("Say \"in or out\""), Some("Website")),
        ("Say \"x in y\", please", Some("Say \"x in y\", please"), None),
        ("\"a\" \"b\" in c", Some("\"a\" \"b\""), Some("c")),
        ("[ Landing page ] in \" Website \"", Some("Landing page"), Some("Website")),
        // What has no end keeps nothing together.
        ("Fix \"this in Website", Some("Fix \"this"), Some("Website")),
        ("Fix [this in Website", Some("Fix [this"), Some("Website")),
        ("Fix this] in Website", Some("Fix this]"), Some("Website")),
        ("A 5\" pipe in \"My home\"", Some("A 5\" pipe"), Some("My home")),
        ("x[0] in y[1]", Some("x[0]"), Some("y[1]")),
        ("\"", Some("\""), None),
        ("[", Some("["), None),
        ("\"\"", None, None),
        ("[] in Website", None, Some("Website")),
        ("Inside inn in", Some("Inside inn in"), None),
        ("a in b in", Some("a"), Some("b in")),
        ("in in in", Some("in"), Some("in")),
        ("a\u{a0}b\tin\nc", Some("a b"), Some("c")),
        ("a In\u{2003}b", Some("a"), Some("b")),
    ] {
        let parts =
            [task.map(|task| format!("task_name={task}")), project.map(|p| format!("project_name={p}"))];
        let parts: Vec<_> = parts.into_iter().flatten().collect();
        assert_eq!(read(&format!("/track {text}")), format!("/track: {}", parts.join("; ")), "{text}");
    }
}

#[test]
fn a_command_may_have_any_number_of_parts_and_of_words_before_them() {
    for (text, meant) in [
        (
            "/time add Migrate from A to B in Website from 2024-05-02 10:00:00 to 2024-05-02 11:30:00",
            "/time add: task=Migrate from A to B; project=Website; start=2024-05-02 10:00:00; end=2024-05-02 11:30:00",
        ),
        ("/time add Rest from 9 to 10", "/time add: task=Rest; start=9; end=10"),
        ("/time add Rest to 10", "/time add: task=Rest; end=10"),
        ("/time add Rest from 9", "/time add: task=Rest; start=9"),
        ("/time add Rest in \"A to B\"", "/time add: task=Rest; project=A to B"),
        // Words that stand in another order than the command's are text.
        ("/time add Rest to 10 from 9", "/time add: task=Rest; end=10 from 9"),
        ("/time add from 9 to 10", "/time add: task=from 9; end=10"),
        ("/project add Website for Acme", "/project add: name=Website; customer=Acme"),
        ("/PROJECT  Add Website", "/project add: name=Website"),
        ("/project close Website", "/project: "),
        ("/project", "/project: "),
        ("/project address", "/project: "),
        ("/stop", "/stop: "),
        ("/stop Work in progress", "/stop: task_name=Work in progress"),
        ("help me now", "help me: "),
        ("help", "none"),
        ("/état a à b", "/ÉTAT: x=a; y=b"),
        ("/tracking x", "none"),
        ("track x", "none"),
        ("/task", "none"),
        ("", "none"),
        (" \n ", "none"),
    ] {
        assert_eq!(read(text), meant, "{text}");
    }
}

#[test]
fn a_command_is_checked_when_it_is_read() {
    let refused = |commands: &[&str]| Grammar::new(commands.iter().copied()).expect_err("taken");
    for (command, says) in [
        ("", "must begin with its name"),
        ("[task]", "must begin with its name"),
        ("/a [x] [y]", "must be one word"),
        ("/a [x] in the [y]", "must be one word"),
        ("/a [x] in", "after the last part"),
        ("/a [x] in [x]", "[x] is there twice"),
        ("/a []", "a part must be a name"),
        ("/a [1x]", "a part must be a name"),
        ("/a [x y]", "a part must be a name"),
        ("/a [x", "a part must be a name"),
        ("/a [x]in [y]", "a part must be a name"),
        ("/a x]", "brackets must be around parts"),
        ("/a [x] \"in\" [y]", "brackets must be around parts"),
        ("/a [a] b [b] b [c] b [d] b [e] b [f] b [g] b [h] b [i]", "at most 8 parts"),
        (&format!("/{}", "a".repeat(200)), "at most 200 bytes"),
    ] {
        let (index, problem) = refused(&["/fine [x]", command]);
        assert!(index == 1 && problem.contains(says), "{command}: {index} {problem}");
    }
    assert!(refused(&["/a b [x]", "/c", "/A  B"]).1.contains("/A B is already a command"));
    let many: Vec<String> = (0..65).map(|n| format!("/c{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert!(Grammar::new(many.iter().copied().take(64)).is_ok());
    assert_eq!(refused(&many).0, 64);
}

/// Eight times the text takes about eight times as long, not sixty-four times: within seconds even here.
#[test]
fn the_longest_text_takes_its_time_and_no_more() {
    let started = Instant::now();
    for piece in
        ["in ", "\"in ", "[ in ", "[ ", "\" ", "] ", "[x] in ", "\"x\" in ", "from to in ", "x", "é "]
    {
        for command in ["/track", "/time add"] {
            let long = format!("{command} {}", piece.repeat((1 << 20) / piece.len()));
            assert!(read(&long).starts_with(command), "{piece}");
        }
    }
    let took = started.elapsed();
    assert!(took < Duration::from_secs(60), "{took:?}");
}
