//! What a record may say: typed and bounded fields, never a body, a token or a secret.

use std::net::IpAddr;

use serde::{Serialize, Serializer};

/// The longest text in a record, in bytes.
const MAX_TEXT: usize = 256;

/// One security decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRecord {
    pub action: AuditAction,
    pub outcome: AuditOutcome,
    /// Why, as one of our own words.
    pub reason: Option<&'static str>,
    /// The principal of the request.
    pub caller: Option<AuditText>,
    pub peer: Option<AuditText>,
    pub agent: Option<AuditText>,
    pub method: Option<AuditText>,
    /// Where the request came from.
    pub client: Option<IpAddr>,
    pub request_id: Option<AuditText>,
    /// Of a call that came through federation.
    pub call: Option<CallFacts>,
    /// How many records were dropped; the audit itself sets it, in `audit.dropped`.
    pub count: Option<u64>,
}

/// How a call came, and what was answered (contract/federation.md 10).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallFacts {
    /// What proved the caller.
    pub auth: &'static str,
    /// Of its token.
    pub algorithm: Option<&'static str>,
    /// By which path it came in.
    pub entrypoint: &'static str,
    /// Of the answer.
    pub status: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum AuditAction {
    #[serde(rename = "auth.accepted")]
    AuthAccepted,
    #[serde(rename = "auth.refused")]
    AuthRefused,
    #[serde(rename = "federation.accepted")]
    FederationAccepted,
    /// A call of an agent, as the contract names it.
    #[serde(rename = "mesh.federation.inbound_jsonrpc")]
    FederationCall,
    #[serde(rename = "federation.refused")]
    FederationRefused,
    #[serde(rename = "task.started")]
    TaskStarted,
    #[serde(rename = "task.canceled")]
    TaskCanceled,
    #[serde(rename = "task.refused")]
    TaskRefused,
    #[serde(rename = "bus.refused")]
    BusRefused,
    #[serde(rename = "outbound.call")]
    OutboundCall,
    #[serde(rename = "agent.created")]
    AgentCreated,
    #[serde(rename = "agent.changed")]
    AgentChanged,
    #[serde(rename = "agent.deleted")]
    AgentDeleted,
    #[serde(rename = "peer.changed")]
    PeerChanged,
    #[serde(rename = "peer.joined")]
    PeerJoined,
    #[serde(rename = "audit.dropped")]
    AuditDropped,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AuditOutcome {
    Accepted,
    Refused,
    Failed,
}

/// A text of somebody else in a record: cut at 256 bytes, control characters replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditText(Box<str>);

impl AuditRecord {
    /// A record that says nothing more yet; the caller fills in what it knows.
    pub fn new(action: AuditAction, outcome: AuditOutcome) -> Self {
        Self {
            action,
            outcome,
            reason: None,
            caller: None,
            peer: None,
            agent: None,
            method: None,
            client: None,
            request_id: None,
            call: None,
            count: None,
        }
    }

    pub(super) fn dropped(count: u64) -> Self {
        Self {
            count: Some(count),
            ..Self::new(AuditAction::AuditDropped, AuditOutcome::Failed)
        }
    }

    pub(super) fn dropped_count(&self) -> Option<u64> {
        self.count
    }

    /// The record as it is hashed and kept.
    pub(super) fn to_canonical(&self, seq: u64, at_ms: u64) -> String {
        let members = Members {
            action: self.action,
            agent: self.agent.as_ref(),
            algorithm: self.call.and_then(|call| call.algorithm),
            at: at_ms,
            auth: self.call.map(|call| call.auth),
            caller: self.caller.as_ref(),
            client: self.client,
            count: self.count,
            entrypoint: self.call.map(|call| call.entrypoint),
            method: self.method.as_ref(),
            outcome: self.outcome,
            peer: self.peer.as_ref(),
            reason: self.reason,
            request_id: self.request_id.as_ref(),
            seq,
            status: self.call.map(|call| call.status),
        };
        // Texts and numbers cannot fail to be written.
        serde_json::to_string(&members).unwrap_or_default()
    }
}

impl From<&str> for AuditText {
    fn from(text: &str) -> Self {
        let mut kept = String::with_capacity(text.len().min(MAX_TEXT));
        for character in text.chars() {
            let character = if character.is_control() {
                char::REPLACEMENT_CHARACTER
            } else {
                character
            };
            if kept.len() + character.len_utf8() > MAX_TEXT {
                break;
            }
            kept.push(character);
        }
        Self(kept.into_boxed_str())
    }
}

impl Serialize for AuditText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// In the order of canonical JSON, so that writing it down is writing it canonically; a test compares.
#[derive(Serialize)]
struct Members<'a> {
    action: AuditAction,
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<&'a AuditText>,
    #[serde(skip_serializing_if = "Option::is_none")]
    algorithm: Option<&'static str>,
    at: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    auth: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    caller: Option<&'a AuditText>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    entrypoint: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<&'a AuditText>,
    outcome: AuditOutcome,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<&'a AuditText>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(rename = "requestId", skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a AuditText>,
    seq: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use archipel_protocol::canonical;

    use super::*;

    fn full() -> AuditRecord {
        AuditRecord {
            reason: Some("bad_sig"),
            caller: Some("peer:\"β\" \u{7f}\u{0}\u{2028}\u{1f600}".into()),
            peer: Some("beta".into()),
            agent: Some("echo".into()),
            method: Some("SendMessage".into()),
            client: Some("::1".parse().unwrap()),
            request_id: Some("r-1".into()),
            call: Some(CallFacts {
                auth: "jwt",
                algorithm: Some("Ed25519"),
                entrypoint: "main",
                status: 200,
            }),
            count: Some(7),
            ..AuditRecord::new(AuditAction::FederationRefused, AuditOutcome::Refused)
        }
    }

    #[test]
    fn records_are_written_canonically() {
        for record in [full(), AuditRecord::dropped(3)] {
            let written = record.to_canonical(u64::from(u32::MAX), 1_700_000_000_000);
            assert_eq!(
                written,
                canonical::to_string(&serde_json::from_str(&written).unwrap())
            );
        }
    }

    #[test]
    fn a_record_reads_as_expected() {
        let record = AuditRecord {
            caller: Some("alice".into()),
            ..full()
        };
        let expected = r#"{"action":"federation.refused","agent":"echo","algorithm":"Ed25519","at":5,"auth":"jwt","caller":"alice","client":"::1","count":7,"entrypoint":"main","method":"SendMessage","outcome":"refused","peer":"beta","reason":"bad_sig","requestId":"r-1","seq":9,"status":200}"#;
        assert_eq!(record.to_canonical(9, 5), expected);
    }

    #[test]
    fn texts_are_bounded() {
        let check = |text: &str, expected: &str| assert_eq!(&*AuditText::from(text).0, expected);
        check("", "");
        check("a\nb\u{1b}", "a\u{fffd}b\u{fffd}");
        check(&"x".repeat(1000), &"x".repeat(256));
        check(&"ü".repeat(1000), &"ü".repeat(128));
        check(
            &format!("x{}", "ü".repeat(1000)),
            &format!("x{}", "ü".repeat(127)),
        );
    }
}
