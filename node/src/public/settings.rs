//! What an operator says about the public tier: the table `[public]` (contract/public-tier.md 1).

use std::time::Duration;

use archipel_kit::settings;
use archipel_kit::settings::{Problems, Secret};

use super::{Methods, PublicKeys};

settings! {
    /// The public tier: strangers may ask agents with `visibility = "public"` for some operations, seldom. Each is a caller
    /// of its own: its key, its identity or its address.
    pub struct PublicSettings {
        /// Whether there is one.
        pub enabled: bool = false, env ["A2A_PUBLIC_JSONRPC_ENABLED"];
        /// What strangers may ask for, as methods of A2A in any version; what is no name is passed over, and the list ends
        /// after 32.
        pub allowed_methods: Vec<String> = [], in 0..=1024, env ["A2A_PUBLIC_JSONRPC_ALLOWED_METHODS"], example ["message/send", "tasks/get"];
        /// How often one address may call in each `rate_limit_window`.
        pub rate_limit: u32 = 30, in 1..=100000, env ["A2A_PUBLIC_JSONRPC_RATE_LIMIT_MAX"];
        /// See `rate_limit`.
        pub rate_limit_window: Duration = "60s", in "1s"..="1d", env ["A2A_PUBLIC_JSONRPC_RATE_LIMIT_WINDOW_MS"];
        /// A header by which callers without a key say who they are. They can say anything: useful only where a proxy sets it.
        pub identity_header: Option<String>, in 1..=64, env ["A2A_PUBLIC_JSONRPC_IDENTITY_HEADER"], example "X-Hive-Public-Identity";
        /// How much of that header counts, in characters.
        pub identity_max_length: usize = 256, in 8..=512, env ["A2A_PUBLIC_JSONRPC_IDENTITY_MAX_LEN"];
        /// How often one identity may call in each `identity_rate_limit_window`, beside the limit of its address.
        pub identity_rate_limit: u32 = 30, in 1..=100000, env ["A2A_PUBLIC_JSONRPC_IDENTITY_RATE_LIMIT_MAX"];
        /// See `identity_rate_limit`.
        pub identity_rate_limit_window: Duration = "60s", in "1s"..="1d", env ["A2A_PUBLIC_JSONRPC_IDENTITY_RATE_LIMIT_WINDOW_MS"];
        /// Keys, each 32 to 512 characters: `KEY,KEY`, or `KEY|METHOD,METHOD;KEY` where keys are good for some of the allowed
        /// methods only. At most 32. They come in `X-Hive-Public-A2A-Key` or as a bearer token.
        pub api_keys: Option<Secret>, in 32..=65536, env ["A2A_PUBLIC_JSONRPC_API_KEYS"];
        /// How often one key may be used in each `api_key_rate_limit_window`, beside the limit of the address.
        pub api_key_rate_limit: u32 = 120, in 1..=100000, env ["A2A_PUBLIC_JSONRPC_API_KEY_RATE_LIMIT_MAX"];
        /// See `api_key_rate_limit`.
        pub api_key_rate_limit_window: Duration = "60s", in "1s"..="1d", env ["A2A_PUBLIC_JSONRPC_API_KEY_RATE_LIMIT_WINDOW_MS"];
        /// Whether strangers need a key.
        pub require_api_key: bool = false, env ["A2A_PUBLIC_JSONRPC_REQUIRE_API_KEY"];
        /// Whether it is counted how keys and identities behave: calls that were refused for coming too often, and calls that
        /// made no sense.
        pub reputation: bool = false, env ["A2A_PUBLIC_JSONRPC_REPUTATION_ENABLED"];
        /// Whether those who behave badly are blocked.
        pub reputation_block: bool = false, env ["A2A_PUBLIC_JSONRPC_REPUTATION_BLOCK_ENABLED"];
        /// So many bad calls block; they are forgotten 30 days after the last of them.
        pub reputation_block_threshold: u32 = 100, in 1..=1000000000, env ["A2A_PUBLIC_JSONRPC_REPUTATION_BLOCK_BAD_EVENT_THRESHOLD"];
        /// How long those who are blocked are told to wait.
        pub reputation_block_retry_after: Duration = "1h", in "1s"..="1d", env ["A2A_PUBLIC_JSONRPC_REPUTATION_BLOCK_RETRY_AFTER_SECONDS"];
    }
}

impl PublicSettings {
    /// What does not fit together.
    pub(super) fn check(&self, methods: &Methods, keys: &PublicKeys, problems: &mut Problems) {
        let mut need = |holds: bool, key: &str, what: &str| {
            if !holds {
                problems.add(&format!("public.{key}"), what);
            }
        };
        let (on, header) = (self.enabled, self.identity_header.as_deref());
        need(
            !on || !methods.is_empty(),
            "enabled",
            "needs allowed_methods: without one there is nothing to ask for",
        );
        need(
            on || header.is_none(),
            "identity_header",
            "needs the public tier to be enabled",
        );
        need(
            header.is_none_or(is_header),
            "identity_header",
            "is no name of a header",
        );
        need(
            on || self.api_keys.is_none(),
            "api_keys",
            "needs the public tier to be enabled",
        );
        need(
            keys.scopes().all(|scope| methods.cover(scope)),
            "api_keys",
            "a key is for a method that is not in allowed_methods",
        );
        need(
            !self.require_api_key || !keys.is_empty(),
            "require_api_key",
            "needs api_keys with at least one key of 32 to 512 characters",
        );
        need(
            !self.reputation_block || self.reputation,
            "reputation_block",
            "needs reputation: what is not counted cannot block",
        );
    }
}

fn is_header(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$&*^.`|~-".contains(&byte);
    name.starts_with(|first: char| first.is_ascii_alphanumeric()) && name.bytes().all(plain)
}
