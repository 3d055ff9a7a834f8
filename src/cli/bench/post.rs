//! The bare loop that the bench holds deliveries against: the same request to the same receiver over kept-alive
//! connections, nothing around it.

use std::net::SocketAddr;
use std::time::Instant;

use anyhow::bail;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// POSTs `body` to `path` over `connections` connections, one request at a time each, until `end`. Answers how many
/// were answered with 200.
pub async fn post_loop(
    address: SocketAddr,
    path: &'static str,
    connections: usize,
    body: Bytes,
    end: Instant,
) -> anyhow::Result<u64> {
    let mut tasks = JoinSet::new();
    for _ in 0..connections {
        tasks.spawn(post_on_one(address, path, body.clone(), end));
    }
    let mut total = 0;
    while let Some(finished) = tasks.join_next().await {
        total += finished??;
    }
    Ok(total)
}

async fn post_on_one(address: SocketAddr, path: &str, body: Bytes, end: Instant) -> anyhow::Result<u64> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let mut answered = 0;
    while Instant::now() < end {
        sender.ready().await?;
        let request = http::Request::post(path)
            .header("host", address.to_string())
            .header("content-type", "application/json")
            .body(Full::new(body.clone()))?;
        let response = sender.send_request(request).await?;
        if response.status() != 200 {
            bail!("bare POST loop: {}", response.status());
        }
        response.into_body().collect().await?;
        answered += 1;
    }
    drop(sender);
    connection.await??;
    Ok(answered)
}
