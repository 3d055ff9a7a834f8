//! What a signing secret is replaced with. PURE.

use std::time::Duration;

use super::Members;
use super::proof::is_secret_of;
use crate::model::{DELAY_MAX, Secret, Signature};
use crate::serving::problem::Problem;

/// Long enough for someone to see the new secret on a working day and put it where the receiver looks.
const KEEP_DEFAULT: Duration = Duration::from_secs(24 * 3600);
/// How many of the longest delays an old secret may be kept: a month.
const KEEP_DAYS_MAX: u32 = 30;

/// What the caller gave.
pub(in crate::api) struct Rotation {
    /// `None`: one is to be made.
    pub(in crate::api) secret: Option<Secret>,
    /// How long the secrets that there are stay valid.
    pub(in crate::api) keep: Duration,
}

/// Reads the body of `POST …/webhooks/{webhook}/rotate-secret` for a webhook that signs like this.
pub(in crate::api) fn read_rotation(body: &[u8], signature: &Signature) -> Result<Rotation, Problem> {
    let members = Members::parse(body, &["secret", "keep"])?;
    let secret = members.text("secret")?.map(|text| Secret::new(text.into_owned()));
    if let Some(secret) = &secret {
        is_secret_of(signature, secret).map_err(|rule| members.invalid("secret", rule))?;
    }
    let keep = members.duration("keep")?.unwrap_or(KEEP_DEFAULT);
    if keep > DELAY_MAX * KEEP_DAYS_MAX {
        return Err(members.invalid("keep", format_args!("must be at most {KEEP_DAYS_MAX}d")));
    }
    Ok(Rotation { secret, keep })
}
