//! `postrider top`: the daemon in numbers, live, and the orgs that stand worst.

mod frame;
mod screen;

use std::io::IsTerminal as _;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::Instant;

use self::frame::{Look, Samples};
use self::screen::Screen;
use super::exit::{Failure, Result};
use super::transport::Transport;
use super::{Context, output};
use crate::clock;
use crate::model::parse_duration;
use crate::operate::signals::Orders;

/// What to show.
#[derive(Debug, Args)]
pub(super) struct TopArgs {
    /// How often to look; rates are over this time.
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = interval)]
    every: Duration,
    /// Show one frame and exit; so it is when stdout is no terminal.
    #[arg(long)]
    once: bool,
    /// How many orgs to show: those whose head has failed first, then the deepest queues.
    #[arg(long, value_name = "NUMBER", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000))]
    limit: u16,
}

fn interval(text: &str) -> std::result::Result<Duration, String> {
    let every = parse_duration(text)?;
    let allowed = Duration::from_millis(100)..=Duration::from_secs(3600);
    if allowed.contains(&every) { Ok(every) } else { Err("must be from 100ms to 1h".to_owned()) }
}

pub(super) async fn run(context: &Context, args: TopArgs) -> Result<()> {
    let mut orders =
        Orders::new().map_err(|error| Failure::failed(format!("cannot listen for signals: {error}")))?;
    let mut watch = Watch { api: context.admin()?, limit: args.limit, last: None };
    watch.look().await?;
    let on_screen = !args.once && !context.global.json && std::io::stdout().is_terminal();
    if on_screen {
        let screen = Screen::enter().map_err(|error| output::write_failure(&error))?;
        let keys = screen.keys();
        return live(&screen, keys, &mut watch, &mut orders, args.every).await;
    }
    loop {
        tokio::select! {
            _ = orders.next() => return Ok(()),
            () = tokio::time::sleep(args.every) => {}
        }
        let Some(frame) = watch.look().await? else { continue };
        if context.global.json {
            output::line(&frame.to_string())?;
        } else {
            output::line(&frame::lines(&frame).join("\n"))?;
        }
        if args.once || !context.global.json {
            return Ok(());
        }
    }
}

/// Draws a frame at a time until somebody has seen enough. A daemon that goes away is waited for.
async fn live(
    screen: &Screen,
    mut keys: mpsc::Receiver<u8>,
    watch: &mut Watch,
    orders: &mut Orders,
    every: Duration,
) -> Result<()> {
    let mut lines = vec!["looking…".to_owned()];
    let mut has_keys = true;
    let mut next = Instant::now() + every;
    loop {
        let shown: Vec<_> = lines.iter().cloned().chain([String::new(), "q quits".to_owned()]).collect();
        screen.draw(&shown).map_err(|error| output::write_failure(&error))?;
        tokio::select! {
            _ = orders.next() => return Ok(()),
            key = keys.recv(), if has_keys => match key {
                Some(b'q' | b'Q' | 3 | 27) => return Ok(()),
                Some(_) => continue,
                None => has_keys = false,
            },
            () = tokio::time::sleep_until(next) => {}
        }
        if Instant::now() < next {
            continue;
        }
        next = Instant::now() + every;
        match watch.look().await {
            Ok(Some(frame)) => lines = frame::lines(&frame),
            Ok(None) => {}
            Err(failure) => {
                watch.last = None;
                lines = failure.to_string().lines().map(output::plain).collect();
            }
        }
    }
}

/// Looks at the daemon, and remembers the last look.
struct Watch {
    api: Transport,
    limit: u16,
    last: Option<(Samples, Instant)>,
}

impl Watch {
    /// A frame, unless this is the first look.
    async fn look(&mut self) -> Result<Option<Value>> {
        let text = self.api.get_text("/metrics").await?;
        let (now, at) = (Samples::read(&String::from_utf8_lossy(&text)), Instant::now());
        let Some((before, then)) = self.last.replace((now.clone(), at)) else { return Ok(None) };
        let status = self.api.get("/v1/status").await?;
        let orgs = self.api.get(&format!("/v1/orgs?sort=worst&limit={}", self.limit)).await?;
        let orgs = orgs.get("items").cloned().unwrap_or_else(|| json!([]));
        let orgs = orgs.as_array().map_or(&[][..], Vec::as_slice);
        let between = at.duration_since(then);
        let look = Look { at: clock::now(), status: &status, before: &before, now: &now, between, orgs };
        Ok(Some(frame::frame(&look)))
    }
}
