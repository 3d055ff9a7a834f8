//! URL templates and values: what is saved can be read again, and whatever a value holds, it becomes one segment of the
//! very URL that was saved: scheme, host and port never change, and nothing is filled in twice.
#![no_main]

use std::borrow::Cow;
use std::cell::Cell;

use libfuzzer_sys::fuzz_target;
use postrider::api::fuzzing::{path_template, url_template};
use postrider::delivery::template::render;
use postrider::model::{Piece, UrlTemplate};
use url::{Position, Url};

/// Base URLs of clients.
const BASES: [&str; 3] =
    ["https://hooks.example:8443", "http://[2001:db8::1]/base", "https://xn--bcher-kva.example/a/b"];

fuzz_target!(|data: &[u8]| {
    // The template, then the values in turn, between zero bytes.
    let text = String::from_utf8_lossy(data);
    let mut parts = text.split('\0');
    let template = parts.next().unwrap_or_default();
    let values: Vec<&str> = parts.collect();
    if let Ok(url) = url_template(template) {
        assert_eq!(url_template(&url.to_string()).as_ref(), Ok(&url), "saved and read again");
        fill_in("", &url, &values);
    }
    if let Ok(path) = path_template(template) {
        assert_eq!(path_template(&path.to_string()).as_ref(), Ok(&path), "saved and read again");
        for base in BASES {
            fill_in(base, &path, &values);
        }
    }
});

/// Fills in the values, one after the other for ever, and holds the result to the template.
fn fill_in(base: &str, template: &UrlTemplate, values: &[&str]) {
    let asked = Cell::new(0);
    let next = |_: &str| {
        let value = values.get(asked.get() % values.len().max(1)).copied().unwrap_or_default();
        asked.set(asked.get() + 1);
        Ok(Cow::Borrowed(value))
    };
    let rendered = render(base, template, next);
    let variables = template.variables().count();
    assert!(asked.get() <= variables, "each variable is asked for once, and no value for another");
    let Ok(text) = rendered else { return };
    assert_eq!(asked.get(), variables);

    // Literals to the letter; between them what decodes to the value, in characters that mean nothing.
    let mut rest = text.strip_prefix(base).expect("the base comes first");
    let mut turn = 0;
    for piece in template.pieces() {
        match piece {
            Piece::Literal(literal) => rest = rest.strip_prefix(&**literal).expect("literals as they stand"),
            Piece::Variable(_) => {
                let value = values.get(turn % values.len().max(1)).copied().unwrap_or_default();
                turn += 1;
                for byte in value.bytes() {
                    let plain = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
                    let expected = if plain { char::from(byte).to_string() } else { format!("%{byte:02X}") };
                    rest = rest.strip_prefix(expected.as_str()).expect("the value, percent-encoded");
                }
            }
        }
    }
    assert_eq!(rest, "");

    let url = Url::parse(&text).expect("a URL");
    assert_eq!(url.as_str(), text, "the parser changes nothing");
    let plain = render(base, template, |_| Ok(Cow::Borrowed("v"))).expect("a plain value fits");
    let plain = Url::parse(&plain).expect("a URL");
    assert_eq!(url[..Position::BeforePath], plain[..Position::BeforePath], "scheme, host and port");
    assert!(url.username().is_empty() && url.password().is_none() && url.fragment().is_none());
    let segments = |url: &Url| url.path().split('/').count();
    assert_eq!(segments(&url), segments(&plain), "one segment each");
    let pairs = |url: &Url| url.query().map(|query| query.split('&').count());
    assert_eq!(pairs(&url), pairs(&plain), "one word of the query each");

    let uri: http::Uri = text.parse().expect("HTTP can carry it");
    assert_eq!(
        (uri.host(), uri.port_u16()),
        (url.host_str(), url.port()),
        "what is dialled is what was checked"
    );
}
