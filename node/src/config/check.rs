//! Rules of the configuration that concern more than one key; all problems are told at once.

use std::collections::BTreeSet;
use std::sync::Arc;

use archipel_kit::admission::ProxyHeader;
use archipel_kit::settings::{Problems, Secret};
use archipel_protocol::federation::{KeyError, keys};
use archipel_protocol::ids::Origin;

use crate::config::{AgentKind, Broker, CardCheck, ConfigSource, NodeSettings};
use crate::federation::Federation;
use crate::federation::files::PeerFiles;
use crate::nats::{WayIn, is_plain_subject};
use crate::public::PublicTier;
use crate::store::redis::Address;
use crate::wan::settings::WorkerMode;

/// Checks a whole configuration.
pub(super) fn node(settings: &NodeSettings, problems: &mut Problems) {
    secrets(settings, problems);
    agents(settings, problems);
    card_key(settings, problems);
    origin_and_federation(settings, problems);
    redis(settings, problems);
    nats(settings, problems);
    public(settings, problems);
    wan(settings, problems);
    if settings.proxy_header == ProxyHeader::Required && settings.trusted_proxies.is_empty() {
        problems.add(
            "proxy_header",
            "needs trusted_proxies: anybody could begin with one",
        );
    }
    if settings.gateway_enforced && settings.gateway_secret.is_none() {
        problems.add(
            "gateway_enforced",
            "needs gateway_secret: without a secret there is nothing to check",
        );
    }
}

/// What an operator should be told although the configuration can be used.
pub(super) fn warnings(settings: &NodeSettings) -> Vec<String> {
    origin(settings)
        .ok()
        .and_then(|origin| federation(settings, &origin).ok())
        .map(|federation| federation.warnings().to_vec())
        .unwrap_or_default()
}

/// Checks what is outside a configuration that is fine by itself: the peers' folder, and the certificates for single peers.
/// A node starts without those, because they may come later, as they may change; calls to that peer fail meanwhile.
pub(super) fn files(settings: &NodeSettings, source: ConfigSource) -> Result<usize, Problems> {
    let origin = origin(settings).map_err(|what| {
        let mut problems = Problems::default();
        problems.add("public_origin", what);
        problems
    })?;
    let federation = Arc::new(federation(settings, &origin)?);
    let folder = source.resolve(&settings.federation.peers_dir);
    let peers = settings.peers.clone();
    let files = PeerFiles::start(Arc::clone(&federation), source, folder, peers)?;
    let mut problems = Problems::default();
    for peer in federation.roster().peers() {
        if let Some(Err(error)) = peer.tls_files().map(|files| files.check()) {
            let at = format!("peers.{}.tls", peer.name);
            problems.add(&at, error.to_string());
        }
    }
    match problems.is_empty() {
        true => Ok(files.in_folder()),
        false => Err(problems),
    }
}

fn origin_and_federation(settings: &NodeSettings, problems: &mut Problems) {
    let origin = match origin(settings) {
        Ok(origin) => origin,
        Err(what) => return problems.add("public_origin", what),
    };
    let built = federation(settings, &origin);
    for problem in built.err().iter().flat_map(Problems::iter) {
        problems.add(&problem.at, problem.what.clone());
    }
}

fn origin(settings: &NodeSettings) -> Result<Origin, String> {
    let parsed = match &settings.public_origin {
        Some(origin) => Origin::parse(origin.as_str()),
        None if settings.listen.ip().is_unspecified() => {
            return Err("is needed when the node listens on every address".to_owned());
        }
        None => Origin::parse(&format!("http://{}", settings.listen)),
    };
    parsed.map_err(|error| error.to_string())
}

fn federation(settings: &NodeSettings, origin: &Origin) -> Result<Federation, Problems> {
    Federation::from_settings(
        origin,
        settings.dialect.into(),
        &settings.federation,
        &settings.peers,
        settings.trust.cards,
    )
}

fn secrets(settings: &NodeSettings, problems: &mut Problems) {
    let all = [
        ("internal_token", &settings.internal_token),
        ("gateway_secret", &settings.gateway_secret),
        ("bus.secret", &settings.bus.secret),
    ];
    for (key, secret) in all {
        if secret.as_ref().is_some_and(Secret::is_weak) {
            problems.add(
                key,
                "is too easy to guess: at least 32 characters, more than 4 of them different",
            );
        }
    }
}

fn public(settings: &NodeSettings, problems: &mut Problems) {
    PublicTier::from_settings(&settings.public, problems);
    if settings.public.enabled && !settings.a2a_enabled {
        problems.add("public.enabled", "needs a2a_enabled");
    }
}

fn wan(settings: &NodeSettings, problems: &mut Problems) {
    let wan = &settings.wan;
    let has_both = wan.webhook_url.is_some() && wan.webhook_bearer.is_some();
    if wan.worker == WorkerMode::Webhook && !has_both {
        problems.add(
            "wan.worker",
            "`webhook` needs webhook_url and webhook_bearer",
        );
    }
}

fn redis(settings: &NodeSettings, problems: &mut Problems) {
    match Address::from_settings(&settings.redis) {
        Err(error) => problems.add("redis.url", error.to_string()),
        Ok(None) if settings.bus.broker == Broker::Redis => {
            problems.add("bus.broker", "`redis` needs redis.url");
        }
        Ok(_) => {}
    }
    if settings.redis.certificate_file.is_some() != settings.redis.key_file.is_some() {
        problems.add(
            "redis.certificate_file",
            "needs redis.key_file, and the other way round",
        );
    }
}

fn nats(settings: &NodeSettings, problems: &mut Problems) {
    let way = WayIn::read(&settings.nats, problems);
    if way.is_none() && settings.nats.url.is_none() && settings.bus.broker == Broker::Nats {
        problems.add("bus.broker", "`nats` needs nats.url");
    }
    let line = &settings.nats.line;
    let subjects = [
        ("bus.nats_subject", settings.bus.nats_subject.as_deref()),
        ("nats.line.subject", Some(line.subject.as_str())),
    ];
    for (key, subject) in subjects {
        if subject.is_some_and(|subject| !is_plain_subject(subject)) {
            let what = "must be words of letters, digits, `-` and `_`, joined by dots";
            problems.add(key, what);
        }
    }
    let names = line.from_domains.iter().chain([&line.stream]);
    if names
        .chain(&settings.nats.jetstream_domain)
        .any(|name| name.contains('.') || !is_plain_subject(name))
    {
        problems.add(
            "nats.line",
            "names of streams and domains are of letters, digits, `-` and `_`",
        );
    }
}

fn agents(settings: &NodeSettings, problems: &mut Problems) {
    let mut seen = BTreeSet::new();
    for (index, agent) in settings.agents.iter().enumerate() {
        let at = |key: &str| format!("agents[{index}].{key}");
        if !seen.insert(agent.id.as_str()) {
            problems.add(&at("id"), format!("is used twice: {}", agent.id));
        }
        let is_believed = agent.kind != AgentKind::A2a || agent.card_keys.is_some();
        if settings.trust.cards == CardCheck::Require && !is_believed {
            let what =
                "is needed with trust.cards = \"require\": no card of the agent could be believed";
            problems.add(&at("card_keys"), what);
        }
    }
    if settings.agents.iter().filter(|agent| agent.default).count() > 1 {
        problems.add("agents", "only one can be the default");
    }
}

fn card_key(settings: &NodeSettings, problems: &mut Problems) {
    let seed = settings.a2a.card_seed.as_ref();
    if seed.is_some_and(|seed| keys::from_hex(seed.expose()).is_err()) {
        problems.add("a2a.card_seed", KeyError::NotHex.to_string());
    }
}
