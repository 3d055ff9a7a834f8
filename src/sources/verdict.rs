//! What became of a request. PURE.

use super::verify::NotVerified;

/// One of a fixed set: it is a label of the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// It became events, which are durable.
    Accepted,
    /// It had been accepted before: it got the same answer, and nothing was run.
    Repeated,
    /// It means nothing to the rules: accepted and gone, or only answered.
    Unmapped,
    /// It only asks whether somebody is here.
    Probe,
    /// Nobody is at its address.
    Nowhere,
    /// It does not prove where it comes from; holds why, one of [`NotVerified::CODES`].
    NotVerified(&'static str),
    /// It cannot be read, or is no POST.
    Malformed,
    /// Its body is beyond the limit.
    TooLarge,
    /// Its body did not come in time.
    TimedOut,
    /// Its source has had too many.
    RateLimited,
    /// The rules, a schema or the org's plan refuse what it would become.
    Refused,
    /// The org's queue is full.
    QueueFull,
    /// Nothing can be made durable now, or not in time: it is to be sent again.
    Unavailable,
}

impl Verdict {
    /// Its word outside.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Verdict::Accepted => "accepted",
            Verdict::Repeated => "repeated",
            Verdict::Unmapped => "unmapped",
            Verdict::Probe => "probe",
            Verdict::Nowhere => "nowhere",
            Verdict::NotVerified(code) => code,
            Verdict::Malformed => "malformed",
            Verdict::TooLarge => "too-large",
            Verdict::TimedOut => "timed-out",
            Verdict::RateLimited => "rate-limited",
            Verdict::Refused => "refused",
            Verdict::QueueFull => "queue-full",
            Verdict::Unavailable => "unavailable",
        }
    }

    /// Whether the sender is told that all is well.
    #[must_use]
    pub fn is_good(self) -> bool {
        matches!(self, Verdict::Accepted | Verdict::Repeated | Verdict::Unmapped | Verdict::Probe)
    }
}

impl From<&NotVerified> for Verdict {
    fn from(why: &NotVerified) -> Verdict {
        Verdict::NotVerified(why.code())
    }
}
