//! `postrider tail`: what happens in the daemon, as it happens.

use axum::body::Body;
use clap::Args;
use futures_util::StreamExt as _;
use http::Request;
use http_body_util::BodyExt as _;
use serde_json::Value;
use tokio::sync::mpsc;

use super::exit::{Exit, Failure, Result};
use super::transport::{refused, with_query};
use super::{Context, output, printer};
use crate::model::{EventType, OrgId, WebhookId};
use crate::operate::signals::Orders;
use crate::tail::Happened;

/// Lines that may wait to be printed; the daemon keeps more, and says what it had to leave out.
const UNPRINTED_MAX: usize = 1024;

/// What to listen to.
#[derive(Debug, Args)]
pub(super) struct TailArgs {
    /// Only of this org.
    #[arg(long)]
    org: Option<OrgId>,
    /// Only of this webhook.
    #[arg(long)]
    webhook: Option<WebhookId>,
    /// Only of events of this type.
    #[arg(long = "type", value_name = "TYPE")]
    event_type: Option<EventType>,
    /// Only this: accepted, attempt, delivered, retry, held, dead, paused, …; may be repeated.
    #[arg(long, value_name = "KIND", value_delimiter = ',', value_parser = word)]
    event: Vec<String>,
}

fn word(text: &str) -> std::result::Result<String, String> {
    let mut words = Happened::ALL.iter().map(|happened| happened.word());
    if words.any(|word| word == text) {
        return Ok(text.to_owned());
    }
    let words: Vec<_> = Happened::ALL.iter().map(|happened| happened.word()).collect();
    Err(format!("must be one of {}", words.join(", ")))
}

/// Ends well when it is interrupted or nobody reads, and with 69 when the daemon goes away.
pub(super) async fn run(context: &Context, args: TailArgs) -> Result<()> {
    let mut orders =
        Orders::new().map_err(|error| Failure::failed(format!("cannot listen for signals: {error}")))?;
    let (lines, unprinted) = mpsc::channel(UNPRINTED_MAX);
    let listening = listen(context, args, lines);
    let format: fn(&String) -> String = if context.global.json { String::clone } else { |data| line(data) };
    tokio::pin!(listening);
    // Refused before anything is printed: there is nothing to say on stdout.
    let mut printed = printer::start(unprinted, format)?;
    tokio::select! {
        _ = orders.next() => Ok(()),
        ended = &mut printed => ended.unwrap_or(Ok(())),
        ended = &mut listening => {
            // What came before the end is printed before it is said.
            let said = printed.await.unwrap_or(Ok(()));
            said.and(ended)
        }
    }
}

/// Hands over the data of every event until the stream ends, which is a failure.
async fn listen(context: &Context, args: TailArgs, lines: mpsc::Sender<String>) -> Result<()> {
    let text = |value: Option<String>| value.filter(|value| !value.is_empty());
    let parameters = [
        ("org", args.org.map(Into::into)),
        ("webhook", args.webhook.map(Into::into)),
        ("type", args.event_type.map(Into::into)),
        ("event", text(Some(args.event.join(",")))),
    ];
    let request = Request::get(with_query("/v1/tail", &parameters)).header(http::header::HOST, "postrider");
    let request =
        request.body(Body::empty()).map_err(|error| Failure::failed(format!("cannot ask: {error}")))?;
    let response = context.admin()?.send(request).await?;
    let status = response.status();
    if !status.is_success() {
        let body = response.into_body().collect().await.map_err(|_| gone())?.to_bytes();
        return Err(refused(status, &body));
    }
    let mut pieces = response.into_body().into_data_stream();
    let mut text = Vec::new();
    while let Some(piece) = pieces.next().await {
        text.extend_from_slice(&piece.map_err(|_| gone())?);
        let end = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let whole: Vec<u8> = text.drain(..end).collect();
        for line in String::from_utf8_lossy(&whole).lines() {
            let Some(data) = line.strip_prefix("data: ") else { continue };
            if lines.send(data.to_owned()).await.is_err() {
                return Ok(());
            }
        }
    }
    Err(gone())
}

fn gone() -> Failure {
    Failure::new(Exit::Unreachable, "the daemon went away: what happened from now on was not heard")
}

/// One event on one line, for people.
fn line(data: &str) -> String {
    let fact: Value = serde_json::from_str(data).unwrap_or_default();
    let text = |name: &str| fact.get(name).filter(|value| !value.is_null()).map(output::shown);
    if text("event").as_deref() == Some("lost") {
        return format!(
            "… {} lines were lost here: they came faster than they were read",
            text("count").unwrap_or_default()
        );
    }
    let plain = |name: &str| text(name).unwrap_or_else(|| "-".to_owned());
    let named = |name: &str, word: &str| text(name).map(|value| format!("{word} {value}"));
    let parts = [
        text("source").map(|source| format!("source {source}")),
        text("verdict"),
        text("type"),
        text("id"),
        text("webhook").or_else(|| text("webhooks")).map(|webhook| format!("to {webhook}")),
        named("sequence", "sequence"),
        named("attempt", "attempt"),
        text("status"),
        text("error").filter(|error| error != "status"),
        text("reason"),
        text("duration_ms").map(|ms| format!("{ms} ms")),
        named("not_before", "next not before"),
        (text("deliveries").as_deref() == Some("0")).then(|| "nobody listens to it".to_owned()),
    ];
    let parts: Vec<_> = parts.into_iter().flatten().collect();
    let head = format!("{} {:<9} {}", plain("at"), plain("event"), plain("org"));
    output::plain(format!("{head}  {}", parts.join(", ")).trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_is_known_in_the_order_of_the_path() {
        let said = line;
        assert_eq!(
            said(
                r#"{"at":"T","event":"retry","org":"acme","webhook":"w","id":"evt_1","type":"a.b","sequence":7,"attempt":2,"status":503,"error":"status","duration_ms":12,"not_before":"U"}"#
            ),
            "T retry     acme  a.b, evt_1, to w, sequence 7, attempt 2, 503, 12 ms, next not before U"
        );
        assert_eq!(
            said(
                r#"{"at":"T","event":"accepted","org":"acme","webhooks":["a","b"],"id":"e","sequence":1,"deliveries":2}"#
            ),
            "T accepted  acme  e, to a, b, sequence 1"
        );
        assert_eq!(said(r#"{"at":"T","event":"paused","org":"acme"}"#), "T paused    acme");
        assert!(said(r#"{"event":"lost","count":3}"#).starts_with("… 3 lines were lost"));
    }
}
