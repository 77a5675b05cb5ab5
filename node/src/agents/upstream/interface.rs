//! Where an agent wants to be called, as its card says it.
//!
//! The host is always the one that the operator configured: a card may choose the path, never send us and our
//! credential elsewhere. That also serves agents that print a name of their own (`0.0.0.0`, a public name) into it.

use std::time::Duration;

use archipel_protocol::a2a::card::JSONRPC_BINDING;
use archipel_protocol::a2a::{AgentCard, AgentInterface};
use http::Uri;
use url::Url;

/// How long a card is believed.
const FRESH_FOR: Duration = Duration::from_secs(300);

/// The way to call an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Interface {
    pub(super) uri: Uri,
    /// Whether `SendStreamingMessage` is worth trying.
    pub(super) streaming: bool,
    /// To be sent with every request.
    pub(super) tenant: Option<String>,
}

/// An interface, and when it was read.
#[derive(Debug)]
pub(super) struct KnownInterface {
    pub(super) interface: Interface,
    /// On the clock's monotonic time.
    pub(super) read_at: Duration,
}

/// Why an agent cannot be called by its card.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum InterfaceProblem {
    #[error("its card offers no JSON-RPC interface of version 1.0")]
    NoInterface,
    #[error("its URL cannot be called")]
    NoUrl,
}

impl KnownInterface {
    pub(super) fn is_fresh(&self, now: Duration) -> bool {
        now.saturating_sub(self.read_at) < FRESH_FOR
    }
}

impl Interface {
    /// The first JSON-RPC interface of version 1 on the agent's card. Without a card, the configured URL itself, and
    /// streaming as long as the agent does not refuse it.
    pub(super) fn of(configured: &Url, card: Option<&AgentCard>) -> Result<Self, InterfaceProblem> {
        let Some(card) = card else {
            return Ok(Self {
                uri: uri(configured)?,
                streaming: true,
                tenant: None,
            });
        };
        let chosen = card
            .supported_interfaces
            .iter()
            .find(|offered| is_ours(offered));
        let chosen = chosen.ok_or(InterfaceProblem::NoInterface)?;
        let mut url = configured.clone();
        if let Ok(offered) = Url::parse(&chosen.url) {
            url.set_path(offered.path());
            url.set_query(offered.query());
        }
        let streaming = card.capabilities.streaming == Some(true);
        Ok(Self {
            uri: uri(&url)?,
            streaming,
            tenant: chosen.tenant.clone(),
        })
    }
}

/// Where the card of an agent is that has a path of its own, or its host for itself.
pub(super) fn card_below(configured: &Url) -> Option<Uri> {
    card_at(configured, configured.path().trim_end_matches('/'))
}

/// Where the card of the agent's host is (A2A 1.0 §8.2), if that is another place.
pub(super) fn card_of_host(configured: &Url) -> Option<Uri> {
    if configured.path() == "/" {
        None
    } else {
        card_at(configured, "")
    }
}

/// Whether a card offers to be called at this very path: the card of a host may be that of another agent.
pub(super) fn names(card: &AgentCard, configured: &Url) -> bool {
    let path = |url: &Url| url.path().trim_end_matches('/').to_owned();
    let offered = card
        .supported_interfaces
        .iter()
        .filter_map(|offered| Url::parse(&offered.url).ok());
    offered
        .into_iter()
        .any(|url| path(&url) == path(configured))
}

fn is_ours(offered: &AgentInterface) -> bool {
    let version = offered.protocol_version.as_str();
    let version_fits = version.is_empty() || version == "1" || version.starts_with("1.");
    version_fits
        && offered
            .protocol_binding
            .eq_ignore_ascii_case(JSONRPC_BINDING)
}

fn card_at(configured: &Url, base: &str) -> Option<Uri> {
    let mut url = configured.clone();
    url.set_path(&format!("{base}/.well-known/agent-card.json"));
    url.set_query(None);
    uri(&url).ok()
}

fn uri(url: &Url) -> Result<Uri, InterfaceProblem> {
    let mut plain = url.clone();
    plain.set_fragment(None);
    plain.as_str().parse().map_err(|_| InterfaceProblem::NoUrl)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    const AGENT: &str = "http://agent.internal:9100/base";

    fn check(
        interfaces: &str,
        capabilities: &str,
        expected: Result<(&str, bool, Option<&str>), InterfaceProblem>,
    ) {
        let card = format!(
            r#"{{"name":"a","description":"","version":"1","defaultInputModes":[],"defaultOutputModes":[],
                "skills":[],"supportedInterfaces":{interfaces},"capabilities":{capabilities}}}"#
        );
        let found = Interface::of(
            &AGENT.parse().unwrap(),
            Some(&AgentCard::read(&card).unwrap()),
        );
        let expected = expected.map(|(uri, streaming, tenant)| Interface {
            uri: uri.parse().unwrap(),
            streaming,
            tenant: tenant.map(str::to_owned),
        });
        assert_eq!(found, expected, "{interfaces} {capabilities}");
    }

    #[test]
    fn the_card_chooses_the_path_and_never_the_host() {
        let offered = r#"[{"url":"https://elsewhere.example/rpc?x=1","protocolBinding":"JSONRPC","protocolVersion":"1.0"}]"#;
        let rpc = "http://agent.internal:9100/rpc?x=1";
        check(offered, r#"{"streaming":true}"#, Ok((rpc, true, None)));
        check(offered, "{}", Ok((rpc, false, None)));
        check(offered, r#"{"streaming":false}"#, Ok((rpc, false, None)));
    }

    #[test]
    fn the_first_fitting_interface_is_taken() {
        let grpc = r#"{"url":"http://a/g","protocolBinding":"GRPC","protocolVersion":"1.0"}"#;
        let old = r#"{"url":"http://a/old","protocolBinding":"JSONRPC","protocolVersion":"0.3.0"}"#;
        let new = r#"{"url":"http://a/new","protocolBinding":"JSONRPC","protocolVersion":"1.0.1","tenant":"t"}"#;
        let found = Ok(("http://agent.internal:9100/new", false, Some("t")));
        check(&format!("[{grpc},{old},{new}]"), "{}", found);
        check(
            &format!("[{grpc},{old}]"),
            "{}",
            Err(InterfaceProblem::NoInterface),
        );
        check("[]", "{}", Err(InterfaceProblem::NoInterface));
    }

    #[test]
    fn an_agent_without_a_card_is_called_at_its_url() {
        let found = Interface::of(&format!("{AGENT}#x").parse().unwrap(), None).unwrap();
        assert_eq!(
            (found.uri.to_string().as_str(), found.streaming),
            (AGENT, true)
        );
    }

    #[test]
    fn where_the_card_is() {
        let host = "http://a:1/.well-known/agent-card.json";
        for (agent, below, of_host) in [
            ("http://a:1", host, None),
            ("http://a:1/", host, None),
            (
                "http://a:1/agents/x/?q",
                "http://a:1/agents/x/.well-known/agent-card.json",
                Some(host),
            ),
        ] {
            let agent = agent.parse().unwrap();
            assert_eq!(card_below(&agent).unwrap().to_string(), below);
            assert_eq!(
                card_of_host(&agent).map(|uri| uri.to_string()).as_deref(),
                of_host
            );
        }
    }

    #[test]
    fn the_card_of_a_host_counts_only_for_the_agent_it_is_about() {
        let card = r#"{"name":"a","supportedInterfaces":[{"url":"http://b:2/agents/x/","protocolBinding":"JSONRPC"}]}"#;
        let card = AgentCard::read(card).unwrap();
        assert!(names(&card, &"http://a:1/agents/x".parse().unwrap()));
        assert!(!names(&card, &"http://a:1/agents/y".parse().unwrap()));
    }
}
