//! Parses the command line, runs the command, exits with its code. Everything else is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    // Names and values that are not UTF-8 can be none of ours.
    let env = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    postrider::cli::main(std::env::args_os(), env)
}
