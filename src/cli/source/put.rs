//! `postrider source put`: a source's settings as flags, and where its URL belongs.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use clap::Args;
use clap::builder::PossibleValuesParser;
use http::{Method, StatusCode};
use serde_json::{Map, Value, json};

use crate::cli::destination::secret;
use crate::cli::exit::Result;
use crate::cli::output;
use crate::cli::transport::Transport;
use crate::cli::webhook::whole;
use crate::model::{Algorithm, Encoding, OrgId, SourceId, SourceKind, Unmapped};

/// A source's settings.
#[derive(Debug, Args)]
pub(in crate::cli) struct PutArgs {
    /// The org.
    org: OrgId,
    /// The source's name.
    source: SourceId,
    /// Who posts there, and so how a request is proved.
    #[arg(long, required_unless_present = "file", value_parser = PossibleValuesParser::new(SourceKind::CODES))]
    kind: Option<String>,
    /// The file with the secret that the sender signs with; may be repeated while the sender changes it, any of them will do.
    #[arg(long = "secret-file", value_name = "FILE")]
    secret_files: Vec<PathBuf>,
    /// Read that secret, or one more, from stdin.
    #[arg(long, conflicts_with = "file")]
    secret_stdin: bool,
    /// The header with the signature; for kind hmac, as are the next four.
    #[arg(long, value_name = "NAME")]
    header: Option<String>,
    /// sha256, sha1 or sha512 [default: sha256].
    #[arg(long)]
    algorithm: Option<Algorithm>,
    /// How the signature is written: hex or base64 [default: hex].
    #[arg(long)]
    encoding: Option<Encoding>,
    /// What stands before the signature in its header, for example sha256=.
    #[arg(long, value_name = "TEXT")]
    prefix: Option<String>,
    /// The header with the time of signing; signed is then TIME.BODY, and a time more than five minutes away is refused.
    #[arg(long, value_name = "NAME")]
    timestamp_header: Option<String>,
    /// The header that names a request: one of the same name is a repeat and adds nothing. For kinds that do not say it
    /// themselves.
    #[arg(long, value_name = "NAME")]
    id_header: Option<String>,
    /// The header that says what happened, for example x-event-type; for kinds token and hmac.
    #[arg(long, value_name = "NAME")]
    event_header: Option<String>,
    /// The product whose catalogue says which events requests become: trackingtime, or one of your own.
    #[arg(long, value_name = "PRODUCT")]
    catalogue: Option<String>,
    /// What becomes of a request that means nothing to the catalogue: drop, or keep as an event inbound.KIND [default: as the
    /// daemon says].
    #[arg(long, value_name = "drop|keep")]
    unmapped: Option<Unmapped>,
    /// Take no request for now.
    #[arg(long)]
    disabled: bool,
    /// For people.
    #[arg(long)]
    description: Option<String>,
    /// The whole source as JSON instead, as the API takes it; `-` for stdin.
    #[arg(long, value_name = "FILE", conflicts_with = "kind")]
    file: Option<PathBuf>,
}

impl PutArgs {
    /// The source as JSON.
    fn body(&self) -> Result<Value> {
        let body = self.settings()?;
        match &self.file {
            Some(file) => whole(file, "source", &body),
            None => Ok(Value::Object(body)),
        }
    }

    /// What was given as flags. What fits which kind is for the API to say.
    fn settings(&self) -> Result<Map<String, Value>> {
        let text = |value: &Option<String>| value.as_ref().map(|text| json!(text));
        let fields = [
            ("kind", text(&self.kind)),
            ("header", text(&self.header)),
            ("algorithm", self.algorithm.map(|word| json!(word.code()))),
            ("encoding", self.encoding.map(|word| json!(word.code()))),
            ("prefix", text(&self.prefix)),
            ("timestamp_header", text(&self.timestamp_header)),
            ("id_header", text(&self.id_header)),
            ("event_header", text(&self.event_header)),
            ("catalogue", text(&self.catalogue)),
            ("unmapped", self.unmapped.map(|word| json!(word.code()))),
            ("enabled", self.disabled.then_some(Value::Bool(false))),
            ("description", text(&self.description)),
        ];
        let mut body: Map<String, Value> =
            fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
        match self.secrets()?.as_slice() {
            [] => None,
            [one] => body.insert("secret".to_owned(), json!(one)),
            several => body.insert("secrets".to_owned(), json!(several)),
        };
        Ok(body)
    }

    /// In the order of the command line, the one from stdin last.
    fn secrets(&self) -> Result<Vec<String>> {
        let stdin = self.secret_stdin.then_some(Path::new("-"));
        let files = self.secret_files.iter().map(PathBuf::as_path).chain(stdin);
        files.map(|file| secret(file, "secret")).collect()
    }
}

/// Prints the URL of a new source, once, on stdout; on stderr where it belongs.
pub(super) async fn run(api: &Transport, json_wanted: bool, args: &PutArgs) -> Result<()> {
    let body = Bytes::from(args.body()?.to_string());
    let (status, answer) = api.call_raw(Method::PUT, &super::address(&args.org, &args.source), body).await?;
    if json_wanted {
        return output::json(&answer);
    }
    if status != StatusCode::CREATED {
        output::note("saved; its address stays as it was");
        super::warn_of_silence(&answer);
        return Ok(());
    }
    let kind = answer.get("kind").and_then(Value::as_str).unwrap_or_default();
    output::note(&format!(
        "created; paste the URL into: {}\nThe URL is a secret and is shown this once; `postrider source reset-token {} {}` \
         makes another.",
        place(kind),
        args.org,
        args.source
    ));
    if answer.get("unmapped") == Some(&json!("keep")) {
        output::note(&format!(
            "What the rules make no event of is kept as inbound.{kind}: webhooks get it by --event inbound.{kind}."
        ));
    }
    super::warn_of_silence(&answer);
    super::url(&answer)
}

/// Where the sender wants the URL.
fn place(kind: &str) -> &'static str {
    match kind {
        "slack" => {
            "Slack app > Slash Commands > Request URL (or Event Subscriptions)\nits secret is the app's Signing Secret, \
             under Basic Information"
        }
        "github" => {
            "repository Settings > Webhooks > Add webhook > Payload URL\nwith content type application/json and the same \
             secret"
        }
        "stripe" => {
            "Developers > Webhooks > Add endpoint\nStripe then shows its signing secret (whsec_…), which belongs to the source"
        }
        "hipchat" => {
            "the url of the webhook in the add-on's capabilities descriptor\nits secret is the oauthSecret of the installation"
        }
        "token" => "the sender's webhook settings\nit signs nothing: whoever has the URL can post",
        _ => "the sender's webhook settings, with the same secret",
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::exit::Exit;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        put: PutArgs,
    }

    fn body(line: &[&str]) -> Result<Value> {
        let line = [&["put", "acme", "in"], line].concat();
        Line::try_parse_from(line).unwrap().put.body()
    }

    #[test]
    fn what_is_not_given_is_not_said() {
        assert_eq!(body(&["--kind", "token"]).unwrap(), json!({"kind": "token"}));
    }

    #[test]
    fn every_flag_has_its_member() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("secret");
        std::fs::write(&file, "s3cret \r\n").unwrap();
        let line = "--kind hmac --header X-Sig --algorithm sha512 --encoding base64 --prefix v1= --timestamp-header X-Time \
                    --id-header X-Id --event-header X-Event --catalogue shop --unmapped keep --disabled --description orders";
        let mut line: Vec<&str> = line.split_whitespace().collect();
        line.extend(["--secret-file", file.to_str().unwrap()]);
        let all = json!({
            "kind": "hmac", "secret": "s3cret ", "header": "X-Sig", "algorithm": "sha512", "encoding": "base64",
            "prefix": "v1=", "timestamp_header": "X-Time", "id_header": "X-Id", "event_header": "X-Event",
            "catalogue": "shop", "unmapped": "keep",
            "enabled": false, "description": "orders",
        });
        assert_eq!(body(&line).unwrap(), all);
    }

    #[test]
    fn several_secrets_are_a_list_in_their_order() {
        let dir = tempfile::tempdir().unwrap();
        let [new, old] = ["new", "old"].map(|name| {
            let file = dir.path().join(name);
            std::fs::write(&file, name).unwrap();
            file.to_str().unwrap().to_owned()
        });
        let given = body(&["--kind", "github", "--secret-file", &new, "--secret-file", &old]).unwrap();
        assert_eq!(given, json!({"kind": "github", "secrets": ["new", "old"]}));
    }

    #[test]
    fn a_whole_file_stands_alone() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("source.json");
        std::fs::write(&file, r#"{"kind":"slack","secret":"s"}"#).unwrap();
        let file = file.to_str().unwrap();
        assert_eq!(body(&["--file", file]).unwrap(), json!({"kind": "slack", "secret": "s"}));
        for beside in [&["--disabled"][..], &["--secret-file", file], &["--unmapped", "keep"]] {
            let refused = body(&[&["--file", file], beside].concat()).unwrap_err();
            assert_eq!(refused.exit, Exit::Usage, "{beside:?}");
        }
    }

    #[test]
    fn every_kind_has_a_place_to_paste_to() {
        for kind in SourceKind::CODES {
            let lines = place(kind).lines().count();
            assert!((1..=2).contains(&lines), "{kind}");
            let signs_not = place(kind).contains("signs nothing");
            assert_eq!(signs_not, kind == "token", "{kind}");
        }
    }
}
