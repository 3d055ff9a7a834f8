//! Proxies for the tests: they do what real ones do, and hand on what they were asked for.

use std::net::IpAddr;

use tokio::io::AsyncWrite;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::model::{Credentials, Proxy, ProxyKind, Secret};

/// What a proxy was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Asked {
    /// The address or name, and port.
    pub(super) goal: String,
    /// The whole request to an HTTP proxy; user and password, with a colon between them, to a SOCKS one.
    pub(super) said: String,
}

/// A proxy on 127.0.0.1.
pub(super) struct TestProxy {
    kind: ProxyKind,
    pub(super) receiver: Receiver,
    pub(super) asked: mpsc::UnboundedReceiver<Asked>,
}

/// Whatever it is asked for, it connects to where the receiver is.
pub(super) async fn leading_to(
    kind: ProxyKind,
    receiver: SocketAddr,
    acceptor: Option<TlsAcceptor>,
) -> TestProxy {
    let (sender, asked) = mpsc::unbounded_channel();
    let proxy = Receiver::start(move |_, stream| {
        let (sender, acceptor) = (sender.clone(), acceptor.clone());
        async move {
            match acceptor {
                None => lead(kind, stream, receiver, &sender).await,
                Some(acceptor) => {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    lead(kind, stream, receiver, &sender).await;
                }
            }
        }
    })
    .await;
    TestProxy { kind, receiver: proxy, asked }
}

/// Answers every request with the same bytes and closes.
pub(super) async fn answering(kind: ProxyKind, answer: &'static [u8]) -> TestProxy {
    let (_sender, asked) = mpsc::unbounded_channel();
    let receiver = Receiver::start(move |_, mut stream| async move {
        // What it is asked comes in one piece.
        assert!(stream.read(&mut [0; 1024]).await.is_ok());
        stream.write_all(answer).await.ok();
        stream.shutdown().await.ok();
        // Until the other side has closed too, so that nothing is reset.
        while stream.read(&mut [0; 1024]).await.is_ok_and(|read| read > 0) {}
    })
    .await;
    TestProxy { kind, receiver, asked }
}

async fn lead(
    kind: ProxyKind,
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    receiver: SocketAddr,
    sender: &mpsc::UnboundedSender<Asked>,
) {
    let asked = match kind {
        ProxyKind::Http | ProxyKind::Https => connect(&mut stream).await,
        ProxyKind::Socks5 => socks5(&mut stream).await,
    };
    let Some(asked) = asked else { return };
    sender.send(asked).ok();
    let Ok(mut onward) = TcpStream::connect(receiver).await else { return };
    let granted: &[u8] = match kind {
        ProxyKind::Http | ProxyKind::Https => b"HTTP/1.1 200 Connection established\r\nvia: test\r\n\r\n",
        ProxyKind::Socks5 => &[5, 0, 0, 1, 10, 0, 0, 1, 0, 1],
    };
    stream.write_all(granted).await.unwrap();
    tokio::io::copy_bidirectional(&mut stream, &mut onward).await.ok();
}

async fn connect(stream: &mut (impl AsyncRead + Unpin)) -> Option<Asked> {
    let said = read_request(stream).await?;
    let goal = said.strip_prefix("CONNECT ").unwrap().split(' ').next().unwrap().to_owned();
    Some(Asked { goal, said })
}

async fn socks5(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> Option<Asked> {
    let mut greeting = [0; 2];
    stream.read_exact(&mut greeting).await.ok()?;
    assert_eq!(greeting[0], 5);
    let mut ways = vec![0; usize::from(greeting[1])];
    stream.read_exact(&mut ways).await.unwrap();
    let said = if ways.contains(&2) {
        stream.write_all(&[5, 2]).await.unwrap();
        assert_eq!(stream.read_u8().await.unwrap(), 1);
        let user = counted(stream).await;
        let password = counted(stream).await;
        stream.write_all(&[1, 0]).await.unwrap();
        format!("{user}:{password}")
    } else {
        stream.write_all(&[5, 0]).await.unwrap();
        String::new()
    };
    let mut head = [0; 4];
    stream.read_exact(&mut head).await.unwrap();
    assert_eq!(head[..3], [5, 1, 0]);
    let host = match head[3] {
        1 => IpAddr::from(stream.read_u32().await.unwrap().to_be_bytes()).to_string(),
        4 => format!("[{}]", IpAddr::from(stream.read_u128().await.unwrap().to_be_bytes())),
        _ => counted(stream).await,
    };
    let port = stream.read_u16().await.unwrap();
    Some(Asked { goal: format!("{host}:{port}"), said })
}

/// Text with its length before it.
async fn counted(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut text = vec![0; usize::from(stream.read_u8().await.unwrap())];
    stream.read_exact(&mut text).await.unwrap();
    String::from_utf8(text).unwrap()
}

impl TestProxy {
    /// As a setting.
    pub(super) fn setting(&self) -> Proxy {
        let address = self.receiver.address;
        let host = address.ip().to_string().into();
        Proxy { kind: self.kind, host, port: address.port(), credentials: None }
    }

    /// As a setting, with what it is to be told of us.
    pub(super) fn signed_in(&self, username: &str, password: &str) -> Proxy {
        let credentials =
            Credentials { username: username.into(), password: Secret::new(password.to_owned()) };
        Proxy { credentials: Some(credentials), ..self.setting() }
    }

    /// `host:port`.
    pub(super) fn shown(&self) -> String {
        self.receiver.address.to_string()
    }

    pub(super) fn connections(&self) -> usize {
        self.receiver.connections()
    }
}
