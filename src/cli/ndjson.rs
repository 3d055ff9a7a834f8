//! `postrider enqueue --ndjson`: a batch of events over one streaming request, one durable answer per line.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, IsTerminal, Read, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use futures_util::stream;
use http::header::{CONTENT_TYPE, HOST};
use http::{Method, Request};
use http_body_util::BodyExt;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;
use tokio::sync::mpsc;

use super::enqueue::INPUT_BYTES_MAX;
use super::exit::{Exit, Failure, Result};
use super::transport::{Transport, cut_off, refusal};
use super::{Context, output};

/// Lines are sent in pieces of about this size.
const PIECE_BYTES: usize = 64 << 10;
/// Pieces read ahead of what the daemon has taken.
const PIECES_AHEAD: usize = 4;
/// Refused lines that are told one by one; the rest are only counted.
const REFUSALS_TOLD: u64 = 20;

/// Numbers of the lines that are sent and not answered, in order: answers come in the order of lines.
type Pending = Arc<Mutex<VecDeque<u64>>>;

/// What became of the batch so far.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    accepted: u64,
    duplicates: u64,
    refused: u64,
    /// Of those refused, how many may be accepted later.
    retryable: u64,
}

/// How reading the batch ended; nothing while it goes on.
type Ended = Arc<Mutex<Option<Result<()>>>>;

pub(super) async fn run(context: &Context, file: &Path) -> Result<()> {
    let (pending, ended) = (Pending::default(), Ended::default());
    let (progress, source) = open(file)?;
    let (pieces, received) = mpsc::channel(PIECES_AHEAD);
    {
        let (pending, ended, progress) = (pending.clone(), ended.clone(), progress.clone());
        // Files and pipes may block; the answers must be read meanwhile. It is not waited for: stdin may never end.
        tokio::task::spawn_blocking(move || {
            let outcome = send_lines(source, &pieces, &pending, &progress);
            // Before the request ends with its last piece, so that it is known when the last answer is there.
            *lock(&ended) = Some(outcome);
            drop(pieces);
        });
    }
    let mut tally = Tally::default();
    let exchanged = exchange(context, &context.submit()?, received, &pending, &mut tally, &progress).await;
    progress.finish_and_clear();
    if let Err(failure) = &exchanged
        && failure.exit == Exit::Unreachable
    {
        return exchanged;
    }
    output::note(&summary(&tally));
    let whole = match lock(&ended).take() {
        Some(Err(failure)) if exchanged.is_ok() => return Err(failure),
        Some(_) => lock(&pending).is_empty(),
        None => false,
    };
    match exchanged {
        Ok(()) if whole => verdict(&tally),
        Ok(()) => Err(cut_short(&Failure::new(Exit::TryAgain, "the daemon ended the batch early"), &pending)),
        Err(failure) => Err(cut_short(&failure, &pending)),
    }
}

/// What to do about a batch that was not answered to its end.
fn cut_short(failure: &Failure, pending: &Pending) -> Failure {
    let hint = format!(
        "{} without an answer: they may or may not be accepted. Send the batch again; lines with ids of their own are \
         not accepted twice, lines without are",
        output::count(lock(pending).len() as u64, "line is", "lines are"),
    );
    Failure::new(failure.exit, format!("{failure}\n{hint}"))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Exits 0 if all lines were accepted, 75 if all others may be accepted later, 1 otherwise.
fn verdict(tally: &Tally) -> Result<()> {
    match tally {
        Tally { refused: 0, .. } => Ok(()),
        Tally { refused, retryable, .. } if refused == retryable => Err(Failure::silent(Exit::TryAgain)),
        _ => Err(Failure::silent(Exit::Failed)),
    }
}

fn summary(tally: &Tally) -> String {
    let mut parts = vec![format!("{} accepted", tally.accepted)];
    if tally.duplicates > 0 {
        parts.push(format!("{} accepted before", tally.duplicates));
    }
    parts.push(format!("{} refused", tally.refused));
    if tally.retryable > 0 {
        parts.push(format!("{} of them only for now", tally.retryable));
    }
    parts.join(", ")
}

/// The batch, and a bar on a terminal.
fn open(file: &Path) -> Result<(ProgressBar, Box<dyn Read + Send>)> {
    let (length, source): (Option<u64>, Box<dyn Read + Send>) = if file == Path::new("-") {
        (None, Box::new(std::io::stdin()))
    } else {
        let source = std::fs::File::open(file)
            .map_err(|error| Failure::failed(format!("cannot read {}: {error}", file.display())))?;
        let length = source.metadata().ok().filter(std::fs::Metadata::is_file).map(|meta| meta.len());
        (length, Box::new(source))
    };
    let bar = match length {
        Some(length) => ProgressBar::new(length)
            .with_style(style("{bar:40} {bytes}/{total_bytes} {bytes_per_sec} {eta} left, {msg}")),
        None => ProgressBar::new_spinner().with_style(style("{spinner} {bytes} {bytes_per_sec}, {msg}")),
    };
    if !std::io::stderr().is_terminal() {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    Ok((bar, source))
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// Sends the request and reads its answers while its body is still going out.
async fn exchange(
    context: &Context,
    api: &Transport,
    received: mpsc::Receiver<Bytes>,
    pending: &Pending,
    tally: &mut Tally,
    progress: &ProgressBar,
) -> Result<()> {
    let pieces = stream::unfold(received, |mut received| async move {
        let piece = received.recv().await?;
        Some((Ok::<_, std::convert::Infallible>(piece), received))
    });
    let request = Request::builder()
        .method(Method::POST)
        .uri("/v1/events")
        .header(HOST, "postrider")
        .header(CONTENT_TYPE, "application/x-ndjson")
        .body(Body::from_stream(pieces))
        .map_err(|error| Failure::failed(format!("the request cannot be made: {error}")))?;
    let response = api.send(request).await?;
    let status = response.status();
    let mut body = response.into_body();
    if !status.is_success() {
        let bytes = body.collect().await.map_err(|error| cut_off(&error))?.to_bytes();
        let problem: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        return Err(refusal(status.as_u16(), &problem));
    }
    let mut rest = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| cut_off(&error))?;
        let Ok(data) = frame.into_data() else { continue };
        rest.extend_from_slice(&data);
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let line = rest.split_to(end + 1);
            answered(context, &line, pending, tally)?;
            progress.set_message(summary(tally));
        }
    }
    if !rest.is_empty() {
        answered(context, &rest, pending, tally)?;
    }
    Ok(())
}

/// Counts an answer, passes it on with `--json`, and tells a refusal.
fn answered(context: &Context, line: &[u8], pending: &Pending, tally: &mut Tally) -> Result<()> {
    if line.trim_ascii().is_empty() {
        return Ok(());
    }
    let number = lock(pending).pop_front().unwrap_or(0);
    let answer: Value = serde_json::from_slice(line).map_err(|error| {
        Failure::failed(format!("the daemon's answer to line {number} is not JSON: {error}"))
    })?;
    if context.global.json {
        output::line(&answer.to_string())?;
    }
    if let Some(refusal) = tally.add(&answer)
        && tally.refused <= REFUSALS_TOLD
    {
        output::note(&format!("line {number}: {refusal}"));
        if tally.refused == REFUSALS_TOLD {
            output::note("more refused lines are counted, not told; --json tells all");
        }
    }
    Ok(())
}

impl Tally {
    /// Counts an answer; a refusal in words.
    fn add(&mut self, answer: &Value) -> Option<String> {
        let status = answer.get("status").and_then(Value::as_u64);
        match status.and_then(|status| u16::try_from(status).ok()).filter(|status| *status >= 400) {
            None if answer.get("duplicate").and_then(Value::as_bool) == Some(true) => self.duplicates += 1,
            None => self.accepted += 1,
            Some(status) => {
                let refusal = refusal(status, answer);
                self.refused += 1;
                self.retryable += u64::from(refusal.exit == Exit::TryAgain);
                return Some(refusal.message);
            }
        }
        None
    }
}

/// Reads lines, leaves out empty ones, and passes the others on in pieces. Ends early when nobody takes them.
fn send_lines(
    source: impl Read,
    pieces: &mpsc::Sender<Bytes>,
    pending: &Pending,
    progress: &ProgressBar,
) -> Result<()> {
    let mut source = BufReader::with_capacity(PIECE_BYTES, source);
    let (mut piece, mut numbers) = (Vec::new(), Vec::new());
    let mut number = 0;
    loop {
        let start = piece.len();
        let mut limited = (&mut source).take(INPUT_BYTES_MAX);
        let read = limited
            .read_until(b'\n', &mut piece)
            .map_err(|error| Failure::failed(format!("cannot read line {}: {error}", number + 1)))?;
        number += 1;
        let line = piece.get(start..).unwrap_or_default();
        if read as u64 >= INPUT_BYTES_MAX && !line.ends_with(b"\n") {
            let limit = output::human_bytes(INPUT_BYTES_MAX);
            return Err(Failure::failed(format!("line {number} is longer than {limit}")));
        }
        if line.trim_ascii().is_empty() {
            piece.truncate(start);
        } else {
            if !line.ends_with(b"\n") {
                piece.write_all(b"\n").map_err(|error| Failure::failed(error.to_string()))?;
            }
            numbers.push(number);
        }
        progress.inc(read as u64);
        // What is slow to come is not held back: a line typed by hand goes out at once.
        if !piece.is_empty() && (piece.len() >= PIECE_BYTES || source.buffer().is_empty() || read == 0) {
            lock(pending).extend(numbers.drain(..));
            if pieces.blocking_send(Bytes::from(std::mem::take(&mut piece))).is_err() {
                return Ok(());
            }
        }
        if read == 0 {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn lines(text: &str) -> (String, Vec<u64>) {
        let (pieces, mut received) = mpsc::channel(1000);
        let pending = Pending::default();
        send_lines(text.as_bytes(), &pieces, &pending, &ProgressBar::hidden()).unwrap();
        drop(pieces);
        let mut sent = Vec::new();
        while let Ok(piece) = received.try_recv() {
            sent.extend_from_slice(&piece);
        }
        let numbers = pending.lock().unwrap().iter().copied().collect();
        (String::from_utf8(sent).unwrap(), numbers)
    }

    #[test]
    fn empty_lines_are_left_out_and_the_others_keep_their_numbers() {
        assert_eq!(lines("a\n\n  \r\nb\n"), ("a\nb\n".to_owned(), vec![1, 4]));
        assert_eq!(lines("a"), ("a\n".to_owned(), vec![1]));
        assert_eq!(lines(""), (String::new(), vec![]));
    }

    #[test]
    fn long_batches_go_out_whole() {
        let line = "x".repeat(1000);
        let batch = format!("{line}\n").repeat(500);
        let (sent, numbers) = lines(&batch);
        assert_eq!(sent, batch);
        assert_eq!(numbers, (1..=500).collect::<Vec<_>>());
    }

    #[test]
    fn a_line_without_end_is_refused() {
        let endless = std::io::repeat(b'x');
        let (pieces, _received) = mpsc::channel(1);
        let failure = send_lines(endless, &pieces, &Pending::default(), &ProgressBar::hidden()).unwrap_err();
        assert!(failure.message.starts_with("line 1 is longer than"), "{failure}");
    }

    #[test]
    fn answers_are_counted_by_kind() {
        let mut tally = Tally::default();
        assert_eq!(tally.add(&json!({"id": "a", "sequence": 1, "deliveries": 1})), None);
        assert_eq!(tally.add(&json!({"id": "a", "sequence": 1, "deliveries": 1, "duplicate": true})), None);
        assert_eq!(tally.add(&json!({"status": 429, "title": "Queue full"})), Some("Queue full".to_owned()));
        assert_eq!(verdict(&tally).unwrap_err().exit, Exit::TryAgain);
        assert_eq!(
            tally.add(&json!({"status": 404, "title": "Unknown org"})),
            Some("Unknown org".to_owned())
        );
        assert_eq!(tally, Tally { accepted: 1, duplicates: 1, refused: 2, retryable: 1 });
        assert_eq!(verdict(&tally).unwrap_err().exit, Exit::Failed);
        assert_eq!(summary(&tally), "1 accepted, 1 accepted before, 2 refused, 1 of them only for now");
    }
}
