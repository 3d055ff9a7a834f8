//! Flags that a webhook and a client share: how a receiver knows us and how it is reached. Secrets come from files or stdin,
//! never from the command line, where every user of the machine could read them.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Map, Value, json};

use super::enqueue::read_input;
use super::exit::{Failure, Result};

/// How a receiver knows us and how it is reached.
#[derive(Debug, Args)]
pub(super) struct DestinationArgs {
    /// Authorization: Bearer, with the token in this file.
    #[arg(long, value_name = "FILE", group = "authorization")]
    bearer_file: Option<PathBuf>,
    /// Authorization: Basic, with this user name and the password in --basic-password-file.
    #[arg(long, value_name = "NAME", group = "authorization", requires = "basic_password_file")]
    basic_user: Option<String>,
    /// The password for --basic-user.
    #[arg(long, value_name = "FILE", requires = "basic_user")]
    basic_password_file: Option<PathBuf>,
    /// Authorization: HMAC-SHA256 of the body, with the secret in this file.
    #[arg(long, value_name = "FILE", group = "authorization")]
    hmac_secret_file: Option<PathBuf>,
    /// A header of this name in place of Authorization, with the value in --auth-value-file.
    #[arg(long, value_name = "NAME", group = "authorization", requires = "auth_value_file")]
    auth_header: Option<String>,
    /// The value for --auth-header.
    #[arg(long, value_name = "FILE", requires = "auth_header")]
    auth_value_file: Option<PathBuf>,
    /// A header to send with every request; may be repeated. Values that are secret belong in --file.
    #[arg(long = "header", value_name = "NAME: VALUE", value_parser = header)]
    headers: Vec<(String, String)>,
    /// Certificates (PEM) to trust beside the system's.
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// The certificate (PEM) to show to the receiver.
    #[arg(long, value_name = "FILE", requires = "certificate_key_file")]
    certificate_file: Option<PathBuf>,
    /// The private key of that certificate (PEM).
    #[arg(long, value_name = "FILE", requires = "certificate_file")]
    certificate_key_file: Option<PathBuf>,
    /// Go through this proxy: http://HOST:PORT, https://… or socks5://…; one with a password belongs in --file.
    #[arg(long, value_name = "URL")]
    proxy: Option<String>,
    /// Offer HTTP/2, or not [default: as configured].
    #[arg(long, value_name = "true|false")]
    http2: Option<bool>,
    /// The local address that connections come from.
    #[arg(long, value_name = "ADDRESS")]
    bind_address: Option<IpAddr>,
}

fn header(text: &str) -> std::result::Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("write it as \"name: value\"")?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

impl DestinationArgs {
    /// The members of the API's body that were given.
    pub(super) fn members(&self) -> Result<Map<String, Value>> {
        let mut members = Map::new();
        let mut put = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                members.insert(name.to_owned(), value);
            }
        };
        put("authorization", self.authorization()?);
        let headers: Map<String, Value> =
            self.headers.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
        put("headers", (!headers.is_empty()).then_some(Value::Object(headers)));
        put("tls", self.tls()?);
        put("proxy", self.proxy.as_ref().map(|proxy| json!(proxy)));
        put("http2", self.http2.map(Value::Bool));
        put("bind_address", self.bind_address.map(|address| json!(address.to_string())));
        Ok(members)
    }

    fn authorization(&self) -> Result<Option<Value>> {
        if let Some(file) = &self.bearer_file {
            return Ok(Some(json!({"type": "bearer", "token": secret(file, "token")?})));
        }
        if let Some(file) = &self.hmac_secret_file {
            return Ok(Some(json!({"type": "hmac-sha256", "secret": secret(file, "secret")?})));
        }
        if let (Some(user), Some(file)) = (&self.basic_user, &self.basic_password_file) {
            let password = secret(file, "password")?;
            return Ok(Some(json!({"type": "basic", "username": user, "password": password})));
        }
        if let (Some(name), Some(file)) = (&self.auth_header, &self.auth_value_file) {
            return Ok(Some(json!({"type": "header", "name": name, "value": secret(file, "value")?})));
        }
        Ok(None)
    }

    fn tls(&self) -> Result<Option<Value>> {
        let files = [
            ("ca", &self.ca_file),
            ("certificate", &self.certificate_file),
            ("key", &self.certificate_key_file),
        ];
        let mut tls = Map::new();
        for (name, file) in files {
            if let Some(file) = file {
                tls.insert(name.to_owned(), json!(text(file, name)?));
            }
        }
        Ok((!tls.is_empty()).then_some(Value::Object(tls)))
    }
}

/// The text in a file, or stdin for `-`.
pub(super) fn text(file: &Path, what: &str) -> Result<String> {
    String::from_utf8(read_input(Some(file), what)?)
        .map_err(|_| Failure::failed(format!("the {what} in {} is not UTF-8 text", file.display())))
}

/// A secret in a file. Editors and echo end the line; that is not part of it.
pub(super) fn secret(file: &Path, what: &str) -> Result<String> {
    let mut secret = text(file, what)?;
    if secret.ends_with('\n') {
        secret.pop();
        if secret.ends_with('\r') {
            secret.pop();
        }
    }
    Ok(secret)
}
