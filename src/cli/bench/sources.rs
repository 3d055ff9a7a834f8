//! Requests of sources in: signed, proved, durable, answered. Every org is paused, so that nothing but accepting is measured.

use std::net::{SocketAddr, TcpListener};
use std::time::Instant;

use anyhow::Context;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use http::Method;
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::task::JoinSet;

use super::Bench;
use super::daemon::Daemon;
use super::enqueue::{group_commit, paused_orgs, stop, timed};
use super::load::{self, Connection, Stop};
use super::report::Report;
use super::rows::{Measured, Scenario};
use crate::queue::bare::BareStore;

const SECRET: &str = "of the bench";

/// The row `source-64`.
pub async fn rows(bench: &Bench<'_>, report: &mut Report) -> anyhow::Result<()> {
    if !bench.begins(Scenario::Source) {
        return Ok(());
    }
    let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let daemon = bench.daemon_with_sources("source", address).await?;
    let orgs = paused_orgs(bench, &daemon).await?;
    let paths = sources(&daemon, &orgs).await?;
    let value: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..)).take(super::payload::SIZE).collect();
    let body = bench.payloads.event(Instant::now());
    let round = bench.sizes.round;
    let mut bare = BareStore::open(&bench.workspace.store("bare-source"))?;
    let mark = bench.mark(&daemon)?;
    let rounds = bench
        .alternate(
            async || group_commit(&mut bare, &value, round),
            async || timed(bench, senders(address, &paths, &body, stop(round))).await,
        )
        .await?;
    let note = format!("64 orgs; {}", bench.cost(&daemon, &mark)?);
    report.rows.extend(Measured::paired("source-64", &rounds, note));
    Ok(())
}

/// Gives every org a source; answers the paths of their addresses.
async fn sources(daemon: &Daemon, orgs: &[String]) -> anyhow::Result<Vec<String>> {
    let mut admin = daemon.admin().await?;
    let body =
        json!({"kind": "hmac", "header": "x-signature", "encoding": "base64", "secret": SECRET}).to_string();
    let mut paths = Vec::with_capacity(orgs.len());
    for org in orgs {
        let path = format!("/v1/orgs/{org}/sources/in");
        let answer = admin.expect(Method::PUT, &path, Bytes::from(body.clone())).await?;
        let answer: Value = serde_json::from_slice(&answer)?;
        let token = answer.get("token").and_then(Value::as_str).context("a new source has no token")?;
        paths.push(format!("/in/{org}/in/{token}"));
    }
    Ok(paths)
}

/// One sender per path, each posting its next request when the last one was answered. Answers how many were accepted.
async fn senders(address: SocketAddr, paths: &[String], body: &Bytes, stop: Stop) -> anyhow::Result<u64> {
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes())?;
    mac.update(body);
    let signature = STANDARD.encode(mac.finalize().into_bytes());
    let mut tasks = JoinSet::new();
    for path in paths {
        let mut connection = Connection::over_tcp(address).await?.with_header("x-signature", &signature)?;
        let (path, body) = (path.clone(), body.clone());
        tasks.spawn(async move {
            let mut accepted = 0;
            while !stop.reached(accepted) {
                connection.expect(Method::POST, &path, body.clone()).await?;
                accepted += 1;
            }
            anyhow::Ok(accepted)
        });
    }
    load::sum(tasks).await
}
