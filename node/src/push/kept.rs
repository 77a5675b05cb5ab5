//! What of a webhook is stored: its configuration as 1.0 writes it, and the version it was asked for in.

use archipel_protocol::a2a::{PushConfig, Version};
use archipel_protocol::object::Fields;
use bytes::Bytes;
use serde::Serialize;

/// As it is stored.
pub(super) fn write(config: &PushConfig) -> Bytes {
    #[derive(Serialize)]
    struct Kept<'a> {
        version: &'static str,
        config: &'a PushConfig,
    }
    let kept = Kept {
        version: config.version.as_str(),
        config,
    };
    // Texts only, so writing it cannot fail.
    serde_json::to_vec(&kept).unwrap_or_default().into()
}

/// As it was; `None` for what we have not written.
pub(super) fn read(kept: &[u8]) -> Option<PushConfig> {
    let mut fields = Fields::read(std::str::from_utf8(kept).ok()?).ok()?;
    let version = Version::parse(Some(&fields.require_text("version").ok()?))?;
    let config = PushConfig::parse(Version::V1, fields.take("config")?).ok()?;
    Some(PushConfig { version, ..config })
}
