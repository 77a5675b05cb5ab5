//! Which streams and which consumer a site needs, and whether those that are there already fit.

use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, PullConsumer, pull};
use async_nats::jetstream::context::GetStreamErrorKind;
use async_nats::jetstream::stream::{
    self, DiscardPolicy, RetentionPolicy, Source, StorageType, Stream,
};
use async_nats::jetstream::{Context, ErrorCode};
use sha2::{Digest, Sha256};

use super::{LineError, LineRules, away};
use crate::config::LineSettings;

/// Deliveries that nobody has settled yet, of all replicas together; then no more are given out.
const UNSETTLED: i64 = 4096;
/// Dead letters of a site; then none dies any more, and what should is tried again and again, so that none is lost.
const DEAD: i64 = 1_000_000;

/// What is needed.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) subject: String,
    stream: String,
    keep_for: Duration,
    duplicates_for: Duration,
    copies: usize,
    from_domains: Vec<String>,
    consumer: String,
    pub(super) dead_stream: String,
    /// What the subjects of dead letters begin with.
    pub(super) dead_subject: String,
}

/// What is there.
#[derive(Debug, Clone)]
pub(super) struct Places {
    pub(super) consumer: PullConsumer,
    /// The stream that the consumer reads.
    pub(super) read: String,
    pub(super) dead: Stream,
}

impl Plan {
    pub(super) fn new(settings: &LineSettings, origin: &str) -> Self {
        let site = site_name(origin);
        Self {
            subject: settings.subject.clone(),
            stream: settings.stream.clone(),
            keep_for: settings.keep_for,
            duplicates_for: settings.duplicates_for,
            copies: settings.copies,
            from_domains: settings.from_domains.clone(),
            consumer: format!("archipel-{site}"),
            dead_stream: format!("ARCHIPEL_DEAD_{site}"),
            dead_subject: format!("archipel.dead.{site}"),
        }
    }

    /// Finds everything, and makes what is missing.
    pub(super) async fn find(
        &self,
        context: &Context,
        rules: &LineRules,
    ) -> Result<Places, LineError> {
        let taking = self.taking(context).await?;
        let read = match self.from_domains.is_empty() {
            true => taking,
            false => self.following(context).await?,
        };
        let dead = get_or_create(context, self.dead_config()).await?;
        let consumer = read
            .create_consumer(self.consumer_config(rules))
            .await
            .map_err(away)?;
        Ok(Places {
            consumer,
            read: read.cached_info().config.name.clone(),
            dead,
        })
    }

    /// The stream that takes what is published.
    async fn taking(&self, context: &Context) -> Result<Stream, LineError> {
        let stream = get_or_create(context, self.taking_config()).await?;
        let config = &stream.cached_info().config;
        if let Some(what) = misfit(config, &self.subject) {
            return Err(away(format!("stream {}: {what}", self.stream)));
        }
        if config.duplicate_window < self.duplicates_for {
            tracing::warn!(
                wan.stream = self.stream,
                window_ms = config.duplicate_window.as_millis(),
                "stream forgets sooner than configured what it has taken; envelopes may lie in it twice"
            );
        }
        Ok(stream)
    }

    /// The stream that follows those of several sites.
    async fn following(&self, context: &Context) -> Result<Stream, LineError> {
        let config = self.following_config();
        let stream = get_or_create(context, config.clone()).await?;
        let followed = |config: &stream::Config| {
            let sources = config.sources.iter().flatten();
            let mut names: Vec<_> = sources.map(origin_of).collect();
            names.sort();
            names
        };
        if followed(&stream.cached_info().config) == followed(&config) {
            return Ok(stream);
        }
        context.update_stream(config).await.map_err(away)?;
        Ok(stream)
    }

    fn taking_config(&self) -> stream::Config {
        stream::Config {
            subjects: vec![self.subject.clone()],
            max_age: self.keep_for,
            duplicate_window: self.duplicates_for,
            ..self.config(&self.stream, DiscardPolicy::Old)
        }
    }

    fn following_config(&self) -> stream::Config {
        let source = |domain: Option<&String>| Source {
            name: self.stream.clone(),
            domain: domain.cloned(),
            ..Source::default()
        };
        let others = self.from_domains.iter().map(|domain| source(Some(domain)));
        stream::Config {
            sources: Some(std::iter::once(source(None)).chain(others).collect()),
            max_age: self.keep_for,
            ..self.config(&format!("{}_IN", self.stream), DiscardPolicy::Old)
        }
    }

    fn dead_config(&self) -> stream::Config {
        stream::Config {
            subjects: vec![format!("{}.>", self.dead_subject)],
            max_messages: DEAD,
            ..self.config(&self.dead_stream, DiscardPolicy::New)
        }
    }

    fn config(&self, name: &str, discard: DiscardPolicy) -> stream::Config {
        stream::Config {
            name: name.to_owned(),
            discard,
            retention: RetentionPolicy::Limits,
            storage: StorageType::File,
            num_replicas: self.copies,
            ..stream::Config::default()
        }
    }

    /// The broker counts attempts and never gives up by itself: it would keep no dead letter.
    fn consumer_config(&self, rules: &LineRules) -> pull::Config {
        pull::Config {
            durable_name: Some(self.consumer.clone()),
            deliver_policy: DeliverPolicy::All,
            ack_policy: AckPolicy::Explicit,
            ack_wait: rules.settle_within,
            max_deliver: -1,
            max_ack_pending: UNSETTLED,
            filter_subject: self.subject.clone(),
            ..pull::Config::default()
        }
    }
}

/// A name for what belongs to a site: readable, and no other site has it.
fn site_name(origin: &str) -> String {
    let host = origin
        .split_once("://")
        .map_or(origin, |(_, authority)| authority);
    let readable: String = host
        .chars()
        .take(32)
        .map(|letter| {
            if letter.is_ascii_alphanumeric() {
                letter
            } else {
                '-'
            }
        })
        .collect();
    let digest = hex::encode(Sha256::digest(origin));
    format!("{readable}-{}", digest.get(..12).unwrap_or(&digest))
}

/// Why an operator's stream cannot be the line.
fn misfit(config: &stream::Config, subject: &str) -> Option<String> {
    if config.no_ack {
        return Some("it does not say what it has taken (no_ack)".to_owned());
    }
    let takes = config
        .subjects
        .iter()
        .any(|pattern| covers(pattern, subject));
    (!takes).then(|| format!("it does not take the subject {subject}"))
}

/// Whether a subject with wildcards speaks of a plain one.
fn covers(pattern: &str, subject: &str) -> bool {
    let mut words = subject.split('.');
    for wanted in pattern.split('.') {
        match (wanted, words.next()) {
            (">", Some(_)) => return true,
            ("*", Some(_)) => {}
            (wanted, Some(word)) if wanted == word => {}
            _ => return false,
        }
    }
    words.next().is_none()
}

/// Where a source is. The server writes a domain down as the prefix of its API.
fn origin_of(source: &Source) -> (String, Option<String>) {
    let domain = source.domain.clone();
    let external = source.external.as_ref().and_then(|external| {
        let domain = external
            .api_prefix
            .strip_prefix("$JS.")?
            .strip_suffix(".API")?;
        Some(domain.to_owned())
    });
    (source.name.clone(), domain.or(external))
}

async fn get_or_create(context: &Context, config: stream::Config) -> Result<Stream, LineError> {
    match context.get_stream(&config.name).await {
        Err(error) if is_missing(&error.kind()) => {
            tracing::info!(wan.stream = config.name, "stream is made");
            context.create_stream(config).await.map_err(away)
        }
        found => found.map_err(away),
    }
}

fn is_missing(kind: &GetStreamErrorKind) -> bool {
    matches!(kind, GetStreamErrorKind::JetStream(error) if error.error_code() == ErrorCode::STREAM_NOT_FOUND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_cover_one_another() {
        for (pattern, expected) in [
            ("hive.mesh.wan", true),
            ("hive.mesh.*", true),
            ("hive.>", true),
            (">", true),
            ("*.*.*", true),
            ("hive.mesh.wan.>", false),
            ("hive.mesh", false),
            ("hive.*", false),
            ("hive.mesh.lan", false),
        ] {
            assert_eq!(covers(pattern, "hive.mesh.wan"), expected, "{pattern}");
        }
    }

    #[test]
    fn sites_have_names_of_their_own() {
        let name = site_name("https://beta.example.org:8443");
        assert!(name.starts_with("beta-example-org-8443-"), "{name}");
        assert_ne!(name, site_name("http://beta.example.org:8443"));
        assert!(
            name.bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        );
    }
}
