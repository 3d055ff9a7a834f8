//! JSON as it goes over the sockets, and its conversion to and from the model. Only here is it decided how a thing looks
//! from outside; what it means is decided in `model`.

mod change;
mod client;
mod delivery;
mod event;
mod history;
mod matching;
mod members;
mod org;
mod profile;
mod proof;
mod retry;
mod rotation;
mod route;
mod source;
mod source_trial;
mod target;
mod trial;
mod webhook;

use serde::Serialize;

pub(super) use change::{ChangeIn, ChangeOut, read_change};
pub(super) use client::{ClientOut, read_client};
pub(super) use delivery::{DeadListed, DeadShown, QueuedOut};
pub(super) use event::{EventLine, read_event};
pub(super) use history::{HistoryListed, HistoryShown};
pub(super) use members::{Members, unknown_field};
pub(super) use org::{LimitsOut, OrgOut, QueueOut, read_org};
pub(super) use proof::is_secret_of;
pub(super) use rotation::read_rotation;
pub(super) use source::{SeenOut, SourceOut, address, read_source};
pub(super) use source_trial::{SourceTrialOut, read_source_trial};
#[cfg(fuzzing)]
pub(super) use target::{path_template, url_template};
pub(super) use trial::read_trial;
pub(super) use webhook::{WebhookOut, read_webhook};

use crate::model::UnixMs;
use crate::queue::Pause;

/// One page of a list.
#[derive(Serialize)]
pub(super) struct Page<T> {
    pub(super) items: Vec<T>,
    /// Where the next page starts; `null` at the end.
    pub(super) next: Option<String>,
}

/// Why an org is paused, as shown.
#[derive(Serialize)]
pub(super) struct PauseOut {
    reason: Option<String>,
    at: UnixMs,
}

impl From<Pause> for PauseOut {
    fn from(pause: Pause) -> PauseOut {
        PauseOut { reason: pause.reason, at: pause.at }
    }
}
