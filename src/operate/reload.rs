//! Reading the configuration again: all of it is checked before any of it is put in force; on error nothing changes.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use super::logs::LevelHandle;
use super::notify;
use crate::api::{App, Settings};
use crate::catalogue::{Catalogue, Current};
use crate::config::{Config, Inputs};
use crate::delivery::{Client, ClientSettings};
use crate::sources::{self, Certificate, Gate};

/// Keys that a reload puts in force, by the beginning of their names. All others are read at the start only.
const LIVE: [&str; 15] = [
    "dead_letters.",
    "history.",
    "egress.",
    "intake.",
    "catalogue.",
    "changes.",
    "limits.",
    "log.level",
    "metrics.orgs",
    "api.body_timeout",
    "sources.public_url",
    "sources.tls_",
    "sources.max_body_bytes",
    "sources.max_rate",
    "shutdown.grace",
];

/// What a reload reads, and what it changes.
pub struct Reloader {
    inputs: Inputs,
    /// What the daemon started with.
    started_with: Config,
    grace: Mutex<Duration>,
    catalogue: Current,
    client: Client,
    /// Connections that the client may keep: what the open files allow does not change.
    connections_kept: usize,
    /// Where requests of sources come in, the certificate that is shown there, and where that is.
    gate: Arc<Gate>,
    certificate: Certificate,
    sources_at: Option<(SocketAddr, bool)>,
    level: LevelHandle,
    /// Set once the API is there, which in turn holds this.
    app: OnceLock<Weak<App>>,
}

impl Reloader {
    /// For a daemon started with `config`, which came from `inputs`; `client` with the connections it may keep.
    pub fn new(
        inputs: Inputs,
        config: Config,
        catalogue: Current,
        client: (Client, usize),
        (gate, certificate, sources_at): (Arc<Gate>, Certificate, Option<(SocketAddr, bool)>),
        level: LevelHandle,
    ) -> Reloader {
        let grace = Mutex::new(config.shutdown.grace);
        let (client, connections_kept) = client;
        let app = OnceLock::new();
        Reloader {
            inputs,
            started_with: config,
            grace,
            catalogue,
            client,
            connections_kept,
            gate,
            certificate,
            sources_at,
            level,
            app,
        }
    }

    /// Whose settings change with a reload. The first one stays.
    pub fn set_app(&self, app: Weak<App>) {
        self.app.get_or_init(|| app);
    }

    /// How long attempts in flight may take once the daemon stops.
    pub fn grace(&self) -> Duration {
        *self.grace.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads, checks and puts in force. Blocking. The service manager is told when it begins and when it is over.
    ///
    /// Answers the keys whose change will be in force after a restart only.
    ///
    /// # Errors
    /// What is wrong, for people; the old configuration stays in force.
    pub fn reload(&self) -> Result<Vec<String>, String> {
        notify::reloading();
        let outcome = self.read_and_apply();
        match &outcome {
            Ok(_) => tracing::info!("configuration reloaded"),
            Err(reason) => {
                tracing::error!(reason, "configuration not reloaded: the old one stays in force");
                if let Some(app) = self.app.get().and_then(Weak::upgrade) {
                    app.note_error(format!("the configuration was not reloaded: {reason}"));
                }
            }
        }
        notify::ready();
        outcome
    }

    fn read_and_apply(&self) -> Result<Vec<String>, String> {
        let config = self.inputs.load().map_err(|invalid| invalid.to_string())?;
        let mut settings = ClientSettings::try_from(&config).map_err(|error| error.to_string())?;
        settings.connections_kept = self.connections_kept;
        let catalogue = Catalogue::load(&config.catalogue).map_err(|fault| fault.to_string())?;
        let catalogue = Arc::new(catalogue);
        let app = self.app.get().and_then(Weak::upgrade);
        if let Some(lost) = app.as_ref().and_then(|app| app.left_behind(&self.catalogue.get(), &catalogue)) {
            return Err(lost);
        }
        let shown = Certificate::read(config.sources.tls.as_ref())?;
        if let Some((address, had_tls)) = self.sources_at
            && had_tls != shown.is_there()
        {
            let rule =
                if had_tls { "cannot go without its certificate" } else { "cannot begin to speak TLS" };
            return Err(format!(
                "{address} {rule} (sources.tls_certificate_file) while it runs: restart for that"
            ));
        }
        // The last step that can fail is the first that changes something.
        self.client.replace(settings).map_err(|error| error.to_string())?;
        self.catalogue.set(catalogue.clone());
        self.certificate.set(shown);
        let limits = Settings::of(&config, catalogue.clone()).changes;
        let at = self.sources_at;
        self.gate.set_settings(sources::Settings::of(&config, catalogue.clone(), limits, at));
        self.level.set(config.log.level);
        *self.grace.lock().unwrap_or_else(PoisonError::into_inner) = config.shutdown.grace;
        if let Some(app) = app {
            app.name_orgs(&config.metrics.orgs);
            app.set_retention(config.retention());
            app.set_settings(Settings {
                // Shown beside what the store enforces, and that is as it was at the start.
                max_deliveries: self.started_with.queue.max_deliveries,
                max_bytes: self.started_with.queue.max_bytes,
                ..Settings::of(&config, catalogue)
            });
        }
        let waiting = waiting_for_restart(&self.started_with, &config);
        for key in &waiting {
            tracing::warn!(key, "this change will be in force after a restart");
        }
        for warning in &config.warnings {
            tracing::warn!(%warning, "configuration");
        }
        Ok(waiting.into_iter().map(str::to_owned).collect())
    }
}

/// The keys whose values differ from those the daemon started with, and that are not read while it runs.
fn waiting_for_restart<'new>(started_with: &Config, new: &'new Config) -> Vec<&'new str> {
    let changed = |key: &String| {
        let value = |config: &'_ Config| config.settings.get(key).map(|setting| setting.value.clone());
        value(started_with) != value(new)
    };
    let is_live = |key: &str| LIVE.iter().any(|live| key.starts_with(live));
    new.settings.keys().filter(|key| !is_live(key) && changed(key)).map(String::as_str).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(flags: &[&str]) -> Config {
        let flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
        Inputs { flags, ..Inputs::default() }.check(None).unwrap()
    }

    #[test]
    fn only_what_is_not_live_waits_for_a_restart() {
        let before = config(&["log.level=warn", "store.cache_bytes=32MiB"]);
        let after = config(&["log.level=debug", "egress.allow=10.0.0.0/8", "scheduler.max_in_flight=7"]);
        assert_eq!(waiting_for_restart(&before, &after), ["scheduler.max_in_flight", "store.cache_bytes"]);
        assert!(waiting_for_restart(&after, &after).is_empty());
    }

    #[test]
    fn every_live_key_is_a_key() {
        let config = config(&[]);
        for live in LIVE {
            assert!(config.settings.keys().any(|key| key.starts_with(live)), "{live}");
        }
    }
}
