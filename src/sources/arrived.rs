//! What came over the wire, as far as it proves or means anything. PURE.

use http::HeaderMap;

/// A request, borrowed from the connection that it came by.
#[derive(Clone, Copy)]
pub struct Arrived<'a> {
    /// Every header.
    pub headers: &'a HeaderMap,
    /// What stands after the `?` of the address.
    pub query: Option<&'a str>,
    /// The raw body.
    pub body: &'a [u8],
}

impl<'a> Arrived<'a> {
    /// The value of a header that can mean one thing only: given once, in printable ASCII.
    ///
    /// # Errors
    /// What is wrong with the header, without its value.
    pub(super) fn header(&self, name: &str) -> Result<Option<&'a str>, String> {
        let mut values = self.headers.get_all(name).iter();
        let Some(value) = values.next() else { return Ok(None) };
        if values.next().is_some() {
            return Err(format!("{name} is given more than once: once is right"));
        }
        value.to_str().map(Some).map_err(|_| format!("{name} must be printable ASCII"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_means_one_thing_or_nothing() {
        let mut headers = HeaderMap::new();
        headers.insert("x-one", "a".parse().unwrap());
        headers.insert("x-odd", http::HeaderValue::from_bytes(b"\xc3\xa4").unwrap());
        headers.append("x-two", "a".parse().unwrap());
        headers.append("x-two", "a".parse().unwrap());
        let arrived = Arrived { headers: &headers, query: None, body: b"" };
        assert_eq!(arrived.header("X-One"), Ok(Some("a")));
        assert_eq!(arrived.header("X-None"), Ok(None));
        assert_eq!(arrived.header("X-Odd"), Err("X-Odd must be printable ASCII".to_owned()));
        assert_eq!(arrived.header("X-Two"), Err("X-Two is given more than once: once is right".to_owned()));
        // No name of a header at all is nowhere.
        assert_eq!(arrived.header("x one"), Ok(None));
    }
}
