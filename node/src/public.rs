//! The public tier: strangers who may ask for some operations, seldom (contract/public-tier.md).
//!
//! Everything here is a rule: which methods, which keys, who somebody is. Read `settings` (what an operator says), then
//! `key`; what a request passes is `edge/public.rs`.

use std::collections::BTreeSet;
use std::time::Duration;

use archipel_kit::settings::Problems;
use archipel_protocol::a2a::Version;
use archipel_protocol::method::Method;
use sha2::{Digest, Sha256};

use crate::limiter::Limit;

mod key;
mod settings;

pub use key::{KeyId, PublicKeys, presented};
pub use settings::PublicSettings;

/// Longest name of a method, in characters.
const LONGEST_METHOD: usize = 128;
/// Most methods in a list.
const MOST_METHODS: usize = 32;

/// The rules of the tier in force.
#[derive(Debug, Clone)]
pub struct PublicTier {
    pub methods: Methods,
    pub keys: PublicKeys,
    pub requires_key: bool,
    /// Lower case.
    pub identity_header: Option<String>,
    /// In characters.
    pub identity_length: usize,
    pub address_limit: Limit,
    pub identity_limit: Limit,
    pub key_limit: Limit,
    pub reputation: Option<ReputationRules>,
}

/// How good and bad conduct counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReputationRules {
    /// So many bad calls block. Absent: they are counted only.
    pub block_at: Option<u64>,
    /// What those who are blocked are told to wait.
    pub retry_after: Duration,
}

/// Names of methods. One that names an operation of A2A, in any version, stands for that operation in all of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Methods {
    names: Vec<String>,
    operations: BTreeSet<Method>,
}

impl Methods {
    /// Reads a list: what is no name is passed over, repeated ones count once, the list ends after 32.
    pub fn new<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let mut kept: Vec<String> = Vec::new();
        for name in names {
            if kept.len() == MOST_METHODS {
                break;
            }
            match method_name(name) {
                Some(name) if !kept.contains(&name) => kept.push(name),
                _ => {}
            }
        }
        let operations = kept.iter().filter_map(|name| operation(name)).collect();
        Self {
            names: kept,
            operations,
        }
    }

    /// As they were written.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Whether a method is one of them.
    pub fn contain(&self, method: &Asked) -> bool {
        match method {
            Asked::Operation(operation) => self.operations.contains(operation),
            Asked::Other(name) => self.names.contains(name),
        }
    }

    /// Whether all of `others` are among them.
    fn cover(&self, others: &Self) -> bool {
        others
            .names
            .iter()
            .all(|name| self.contain(&Asked::new(name)))
    }
}

/// What a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// An operation of A2A.
    Operation(Method),
    /// A method that we do not know.
    Other(String),
}

impl Asked {
    /// What a name that [`method_name`] has let pass stands for.
    pub fn new(name: &str) -> Self {
        match operation(name) {
            Some(operation) => Self::Operation(operation),
            None => Self::Other(name.to_owned()),
        }
    }
}

fn operation(name: &str) -> Option<Method> {
    Version::ALL
        .into_iter()
        .find_map(|version| Method::parse(version, name))
}

/// The name of a method as the tier looks at it: trimmed, cut, and of characters that names have.
pub fn method_name(text: &str) -> Option<String> {
    let name: String = text.trim().chars().take(LONGEST_METHOD).collect();
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._/-".contains(&byte);
    (!name.is_empty() && name.bytes().all(is_plain)).then_some(name)
}

/// The id of whoever sends this identity: no plain text is kept of it.
pub fn identity_id(value: &str, longest: usize) -> Option<String> {
    let value: String = value.trim().chars().take(longest).collect();
    (!value.is_empty()).then(|| hex::encode(Sha256::digest(value)))
}

impl PublicTier {
    /// The tier that the settings ask for, if they ask for one. What does not fit together is added to `problems`.
    pub fn from_settings(settings: &PublicSettings, problems: &mut Problems) -> Option<Self> {
        let methods = Methods::new(settings.allowed_methods.iter().map(String::as_str));
        let keys = match &settings.api_keys {
            Some(text) => PublicKeys::parse(text.expose()),
            None => PublicKeys::default(),
        };
        settings.check(&methods, &keys, problems);
        let window = |max, window| Limit::Window { max, window };
        let reputation = ReputationRules {
            block_at: settings
                .reputation_block
                .then_some(u64::from(settings.reputation_block_threshold)),
            retry_after: settings.reputation_block_retry_after,
        };
        settings.enabled.then(|| Self {
            methods,
            keys,
            requires_key: settings.require_api_key,
            identity_header: settings
                .identity_header
                .as_ref()
                .map(|name| name.to_ascii_lowercase()),
            identity_length: settings.identity_max_length,
            address_limit: window(settings.rate_limit, settings.rate_limit_window),
            identity_limit: window(
                settings.identity_rate_limit,
                settings.identity_rate_limit_window,
            ),
            key_limit: window(
                settings.api_key_rate_limit,
                settings.api_key_rate_limit_window,
            ),
            reputation: settings.reputation.then_some(reputation),
        })
    }
}

#[cfg(test)]
#[expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]
mod tests;
