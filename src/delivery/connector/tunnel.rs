//! What is said to a proxy to be put through: CONNECT (RFC 9110, 9.3.6) or SOCKS5 (RFC 1928, 1929). The stream to the proxy
//! comes in, and is the stream to the receiver afterwards.
//!
//! Written here and not taken from a library: what a proxy answers has to come out in words that an operator can act on.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use zeroize::Zeroizing;

use crate::model::Credentials;

/// The most of a proxy's answer to CONNECT, in bytes.
const ANSWER_MAX: usize = 16 * 1024;

/// Where a proxy is asked to connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Goal {
    /// An address that was judged.
    Address(SocketAddr),
    /// A name that the proxy resolves.
    Name(Box<str>, u16),
}

impl fmt::Display for Goal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Goal::Address(address) => address.fmt(out),
            Goal::Name(name, port) => write!(out, "{name}:{port}"),
        }
    }
}

/// Why a proxy did not put us through. Continues "the proxy HOST:PORT ".
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NotThrough {
    pub(super) words: String,
    /// Whether it may be that it puts us through to another address.
    pub(super) only_there: bool,
}

impl NotThrough {
    fn at_all(words: impl Into<String>) -> NotThrough {
        NotThrough { words: words.into(), only_there: false }
    }

    fn there(words: impl Into<String>) -> NotThrough {
        NotThrough { words: words.into(), only_there: true }
    }
}

/// The connection to the proxy ended or broke.
fn broke(what: &str) -> impl Fn(io::Error) -> NotThrough + '_ {
    move |error| {
        NotThrough::at_all(match error.kind() {
            io::ErrorKind::UnexpectedEof => format!("closed the connection before it answered {what}"),
            _ => format!("broke the connection before it answered {what}: {error}"),
        })
    }
}

/// Asks a proxy that speaks HTTP/1.1.
pub(super) async fn connect(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    goal: &Goal,
    credentials: Option<&Credentials>,
) -> Result<(), NotThrough> {
    let mut request = Zeroizing::new(format!("CONNECT {goal} HTTP/1.1\r\nhost: {goal}\r\n"));
    if let Some(Credentials { username, password }) = credentials {
        let pair = Zeroizing::new(format!("{username}:{}", password.expose()));
        let encoded = Zeroizing::new(BASE64.encode(pair.as_bytes()));
        request.push_str("proxy-authorization: Basic ");
        request.push_str(&encoded);
        request.push_str("\r\n");
    }
    request.push_str("\r\n");
    let sent = async {
        stream.write_all(request.as_bytes()).await?;
        stream.flush().await
    };
    sent.await.map_err(broke("CONNECT"))?;
    let head = answer(stream).await?;
    let Some(status) = status(&head) else {
        return Err(NotThrough::at_all("did not answer CONNECT in HTTP/1.1"));
    };
    match status {
        200..=299 => Ok(()),
        // It could not get there, or does not want to go there.
        403 | 500..=599 => Err(NotThrough::there(format!("answered {status} to CONNECT"))),
        _ => Err(NotThrough::at_all(format!("answered {status} to CONNECT"))),
    }
}

/// The head of the answer, and not a byte more: what follows belongs to the receiver. A read takes one byte only where
/// the head could end with it.
async fn answer(stream: &mut (impl AsyncRead + Unpin)) -> Result<Vec<u8>, NotThrough> {
    const END: &[u8] = b"\r\n\r\n";
    let mut head = Vec::with_capacity(256);
    while !head.ends_with(END) {
        if head.len() >= ANSWER_MAX {
            return Err(NotThrough::at_all("answered CONNECT with headers past the limit"));
        }
        // Of the four bytes at the end, as many are still missing as have not come yet.
        let seen = (0..END.len()).rev().find(|length| head.ends_with(END.get(..*length).unwrap_or_default()));
        let missing = END.len() - seen.unwrap_or(0);
        let start = head.len();
        head.resize(start + missing, 0);
        let read = stream.read(head.get_mut(start..).unwrap_or_default()).await.map_err(broke("CONNECT"))?;
        head.truncate(start + read);
        if read == 0 {
            return Err(broke("CONNECT")(io::ErrorKind::UnexpectedEof.into()));
        }
    }
    Ok(head)
}

fn status(head: &[u8]) -> Option<u16> {
    let line = head.split(|byte| *byte == b'\r').next()?;
    let rest = line.strip_prefix(b"HTTP/1.1 ").or_else(|| line.strip_prefix(b"HTTP/1.0 "))?;
    let digits = rest.split(|byte| *byte == b' ').next().filter(|digits| digits.len() == 3)?;
    std::str::from_utf8(digits).ok()?.parse().ok().filter(|status| *status >= 100)
}

const VERSION: u8 = 5;
const NO_SIGN_IN: u8 = 0;
const USER_AND_PASSWORD: u8 = 2;
const NONE_OF_THESE: u8 = 0xff;

/// Asks a proxy that speaks SOCKS5.
pub(super) async fn socks5(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    goal: &Goal,
    credentials: Option<&Credentials>,
) -> Result<(), NotThrough> {
    let greeting: &[u8] = match credentials {
        None => &[VERSION, 1, NO_SIGN_IN],
        Some(_) => &[VERSION, 2, NO_SIGN_IN, USER_AND_PASSWORD],
    };
    let [version, way] = exchange(stream, greeting, "our SOCKS5 greeting").await?;
    match (version, way, credentials) {
        (VERSION, NO_SIGN_IN, _) => {}
        (VERSION, USER_AND_PASSWORD, Some(credentials)) => sign_in(stream, credentials).await?,
        (VERSION, NONE_OF_THESE, None) => {
            return Err(NotThrough::at_all("wants a user name and password, or another way to sign in"));
        }
        (VERSION, NONE_OF_THESE, Some(_)) => {
            return Err(NotThrough::at_all("takes no user name and password"));
        }
        _ => return Err(NotThrough::at_all("does not speak SOCKS5")),
    }
    let [version, reply, _, kind] = exchange(stream, &request(goal), "our SOCKS5 request").await?;
    if version != VERSION {
        return Err(NotThrough::at_all("does not speak SOCKS5"));
    }
    if reply != 0 {
        return Err(not_granted(reply));
    }
    // The address it connects from, which nobody needs.
    let length = match kind {
        1 => 4,
        4 => 16,
        3 => usize::from(stream.read_u8().await.map_err(broke("our SOCKS5 request"))?),
        _ => return Err(NotThrough::at_all("does not speak SOCKS5")),
    };
    let mut bound = [0; 255 + 2];
    let rest = bound.get_mut(..length + 2).unwrap_or_default();
    stream.read_exact(rest).await.map_err(broke("our SOCKS5 request"))?;
    Ok(())
}

async fn sign_in(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    Credentials { username, password }: &Credentials,
) -> Result<(), NotThrough> {
    // Both have at most 255 bytes, or they would not have been taken.
    let length = |text: &str| u8::try_from(text.len()).unwrap_or(u8::MAX);
    let mut message = Zeroizing::new(vec![1, length(username)]);
    message.extend_from_slice(username.as_bytes());
    message.push(length(password.expose()));
    message.extend_from_slice(password.expose().as_bytes());
    let [_, status] = exchange(stream, &message, "our user name and password").await?;
    if status == 0 { Ok(()) } else { Err(NotThrough::at_all("refused our user name and password")) }
}

fn request(goal: &Goal) -> Vec<u8> {
    const CONNECT: u8 = 1;
    let mut message = vec![VERSION, CONNECT, 0];
    let port = match goal {
        Goal::Address(address) => {
            match address.ip() {
                IpAddr::V4(ip) => {
                    message.push(1);
                    message.extend(ip.octets());
                }
                IpAddr::V6(ip) => {
                    message.push(4);
                    message.extend(ip.octets());
                }
            }
            address.port()
        }
        Goal::Name(name, port) => {
            // No name in a URL that resolves is longer than 253 bytes.
            message.extend([3, u8::try_from(name.len()).unwrap_or(u8::MAX)]);
            message.extend(name.bytes().take(usize::from(u8::MAX)));
            *port
        }
    };
    message.extend(port.to_be_bytes());
    message
}

fn not_granted(reply: u8) -> NotThrough {
    let words = match reply {
        1 => "general failure",
        2 => "not allowed",
        3 => "network unreachable",
        4 => "host unreachable",
        5 => "connection refused",
        6 => "time to live expired",
        7 => "command not supported",
        8 => "address type not supported",
        _ => "unknown failure",
    };
    NotThrough::there(format!("answered {reply} ({words}) to our SOCKS5 request"))
}

/// Sends a message and reads the fixed start of its answer.
async fn exchange<const N: usize>(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    message: &[u8],
    what: &str,
) -> Result<[u8; N], NotThrough> {
    let mut answer = [0; N];
    let exchanged = async {
        stream.write_all(message).await?;
        stream.flush().await?;
        stream.read_exact(&mut answer).await
    };
    exchanged.await.map_err(broke(what))?;
    Ok(answer)
}

#[cfg(test)]
#[path = "tunnel_tests.rs"]
mod tests;
