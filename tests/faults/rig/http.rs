//! A small blocking HTTP/1.1 client on a Unix socket, and what it shares with the receiver: it shows exactly when an
//! answer was read, which a client library with its own buffers would not.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

/// No answer of the daemon may take longer; a test that waits this long has failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// One kept-alive connection.
pub struct Connection {
    stream: BufReader<UnixStream>,
}

/// A whole answer.
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The body as JSON; `Null` if it is empty or something else.
    pub body: Value,
}

/// Start line and headers, names in lower case.
pub struct Head {
    /// The request or status line.
    pub start: String,
    headers: Vec<(String, String)>,
}

impl Head {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|header| header.0 == name).map(|header| header.1.as_str())
    }
}

fn unexpected(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

/// Reads a line without its end; an error at the end of the stream.
fn read_line(stream: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    if stream.read_line(&mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    line.truncate(line.trim_end().len());
    Ok(line)
}

/// Reads a request's or an answer's head.
pub fn read_head(stream: &mut impl BufRead) -> io::Result<Head> {
    let start = read_line(stream)?;
    let mut headers = Vec::new();
    loop {
        let line = read_line(stream)?;
        match line.split_once(':') {
            Some((name, value)) => headers.push((name.to_ascii_lowercase(), value.trim().to_owned())),
            None if line.is_empty() => return Ok(Head { start, headers }),
            None => return Err(unexpected("a header without a colon")),
        }
    }
}

/// Reads a body of known length.
pub fn read_sized(stream: &mut impl Read, head: &Head) -> io::Result<Vec<u8>> {
    let length = head.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok(body)
}

/// Reads one chunk of a chunked body; empty at its end.
fn read_chunk(stream: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let size = read_line(stream)?;
    let size = usize::from_str_radix(&size, 16).map_err(|_| unexpected("a bad chunk size"))?;
    let mut chunk = vec![0; size];
    stream.read_exact(&mut chunk)?;
    read_line(stream)?;
    Ok(chunk)
}

impl Connection {
    /// Connects to a socket.
    pub fn open(socket: &Path) -> io::Result<Connection> {
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(PATIENCE * 2))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Connection { stream: BufReader::new(stream) })
    }

    fn send(&mut self, method: &str, path: &str, kind: &str, body: &[u8]) -> io::Result<(u16, Head)> {
        let length = body.len();
        let mut request = format!(
            "{method} {path} HTTP/1.1\r\nhost: postrider\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n"
        )
        .into_bytes();
        request.extend_from_slice(body);
        self.stream.get_mut().write_all(&request)?;
        let head = read_head(&mut self.stream)?;
        let status = head.start.split(' ').nth(1).and_then(|status| status.parse().ok());
        Ok((status.ok_or_else(|| unexpected("a bad status line"))?, head))
    }

    /// One request, with its whole answer.
    pub fn call(&mut self, method: &str, path: &str, body: &str) -> io::Result<Answer> {
        let (status, head) = self.send(method, path, "application/json", body.as_bytes())?;
        let mut body = Vec::new();
        if head.header("transfer-encoding") == Some("chunked") {
            loop {
                let chunk = read_chunk(&mut self.stream)?;
                if chunk.is_empty() {
                    break;
                }
                body.extend(chunk);
            }
        } else {
            body = read_sized(&mut self.stream, &head)?;
        }
        Ok(Answer { status, body: serde_json::from_slice(&body).unwrap_or(Value::Null) })
    }

    /// Posts NDJSON and hands on each line of the answer as it comes. Answers the status.
    pub fn stream(&mut self, path: &str, lines: &str, mut each: impl FnMut(Value)) -> io::Result<u16> {
        let (status, head) = self.send("POST", path, "application/x-ndjson", lines.as_bytes())?;
        let mut rest = Vec::new();
        let mut take_lines = |rest: &mut Vec<u8>| {
            while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = rest.drain(..=end).collect();
                each(serde_json::from_slice(&line).unwrap_or(Value::Null));
            }
        };
        if head.header("transfer-encoding") == Some("chunked") {
            loop {
                let chunk = read_chunk(&mut self.stream)?;
                if chunk.is_empty() {
                    break;
                }
                rest.extend(chunk);
                take_lines(&mut rest);
            }
        } else {
            rest = read_sized(&mut self.stream, &head)?;
            take_lines(&mut rest);
        }
        Ok(status)
    }
}
