//! Where an envelope is to go: to this site or another one, and to which agent.
//!
//! `targetOrigin` says it, if it is there. Else a handle may: `ID` and `ID@HOST` name an agent of ours, `PEER/ID` and
//! `ID@HOST-OF-A-PEER` one of a peer. What names nobody is for every site that hears it.

use std::sync::Arc;

use archipel_protocol::ids::Origin;
use archipel_protocol::wan::Envelope;
use url::Url;

use crate::federation::Federation;
use crate::registry::SharedAgents;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// An agent of this site.
    Agent(String),
    /// This site, and no agent that it has.
    Site,
    Elsewhere,
}

/// Knows whose names are whose.
#[derive(Clone)]
pub struct Places {
    pub own: Origin,
    pub agents: SharedAgents,
    pub federation: Arc<Federation>,
}

impl Places {
    pub(crate) fn of(&self, envelope: &Envelope) -> Place {
        place(envelope, self.own.as_str(), &Known(self))
    }
}

/// Who is known by a name.
trait Names {
    fn is_agent(&self, id: &str) -> bool;
    /// By name or by host.
    fn is_peer(&self, name: &str) -> bool;
}

struct Known<'a>(&'a Places);

impl Names for Known<'_> {
    fn is_agent(&self, id: &str) -> bool {
        self.0.agents.load().find(id).is_some()
    }

    fn is_peer(&self, name: &str) -> bool {
        let roster = self.0.federation.roster();
        roster.by_name(name).is_some()
            || roster
                .peers()
                .iter()
                .any(|peer| host(peer.origin.as_str()) == name)
    }
}

fn place(envelope: &Envelope, own: &str, names: &dyn Names) -> Place {
    let target = envelope.target_origin.as_deref();
    let is_ours = target.map(|target| {
        // As origins are compared: without paths, and in one spelling, which is the usual one.
        target == own
            || Url::parse(target).is_ok_and(|url| url.origin().ascii_serialization() == own)
    });
    if is_ours == Some(false) {
        return Place::Elsewhere;
    }
    let Some(handle) = envelope.target_handle.as_deref() else {
        return Place::Site;
    };
    let (agent, site) = match (handle.split_once('/'), handle.rsplit_once('@')) {
        (Some((site, agent)), _) | (None, Some((agent, site))) => (agent, Some(site)),
        (None, None) => (handle, None),
    };
    let is_here = site.is_none_or(|site| site == host(own));
    match site {
        _ if is_here && names.is_agent(agent) => Place::Agent(agent.to_owned()),
        Some(site) if is_ours.is_none() && !is_here && names.is_peer(site) => Place::Elsewhere,
        _ => Place::Site,
    }
}

/// Host and port of an origin.
fn host(origin: &str) -> &str {
    origin.split_once("://").map_or(origin, |(_, host)| host)
}

#[cfg(test)]
#[expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]
mod tests {
    use serde_json::json;

    use super::*;

    struct Fake;

    impl Names for Fake {
        fn is_agent(&self, id: &str) -> bool {
            id == "text"
        }

        fn is_peer(&self, name: &str) -> bool {
            ["beta", "beta.example:8443"].contains(&name)
        }
    }

    fn check(target: Option<&str>, handle: Option<&str>, expected: Place) {
        let mut body = json!({"v": 1, "correlationId": "corr-0001", "sourceOrigin": "x:y"});
        if let Some(target) = target {
            body["targetOrigin"] = target.into();
        }
        if let Some(handle) = handle {
            body["targetHandle"] = handle.into();
        }
        let envelope = Envelope::decode_ingress(body.to_string().as_bytes()).unwrap();
        let found = place(&envelope, "https://alpha.example", &Fake);
        assert_eq!(found, expected, "{target:?} {handle:?}");
    }

    #[test]
    fn an_envelope_is_where_it_is_to_go() {
        let agent = || Place::Agent("text".to_owned());
        check(None, None, Place::Site);
        check(Some("https://alpha.example"), None, Place::Site);
        check(Some("HTTPS://Alpha.example:443/in"), None, Place::Site);
        check(Some("https://beta.example"), Some("text"), Place::Elsewhere);
        check(Some("urn:somebody"), None, Place::Elsewhere);
        check(None, Some("text"), agent());
        check(None, Some("text@alpha.example"), agent());
        check(None, Some("alpha.example/text"), agent());
        check(Some("https://alpha.example"), Some("text"), agent());
        check(None, Some("unknown"), Place::Site);
        check(None, Some("beta/text"), Place::Elsewhere);
        check(None, Some("text@beta.example:8443"), Place::Elsewhere);
        // Whoever says that it is for us means us, whatever the handle is.
        check(Some("https://alpha.example"), Some("beta/x"), Place::Site);
        check(None, Some("nobody/text"), Place::Site);
    }
}
