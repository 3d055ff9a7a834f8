//! `postrider demo`: a daemon of its own, two webhooks, a few events: order, a retry and a dead letter, for real.
//!
//! Every line about a request is printed because the receiver got that request, and the demo fails if anything comes
//! otherwise than it tells.

mod daemon;
mod story;

use std::net::SocketAddr;
use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::Context;
use super::exit::{Exit, Failure, Result};
use super::output;
use super::sink::{Behaviour, Plan, Received, Sink};
use super::transport::Transport;
use crate::model::UnixMs;
use crate::operate::signals::{Order, Orders};
use daemon::Daemon;
use story::{Expected, check};

/// Far more than anything here takes, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);
const ORG: &str = "acme";
/// Where each webhook goes, and where `billing` goes while it is broken.
const ORDERS: &str = "/orders";
const BILLING: &str = "/billing";
const BROKEN: &str = "/billing-broken";

pub(super) async fn run(context: &Context) -> Result<()> {
    let mut orders =
        Orders::new().map_err(|error| Failure::failed(format!("cannot listen for signals: {error}")))?;
    let mut daemon = Daemon::start(&context.env).await?;
    let told = tokio::select! {
        told = tell(&daemon) => told,
        () = interrupted(&mut orders) => Err(Failure::failed("interrupted")),
    };
    match told {
        Ok(()) => {
            daemon.stop().await?;
            output::line("The daemon drained and ended with exit code 0. Nothing is left behind.")?;
            output::line("\nNext: `postrider serve`, `postrider sink`, `postrider enqueue --help`.")
        }
        // Nobody reads any more; that is no fault of the daemon.
        Err(failure) if failure.exit == Exit::Ok => Err(failure),
        Err(failure) => {
            Err(Failure::new(failure.exit, format!("{failure}\n\nThe daemon's log:\n{}", daemon.log())))
        }
    }
}

async fn interrupted(orders: &mut Orders) {
    while orders.next().await == Order::Reload {}
}

/// What the demo works with.
struct Demo<'a> {
    daemon: &'a Daemon,
    sink: Sink,
    received: mpsc::UnboundedReceiver<Received>,
    /// When the request before this one came in.
    before: Option<UnixMs>,
}

async fn tell(daemon: &Daemon) -> Result<()> {
    let (sender, received) = mpsc::unbounded_channel();
    let plan = Plan::default()
        .path(BILLING, Behaviour { fail: Some(2), status: Some(503), ..Behaviour::default() })
        .path(BROKEN, Behaviour { status: Some(500), ..Behaviour::default() });
    let sink = Sink::bind(SocketAddr::from(([127, 0, 0, 1], 0)), plan, sender)
        .await
        .map_err(|error| Failure::failed(format!("cannot listen on 127.0.0.1: {error}")))?;
    output::line(&format!(
        "A daemon of its own runs in {}; a receiver listens on http://{}.",
        daemon.dir().display(),
        sink.address()
    ))?;
    let mut demo = Demo { daemon, sink, received, before: None };
    demo.set_up().await?;
    demo.order().await?;
    demo.retry().await?;
    demo.dead_letter().await?;
    demo.revive().await?;
    demo.nothing_left().await
}

impl Demo<'_> {
    fn admin(&self) -> &Transport {
        &self.daemon.admin
    }

    async fn set_up(&self) -> Result<()> {
        self.admin().call(Method::PUT, &format!("/v1/orgs/{ORG}"), Some(&json!({"plan": "demo"}))).await?;
        self.webhook("orders", ORDERS, &json!({"events": ["order.*"]})).await?;
        self.webhook("billing", BILLING, &json!({"events": ["invoice.*"], "retry": {"attempts": 3}})).await?;
        output::line(&format!(
            "The org \"{ORG}\" has two webhooks: \"orders\" takes order.*, \"billing\" takes invoice.*."
        ))
    }

    async fn webhook(&self, name: &str, path: &str, settings: &Value) -> Result<()> {
        let mut body = json!({"url": self.sink.url(path)});
        if let (Some(body), Some(settings)) = (body.as_object_mut(), settings.as_object()) {
            body.extend(settings.clone());
        }
        self.admin()
            .call(Method::PUT, &format!("/v1/orgs/{ORG}/webhooks/{name}"), Some(&body))
            .await
            .map(|_| ())
    }

    async fn enqueue(&self, event_type: &str, id: &str) -> Result<()> {
        let body =
            json!({"type": event_type, "id": id, "payload": {"id": id, "note": "made up for the demo"}});
        self.daemon
            .submit
            .call(Method::POST, &format!("/v1/orgs/{ORG}/events"), Some(&body))
            .await
            .map(|_| ())
    }

    /// Waits for the next request, tells it, and fails if it is another than expected.
    async fn next(&mut self, expected: &Expected) -> Result<()> {
        let received = tokio::time::timeout(PATIENCE, self.received.recv())
            .await
            .ok()
            .flatten()
            .ok_or_else(|| Failure::failed(format!("nothing came; expected {expected}")))?;
        let wait = self.before.map(|before| received.at.since(before));
        self.before = Some(received.at);
        check(&received, expected).map_err(Failure::failed)?;
        output::line(&story::line(expected, wait))
    }

    async fn order(&mut self) -> Result<()> {
        output::line("\n1. Order. Five events go in at once; they come out one at a time, in that order.")?;
        let ids = ["order-1", "order-2", "order-3", "order-4", "order-5"];
        for id in ids {
            self.enqueue("order.created", id).await?;
        }
        for (sequence, id) in (1..).zip(ids) {
            self.next(&Expected::new(ORDERS, id, sequence, 1, 200)).await?;
        }
        Ok(())
    }

    async fn retry(&mut self) -> Result<()> {
        output::line(
            "\n2. Retry. The receiver of invoice-1 is down for two attempts; order-6 waits its turn behind it.",
        )?;
        self.enqueue("invoice.sent", "invoice-1").await?;
        self.enqueue("order.created", "order-6").await?;
        self.next(&Expected::new(BILLING, "invoice-1", 6, 1, 503)).await?;
        self.next(&Expected::new(BILLING, "invoice-1", 6, 2, 503)).await?;
        self.next(&Expected::new(BILLING, "invoice-1", 6, 3, 200)).await?;
        self.next(&Expected::new(ORDERS, "order-6", 7, 1, 200)).await
    }

    async fn dead_letter(&mut self) -> Result<()> {
        output::line(
            "\n3. Dead letter. The receiver of invoice-2 is broken for good; after three attempts order-7 goes on.",
        )?;
        self.webhook("billing", BROKEN, &json!({"events": ["invoice.*"], "retry": {"attempts": 3}})).await?;
        self.enqueue("invoice.sent", "invoice-2").await?;
        self.enqueue("order.created", "order-7").await?;
        for attempt in 1..=3 {
            self.next(&Expected::new(BROKEN, "invoice-2", 8, attempt, 500)).await?;
        }
        self.next(&Expected::new(ORDERS, "order-7", 9, 1, 200)).await?;
        let dead = self.admin().get("/v1/dead-letters?event_id=invoice-2").await?;
        let dead = dead.pointer("/items/0").cloned().unwrap_or_default();
        let kept = dead.get("reason") == Some(&json!("attempts-exhausted"))
            && dead.get("attempts") == Some(&json!(3));
        if !kept {
            return Err(Failure::failed(format!("invoice-2 should be a dead letter: {dead}")));
        }
        output::line(&format!(
            "   invoice-2 is kept as dead letter {} ({}).",
            output::cell(&dead, "/id"),
            output::cell(&dead, "/reason")
        ))
    }

    async fn revive(&mut self) -> Result<()> {
        output::line(
            "\n4. Redrive. The receiver is repaired, the dead letter is retried: same webhook-id, fresh attempts.",
        )?;
        self.webhook("billing", BILLING, &json!({"events": ["invoice.*"]})).await?;
        self.admin().call(Method::POST, "/v1/dead-letters/invoice-2/retry", None).await?;
        self.next(&Expected::new(BILLING, "invoice-2", 10, 1, 200)).await
    }

    async fn nothing_left(&mut self) -> Result<()> {
        let start = tokio::time::Instant::now();
        loop {
            let org = self.admin().get(&format!("/v1/orgs/{ORG}")).await?;
            if org.pointer("/queue/depth") == Some(&json!(0)) {
                if org.get("dead_letters") != Some(&json!(0)) {
                    return Err(Failure::failed("a dead letter is left"));
                }
                break;
            }
            if start.elapsed() > PATIENCE {
                return Err(Failure::failed(format!("the queue does not drain: {org}")));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        if let Ok(received) = self.received.try_recv() {
            return Err(Failure::failed(format!("one request too many, to {}", received.path)));
        }
        output::line("\nNine events in, every one delivered, in order, none twice; the queue is empty.")
    }
}
