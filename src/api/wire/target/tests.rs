use proptest::prelude::*;

use super::*;
use crate::serving::problem::Kind;

const KNOWN: &[&str] = &["url", "client", "path", "base_url"];

fn members(body: &str) -> Members<'_> {
    Members::parse(body.as_bytes(), KNOWN).unwrap_or_else(|problem| panic!("{body}: {problem:?}"))
}

fn read(body: &str) -> Result<Target, Problem> {
    target(&members(body))
}

/// A member whose text is escaped as JSON wants it.
fn one(name: &str, text: &str) -> String {
    serde_json::json!({ name: text }).to_string()
}

fn with_path(text: &str) -> String {
    serde_json::json!({ "client": "jira", "path": text }).to_string()
}

#[track_caller]
fn refused<T>(read: Result<T, Problem>, field: &str, says: &str) {
    let Err(problem) = read else { panic!("accepted, but {says}") };
    assert_eq!((problem.kind, problem.field.as_deref()), (Kind::InvalidField, Some(field)), "{problem:?}");
    assert!(problem.detail.contains(says), "{says}: {problem:?}");
}

fn text_of(target: &Target) -> String {
    match target {
        Target::Url(template) | Target::Client { path: template, .. } => template.to_string(),
    }
}

#[test]
fn a_url_or_a_client_with_a_path_and_no_mixture() {
    assert_eq!(
        read(r#"{"url":"https://a.example/x?y=1"}"#).unwrap(),
        Target::Url(UrlTemplate::fixed("https://a.example/x?y=1"))
    );
    let client: ClientId = "jira".parse().unwrap();
    for body in [r#"{"client":"jira"}"#, r#"{"client":"jira","path":""}"#, r#"{"client":"jira","url":null}"#]
    {
        let Target::Client { client: of, path } = read(body).unwrap() else { panic!("{body}") };
        assert_eq!((of, path.as_fixed()), (client.clone(), Some("")));
    }
    let Target::Client { path, .. } = read(&with_path("/events/{eventId}?k={typeKey}")).unwrap() else {
        panic!()
    };
    let pieces = [
        Piece::Literal("/events/".into()),
        Piece::Variable("eventId".into()),
        Piece::Literal("?k=".into()),
        Piece::Variable("typeKey".into()),
    ];
    assert_eq!(path.pieces(), pieces);

    refused(read("{}"), "/url", "client and path");
    refused(read(r#"{"url":"https://a.example/","client":"jira"}"#), "/client", "not both");
    refused(read(r#"{"url":"https://a.example/","path":"/x"}"#), "/path", "goes with client");
    refused(read(r#"{"path":"/x"}"#), "/path", "goes with client");
    refused(read(r#"{"client":"../x"}"#), "/client", "client must be");
    refused(read(r#"{"url":7}"#), "/url", "must be a string");
    refused(read(r#"{"client":"jira","path":7}"#), "/path", "must be a string");
}

#[test]
fn urls_that_could_mean_something_else_are_refused() {
    for good in
        ["https://a.example", "http://127.0.0.1:8080/x?y=1", "https://[2001:db8::1]/", "HTTPS://A.example/"]
    {
        assert!(read(&one("url", good)).is_ok(), "{good}");
    }
    let long = format!("https://a.example/{}", "x".repeat(URL_MAX));
    let grown = format!("https://a.example/{}", "ä".repeat(URL_MAX / 3));
    for (bad, says) in [
        ("", "not an absolute URL"),
        ("/hook", "not an absolute URL"),
        ("a.example/hook", "not an absolute URL"),
        ("ftp://a.example/", "must start with https://"),
        ("file:///etc/passwd", "must start with https://"),
        ("unix:/x", "must start with https://"),
        ("data:,x", "must start with https://"),
        ("https://", "not an absolute URL"),
        ("https:///", "not an absolute URL"),
        ("https:///a.example/", "must have a host"),
        ("https:a.example", "must have a host"),
        ("https:/a.example", "must have a host"),
        ("https://u@a.example/", "user name"),
        ("https://u:p@a.example/", "user name"),
        ("https://@a.example/", "user name"),
        ("https://:@a.example/", "user name"),
        ("https://a.example/#x", "fragment"),
        ("https://a.example/#", "fragment"),
        ("https://a.example#{x}", "fragment"),
        ("https://a.example:0/", "port 0"),
        ("https://a.example:65536/", "port"),
        ("https://a .example/", "spaces"),
        ("https://a`b.example/", "cannot carry"),
        ("https://a.example/\n", "control"),
        ("https://good\\@evil.example/", "backslashes"),
        (" https://a.example/", "spaces"),
        ("https://a.example/\t", "control"),
        ("https://a.example/\u{a0}", "spaces"),
        ("https://a.example/../x", "segment"),
        ("https://a.example/x/%2E.", "segment"),
        (&long, "at most 2048 bytes"),
        (&grown, "once percent-encoded"),
    ] {
        refused(read(&one("url", bad)), "/url", says);
    }
}

#[test]
fn variables_stand_in_path_and_query_only() {
    for bad in [
        "{scheme}://a.example/",
        "{a}",
        "https{s}://a.example/",
        "https://{host}/",
        "https://{host}",
        "https://a.{domain}?x",
        "https://a.example:{port}/",
        "https://{user}@a.example/",
        "https://a.example{x}",
    ] {
        refused(read(&one("url", bad)), "/url", "path and query only");
    }
    for good in [
        "https://a.example/{x}",
        "https://a.example?{x}",
        "https://a.example?x={x}/{y}",
        "https://a.example/?{n}={x}",
        "https://a.example/{x}{y}-{x}.json",
    ] {
        assert!(read(&one("url", good)).is_ok(), "{good}");
    }
    let many = format!("https://a.example/{}", "{x}".repeat(17));
    for (bad, says) in [
        ("https://a.example/{", "without its }"),
        ("https://a.example/}", "without its {"),
        ("https://a.example/{}", "not the name of a variable"),
        ("https://a.example/{{x}}", "not the name of a variable"),
        ("https://a.example/{a b}", "spaces"),
        ("https://a.example/{x}/../y", "segment"),
        ("https://a.example/%{x}", "percent-escape"),
        ("https://a.example/?x=%4{x}", "percent-escape"),
        (&many, "more than 16"),
    ] {
        refused(read(&one("url", bad)), "/url", says);
    }
}

#[test]
fn paths_cannot_leave_the_client() {
    for (bad, says) in [
        ("events", "must begin with /"),
        ("{x}", "must begin with /"),
        ("?x=1", "must begin with /"),
        ("@evil.example/", "must begin with /"),
        (".evil.example/", "must begin with /"),
        (":1/", "must begin with /"),
        ("https://evil.example/", "must begin with /"),
        ("/x#y", "fragment"),
        ("/a b", "spaces"),
        ("/a\\b", "backslashes"),
        ("/a\nb", "control"),
        ("/..", "segment"),
        ("/a/./b", "segment"),
        ("/a/%2e%2E/b", "segment"),
        ("/{x", "without its }"),
        ("/%{x}", "percent-escape"),
    ] {
        refused(read(&with_path(bad)), "/path", says);
    }
    for good in ["/", "//evil.example/", "/{x}", "/a/{x}/..b/c..?d=../e&f={y}"] {
        assert_eq!(text_of(&read(&with_path(good)).unwrap()), good);
    }
}

#[test]
fn what_is_kept_is_as_the_parser_spells_it_with_the_variables_where_they_were() {
    for (typed, kept) in [
        ("HTTPS://A.Example:443/{x}", "https://a.example/{x}"),
        ("https://a.example?q={x}", "https://a.example/?q={x}"),
        (
            "https://bücher.example/ä/{x}/\"?ä={y}'",
            "https://xn--bcher-kva.example/%C3%A4/{x}/%22?%C3%A4={y}%27",
        ),
        ("https://VW.example/vw{x}vww/vwwww{y}", "https://vw.example/vw{x}vww/vwwww{y}"),
        ("https://a.example/vw{x}{y}w", "https://a.example/vw{x}{y}w"),
        ("https://a.example/v{x}w?v{y}w={z}", "https://a.example/v{x}w?v{y}w={z}"),
        ("http://0x7f.1:80/{x}", "http://127.0.0.1/{x}"),
    ] {
        assert_eq!(text_of(&read(&one("url", typed)).unwrap()), kept, "{typed}");
    }
    assert_eq!(text_of(&read(&with_path("/ä/{x}?\"")).unwrap()), "/%C3%A4/{x}?%22");
}

#[test]
fn what_is_kept_is_short_enough_to_be_given_again() {
    let name = "n".repeat(64);
    let room = URL_MAX - "/{}".len() - name.len();
    let of = |length: usize| with_path(&format!("/{}{{{name}}}", "x".repeat(length)));
    assert_eq!(text_of(&read(&of(room)).unwrap()).len(), URL_MAX);
    refused(read(&of(room + 1)), "/path", "at most 2048 bytes");
    // Percent-encoding makes three bytes of one.
    let quotes = |count: usize| with_path(&format!("/{}{{{name}}}", "\"".repeat(count)));
    assert!(read(&quotes(room / 3)).is_ok());
    refused(read(&quotes(room / 3 + 1)), "/path", "once percent-encoded");
}

#[test]
fn a_base_url_is_a_url_and_nothing_behind_it() {
    let read = |text: &str| base_url(&members(&one("base_url", text))).map(String::from);
    assert_eq!(read("https://A.example").unwrap(), "https://a.example/");
    assert_eq!(read("http://127.0.0.1:8080/v1/").unwrap(), "http://127.0.0.1:8080/v1/");
    for (bad, says) in [
        ("/x", "not an absolute URL"),
        ("ftp://a.example/", "must start with"),
        ("https://u:p@a.example/", "user name"),
        ("https://a.example/?", "query"),
        ("https://a.example/?x=1", "query"),
        ("https://a.example/#", "fragment"),
        ("https://a.example/{x}", "variables"),
        ("https://{x}/", "variables"),
        ("https://a.example/}", "variables"),
        ("https://a.example/a/..", "segment"),
        ("https://a.example:0/", "port 0"),
    ] {
        refused(read(bad), "/base_url", says);
    }
    refused(base_url(&members("{}")), "/base_url", "is missing");
    refused(base_url(&members(r#"{"base_url":1}"#)), "/base_url", "must be a string");
}

#[test]
fn values_of_a_query_are_shown_masked_and_a_mask_is_no_value() {
    for (typed, seen) in [
        (
            "https://a.example/s3cret?token=s3cret&id={eventId}",
            "https://a.example/s3cret?token=***&id={eventId}",
        ),
        ("https://a.example/?s3cret", "https://a.example/?***"),
        ("https://a.example/?a=&b", "https://a.example/?***&***"),
        ("https://a.example/?czNjcmV0LWtleQ==", "https://a.example/?***"),
        ("https://a.example/?a=s3cret=s3cret&&{n}=x", "https://a.example/?a=***&&{n}=***"),
        ("https://a.example/?a=s3cret{x}s3cret{y}{z}", "https://a.example/?a=***{x}***{y}{z}"),
        ("https://a.example/?a={x}?s3cret", "https://a.example/?a={x}***"),
        ("https://a.example/?", "https://a.example/?"),
    ] {
        let target = read(&one("url", typed)).unwrap();
        let json = serde_json::to_value(shown(&target)).unwrap();
        assert_eq!(json, serde_json::json!({ "url": seen }), "{typed}");
        let query = seen.split_once('?').unwrap().1;
        if query.contains(MASK) {
            refused(read(&one("url", seen)), "/url", "give the real value");
        }
    }
    let target = read(&with_path("/x?k=s3cret")).unwrap();
    let json = serde_json::to_value(shown(&target)).unwrap();
    assert_eq!(json, serde_json::json!({ "client": "jira", "path": "/x?k=***" }));
    refused(read(&with_path("/x?k=***")), "/path", "give the real value");
    assert!(read(&with_path("/***")).is_ok());
}

proptest! {
    /// Whatever is taken stays as it is when it is read again, and so do its variables.
    #[test]
    fn what_is_kept_reads_back_as_itself(
        text in "https?://[a-zA-Z.ä-]{1,8}(:[0-9]{1,3})?[/?]([!-~äw]|vw|\\{[a-z]\\}|%2[Ee]|\\.){0,12}"
    ) {
        if let Ok(target) = read(&one("url", &text)) {
            let names: Vec<_> = target.variables().map(str::to_owned).collect();
            let typed = UrlTemplate::parse(&text).unwrap();
            prop_assert!(typed.variables().eq(names.iter().map(String::as_str)), "{}", text);
            let kept = text_of(&target);
            let again = read(&one("url", &kept));
            prop_assert_eq!(again.ok(), Some(target), "{} kept as {}", text, kept);
        }
    }

    /// No value of a query is shown.
    #[test]
    fn nothing_of_a_query_but_names_and_variables_is_shown(
        pairs in proptest::collection::vec(("[a-z]{0,3}", "(CANARY|\\{[a-z]\\}|[=?/]){0,4}"), 1..4)
    ) {
        let query: Vec<_> = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let target = read(&one("url", &format!("https://a.example/?{}", query.join("&")))).unwrap();
        let seen = serde_json::to_string(&shown(&target)).unwrap();
        prop_assert!(!seen.contains("CANARY"), "{}", seen);
    }
}
