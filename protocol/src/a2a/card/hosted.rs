//! An agent's card as the node shows it that serves the agent: the same agent, reached at the node and by its rules.
//!
//! What the agent says of itself stays as it is; what would lead past the node goes: its own addresses, its own
//! credentials, signatures over other bytes.

use serde::Serialize;
use serde_json::json;

use crate::a2a::card::{AgentCard, AgentInterface, JSONRPC_BINDING};
use crate::a2a::v03;
use crate::a2a::version::Version;
use crate::object::{Extra, Fields, Json};

/// The HTTP+JSON binding of 1.0.
pub const HTTP_JSON_BINDING: &str = "HTTP+JSON";

/// Members of an agent's card that do not hold for the agent behind a node: how the agent itself is reached and asked, in
/// either version. The last ones are no members of cards but claims of tokens, which no node may sign on a card.
const NOT_PASSED_ON: [&str; 15] = [
    "signatures",
    "securitySchemes",
    "securityRequirements",
    "security",
    "url",
    "protocolVersion",
    "preferredTransport",
    "additionalInterfaces",
    "iss",
    "sub",
    "aud",
    "exp",
    "nbf",
    "iat",
    "jti",
];

/// An extension of the protocol that a node adds to its agents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Extension {
    /// Its name.
    pub uri: &'static str,
    /// For people.
    pub description: &'static str,
}

/// What a node adds to the abilities of the agents whose tasks it keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offer {
    /// Calls webhooks.
    pub push_notifications: bool,
    /// Has more to say to who is authenticated.
    pub extended_card: bool,
    /// None of them is required.
    pub extensions: &'static [Extension],
}

impl AgentCard {
    /// The same agent reached at `url`: by JSON-RPC and HTTP+JSON 1.0 and by JSON-RPC 0.3, with a bearer token of the node.
    #[must_use]
    pub fn hosted_at(mut self, url: &str) -> Self {
        self.supported_interfaces = [
            (JSONRPC_BINDING, Version::V1),
            (HTTP_JSON_BINDING, Version::V1),
            (JSONRPC_BINDING, Version::V03),
        ]
        .map(|(binding, version)| AgentInterface {
            protocol_binding: binding.to_owned(),
            protocol_version: version.as_str().to_owned(),
            ..AgentInterface::jsonrpc(url.to_owned())
        })
        .into();
        for name in NOT_PASSED_ON {
            self.extra = self.extra.without(name);
        }
        let schemes = json!({"bearer": {"httpAuthSecurityScheme": {"scheme": "Bearer"}}});
        // Without scopes, and so without a list of them: a list that is empty is left out of what is signed.
        let requirements = json!([{"schemes": {"bearer": {}}}]);
        for (name, value) in [
            ("securitySchemes", schemes),
            ("securityRequirements", requirements),
        ] {
            // Values of ours have a JSON form.
            if let Ok(value) = Json::of(&value) {
                self.extra = self.extra.with(name, value);
            }
        }
        self.skills = self.skills.iter().map(without_security).collect();
        self
    }

    /// The same agent, whose tasks a node keeps and streams.
    #[must_use]
    pub fn offering(mut self, offer: &Offer) -> Self {
        let capabilities = &mut self.capabilities;
        capabilities.streaming = Some(true);
        capabilities.push_notifications = Some(offer.push_notifications);
        capabilities.extended_agent_card = offer.extended_card.then_some(true);
        let own = capabilities.extra.get("extensions");
        let mut extensions = own.and_then(items).unwrap_or_default();
        for extension in offer.extensions {
            let is_named = |known: &Json| named(known).as_deref() == Some(extension.uri);
            if !extensions.iter().any(is_named) {
                extensions.extend(Json::of(extension));
            }
        }
        if let Some(extensions) = Json::of(&extensions)
            .ok()
            .filter(|_| !extensions.is_empty())
        {
            let extra = std::mem::take(&mut capabilities.extra);
            capabilities.extra = extra.with("extensions", extensions);
        }
        self
    }

    /// The same card with further members, in place of those of the same name.
    #[must_use]
    pub fn extended_by(self, further: Extra) -> Option<Self> {
        let Ok(card) = serde_json::to_string(&self) else {
            return None;
        };
        let mut members = Fields::read(&card).ok()?.rest();
        members.replace_by(further);
        Self::read(&serde_json::to_string(&members).ok()?).ok()
    }

    /// The card as version 1.0 writes it.
    pub fn to_json(&self) -> String {
        // A card is made of texts and JSON, so writing it cannot fail.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The card as version 0.3 writes it, of an agent that is reached at `url`.
    pub fn to_json_03(&self, url: &str) -> String {
        let text = serde_json::to_string(&v03::card(self, url)).unwrap_or_default();
        let interfaces = Json::of(&json!([{"url": url, "transport": JSONRPC_BINDING}]));
        match (Fields::read(&text), interfaces) {
            (Ok(fields), Ok(interfaces)) => {
                let members = fields.rest().with("additionalInterfaces", interfaces);
                serde_json::to_string(&members).unwrap_or_default()
            }
            _ => text,
        }
    }
}

/// One card for clients of either version that do not say which they speak: the card of 1.0 with the members that 0.3
/// looks for beside its own.
pub fn for_both(of_v1: &str, of_v03: &str) -> String {
    let (Ok(mut new), Ok(mut old)) = (Fields::read(of_v1), Fields::read(of_v03)) else {
        return of_v1.to_owned();
    };
    let schemes = both_schemes(&mut new, &mut old);
    let mut members = old.rest();
    members.replace_by(new.rest());
    if let Some(schemes) = schemes {
        members = members.with("securitySchemes", schemes);
    }
    serde_json::to_string(&members).unwrap_or_else(|_| of_v1.to_owned())
}

/// The two versions describe a scheme by different members, so that one scheme can carry both.
fn both_schemes(new: &mut Fields<'_>, old: &mut Fields<'_>) -> Option<Json> {
    let new = Fields::open(new.take("securitySchemes")?).ok()?.rest();
    let mut old = Fields::open(old.take("securitySchemes")?).ok()?;
    let mut schemes = Extra::default();
    for (name, scheme) in new.iter() {
        let mut both = match old.take(name).and_then(|scheme| Fields::open(scheme).ok()) {
            Some(fields) => fields.rest(),
            None => Extra::default(),
        };
        both.replace_by(Fields::open(scheme.raw()).ok()?.rest());
        schemes = schemes.with(name, Json::of(&both).ok()?);
    }
    Json::of(&schemes).ok()
}

fn without_security(skill: &Json) -> Json {
    let Ok(mut fields) = Fields::open(skill.raw()) else {
        return skill.clone();
    };
    fields.take("securityRequirements");
    fields.take("security");
    Json::of(&fields.rest()).unwrap_or_else(|_| skill.clone())
}

fn items(list: &Json) -> Option<Vec<Json>> {
    serde_json::from_str(list.text()).ok()
}

fn named(extension: &Json) -> Option<String> {
    Fields::open(extension.raw()).ok()?.text("uri").ok()?
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    const URL: &str = "http://me/agents/a";
    /// Of an agent that serves both versions, with its own credentials on it, and with claims of a token.
    const CARD: &str = r#"{"name":"A","description":"d","version":"2","url":"http://a/old","protocolVersion":"0.3.0",
        "supportedInterfaces":[{"url":"http://a/rpc","protocolBinding":"GRPC","protocolVersion":"1.0"}],
        "capabilities":{"extensions":[{"uri":"urn:x"}],"x":1},"defaultInputModes":["text/plain"],"defaultOutputModes":[],
        "skills":[{"id":"s","x":1.50,"security":[{"k":[]}]}],"provider":{"url":"u","organization":"o"},
        "securitySchemes":{"k":{"apiKeySecurityScheme":{"name":"n","location":"header"}}},"iss":"http://me","sub":"s",
        "signatures":[{"protected":"p","signature":"s"}]}"#;

    fn hosted() -> AgentCard {
        AgentCard::read(CARD).unwrap().hosted_at(URL)
    }

    #[test]
    fn a_card_keeps_what_it_says_but_not_how_the_agent_is_reached() {
        let interface = |binding: &str, version: &str| {
            format!(
                r#"{{"url":"{URL}","protocolBinding":"{binding}","protocolVersion":"{version}"}}"#
            )
        };
        let interfaces = [
            interface("JSONRPC", "1.0"),
            interface("HTTP+JSON", "1.0"),
            interface("JSONRPC", "0.3"),
        ]
        .join(",");
        let expected = format!(
            concat!(
                r#"{{"name":"A","description":"d","supportedInterfaces":[{}],"version":"2","#,
                r#""capabilities":{{"extensions":[{{"uri":"urn:x"}}],"x":1}},"defaultInputModes":["text/plain"],"#,
                r#""defaultOutputModes":[],"skills":[{{"id":"s","x":1.50}}],"provider":{{"url":"u","organization":"o"}},"#,
                r#""securitySchemes":{{"bearer":{{"httpAuthSecurityScheme":{{"scheme":"Bearer"}}}}}},"#,
                r#""securityRequirements":[{{"schemes":{{"bearer":{{}}}}}}]}}"#,
            ),
            interfaces
        );
        assert_eq!(hosted().to_json(), expected);
    }

    #[test]
    fn what_a_node_adds_is_declared_once() {
        const EXTENSION: Extension = Extension {
            uri: "urn:ours",
            description: "ours",
        };
        let offer = |extended_card| Offer {
            push_notifications: true,
            extended_card,
            extensions: &[EXTENSION],
        };
        let check = |card: &AgentCard, expected: &str| {
            assert_eq!(serde_json::to_string(&card.capabilities).unwrap(), expected);
        };
        let card = hosted().offering(&offer(false));
        let extensions =
            r#""extensions":[{"uri":"urn:x"},{"uri":"urn:ours","description":"ours"}],"x":1}"#;
        let plain = format!(r#"{{"streaming":true,"pushNotifications":true,{extensions}"#);
        check(&card, &plain);
        let extended = format!(
            r#"{{"streaming":true,"pushNotifications":true,"extendedAgentCard":true,{extensions}"#
        );
        check(&card.offering(&offer(true)), &extended);
    }

    #[test]
    fn one_card_for_both_versions_is_read_by_each() {
        let card = hosted();
        let both = for_both(&card.to_json(), &card.to_json_03(URL));
        assert_eq!(
            AgentCard::read_any(&both)
                .unwrap()
                .supported_interfaces
                .len(),
            3
        );
        let old = v03::read_card(&both).unwrap();
        assert_eq!(old.supported_interfaces.len(), 1);
        assert_eq!(old.skills, card.skills);
        let scheme = r#""bearer":{"type":"http","scheme":"Bearer","httpAuthSecurityScheme":{"scheme":"Bearer"}}"#;
        assert!(both.contains(scheme), "{both}");
        assert!(both.contains(r#""security":[{"bearer":[]}]"#), "{both}");
    }

    #[test]
    fn further_members_take_the_place_of_those_of_the_card() {
        let further = Fields::read(r#"{"skills":[],"x-more":1}"#).unwrap().rest();
        let card = hosted().extended_by(further).unwrap();
        assert!(card.skills.is_empty());
        assert!(card.extra.get("x-more").is_some());
        assert_eq!(card.name, "A");
        let nonsense = Fields::read(r#"{"name":1}"#).unwrap().rest();
        assert_eq!(hosted().extended_by(nonsense), None);
    }
}
