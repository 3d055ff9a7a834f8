//! Sources: checked on the way in, shown without token and secrets on the way out. PURE.

mod shown;

use http::HeaderName;
use serde_json::value::RawValue;

use super::Members;
use super::webhook::description;
use crate::catalogue::Catalogue;
use crate::config::nearest::nearest;
use crate::model::{
    Algorithm, Encoding, HmacProof, SOURCE_SECRETS_MAX, Secret, Source, SourceId, SourceKind, TokenHash,
    UnixMs, Unmapped,
};
use crate::serving::problem::Problem;
use crate::sources::verify::check_secret;

pub(in crate::api) use shown::{SeenOut, SourceOut, address};

/// The longest prefix of a signature, in bytes.
const PREFIX_MAX: usize = 64;
/// Headers that frame or describe a request and prove or name none.
const OF_HTTP: [&str; 6] =
    ["connection", "content-encoding", "content-length", "content-type", "host", "transfer-encoding"];
/// Headers that hold secrets.
const OF_SECRETS: [&str; 3] = ["authorization", "cookie", "proxy-authorization"];
/// What only a source of kind hmac says.
const OF_HMAC: [&str; 5] = ["header", "algorithm", "encoding", "prefix", "timestamp_header"];

/// Reads the body of `PUT …/sources/{source}`. What is not given gets its default: a PUT replaces the whole source, its
/// secrets included, but not its token, which `token` is for a new one.
pub(in crate::api) fn read_source(
    id: SourceId,
    body: &[u8],
    catalogue: &Catalogue,
    token: TokenHash,
    now: UnixMs,
) -> Result<Source, Problem> {
    const KNOWN: &[&str] = &[
        "kind",
        "secret",
        "secrets",
        "header",
        "algorithm",
        "encoding",
        "prefix",
        "timestamp_header",
        "id_header",
        "event_header",
        "catalogue",
        "unmapped",
        "enabled",
        "description",
    ];
    let members = Members::parse(body, KNOWN)?;
    let kind = kind(&members)?;
    let product = product(&members, catalogue)?;
    let usual = if product.is_some() { Unmapped::Drop } else { Unmapped::Keep };
    let source = Source {
        secrets: secrets(&members, &kind)?,
        id_header: own_header(&members, &kind, "id_header", "names a request")?,
        event_header: own_header(&members, &kind, "event_header", "says what happened")?,
        unmapped: members.ruled("unmapped")?.unwrap_or(usual),
        catalogue: product,
        enabled: members.value("enabled", "true or false")?.unwrap_or(true),
        description: description(&members)?,
        ..Source::new(id, kind, token, now)
    };
    check_distinct(&members, &source)?;
    Ok(source)
}

fn kind(members: &Members<'_>) -> Result<SourceKind, Problem> {
    let all = || SourceKind::CODES.join(", ");
    let word = members.text("kind")?.ok_or_else(|| members.missing("kind", &format!("one of {}", all())))?;
    let kind = match &*word {
        "slack" => SourceKind::Slack,
        "github" => SourceKind::Github,
        "stripe" => SourceKind::Stripe,
        "standard" => SourceKind::Standard,
        "hipchat" => SourceKind::Hipchat,
        "token" => SourceKind::Token,
        "hmac" => return hmac(members).map(SourceKind::Hmac),
        other => {
            let shown: String = other.chars().take(64).collect();
            let rule = match nearest(&shown, SourceKind::CODES) {
                Some(nearest) => format!("did you mean \"{nearest}\"? There are {}", all()),
                None => format!("must be one of {}", all()),
            };
            return Err(members.invalid("kind", rule));
        }
    };
    match OF_HMAC.iter().find(|name| members.raw(name).is_some()) {
        Some(name) => {
            Err(members
                .invalid(name, format_args!("is for kind \"hmac\": how {} signs is known", kind.code())))
        }
        None => Ok(kind),
    }
}

fn hmac(members: &Members<'_>) -> Result<HmacProof, Problem> {
    let header = header(members, "header")?;
    let prefix = members.text("prefix")?.unwrap_or_default();
    // A header's value never begins with a space; a word before the signature may well end with one.
    let is_plain = prefix.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
    if prefix.len() > PREFIX_MAX || !is_plain || prefix.starts_with(' ') {
        let rule = format!("must have at most {PREFIX_MAX} ASCII characters and not begin with a space");
        return Err(members.invalid("prefix", rule));
    }
    let header = header.ok_or_else(|| members.missing("header", "the header that has the signature"))?;
    let timestamp_header = self::header(members, "timestamp_header")?;
    Ok(HmacProof {
        header,
        algorithm: members.ruled("algorithm")?.unwrap_or(Algorithm::Sha256),
        encoding: members.ruled("encoding")?.unwrap_or(Encoding::Hex),
        prefix: prefix.into(),
        timestamp_header,
    })
}

fn header(members: &Members<'_>, name: &str) -> Result<Option<Box<str>>, Problem> {
    let Some(text) = members.text(name)? else { return Ok(None) };
    match HeaderName::from_bytes(text.as_bytes()) {
        Ok(header) if OF_HTTP.contains(&header.as_str()) => {
            Err(members.invalid(name, "must be a header of the sender's own: this one is HTTP's"))
        }
        Ok(header) => Ok(Some(header.as_str().into())),
        Err(_) => Err(members.invalid(name, "must be a header's name: letters, digits and !#$%&'*+-.^_`|~")),
    }
}

/// A header that only those kinds are asked for whose senders have no fixed one.
fn own_header(
    members: &Members<'_>,
    kind: &SourceKind,
    name: &str,
    does: &str,
) -> Result<Option<Box<str>>, Problem> {
    let given = header(members, name)?;
    if given.is_some() && !matches!(kind, SourceKind::Token | SourceKind::Hmac(_)) {
        let rule = format!("is for kinds \"token\" and \"hmac\": how {} {does} is known", kind.code());
        return Err(members.invalid(name, rule));
    }
    if given.as_deref().is_some_and(|header| OF_SECRETS.contains(&header)) {
        return Err(members.invalid(name, "must be a header without secrets: what it says is shown"));
    }
    Ok(given)
}

/// Each header has one meaning.
fn check_distinct(members: &Members<'_>, source: &Source) -> Result<(), Problem> {
    let (signature, time) = match &source.kind {
        SourceKind::Hmac(proof) => (Some(&proof.header), proof.timestamp_header.as_ref()),
        _ => (None, None),
    };
    let mut before = Vec::new();
    for (name, header) in [
        ("header", signature),
        ("timestamp_header", time),
        ("id_header", source.id_header.as_ref()),
        ("event_header", source.event_header.as_ref()),
    ] {
        let Some(header) = header else { continue };
        if let Some((other, _)) = before.iter().find(|(_, known)| *known == header) {
            return Err(members.invalid(name, format_args!("must be another header than {other}")));
        }
        before.push((name, header));
    }
    Ok(())
}

/// `secret`, or `secrets` with the newest first.
fn secrets(members: &Members<'_>, kind: &SourceKind) -> Result<Vec<Secret>, Problem> {
    let one = members.text("secret")?;
    let several: Option<Vec<&RawValue>> = members.value("secrets", "a list of secrets, the newest first")?;
    if *kind == SourceKind::Token {
        let given = [("secret", one.is_some()), ("secrets", several.is_some())];
        return match given.iter().find(|(_, given)| *given) {
            Some((name, _)) => {
                Err(members.invalid(name, "a source of kind \"token\" has none: its address is the proof"))
            }
            None => Ok(Vec::new()),
        };
    }
    let checked = |text: String, pointer: &str| match check_secret(kind, &text) {
        Ok(()) => Ok(Secret::new(text)),
        Err(rule) => Err(Problem::invalid(pointer, format!("secret: {rule}"))),
    };
    let several = match (one, several) {
        (Some(_), Some(_)) => return Err(members.invalid("secrets", "give this or \"secret\", not both")),
        (Some(one), None) => return Ok(vec![checked(one.into_owned(), "/secret")?]),
        (None, Some(several)) => several,
        // They tell their secret only once they know the address; until it is given, nothing is accepted.
        (None, None) if tells_secret_later(kind) => return Ok(Vec::new()),
        (None, None) => {
            return Err(
                members.missing("secret", "what requests are signed with (source put: --secret-file FILE)")
            );
        }
    };
    if !(1..=SOURCE_SECRETS_MAX).contains(&several.len()) {
        return Err(members.invalid("secrets", format!("must have 1 to {SOURCE_SECRETS_MAX} entries")));
    }
    let read = |(index, text): (usize, &&RawValue)| {
        let pointer = format!("/secrets/{index}");
        let text = serde_json::from_str(text.get())
            .map_err(|_| Problem::invalid(&*pointer, "an entry of secrets must be a string"))?;
        checked(text, &pointer)
    };
    several.iter().enumerate().map(read).collect()
}

/// Whether whoever posts shows the secret when the address is entered there.
fn tells_secret_later(kind: &SourceKind) -> bool {
    matches!(kind, SourceKind::Stripe | SourceKind::Standard | SourceKind::Hipchat)
}

fn product(members: &Members<'_>, catalogue: &Catalogue) -> Result<Option<Box<str>>, Problem> {
    let Some(name) = members.text("catalogue")? else { return Ok(None) };
    if catalogue.maps_requests(&name) {
        return Ok(Some(name.into()));
    }
    let known: Vec<&str> = catalogue.request_products().collect();
    let known =
        if known.is_empty() { "none has".to_owned() } else { format!("there are {}", known.join(", ")) };
    let shown: String = name.chars().take(64).collect();
    let rule =
        format!("no catalogue in force says what requests mean to \"{}\"; {known}", shown.escape_debug());
    Err(members.invalid("catalogue", rule))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serving::problem::Kind;
    use crate::sources::traffic::Summary;

    fn read(body: &str) -> Result<Source, Problem> {
        let catalogue = Catalogue::shipped();
        read_source("in".parse().unwrap(), body.as_bytes(), &catalogue, TokenHash::of("t"), UnixMs(7))
    }

    #[test]
    fn what_is_left_out_gets_its_default() {
        let source = read(r#"{"kind":"slack","secret":"s"}"#).unwrap();
        assert_eq!((source.kind, source.secrets.len()), (SourceKind::Slack, 1));
        assert_eq!((source.unmapped, source.enabled, source.catalogue), (Unmapped::Keep, true, None));
        let source = read(r#"{"kind":"hmac","secret":"s","header":"X-Sig"}"#).unwrap();
        let expected = HmacProof {
            header: "x-sig".into(),
            algorithm: Algorithm::Sha256,
            encoding: Encoding::Hex,
            prefix: "".into(),
            timestamp_header: None,
        };
        assert_eq!(source.kind, SourceKind::Hmac(expected));
        for without in [r#"{"kind":"token"}"#, r#"{"kind":"stripe"}"#, r#"{"kind":"standard"}"#] {
            assert_eq!(read(without).unwrap().secrets, [], "{without}");
        }
        let several = read(r#"{"kind":"github","secrets":["new","old"]}"#).unwrap();
        assert_eq!(several.secrets, ["new", "old"].map(|text| Secret::new(text.into())));
    }

    #[test]
    fn what_cannot_be_is_refused_with_its_field() {
        for (body, field, says) in [
            ("{}", "/kind", "slack, github"),
            (r#"{"kind":"slak","secret":"s"}"#, "/kind", "did you mean \"slack\""),
            (r#"{"kind":"slack"}"#, "/secret", "missing"),
            (r#"{"kind":"slack","secret":""}"#, "/secret", "must"),
            (r#"{"kind":"slack","secret":"s","secrets":["t"]}"#, "/secrets", "not both"),
            (r#"{"kind":"slack","secrets":[]}"#, "/secrets", "1 to 10"),
            (r#"{"kind":"slack","secrets":["s",7]}"#, "/secrets/1", "string"),
            (r#"{"kind":"standard","secret":"whsec_x"}"#, "/secret", "whsec_"),
            (r#"{"kind":"token","secret":"s"}"#, "/secret", "has none"),
            (r#"{"kind":"slack","secret":"s","header":"x"}"#, "/header", "hmac"),
            (r#"{"kind":"slack","secret":"s","id_header":"x"}"#, "/id_header", "token"),
            (r#"{"kind":"hmac","secret":"s"}"#, "/header", "missing"),
            (r#"{"kind":"hmac","secret":"s","header":"a b"}"#, "/header", "header's name"),
            (r#"{"kind":"hmac","secret":"s","header":"x","algorithm":"md5"}"#, "/algorithm", "sha256"),
            (r#"{"kind":"hmac","secret":"s","header":"x","encoding":"hx"}"#, "/encoding", "base64"),
            (r#"{"kind":"hmac","secret":"s","header":"x","prefix":" a"}"#, "/prefix", "a space"),
            (r#"{"kind":"hmac","secret":"s","header":"x","prefix":"ä"}"#, "/prefix", "ASCII"),
            (
                r#"{"kind":"hmac","secret":"s","header":"x","timestamp_header":"X"}"#,
                "/timestamp_header",
                "another",
            ),
            (
                r#"{"kind":"github","secret":"s","event_header":"x"}"#,
                "/event_header",
                "github says what happened",
            ),
            (r#"{"kind":"hmac","secret":"s","header":"x","event_header":"x"}"#, "/event_header", "another"),
            (r#"{"kind":"token","id_header":"x","event_header":"X"}"#, "/event_header", "than id_header"),
            (r#"{"kind":"hmac","secret":"s","header":"Content-Type"}"#, "/header", "sender's own"),
            (r#"{"kind":"token","event_header":"Cookie"}"#, "/event_header", "without secrets"),
            (r#"{"kind":"token","catalogue":"shop"}"#, "/catalogue", "there are"),
            (r#"{"kind":"token","unmapped":"lose"}"#, "/unmapped", "drop, keep"),
        ] {
            let problem = read(body).err().unwrap_or_else(|| panic!("accepted: {body}"));
            assert_eq!(problem.field.as_deref(), Some(field), "{body}: {}", problem.detail);
            assert_eq!(problem.kind, Kind::InvalidField, "{body}");
            assert!(problem.detail.contains(says), "{body}: {}", problem.detail);
        }
    }

    #[test]
    fn neither_token_nor_secret_is_shown() {
        let source =
            read(r#"{"kind":"hmac","secret":"canary","header":"x-sig","prefix":"sha256="}"#).unwrap();
        let settings = |token: &str| format!("https://hooks.example.com/in/acme/in/{token}");
        let out = SourceOut::of(&source, settings, (None, false), Summary::default());
        let shown = serde_json::to_value(&out).unwrap();
        assert_eq!(shown["url"], "https://hooks.example.com/in/acme/in/***");
        assert_eq!((&shown["secrets"], &shown["header"]), (&1.into(), &"x-sig".into()));
        assert!(!shown.to_string().contains("canary") && shown.get("token").is_none());
        let out = SourceOut::of(&source, settings, (Some("t0ken"), true), Summary::default());
        let shown = serde_json::to_value(&out).unwrap();
        assert_eq!(shown["url"], "https://hooks.example.com/in/acme/in/t0ken");
        assert_eq!(shown["token"], "t0ken");
    }
}
