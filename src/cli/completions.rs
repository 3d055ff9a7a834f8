//! `postrider completions`: a script by which a shell completes commands and flags.

use clap::{Args, Command, ValueEnum};

use super::exit::Result;
use super::output;

/// For which shell.
#[derive(Debug, Args)]
pub(super) struct CompletionsArgs {
    /// The shell that is to complete.
    shell: Shell,
}

/// The shells that can be served.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Shell {
    /// To a file in /usr/share/bash-completion/completions, or by eval "$(postrider completions bash)".
    Bash,
    /// To a file _postrider in a directory of $fpath.
    Zsh,
    /// To ~/.config/fish/completions/postrider.fish, or by postrider completions fish | source.
    Fish,
}

pub(super) fn run(args: &CompletionsArgs, mut command: Command) -> Result<()> {
    let shell = match args.shell {
        Shell::Bash => clap_complete::Shell::Bash,
        Shell::Zsh => clap_complete::Shell::Zsh,
        Shell::Fish => clap_complete::Shell::Fish,
    };
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, name, &mut script);
    output::write(&script)
}
