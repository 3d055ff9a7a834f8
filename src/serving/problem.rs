//! Problem answers (RFC 9457): every refusal has a stable type, a sentence for people, and the field at fault.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;

use crate::intake::changes::ChangeRefused;
use crate::intake::requests::RequestRefused;
use crate::intake::{self, NotAllowed, NotEntitled};
use crate::queue::Refused;

/// Defines the kinds of problem: code (`urn:postrider:<code>`), status, title.
macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $code:literal, $status:ident, $title:literal;)+) => {
        /// What went wrong, as a caller's program tells it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Kind { $($(#[$doc])* $kind,)+ }

        impl Kind {
            /// Every kind.
            pub const ALL: &'static [Kind] = &[$(Kind::$kind,)+];

            /// The last part of `type`.
            #[must_use]
            pub fn code(self) -> &'static str {
                match self { $(Kind::$kind => $code,)+ }
            }

            /// The status it is answered with.
            #[must_use]
            pub fn status(self) -> StatusCode {
                match self { $(Kind::$kind => StatusCode::$status,)+ }
            }

            /// The same sentence whenever it happens.
            #[must_use]
            pub fn title(self) -> &'static str {
                match self { $(Kind::$kind => $title,)+ }
            }
        }
    };
}

kinds! {
    /// The body or line is not JSON, or not JSON that is safe to read.
    MalformedJson = "malformed-json", BAD_REQUEST, "The JSON cannot be read";
    /// A value that cannot be.
    InvalidField = "invalid-field", UNPROCESSABLE_ENTITY, "A field has a value that is not allowed";
    /// A payload is not as the catalogue says of its type.
    SchemaViolation = "schema-violation", UNPROCESSABLE_ENTITY, "The payload breaks a rule of its type";
    /// No catalogue has rules for the entity.
    UnknownEntity = "unknown-entity", UNPROCESSABLE_ENTITY, "There are no rules for such an entity";
    /// A rule forbids the change.
    ChangeRefused = "change-refused", UNPROCESSABLE_ENTITY, "A rule of the entity forbids the change";
    /// A rule cannot be evaluated with the change.
    ChangeFailed = "change-failed", UNPROCESSABLE_ENTITY, "A rule cannot be evaluated with the change";
    /// The change would take or make more than one may.
    ChangeTooCostly = "change-too-costly", UNPROCESSABLE_ENTITY, "The change is beyond the limits of changes";
    /// A request of a source does not prove where it comes from.
    NotVerified = "not-verified", UNAUTHORIZED, "The request does not prove where it comes from";
    /// A source has had more requests than it may.
    TooManyRequests = "too-many-requests", TOO_MANY_REQUESTS, "Too many requests come to this address";
    /// The body of a request of a source is not what its kind sends.
    MalformedBody = "malformed-body", BAD_REQUEST, "The body cannot be read";
    /// A rule forbids what a request of a source asks for.
    RequestRefused = "request-refused", UNPROCESSABLE_ENTITY, "A rule forbids the request";
    /// A rule cannot be evaluated with a request of a source.
    RequestFailed = "request-failed", UNPROCESSABLE_ENTITY, "A rule cannot be evaluated with the request";
    /// A request of a source would take or make more than one may.
    RequestTooCostly = "request-too-costly", UNPROCESSABLE_ENTITY, "The request is beyond the limits of rules";
    /// A member or parameter that does not exist.
    UnknownField = "unknown-field", UNPROCESSABLE_ENTITY, "There is no such field";
    /// The path is none of ours.
    NotFound = "not-found", NOT_FOUND, "There is no such call";
    /// The path is ours, the method is not.
    MethodNotAllowed = "method-not-allowed", METHOD_NOT_ALLOWED, "The call does not have this method";
    /// A call of the admin socket, on the submit socket.
    AdminSocketOnly = "admin-socket-only", FORBIDDEN, "This call is for the admin socket";
    /// Something other than JSON.
    UnsupportedMediaType = "unsupported-media-type", UNSUPPORTED_MEDIA_TYPE, "The body has the wrong type";
    /// Body or line beyond the limit.
    PayloadTooLarge = "payload-too-large", PAYLOAD_TOO_LARGE, "The body is larger than the limit";
    /// What came is not a request that can be read.
    MalformedRequest = "malformed-request", BAD_REQUEST, "This is no HTTP/1.1 request";
    /// The head is beyond the limits.
    HeadTooLarge = "head-too-large", REQUEST_HEADER_FIELDS_TOO_LARGE, "The head is larger than the limit";
    /// The head, body or line did not come in time.
    RequestTimeout = "request-timeout", REQUEST_TIMEOUT, "The request did not come in time";
    /// The body broke off.
    IncompleteBody = "incomplete-body", BAD_REQUEST, "The body cannot be read to its end";
    /// The org is not there.
    UnknownOrg = "unknown-org", NOT_FOUND, "There is no such org";
    /// The webhook is not there.
    UnknownWebhook = "unknown-webhook", NOT_FOUND, "There is no such webhook";
    /// The client is not there.
    UnknownClient = "unknown-client", NOT_FOUND, "There is no such client";
    /// The source is not there.
    UnknownSource = "unknown-source", NOT_FOUND, "There is no such source";
    /// Webhooks use the client, and the caller did not say to delete them with it.
    ClientInUse = "client-in-use", CONFLICT, "Webhooks use the client";
    /// The dead letter is not there.
    UnknownDeadLetter = "unknown-dead-letter", NOT_FOUND, "There is no such dead letter";
    /// The entry of the history is not there (any more).
    UnknownHistoryEntry = "unknown-history-entry", NOT_FOUND, "There is no such entry in the history";
    /// An event's id that several dead letters share.
    AmbiguousId = "ambiguous-id", CONFLICT, "The id stands for several dead letters";
    /// The plan does not include webhooks.
    OrgNotEntitled = "org-not-entitled", FORBIDDEN, "The org's plan does not include webhooks";
    /// The org has as many webhooks as it may have.
    TooManyWebhooks = "too-many-webhooks", UNPROCESSABLE_ENTITY, "The org has as many webhooks as it may have";
    /// An id accepted before with other content.
    IdReused = "id-reused", CONFLICT, "The id was used before, for something else";
    /// Deliveries wait, and the caller did not say to drop them.
    QueueNotEmpty = "queue-not-empty", CONFLICT, "Deliveries are waiting";
    /// Dead letters are kept, and the caller did not say to drop them.
    DeadLettersKept = "dead-letters-kept", CONFLICT, "Dead letters are kept";
    /// The head left the queue while the caller waited for its attempt to end.
    HeadMoved = "head-moved", CONFLICT, "The head has left the queue";
    /// The store is being verified, backed up or rekeyed for another call.
    UpkeepBusy = "upkeep-busy", CONFLICT, "The store is being verified, backed up or rekeyed already";
    /// Only a signing secret can be rotated.
    NotSigned = "not-signed", CONFLICT, "The webhook does not sign its requests";
    /// No head to act on.
    QueueEmpty = "queue-empty", CONFLICT, "No delivery is waiting";
    /// The org's limit is reached, or that of all orgs together.
    QueueFull = "queue-full", TOO_MANY_REQUESTS, "The queue is full";
    /// Too many large requests at once.
    Overloaded = "overloaded", SERVICE_UNAVAILABLE, "Too many requests are being read";
    /// As many listen as may.
    TooManyListeners = "too-many-listeners", SERVICE_UNAVAILABLE, "As many listen as may";
    /// The store failed or is closing.
    StorageUnavailable = "storage-unavailable", SERVICE_UNAVAILABLE, "The store does not accept writes";
    /// The disk is below its reserve.
    DiskFull = "disk-full", INSUFFICIENT_STORAGE, "The disk is full";
    /// Not ready to accept events.
    NotReady = "not-ready", SERVICE_UNAVAILABLE, "The daemon is not ready";
    /// The new configuration is not valid; the old one stays.
    ReloadFailed = "reload-failed", UNPROCESSABLE_ENTITY, "The configuration was not reloaded";
    /// Only a running daemon can do this.
    NotRunning = "not-running", CONFLICT, "The daemon is not running";
    /// Our own fault.
    Internal = "internal", INTERNAL_SERVER_ERROR, "Something went wrong inside";
}

/// A problem answer. As a response it is `application/problem+json`; in an NDJSON stream it is a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What went wrong.
    pub kind: Kind,
    /// What happened this time; no secret and no payload.
    pub detail: String,
    /// JSON Pointer to the field at fault.
    pub field: Option<String>,
    /// Seconds after which trying again makes sense.
    pub retry_after: Option<u32>,
    /// The names that an ambiguous one could stand for.
    pub candidates: Vec<String>,
}

/// The answer's JSON.
#[derive(Serialize)]
struct Document<'a> {
    r#type: String,
    title: &'static str,
    status: u16,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    candidates: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
}

impl Problem {
    /// A problem without a field.
    pub fn new(kind: Kind, detail: impl Into<String>) -> Problem {
        Problem { kind, detail: detail.into(), field: None, retry_after: None, candidates: Vec::new() }
    }

    /// A value that is not allowed, and what would be right.
    pub fn invalid(field: impl Into<String>, detail: impl Into<String>) -> Problem {
        Problem { field: Some(field.into()), ..Problem::new(Kind::InvalidField, detail) }
    }

    /// Adds `Retry-After`.
    #[must_use]
    pub fn retry_after(self, seconds: u32) -> Problem {
        Problem { retry_after: Some(seconds), ..self }
    }

    fn json(&self, line: Option<u64>, id: Option<&str>) -> String {
        let document = Document {
            r#type: format!("urn:postrider:{}", self.kind.code()),
            title: self.kind.title(),
            status: self.kind.status().as_u16(),
            detail: &self.detail,
            field: self.field.as_deref(),
            candidates: &self.candidates,
            line,
            id,
        };
        // Nothing in it can fail to serialize: text and numbers only.
        serde_json::to_string(&document).unwrap_or_default()
    }

    /// The problem as a line of an NDJSON answer, with the number of the line that it answers (from 1) and the event's
    /// id where the line had a readable one.
    pub fn line(&self, number: u64, id: Option<&str>) -> String {
        let mut text = self.json(Some(number), id);
        text.push('\n');
        text
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let headers = [(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"))];
        let mut response = (self.kind.status(), headers, self.json(None, None)).into_response();
        response.extensions_mut().insert(self.kind);
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

/// Long enough for a queue that moves to have made room, short enough not to leave it idle.
const RETRY_QUEUE_FULL_S: u32 = 5;
/// A failed store means a restart by the service manager; it is back within seconds.
const RETRY_STORAGE_S: u32 = 5;
/// Room on the disk comes from deliveries that drain, or from an operator.
const RETRY_DISK_FULL_S: u32 = 30;
/// Tomorrow there is room, or when an operator raises the limit.
const RETRY_REQUESTS_FULL_S: u32 = 600;
/// An operator has to put the catalogue in force again.
const RETRY_RULES_S: u32 = 60;

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Problem {
        let detail = refused.to_string();
        match refused {
            Refused::UnknownOrg => Problem::new(Kind::UnknownOrg, detail),
            Refused::UnknownWebhook => Problem::new(Kind::UnknownWebhook, detail),
            Refused::UnknownClient => Problem::new(Kind::UnknownClient, detail),
            Refused::UnknownSource => Problem::new(Kind::UnknownSource, detail),
            Refused::ClientInUse(_) => Problem::new(
                Kind::ClientInUse,
                format!(
                    "{detail}: delete them first, or the client with ?cascade=true (--cascade on the command line)"
                ),
            ),
            Refused::UnknownDeadLetter => Problem::new(Kind::UnknownDeadLetter, detail),
            Refused::IdReused => {
                Problem { field: Some("/id".into()), ..Problem::new(Kind::IdReused, detail) }
            }
            Refused::QueueFull { .. } | Refused::AllQueuesFull { .. } => {
                Problem::new(Kind::QueueFull, detail).retry_after(RETRY_QUEUE_FULL_S)
            }
            Refused::RequestsFull(_) => {
                Problem::new(Kind::QueueFull, detail).retry_after(RETRY_REQUESTS_FULL_S)
            }
            Refused::QueueNotEmpty(_) => Problem::new(Kind::QueueNotEmpty, format!("{detail}: {DISCARD}")),
            Refused::DeadLettersKept(_) => {
                Problem::new(Kind::DeadLettersKept, format!("{detail}: {DISCARD}"))
            }
            Refused::HeadMoved(_) => Problem::new(Kind::HeadMoved, detail),
            Refused::QueueEmpty => Problem::new(Kind::QueueEmpty, detail),
            Refused::TooLarge(_) => Problem::new(Kind::InvalidField, detail),
            Refused::DiskFull => Problem::new(Kind::DiskFull, detail).retry_after(RETRY_DISK_FULL_S),
            Refused::Unavailable(_) => {
                Problem::new(Kind::StorageUnavailable, detail).retry_after(RETRY_STORAGE_S)
            }
        }
    }
}

/// How to delete an org all the same.
const DISCARD: &str = "let deliveries drain or skip them, retry or discard dead letters, or delete the org with ?discard=true (--discard on the \
     command line)";

impl From<intake::Refused> for Problem {
    fn from(refused: intake::Refused) -> Problem {
        match refused {
            intake::Refused::NotEntitled(refused) => refused.into(),
            intake::Refused::Schema(broken) => {
                let field = format!("/payload{}", broken.violation.pointer);
                Problem { field: Some(field), ..Problem::new(Kind::SchemaViolation, broken.to_string()) }
            }
        }
    }
}

impl From<NotEntitled> for Problem {
    fn from(refused: NotEntitled) -> Problem {
        Problem::new(Kind::OrgNotEntitled, refused.to_string())
    }
}

impl From<NotAllowed> for Problem {
    fn from(refused: NotAllowed) -> Problem {
        let detail = refused.to_string();
        match refused {
            NotAllowed::NotEntitled(refused) => refused.into(),
            NotAllowed::TooMany { .. } => {
                Problem { field: Some("/profile".into()), ..Problem::new(Kind::TooManyWebhooks, detail) }
            }
            NotAllowed::TooLong { member, .. }
            | NotAllowed::SameUrl { member, .. }
            | NotAllowed::ClientsHeader { member, .. } => Problem::invalid(format!("/{member}"), detail),
            NotAllowed::WebhooksHeader { .. } => Problem::invalid("/authorization", detail),
        }
    }
}

impl Problem {
    /// A change of an entity of this name that was refused.
    pub fn of_change(entity: &str, refused: ChangeRefused) -> Problem {
        use crate::catalogue::ChangeRefused as ByCatalogue;
        use crate::catalogue::rules::Refused as ByRules;
        let at = |field: String, problem: Problem| Problem { field: Some(field), ..problem };
        match refused {
            ChangeRefused::Rules(ByCatalogue::UnknownEntity { nearest, known }) => {
                let shown: String = entity.chars().take(64).collect();
                let advice = nearest.map_or_else(
                    || match known.as_slice() {
                        [] => "no catalogue in force has rules".to_owned(),
                        known => format!("there are rules for {}", known.join(", ")),
                    },
                    |nearest| format!("did you mean \"{nearest}\"?"),
                );
                let detail = format!("there are no rules for \"{}\"; {advice}", shown.escape_debug());
                at("/entity".to_owned(), Problem::new(Kind::UnknownEntity, detail))
            }
            ChangeRefused::Rules(ByCatalogue::Rules(ByRules::Forbidden { field, rule })) => {
                at(field, Problem::new(Kind::ChangeRefused, rule))
            }
            ChangeRefused::Rules(ByCatalogue::Rules(ByRules::Failed { field, problem })) => {
                at(field, Problem::new(Kind::ChangeFailed, problem))
            }
            ChangeRefused::Rules(ByCatalogue::Rules(ByRules::TooCostly(what))) => {
                Problem::new(Kind::ChangeTooCostly, what)
            }
            ChangeRefused::Event { refused, field } => Problem { field, ..Problem::from(refused) },
        }
    }

    /// A request of a source whose rules, or one of whose events, were refused.
    pub fn of_request(refused: RequestRefused) -> Problem {
        use crate::catalogue::RequestRefused as ByCatalogue;
        use crate::catalogue::rules::Refused as ByRules;
        let at = |field: String, problem: Problem| Problem { field: Some(field), ..problem };
        match refused {
            RequestRefused::Rules(ByCatalogue::NoRules) => {
                let detail = "the catalogue that says what requests mean here is not in force";
                Problem::new(Kind::StorageUnavailable, detail).retry_after(RETRY_RULES_S)
            }
            RequestRefused::Rules(ByCatalogue::Rules(ByRules::Forbidden { field, rule })) => {
                at(field, Problem::new(Kind::RequestRefused, rule))
            }
            RequestRefused::Rules(ByCatalogue::Rules(ByRules::Failed { field, problem })) => {
                at(field, Problem::new(Kind::RequestFailed, problem))
            }
            RequestRefused::Rules(ByCatalogue::Rules(ByRules::TooCostly(what))) => {
                Problem::new(Kind::RequestTooCostly, what)
            }
            RequestRefused::Event { refused, field } => Problem { field, ..Problem::from(refused) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_names_type_title_status_detail_and_field() {
        let problem = Problem::invalid("/retry/factor", "factor must be from 1 to 100");
        assert_eq!(
            problem.json(None, None),
            r#"{"type":"urn:postrider:invalid-field","title":"A field has a value that is not allowed","status":422,"detail":"factor must be from 1 to 100","field":"/retry/factor"}"#
        );
        assert!(problem.line(7, Some("evt_1")).ends_with("\"line\":7,\"id\":\"evt_1\"}\n"));
    }

    #[test]
    fn codes_are_kebab_case_and_told_apart() {
        let mut codes: Vec<_> = Kind::ALL.iter().map(|kind| kind.code()).collect();
        for code in &codes {
            assert!(code.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'), "{code}");
            assert!(include_str!("../../README.md").contains(&format!("`{code}`")), "{code} is documented");
        }
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), Kind::ALL.len());
    }

    #[test]
    fn a_full_queue_says_when_to_come_back() {
        let response = Problem::from(Refused::QueueFull { deliveries: 1, bytes: 2 }).into_response();
        assert_eq!(response.status(), 429);
        assert_eq!(response.headers()["retry-after"], "5");
        assert_eq!(response.headers()["content-type"], "application/problem+json");
    }
}
