//! The flags of every command: what parses, what does not, and that each says what it is.

use clap::CommandFactory;

use super::*;

fn parse(line: &str) -> std::result::Result<Cli, clap::Error> {
    Cli::try_parse_from(line.split_whitespace())
}

#[test]
fn the_command_line_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn every_argument_says_what_it_is() {
    fn walk(command: &clap::Command) {
        assert!(command.get_about().is_some(), "{} has no description", command.get_name());
        for argument in command.get_arguments() {
            assert!(
                argument.get_help().is_some(),
                "{} {} has no help",
                command.get_name(),
                argument.get_id()
            );
        }
        command.get_subcommands().for_each(walk);
    }
    walk(&Cli::command());
}

#[test]
fn good_lines_parse() {
    for line in [
        "postrider check-config --json",
        "postrider --config a.toml check-config --set log.level=debug",
        "postrider enqueue --org acme --type a.b",
        "postrider enqueue --org acme --type a.b --id x --attribute u=7 --attribute v=8 payload.json",
        "postrider enqueue --org acme --type a.b -",
        "postrider enqueue --ndjson -",
        "postrider change --org acme",
        "postrider change --org acme -",
        "postrider change --org acme --entity a.b --old o.json --new - --actor {} --id x",
        "postrider org put acme --plan pro --max-bytes 64MiB",
        "postrider org list --limit 5 --after x",
        "postrider org delete acme --discard",
        "postrider webhook put acme hook --url https://example.com --event a --event b.* --attempts 3 --first-delay 1s",
        "postrider webhook put acme hook --file -",
        "postrider webhook put acme hook --url https://example.com --password-stdin",
        "postrider webhook put acme hook --client hr --path /events/{eventId} --method put --match graph=instant --match graph=x",
        "postrider webhook put acme hook --url https://example.com --schedule 1s,5m --jitter 0.5 --on-exhausted hold",
        "postrider webhook put acme hook --url https://example.com --signing-secret-file s --signature-header x-sig --faithful",
        "postrider webhook put acme hook --url https://example.com --basic-user u --basic-password-file p --http2 true",
        "postrider webhook put acme hook --url https://example.com --profile timetime --faithful=false --disable-on-gone",
        "postrider client put acme hr --base-url https://hr.example.com/api --profile absence",
        "postrider org put acme --max-webhooks 40",
        "postrider webhook test acme hook --attribute eventId=7 --type a.b payload.json",
        "postrider webhook enable acme hook",
        "postrider webhook disable acme hook",
        "postrider webhook rotate-secret acme hook --keep 1h",
        "postrider client put acme hr --base-url https://hr.example.com/api --hmac-secret-file s --ca-file ca.pem",
        "postrider client list acme",
        "postrider client delete acme hr --cascade",
        "postrider source put acme slack --kind slack --secret-file s --secret-file t --secret-stdin --catalogue trackingtime",
        "postrider source create acme any --kind hmac --header X-Sig --algorithm sha1 --encoding base64 --prefix v1=",
        "postrider source put acme any --file -",
        "postrider source list acme --limit 5 --after x",
        "postrider source show acme slack",
        "postrider source requests acme slack --json",
        "postrider source test acme slack",
        "postrider source test acme slack - --content-type application/json --event issues --enqueue",
        "postrider source reset-token acme slack --yes",
        "postrider source enable acme slack",
        "postrider source disable acme slack",
        "postrider source delete acme slack",
        "postrider queue list acme --json --payload",
        "postrider queue skip acme --reason bad",
        "postrider why acme --runtime-dir /run/x",
        "postrider dead-letter list --org acme --since 2h --reason skipped",
        "postrider dlq show 1-2 --payload",
        "postrider dead-letter retry 1-2 1-3",
        "postrider dead-letter retry -",
        "postrider dead-letter discard --all --yes",
        "postrider dead-letter retry --webhook hook --dry-run --data /var/lib/x",
        "postrider dead-letter export --all --out x.jsonl",
        "postrider status --json",
        "postrider reload --json",
        "postrider completions zsh",
        "postrider man",
        "postrider man pages",
    ] {
        if let Err(error) = parse(line) {
            panic!("{line}: {error}");
        }
    }
}

#[test]
fn bad_lines_are_refused() {
    for line in [
        "postrider",
        "postrider nonsense",
        "postrider enqueue",
        "postrider enqueue --org acme",
        "postrider enqueue --org a/b --type t",
        "postrider enqueue --org acme --type t --id a.b",
        "postrider enqueue --org acme --type t --attribute novalue",
        "postrider enqueue --ndjson - --org acme",
        "postrider change",
        "postrider change --org acme --new n.json",
        "postrider change --org acme --id x c.json",
        "postrider change --org acme --entity a.b c.json",
        "postrider org put ../x",
        "postrider org put acme --max-bytes lots",
        "postrider webhook put acme hook",
        "postrider webhook put acme hook --file x --url https://example.com",
        "postrider webhook put acme hook --url https://example.com --password secret",
        "postrider webhook put acme hook --url https://example.com --timeout 10",
        "postrider webhook put acme hook --url https://example.com --faithful=no",
        "postrider org put acme --max-webhooks many",
        "postrider source put acme slack",
        "postrider source put acme slack --kind irc",
        "postrider source put acme slack --kind slack --secret hunter2",
        "postrider source put acme slack --kind slack --file -",
        "postrider source put acme slack --file - --secret-stdin",
        "postrider source put acme any --kind hmac --algorithm md5",
        "postrider source put acme any --kind token --unmapped lose",
        "postrider source test acme slack --body x",
        "postrider queue list acme --payload",
        "postrider queue list acme --limit 0",
        "postrider dead-letter list --reason nonsense",
        "postrider dead-letter list --since yesterday",
        "postrider dead-letter retry 1-2 --org acme",
        "postrider dead-letter retry 1-2 --all",
        "postrider dead-letter discard --all --org acme",
        "postrider completions",
        "postrider completions tcsh",
    ] {
        assert!(parse(line).is_err(), "{line}");
    }
}

#[test]
fn failures_have_the_promised_codes() {
    for (exit, code) in [
        (Exit::Ok, 0),
        (Exit::Failed, 1),
        (Exit::NotFound, 2),
        (Exit::Usage, 64),
        (Exit::Unreachable, 69),
        (Exit::CannotCreate, 73),
        (Exit::TryAgain, 75),
        (Exit::BadConfig, 78),
    ] {
        assert_eq!(Failure::silent(exit).code(), code);
    }
}
