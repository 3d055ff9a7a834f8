//! The pages of the commands, one for each and for each of its own commands.

use clap::Command;
use clap_mangen::Man;

use super::{Page, escaped, title};

/// What stands on the page of `postrider` alone: heading, then terms and what they mean.
const ABOUT_ALL: [(&str, &[(&str, &str)]); 3] = [
    (
        "EXIT STATUS",
        &[
            ("0", "Done."),
            ("1", "It was tried and failed, or was refused."),
            ("2", "What was named is not there, or what was asked is not so."),
            ("64", "The command line is wrong."),
            ("69", "The daemon cannot be reached."),
            ("73", "An output file cannot be created."),
            ("75", "Not now: the same command may work later."),
            ("78", "The configuration is wrong."),
        ],
    ),
    (
        "FILES",
        &[
            ("/etc/postrider/postrider.toml", "The configuration, see postrider.toml(5)."),
            ("/run/postrider/postrider.sock", "Where events are handed in: for the group postrider-submit."),
            (
                "/run/postrider/admin.sock",
                "Where everything can be asked for: for the group postrider-admin.",
            ),
            ("/var/lib/private/postrider", "The store of the service, sealed with its key."),
        ],
    ),
    (
        "ENVIRONMENT",
        &[
            ("POSTRIDER_CONFIG", "As --config."),
            ("POSTRIDER_RUNTIME_DIR", "As --runtime-dir."),
            ("POSTRIDER_DATA", "As --data."),
            ("POSTRIDER_KEY_FILE", "As --key-file."),
            (
                "POSTRIDER_SECTION_KEY",
                "Any other key of the configuration: POSTRIDER_LOG_LEVEL is log.level.",
            ),
        ],
    ),
];

/// One page for `command` and for every command below it, its own first.
pub(super) fn pages(command: Command) -> Vec<Page> {
    let mut command = command.disable_help_subcommand(true);
    command.build();
    let mut pages = Vec::new();
    add(&command, None, &mut pages);
    pages
}

fn add(command: &Command, above: Option<&str>, pages: &mut Vec<Page>) {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name());
    pages.push(Page { name: name.to_owned(), section: 1, text: text(command, name, above) });
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
        add(below, Some(name), pages);
    }
}

fn text(command: &Command, name: &str, above: Option<&str>) -> String {
    let man = Man::new(command.clone());
    let mut body = Vec::new();
    // Writing to memory does not fail.
    let rendered =
        man.render_name_section(&mut body)
            .and_then(|()| man.render_synopsis_section(&mut body))
            .and_then(|()| man.render_description_section(&mut body))
            .and_then(|()| man.render_options_section(&mut body))
            .and_then(|()| {
                if command.has_subcommands() { man.render_subcommands_section(&mut body) } else { Ok(()) }
            });
    debug_assert!(rendered.is_ok(), "{rendered:?}");
    let mut text = title(name, 1) + &String::from_utf8_lossy(&body);
    if above.is_none() {
        text.extend(ABOUT_ALL.map(|(heading, terms)| {
            let entry = |(term, meaning): &(&str, &str)| {
                format!(".TP\n\\fB{}\\fR\n{}\n", escaped(term), escaped(meaning))
            };
            format!(".SH \"{heading}\"\n") + &terms.iter().map(entry).collect::<String>()
        }));
    }
    let see = above.map_or("systemd.socket(5)", |_| "postrider(1)");
    let up = above.filter(|above| *above != "postrider").map(|above| format!("{}(1), ", escaped(above)));
    text + &format!(".SH \"SEE ALSO\"\n{}{see}, postrider.toml(5)\n", up.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::cli::Cli;
    use crate::cli::exit::Exit;

    #[test]
    fn every_command_has_a_page_that_says_what_it_does() {
        let pages = pages(Cli::command());
        assert_eq!(pages[0].file(), "man1/postrider.1");
        for name in ["postrider-serve", "postrider-queue", "postrider-queue-retry-now"] {
            assert!(pages.iter().any(|page| page.name == name), "no {name}");
        }
        for page in &pages {
            let name = page.name.replace('-', "\\-");
            assert!(page.text.contains(&format!("\n{name} \\- ")), "{}: {}", page.name, page.text);
            assert!(page.text.contains("\\-\\-json"), "{} lacks the global options", page.name);
        }
    }

    #[test]
    fn the_page_of_all_has_every_exit_code() {
        let text = pages(Cli::command())[0].text.clone();
        let status = text.split("EXIT STATUS").nth(1).unwrap();
        for exit in [
            Exit::Ok,
            Exit::Failed,
            Exit::NotFound,
            Exit::Usage,
            Exit::Unreachable,
            Exit::CannotCreate,
            Exit::TryAgain,
            Exit::BadConfig,
        ] {
            assert!(status.contains(&format!("\\fB{}\\fR", exit as u8)), "{exit:?}");
        }
    }
}
