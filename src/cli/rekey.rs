//! `postrider rekey`: everything sealed with the current key, while the daemon works.

use axum::body::Body;
use futures_util::StreamExt;
use http::Method;
use serde_json::Value;

use super::exit::{Exit, Failure, Result};
use super::transport::cut_off;
use super::{Context, output};

pub(super) async fn run(context: &Context) -> Result<()> {
    let session = context.admin_or_store().await?;
    let done = match session.api.stream(Method::POST, "/v1/rekey").await {
        Ok(body) => last_line(body).await,
        Err(failure) => Err(failure),
    };
    session.close().await;
    let done = done?;
    if done.get("done") != Some(&Value::Bool(true)) {
        let why = output::cell(&done, "/detail");
        return Err(Failure::new(
            Exit::TryAgain,
            format!("not everything is rekeyed yet: {why}; run it again"),
        ));
    }
    let number = |name: &str| done.get(name).and_then(Value::as_u64).unwrap_or(0);
    let mut said = format!(
        "{} sealed anew; every record is sealed with the key {}, and the one before it may go",
        output::count(number("rewritten"), "record", "records"),
        output::cell(&done, "/keys/current"),
    );
    if number("unreadable") > 0 {
        said = format!("{said}; {} that no key opens are as they were", number("unreadable"));
    }
    output::done(context.global.json, &done, &said)
}

/// The last line of a stream of JSON: the ones before it say how far it is.
async fn last_line(body: Body) -> Result<Value> {
    let mut parts = body.into_data_stream();
    let (mut rest, mut last) = (Vec::new(), Value::Null);
    while let Some(part) = parts.next().await {
        rest.extend_from_slice(&part.map_err(|error| cut_off(&error))?);
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = rest.drain(..=end).collect();
            last = serde_json::from_slice(&line)
                .map_err(|error| Failure::failed(format!("the daemon's answer is not JSON: {error}")))?;
        }
    }
    Ok(last)
}
