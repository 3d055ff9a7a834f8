//! Exit codes, and how a command says that it failed.

use std::fmt;

/// The exit codes, as mail administrators' scripts know them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Ok = 0,
    /// It was tried and failed, or was refused.
    Failed = 1,
    /// What was named is not there, or what was asked is not so.
    NotFound = 2,
    /// The command line is wrong.
    Usage = 64,
    /// The daemon cannot be reached.
    Unreachable = 69,
    /// An output file cannot be created.
    CannotCreate = 73,
    /// Not now: the same command may work later.
    TryAgain = 75,
    /// The configuration is wrong.
    BadConfig = 78,
}

/// Why a command ends other than well: its exit code and what is said on stderr.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// How the process exits.
    pub exit: Exit,
    /// For people; empty if everything has been said.
    pub message: String,
}

/// What every command answers.
pub type Result<T> = std::result::Result<T, Failure>;

impl Failure {
    /// With this exit code.
    pub fn new(exit: Exit, message: impl Into<String>) -> Failure {
        Failure { exit, message: message.into() }
    }

    /// It was tried and failed.
    pub fn failed(message: impl Into<String>) -> Failure {
        Failure::new(Exit::Failed, message)
    }

    /// It is not there.
    pub fn not_found(message: impl Into<String>) -> Failure {
        Failure::new(Exit::NotFound, message)
    }

    /// The command line is wrong.
    pub fn usage(message: impl Into<String>) -> Failure {
        Failure::new(Exit::Usage, message)
    }

    /// Everything has been said; only the exit code is left.
    pub fn silent(exit: Exit) -> Failure {
        Failure::new(exit, "")
    }

    /// The exit code of the process.
    #[must_use]
    pub fn code(&self) -> u8 {
        self.exit as u8
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.message)
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Failure {
        Failure::failed(format!("{error:#}"))
    }
}

impl From<crate::config::Invalid> for Failure {
    fn from(invalid: crate::config::Invalid) -> Failure {
        Failure::new(Exit::BadConfig, format!("the configuration is not valid\n{invalid}"))
    }
}

impl From<crate::config::NoStateDirectory> for Failure {
    fn from(error: crate::config::NoStateDirectory) -> Failure {
        Failure::new(Exit::BadConfig, error.to_string())
    }
}
