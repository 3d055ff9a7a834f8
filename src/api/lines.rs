//! Cuts a stream of chunks into lines. PURE. A line inside one chunk stays a slice of it; only a line across chunks is
//! copied. A line beyond the limit is reported once and skipped to its end, without being kept.

use bytes::{Buf, Bytes, BytesMut};

/// What a line turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Line {
    /// Its text, without the line's end.
    Text(Bytes),
    /// Beyond the limit.
    TooLong,
}

/// The lines of a stream so far.
#[derive(Debug)]
pub(super) struct Lines {
    /// The longest line that is kept, in bytes.
    max: usize,
    /// What is left of the chunk that was fed last.
    chunk: Bytes,
    /// The beginning of a line whose end has not come.
    begun: BytesMut,
    /// The rest of a line that was too long is passed over.
    skipping: bool,
    /// Lines that ended or were reported, blank ones included.
    number: u64,
}

impl Lines {
    pub(super) fn new(max: usize) -> Lines {
        Lines { max, chunk: Bytes::new(), begun: BytesMut::new(), skipping: false, number: 0 }
    }

    /// Adds a chunk. Every line of the one before has been taken.
    pub(super) fn feed(&mut self, chunk: Bytes) {
        debug_assert!(self.chunk.is_empty(), "lines are taken before the next chunk is fed");
        self.chunk = chunk;
    }

    /// The number of the line that has begun and not ended, if one has.
    pub(super) fn begun(&self) -> Option<u64> {
        (!self.begun.is_empty()).then_some(self.number + 1)
    }

    /// The next line and its number, from 1; blank lines are passed over. `None` means that more must be fed.
    pub(super) fn next(&mut self) -> Option<(u64, Line)> {
        while let Some(end) = memchr::memchr(b'\n', &self.chunk) {
            let piece = self.chunk.split_to(end);
            self.chunk.advance(1);
            if std::mem::take(&mut self.skipping) {
                continue;
            }
            self.number += 1;
            if let Some(line) = self.whole(piece) {
                return Some((self.number, line));
            }
        }
        let piece = std::mem::take(&mut self.chunk);
        if self.skipping {
            return None;
        }
        if self.begun.len() + piece.len() > self.max {
            self.begun = BytesMut::new();
            self.skipping = true;
            self.number += 1;
            return Some((self.number, Line::TooLong));
        }
        self.begun.extend_from_slice(&piece);
        None
    }

    /// The last line, if the stream ended without a line's end.
    pub(super) fn finish(&mut self) -> Option<(u64, Line)> {
        if self.skipping {
            return None;
        }
        self.number += 1;
        self.whole(Bytes::new()).map(|line| (self.number, line))
    }

    fn whole(&mut self, piece: Bytes) -> Option<Line> {
        let mut line = if self.begun.is_empty() {
            piece
        } else {
            self.begun.extend_from_slice(&piece);
            std::mem::take(&mut self.begun).freeze()
        };
        if line.last() == Some(&b'\r') {
            line.truncate(line.len() - 1);
        }
        if line.iter().all(u8::is_ascii_whitespace) {
            return None;
        }
        Some(if line.len() > self.max { Line::TooLong } else { Line::Text(line) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Cuts `text` into chunks of `size` bytes and shows the lines that come out.
    fn cut(text: &str, size: usize, max: usize) -> Vec<String> {
        let mut lines = Lines::new(max);
        let mut out = Vec::new();
        let mut show = |(number, line): (u64, Line)| {
            out.push(match line {
                Line::Text(text) => format!("{number}:{}", std::str::from_utf8(&text).unwrap()),
                Line::TooLong => format!("{number}!"),
            });
        };
        for chunk in text.as_bytes().chunks(size) {
            lines.feed(Bytes::copy_from_slice(chunk));
            while let Some(line) = lines.next() {
                show(line);
            }
        }
        if let Some(line) = lines.finish() {
            show(line);
        }
        out
    }

    #[test]
    fn lines_are_the_same_however_the_chunks_fall() {
        let text = "a\n\nbb\r\nccccc\ncccc\n   \ndd\nx";
        let expected = ["1:a", "3:bb", "4!", "5:cccc", "7:dd", "8:x"];
        for size in 1..=text.len() {
            assert_eq!(cut(text, size, 4), expected, "chunks of {size}");
        }
    }

    #[test]
    fn a_line_that_is_too_long_is_reported_once_and_does_not_grow() {
        let mut lines = Lines::new(4);
        lines.feed(Bytes::from_static(b"12345"));
        assert_eq!(lines.next(), Some((1, Line::TooLong)));
        for _ in 0..1000 {
            lines.feed(Bytes::from_static(b"xxxxxxxx"));
            assert_eq!(lines.next(), None);
            assert!(lines.begun.is_empty() && lines.begun().is_none());
        }
        lines.feed(Bytes::from_static(b"x\nok\n"));
        assert_eq!(lines.next(), Some((2, Line::Text(Bytes::from_static(b"ok")))));
        assert_eq!(lines.finish(), None);
    }

    #[test]
    fn a_line_inside_one_chunk_is_not_copied() {
        let chunk = Bytes::from_static(b"abc\ndef\n");
        let mut lines = Lines::new(10);
        lines.feed(chunk.clone());
        lines.next().unwrap();
        let Some((2, Line::Text(line))) = lines.next() else { panic!("a second line") };
        assert_eq!(line.as_ptr(), chunk[4..].as_ptr());
    }
}
