//! How connections to a receiver are made: the members `tls`, `proxy`, `http2` and `bind_address` of webhooks and clients,
//! shown without certificates, keys and passwords. PURE.

use std::net::IpAddr;

use serde::Serialize;

use super::Members;
use crate::delivery::check_tls;
use crate::model::{Route, Secret, Tls};
use crate::serving::problem::Problem;

/// The most PEM text of authorities, in bytes: a few chains, not a distribution's bundle.
const CA_MAX: usize = 24 * 1024;
/// The most PEM text of a certificate with its chain, in bytes.
const CERTIFICATE_MAX: usize = 16 * 1024;
/// The most PEM text of a private key, in bytes.
const KEY_MAX: usize = 8 * 1024;

/// Reads the members of a route; what is not given, or null, is left open.
pub(in crate::api) fn read_route(members: &Members<'_>) -> Result<Route, Problem> {
    Ok(Route {
        tls: tls(members)?,
        proxy: members.ruled("proxy")?,
        http2: members.value("http2", "true or false")?,
        bind_address: bind_address(members)?,
    })
}

fn tls(members: &Members<'_>) -> Result<Option<Tls>, Problem> {
    let Some(members) = members.object("tls", &["ca", "certificate", "key"])? else { return Ok(None) };
    let pem = |name: &str, max: usize| -> Result<Option<String>, Problem> {
        let Some(text) = members.text(name)? else { return Ok(None) };
        if text.len() > max {
            return Err(members.invalid(name, format_args!("must have at most {max} bytes")));
        }
        Ok(Some(text.into_owned()))
    };
    let tls = Tls {
        ca: pem("ca", CA_MAX)?.map(Into::into),
        certificate: pem("certificate", CERTIFICATE_MAX)?.map(Into::into),
        key: pem("key", KEY_MAX)?.map(Secret::new),
    };
    // `{}` says nothing, and stands for what saying nothing stands for.
    if tls == Tls::default() {
        return Ok(None);
    }
    check_tls(&tls).map_err(|(name, problem)| members.invalid(name, problem))?;
    Ok(Some(tls))
}

fn bind_address(members: &Members<'_>) -> Result<Option<IpAddr>, Problem> {
    let Some(text) = members.text("bind_address")? else { return Ok(None) };
    let address = text.parse::<IpAddr>().ok().map(|address| address.to_canonical());
    let usable = address.filter(|address| !address.is_unspecified() && !address.is_multicast());
    let rule = "must be an IP address of this machine, without a port; null means that the system chooses";
    usable.map(Some).ok_or_else(|| members.invalid("bind_address", rule))
}

/// A route as shown, beside the other members of what it belongs to; null is what is left open.
#[derive(Serialize)]
pub(in crate::api) struct RouteOut {
    tls: Option<TlsOut>,
    proxy: Option<String>,
    proxy_credentials_set: bool,
    http2: Option<bool>,
    bind_address: Option<IpAddr>,
}

#[derive(Serialize)]
struct TlsOut {
    ca_set: bool,
    certificate_set: bool,
    key_set: bool,
}

impl From<&Route> for RouteOut {
    fn from(route: &Route) -> RouteOut {
        let proxy = route.proxy.as_ref();
        RouteOut {
            tls: route.tls.as_ref().map(|tls| TlsOut {
                ca_set: tls.ca.is_some(),
                certificate_set: tls.certificate.is_some(),
                key_set: tls.key.is_some(),
            }),
            proxy: proxy.map(ToString::to_string),
            proxy_credentials_set: proxy.is_some_and(|proxy| proxy.credentials.is_some()),
            http2: route.http2,
            bind_address: route.bind_address,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::delivery::testing::self_signed;

    fn read(body: &Value) -> Result<Route, Problem> {
        let text = body.to_string();
        read_route(&Members::parse(text.as_bytes(), &["tls", "proxy", "http2", "bind_address"])?)
    }

    fn shown(route: &Route) -> Value {
        serde_json::to_value(RouteOut::from(route)).unwrap()
    }

    #[test]
    fn nothing_said_is_left_open() {
        let open = json!({
            "tls": null, "proxy": null, "proxy_credentials_set": false, "http2": null, "bind_address": null
        });
        let nulls = json!({"tls": null, "proxy": null, "http2": null, "bind_address": null});
        for body in [json!({}), nulls, json!({"tls": {}}), json!({"tls": {"ca": null}})] {
            let route = read(&body).unwrap();
            assert!(route.is_default(), "{body}");
            assert_eq!(shown(&route), open);
        }
    }

    #[test]
    fn what_is_secret_is_taken_and_never_shown() {
        let (certificate, key) = self_signed();
        let route = read(&json!({
            "tls": {"ca": certificate, "certificate": certificate, "key": key},
            "proxy": "socks5://user-canary:canary@proxy.example",
            "http2": false,
            "bind_address": "::ffff:192.0.2.7",
        }))
        .unwrap();
        assert_eq!(route.tls.as_ref().unwrap().key.as_ref().unwrap().expose(), key);
        assert_eq!(
            shown(&route),
            json!({
                "tls": {"ca_set": true, "certificate_set": true, "key_set": true},
                "proxy": "socks5://proxy.example:1080", "proxy_credentials_set": true,
                "http2": false, "bind_address": "192.0.2.7",
            })
        );
        let debug = format!("{route:?}");
        assert!(!debug.contains(key.lines().nth(1).unwrap()) && !debug.contains("\"canary"), "{debug}");
    }

    #[test]
    fn each_fault_names_its_field() {
        let (certificate, key) = self_signed();
        let (_, other) = self_signed();
        for (body, field) in [
            (json!({"tls": "x"}), "/tls"),
            (json!({"tls": {"ca": 7}}), "/tls/ca"),
            (json!({"tls": {"ca": "canary"}}), "/tls/ca"),
            (json!({"tls": {"ca": certificate.repeat(100)}}), "/tls/ca"),
            (json!({"tls": {"certificate": certificate}}), "/tls/key"),
            (json!({"tls": {"key": key}}), "/tls/certificate"),
            (json!({"tls": {"certificate": "canary", "key": key}}), "/tls/certificate"),
            (json!({"tls": {"certificate": certificate, "key": "canary"}}), "/tls/key"),
            (json!({"tls": {"certificate": certificate, "key": other}}), "/tls/key"),
            (json!({"proxy": "canary"}), "/proxy"),
            (json!({"proxy": 7}), "/proxy"),
            (json!({"proxy": "http://u:canary@/"}), "/proxy"),
            (json!({"http2": "yes"}), "/http2"),
            (json!({"bind_address": "127.0.0.1:80"}), "/bind_address"),
            (json!({"bind_address": "localhost"}), "/bind_address"),
            (json!({"bind_address": "0.0.0.0"}), "/bind_address"),
            (json!({"bind_address": "ff02::1"}), "/bind_address"),
        ] {
            let problem = read(&body).err().unwrap_or_else(|| panic!("accepted: {body}"));
            assert_eq!(problem.field.as_deref(), Some(field), "{body}");
            assert!(!problem.detail.contains("canary"), "{}", problem.detail);
        }
        let problem = read(&json!({"tls": {"cert": ""}})).unwrap_err();
        assert_eq!(problem.field.as_deref(), Some("/tls/cert"));
    }
}
