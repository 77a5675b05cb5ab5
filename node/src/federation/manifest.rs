//! The signed manifest of peers (`contract/federation.md` 7): what it may say, and what is told of it.
//!
//! Pure, but for `keeper`, which fetches it once for all replicas and keeps the last good one.

use std::borrow::Cow;
use std::fmt;

use archipel_kit::settings::Problems;
use archipel_protocol::federation::manifest::{Manifest, ManifestError, ManifestPeer};
use archipel_protocol::federation::{PeerKey, keys};
use archipel_protocol::ids::Origin;

use crate::federation::manifest::keeper::ManifestPlace;
use crate::federation::peers::{Peer, PeerSource};
use crate::federation::settings::FederationSettings;

pub mod keeper;

/// The largest document that is read.
pub const MAX_BYTES: usize = 2 * 1024 * 1024;

/// Why the manifest could not be taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ManifestFault {
    /// An answer with another status than 200.
    Status(u16),
    /// More than [`MAX_BYTES`].
    TooLarge,
    /// It took too long.
    Timeout,
    /// There was no answer, or it broke off.
    Fetch,
    /// It is not what was signed with our key.
    Document(ManifestError),
    /// It is older than the one that is kept.
    RolledBack,
    /// What another replica wrote down, by its token.
    Other(String),
}

/// What kind of fault it is, for everybody to see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ManifestIssue {
    Size,
    Protocol,
    Fetch,
    Verify,
    Unknown,
}

impl ManifestFault {
    /// The fault in the contract's words.
    pub fn token(&self) -> Cow<'_, str> {
        match self {
            Self::Status(status) => format!("http_{status}").into(),
            Self::TooLarge => "manifest_too_large".into(),
            Self::Timeout => "fetch_timeout".into(),
            Self::Fetch => "fetch_error".into(),
            Self::Document(error) => error.token().into(),
            Self::RolledBack => "verify_error".into(),
            Self::Other(token) => token.into(),
        }
    }

    /// Its kind, by its token alone.
    pub fn issue(&self) -> ManifestIssue {
        issue_of(&self.token())
    }

    /// The token as operators see it: nothing that is no token.
    pub fn operator_token(&self) -> String {
        let token = self.token();
        match is_token(&token) {
            true => token.into_owned(),
            false => "unknown".to_owned(),
        }
    }
}

impl fmt::Display for ManifestFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RolledBack => f.write_str("it is older than the one that is kept"),
            Self::Document(error) => error.fmt(f),
            other => f.write_str(&other.token()),
        }
    }
}

impl ManifestIssue {
    /// Every one.
    pub const ALL: [Self; 5] = [
        Self::Size,
        Self::Protocol,
        Self::Fetch,
        Self::Verify,
        Self::Unknown,
    ];

    /// As it is shown.
    pub fn word(self) -> &'static str {
        match self {
            Self::Size => "size",
            Self::Protocol => "protocol",
            Self::Fetch => "fetch",
            Self::Verify => "verify",
            Self::Unknown => "unknown",
        }
    }
}

/// What is known of the manifest now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ManifestStatus {
    /// Whether there is to be one.
    pub configured: bool,
    /// When it was last tried to fetch it, in Unix milliseconds.
    pub tried_ms: Option<u64>,
    /// When it was last fetched and found good.
    pub good_ms: Option<u64>,
    /// What went wrong the last time.
    pub fault: Option<ManifestFault>,
}

impl ManifestStatus {
    /// Whether the last attempt went well; `None` before the first.
    pub fn last_sync_ok(&self) -> Option<bool> {
        self.tried_ms.map(|_| self.fault.is_none())
    }
}

/// Judges what was fetched: the manifest to go on with, or why there is none. `kept` is the one before.
///
/// # Errors
/// The fault.
pub fn judge(
    status: u16,
    body: &[u8],
    public_key_hex: &str,
    kept: Option<&Manifest>,
) -> Result<Manifest, ManifestFault> {
    if status != 200 {
        return Err(ManifestFault::Status(status));
    }
    if body.len() > MAX_BYTES {
        return Err(ManifestFault::TooLarge);
    }
    let shape = ManifestFault::Document(ManifestError::Shape);
    let text = std::str::from_utf8(body).map_err(|_| shape)?;
    let manifest = Manifest::open(text, public_key_hex).map_err(ManifestFault::Document)?;
    match kept.is_some_and(|kept| manifest.is_older_than(kept)) {
        true => Err(ManifestFault::RolledBack),
        false => Ok(manifest),
    }
}

/// Where the settings say that the manifest is; `None` where there is to be none.
pub fn place_of(settings: &FederationSettings, problems: &mut Problems) -> Option<ManifestPlace> {
    let (url_at, key_at) = ("federation.manifest_url", "federation.manifest_public_key");
    let (url, key) = match (&settings.manifest_url, &settings.manifest_public_key) {
        (None, None) => return None,
        (Some(url), Some(key)) => (url, key),
        (Some(_), None) => {
            problems.add(
                key_at,
                "is needed with manifest_url: an unsigned list is nobody's word",
            );
            return None;
        }
        (None, Some(_)) => {
            problems.add(url_at, "is needed with manifest_public_key");
            return None;
        }
    };
    if let Err(error) = keys::from_hex(key) {
        problems.add(key_at, error.to_string());
    }
    if !matches!(url.scheme(), "http" | "https") {
        problems.add(url_at, "must be http or https");
    } else if url.scheme() == "http" && !settings.manifest_allow_http {
        problems.add(url_at, "must be https, unless manifest_allow_http is set");
    }
    if !url.username().is_empty() || url.password().is_some() {
        problems.add(url_at, "must not hold a user name or password");
    }
    let parsed = url.as_str().parse();
    Some(ManifestPlace {
        url: parsed
            .map_err(|_| problems.add(url_at, "is no URL that can be called"))
            .ok()?,
        public_key_hex: key.clone(),
        refresh: settings.manifest_refresh,
        timeout: settings.manifest_timeout,
    })
}

/// The peers of a manifest: what is no origin is passed over. Which of them count is for the roster to say.
pub fn peers_of(manifest: &Manifest) -> Vec<Peer> {
    manifest.peers.iter().filter_map(peer_of).collect()
}

fn peer_of(listed: &ManifestPeer) -> Option<Peer> {
    let origin = Origin::parse(listed.origin.trim()).ok()?;
    let key = listed.public_key_hex.as_deref().map(str::trim);
    let key = key.and_then(|key| keys::from_hex(key).ok());
    Some(Peer {
        keys: key.map(PeerKey::new).into_iter().collect(),
        ..Peer::nameless(origin, PeerSource::Manifest)
    })
}

fn issue_of(token: &str) -> ManifestIssue {
    match token {
        "manifest_too_large" => ManifestIssue::Size,
        "bad_manifest_url"
        | "manifest_url_not_http"
        | "manifest_http_forbidden_in_production"
        | "manifest_url_has_credentials" => ManifestIssue::Protocol,
        "fetch_timeout" | "fetch_error" => ManifestIssue::Fetch,
        "invalid_manifest_signing_public_key"
        | "invalid_manifest_json"
        | "invalid_hex"
        | "bad_signature_length"
        | "bad_signature"
        | "verify_error" => ManifestIssue::Verify,
        other if is_status(other) => ManifestIssue::Fetch,
        _ => ManifestIssue::Unknown,
    }
}

fn is_status(token: &str) -> bool {
    let digits = token.strip_prefix("http_").unwrap_or_default();
    !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit())
}

/// Lower-case words joined by underlines, or a status; at most 80 characters.
fn is_token(token: &str) -> bool {
    let is_word = |word: &str| {
        word.starts_with(|first: char| first.is_ascii_lowercase())
            && word
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    token.len() <= 80 && (is_status(token) || token.split('_').all(is_word))
}

#[cfg(test)]
#[expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]
mod tests;
