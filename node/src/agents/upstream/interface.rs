//! Where an agent wants to be called, as its card says it.
//!
//! The host is always the one that the operator configured: a card may choose the path, never send us and our
//! credential elsewhere. That also serves agents that print a name of their own (`0.0.0.0`, a public name) into it.

use std::time::Duration;

use archipel_protocol::a2a::card::JSONRPC_BINDING;
use archipel_protocol::a2a::{AgentCard, AgentInterface, Version};
use http::Uri;
use url::Url;

use crate::agents::upstream::binding::Binding;

/// How a card names the HTTP+JSON binding.
const REST_BINDING: &str = "HTTP+JSON";

const CARD: &str = "agent-card.json";
const OLD_CARD: &str = "agent.json";

/// How long a card is believed.
const FRESH_FOR: Duration = Duration::from_secs(300);

/// The way to call an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Interface {
    /// The endpoint of a JSON-RPC binding; what the paths of HTTP+JSON are below.
    pub(super) url: Url,
    pub(super) binding: Binding,
    /// Whether a stream is worth asking for.
    pub(super) streaming: Streaming,
    /// To be sent with every request.
    pub(super) tenant: Option<String>,
}

/// Whether an agent streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Streaming {
    /// Its card says so.
    Promised,
    /// Its card says that it does not.
    Refused,
    /// It has no card: asking will tell.
    Untold,
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
    #[error("its card offers no interface that is spoken here")]
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
    /// The first interface on the agent's card that is spoken here: the order of a card is the agent's preference.
    /// Without a card, JSON-RPC at the configured URL itself, and streaming as long as the agent does not refuse it.
    pub(super) fn of(configured: &Url, card: Option<&AgentCard>) -> Result<Self, InterfaceProblem> {
        let mut url = configured.clone();
        url.set_fragment(None);
        let Some(card) = card else {
            uri(&url)?;
            return Ok(Self {
                url,
                binding: Binding::JsonRpc(Version::V1),
                streaming: Streaming::Untold,
                tenant: None,
            });
        };
        let chosen = card
            .supported_interfaces
            .iter()
            .find_map(|offered| Some((offered, spoken(offered)?)));
        let (chosen, binding) = chosen.ok_or(InterfaceProblem::NoInterface)?;
        if let Ok(offered) = Url::parse(&chosen.url) {
            url.set_path(offered.path());
            url.set_query(offered.query());
        }
        uri(&url)?;
        Ok(Self {
            url,
            binding,
            streaming: match card.capabilities.streaming {
                Some(true) => Streaming::Promised,
                _ => Streaming::Refused,
            },
            tenant: chosen.tenant.clone().filter(|tenant| !tenant.is_empty()),
        })
    }
}

/// Where the card of an agent is that has a path of its own, or its host for itself.
pub(super) fn card_below(configured: &Url) -> Option<Uri> {
    card_at(configured, configured.path().trim_end_matches('/'), CARD)
}

/// Where the card of the agent's host is (A2A 1.0 §8.2), if that is another place.
pub(super) fn card_of_host(configured: &Url) -> Option<Uri> {
    if configured.path() == "/" {
        None
    } else {
        card_at(configured, "", CARD)
    }
}

/// Where agents of the time before 0.3 have their card.
pub(super) fn old_card_below(configured: &Url) -> Option<Uri> {
    card_at(
        configured,
        configured.path().trim_end_matches('/'),
        OLD_CARD,
    )
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

/// How an offered interface is spoken, if it is.
fn spoken(offered: &AgentInterface) -> Option<Binding> {
    let version = offered.protocol_version.as_str();
    let is_first = version.is_empty() || version == "1" || version.starts_with("1.");
    // 0.2 had the same methods and shapes at its end; agents still say so.
    let is_old = version.starts_with("0.3") || version.starts_with("0.2");
    let binding = offered.protocol_binding.as_str();
    if binding.eq_ignore_ascii_case(JSONRPC_BINDING) {
        let old = is_old.then_some(Binding::JsonRpc(Version::V03));
        return if is_first {
            Some(Binding::JsonRpc(Version::V1))
        } else {
            old
        };
    }
    (binding.eq_ignore_ascii_case(REST_BINDING) && is_first).then_some(Binding::Rest)
}

fn card_at(configured: &Url, base: &str, name: &str) -> Option<Uri> {
    let mut url = configured.clone();
    url.set_path(&format!("{base}/.well-known/{name}"));
    url.set_query(None);
    uri(&url).ok()
}

/// A URL as it is called.
pub(super) fn uri(url: &Url) -> Result<Uri, InterfaceProblem> {
    url.as_str().parse().map_err(|_| InterfaceProblem::NoUrl)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    const AGENT: &str = "http://agent.internal:9100/base";

    fn check(
        interfaces: &str,
        capabilities: &str,
        expected: Result<(&str, Binding, Streaming, Option<&str>), InterfaceProblem>,
    ) {
        let card = format!(
            r#"{{"name":"a","description":"","version":"1","defaultInputModes":[],"defaultOutputModes":[],
                "skills":[],"supportedInterfaces":{interfaces},"capabilities":{capabilities}}}"#
        );
        let found = Interface::of(
            &AGENT.parse().unwrap(),
            Some(&AgentCard::read(&card).unwrap()),
        );
        let expected = expected.map(|(url, binding, streaming, tenant)| Interface {
            url: url.parse().unwrap(),
            binding,
            streaming,
            tenant: tenant.map(str::to_owned),
        });
        assert_eq!(found, expected, "{interfaces} {capabilities}");
    }

    #[test]
    fn the_card_chooses_the_path_and_never_the_host() {
        let offered = r#"[{"url":"https://elsewhere.example/rpc?x=1","protocolBinding":"JSONRPC","protocolVersion":"1.0"}]"#;
        let rpc = "http://agent.internal:9100/rpc?x=1";
        let found = |streaming| Ok((rpc, Binding::JsonRpc(Version::V1), streaming, None));
        check(offered, r#"{"streaming":true}"#, found(Streaming::Promised));
        check(offered, "{}", found(Streaming::Refused));
        check(offered, r#"{"streaming":false}"#, found(Streaming::Refused));
    }

    #[test]
    fn the_first_fitting_interface_is_taken() {
        let grpc = r#"{"url":"http://a/g","protocolBinding":"GRPC","protocolVersion":"1.0"}"#;
        let future = r#"{"url":"http://a/2","protocolBinding":"JSONRPC","protocolVersion":"2.0"}"#;
        let rpc = r#"{"url":"http://a/new","protocolBinding":"JSONRPC","protocolVersion":"1.0.1","tenant":"t"}"#;
        let rest = r#"{"url":"http://a/rest/","protocolBinding":"http+json","protocolVersion":"1.0","tenant":""}"#;
        let old_rest =
            r#"{"url":"http://a/rest","protocolBinding":"HTTP+JSON","protocolVersion":"0.3.0"}"#;
        let new = Ok((
            "http://agent.internal:9100/new",
            Binding::JsonRpc(Version::V1),
            Streaming::Refused,
            Some("t"),
        ));
        check(&format!("[{grpc},{future},{rpc},{rest}]"), "{}", new);
        let rest_first = Ok((
            "http://agent.internal:9100/rest/",
            Binding::Rest,
            Streaming::Refused,
            None,
        ));
        check(&format!("[{old_rest},{rest},{rpc}]"), "{}", rest_first);
        let none = [format!("[{grpc},{future},{old_rest}]"), "[]".to_owned()];
        for interfaces in none {
            check(&interfaces, "{}", Err(InterfaceProblem::NoInterface));
        }
    }

    #[test]
    fn an_agent_without_a_card_is_called_at_its_url() {
        let found = Interface::of(&format!("{AGENT}#x").parse().unwrap(), None).unwrap();
        assert_eq!(
            (found.url.as_str(), found.streaming),
            (AGENT, Streaming::Untold)
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
