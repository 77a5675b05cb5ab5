//! What an operator says about one peer: an entry of `[[peers]]`, or a file of the peers' folder with the same keys.

use std::path::PathBuf;
use std::time::Duration;

use archipel_kit::settings;
use archipel_kit::settings::{Scalar, TomlValue};
use jiff::Timestamp;
use jiff::civil::Date;

use crate::role::Role;

settings! {
    /// A node that we trust.
    pub struct PeerSettings {
        /// Its name in our URLs (`/peers/NAME/agents/..`): lower-case letters, digits, `.`, `_` and `-`.
        pub name: String, in 1..=64, example "beta";
        /// The origin by which it is reached and under which it signs.
        pub origin: String, in 1..=512, example "https://beta.example.org";
        /// Its public key as 64 hexadecimal digits; with Ed25519 it needs this or `[[peers.keys]]`.
        pub ed25519_public_key: Option<String>, in 64..=64;
        /// Whether a new key is taken that it announces with one of those here, as it is from a node that paired. Asked for at its
        /// origin, at most once a minute, when a token names a key that we do not know. While one of these keys is
        /// configured, what was learned from it is kept in the store; put another here, and it is forgotten.
        pub follow_keys: bool = false;
        /// Further keys with which its cards may be signed (see `trust.cards`): a JWK Set as JSON text.
        pub card_keys: Option<String>, in 2..=65536, example "{\"keys\":[]}";
        /// What kind of node it is.
        pub kind: PeerKind = "auto";
        /// Calls to it that may run at once, streams included; further ones are refused.
        pub max_concurrent: u32 = 256, in 1..=100000;
        /// Whether it is known but may neither call nor be called. Its running streams end.
        pub suspended: bool = false;
        /// The day from which on a warning says that somebody should look whether it is still to be trusted.
        pub review_by: Option<Day>, example "2027-01-31";
        /// What it may do here.
        pub rights: PeerRightsSettings;
        /// How often it may call.
        pub limit: PeerLimitSettings;
        /// What the connection to and from it must be, beside its tokens.
        pub tls: PeerTlsSettings;
        /// Its keys, each with the time in which it counts: two of them while it changes its key. At most four.
        pub keys: Vec<PeerKeySettings>;
    }
}

settings! {
    /// A key of a peer, and when it counts.
    pub struct PeerKeySettings {
        /// 64 hexadecimal digits.
        pub public_key: String, in 64..=64;
        /// What its tokens call the key (`kid`); saves trying the others first.
        pub kid: Option<String>, in 1..=128, example "2027-01";
        /// Its first second. Unset: it counts already.
        pub not_before: Option<Moment>, example "2027-01-01T00:00:00Z";
        /// Its last second. Unset: it counts until it is removed.
        pub not_after: Option<Moment>, example "2027-12-31T23:59:59Z";
    }
}

settings! {
    /// What a peer may do here.
    pub struct PeerRightsSettings {
        /// Agents that it may see and call, by their ids; `*` is all of them.
        pub agents: Vec<String> = ["*"], in 0..=1024;
        /// Operations that it may ask for, by their names in A2A 1.0 (`SendMessage`, `GetTask`, ..); `*` is all of them.
        pub methods: Vec<String> = ["*"], in 0..=16;
        /// What it counts as at most.
        pub max_role: Role = "operator";
        /// Whether what it asks for may go on to further peers.
        pub forward: bool = false;
    }
}

settings! {
    /// How often a peer may call.
    pub struct PeerLimitSettings {
        /// Calls in each `per`. Unset: what holds for every peer.
        pub calls: Option<u32>, in 1..=1000000, example 100;
        /// The time for which `calls` is said.
        pub per: Duration = "1m", in "1s"..="1h";
        /// Calls that may come at once. Unset: as many as `calls`.
        pub burst: Option<u32>, in 1..=1000000, example 100;
    }
}

settings! {
    /// What the connection to and from a peer must be, beside its tokens.
    pub struct PeerTlsSettings {
        /// The certificate with which it must come, beside its token: `sha256:` and 64 hexadecimal digits, which are the
        /// fingerprint of the certificate or of its public key, or its SPIFFE id. Needs `tls.client_ca`, here or at the
        /// gateway.
        pub pin: Option<String>, in 8..=2048, example "spiffe://example.org/archipel/beta";
        /// Our own certificate for it, as PEM; needs `key_file`.
        pub certificate_file: Option<PathBuf>;
        /// The key of `certificate_file`, as PEM.
        pub key_file: Option<PathBuf>;
        /// Authorities that may have signed its certificate, as PEM, instead of those of this machine.
        pub ca_file: Option<PathBuf>;
    }
}

settings! {
    /// What kind of node a peer is.
    pub enum PeerKind {
        /// What it says of itself in its mesh descriptor.
        Auto = "auto",
        /// One like this: agents have paths of their own.
        Archipel = "archipel",
        /// Hive or Pilox: one agent, A2A 0.3.
        Hive = "hive",
    }
}

/// A point in time, in Unix seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment(pub i64);

impl Scalar for Moment {
    const EXPECTED: &'static str = "a time such as 2027-01-31T12:00:00Z";
    const SAMPLE: &'static str = "2027-01-31T12:00:00Z";

    fn from_text(text: &str) -> Option<Self> {
        let moment: Timestamp = text.trim().parse().ok()?;
        Some(Self(moment.as_second()))
    }

    fn from_toml(value: &TomlValue) -> Option<Self> {
        Self::from_text(&date_text(value)?)
    }
}

/// A day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Day(pub Date);

impl Scalar for Day {
    const EXPECTED: &'static str = "a day such as 2027-01-31";
    const SAMPLE: &'static str = "2027-01-31";

    fn from_text(text: &str) -> Option<Self> {
        let text = text.trim();
        // Exactly a day: the parser would take the day out of a longer time, too.
        (text.len() == 10).then(|| text.parse().ok().map(Self))?
    }

    fn from_toml(value: &TomlValue) -> Option<Self> {
        Self::from_text(&date_text(value)?)
    }
}

/// TOML has dates of its own; both they and texts are taken.
fn date_text(value: &TomlValue) -> Option<String> {
    match value {
        TomlValue::Datetime(date) => Some(date.to_string()),
        other => other.as_str().map(str::to_owned),
    }
}

#[cfg(test)]
mod tests {
    use archipel_kit::settings::Scalar;

    use super::{Day, Moment};

    #[test]
    fn reads_times_with_an_offset_and_days_without_time() {
        for (text, moment, day) in [
            ("1970-01-01T00:01:00Z", Some(60), false),
            ("1970-01-01T01:01:00+01:00", Some(60), false),
            ("1970-01-01T00:01:00", None, false),
            ("1970-01-02", None, true),
            ("1970-02-30", None, false),
            ("yesterday", None, false),
        ] {
            assert_eq!(
                Moment::from_text(text).map(|found| found.0),
                moment,
                "{text}"
            );
            assert_eq!(Day::from_text(text).is_some(), day, "{text}");
        }
    }
}
