//! What an agent's card says that decides about calls: which extensions it knows and requires, and which content it takes.
//!
//! Requests read it, whoever reads the card writes it. Before an agent's card was read for the first time nothing is known;
//! then the agent itself is left to refuse what it does not take.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use archipel_protocol::a2a::{AgentCard, Content, Message};
use archipel_protocol::object::{Fields, Invalid, Json, text};
use serde_json::value::RawValue;

/// See the module.
#[derive(Debug, Default)]
pub struct Declared(ArcSwapOption<Said>);

/// What one card says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Said {
    extensions: Vec<DeclaredExtension>,
    /// Media types of what the agent takes; `None` where the agent itself says so.
    input_modes: Option<Vec<String>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct DeclaredExtension {
    uri: String,
    required: bool,
}

impl Declared {
    /// Of an agent that runs in this process: it takes what its card says, and we see to that.
    pub fn of_own(card: &AgentCard) -> Self {
        let mut said = Said::of(card);
        said.input_modes = Some(input_modes(card));
        Self(ArcSwapOption::from_pointee(said))
    }

    /// Takes notice of the card of an agent elsewhere.
    pub fn learn(&self, card: &AgentCard) {
        let said = Said::of(card);
        // Agents of ours have said it all before.
        let is_news =
            self.0.load().as_ref().is_none_or(|known| {
                known.input_modes.is_none() && known.extensions != said.extensions
            });
        if is_news {
            self.0.store(Some(Arc::new(said)));
        }
    }

    /// What is known; nothing before the card was read.
    pub fn said(&self) -> Option<Arc<Said>> {
        self.0.load_full()
    }
}

impl Said {
    fn of(card: &AgentCard) -> Self {
        let listed = card.capabilities.extra.get("extensions");
        let listed = listed.map(|list| Fields::items(list.raw(), extension));
        Self {
            extensions: listed.and_then(Result::ok).unwrap_or_default(),
            input_modes: None,
        }
    }

    /// Whether the agent knows the extension.
    pub fn knows(&self, uri: &str) -> bool {
        self.extensions.iter().any(|extension| extension.uri == uri)
    }

    /// The first extension that the agent requires and `has` does not have.
    pub fn missing(&self, has: impl Fn(&str) -> bool) -> Option<&str> {
        let mut extensions = self.extensions.iter();
        let missing = extensions.find(|extension| extension.required && !has(&extension.uri));
        missing.map(|extension| extension.uri.as_str())
    }

    /// The first media type of a message that the agent does not take. Text is taken by whoever takes anything, and what
    /// is not declared is looked at by the agent.
    pub fn refused_type<'a>(&self, message: &'a Message) -> Option<&'a str> {
        let modes = self.input_modes.as_ref()?;
        message
            .parts
            .iter()
            .filter(|part| !matches!(part.content, Content::Text(_)))
            .filter_map(|part| part.media_type.as_deref())
            .find(|declared| !modes.iter().any(|mode| covers(mode, declared)))
    }
}

fn extension(raw: &RawValue) -> Result<DeclaredExtension, Invalid> {
    let mut fields = Fields::open(raw)?;
    Ok(DeclaredExtension {
        uri: fields.require_text("uri")?,
        required: fields.flag("required")?,
    })
}

/// Of the agent as a whole and of each of its skills.
fn input_modes(card: &AgentCard) -> Vec<String> {
    let of_skill = |skill: &Json| {
        let mut fields = Fields::open(skill.raw()).ok()?;
        fields.list("inputModes", text).ok()
    };
    let mut modes = card.default_input_modes.clone();
    modes.extend(card.skills.iter().filter_map(of_skill).flatten());
    modes
}

/// Whether `mode` is the type that is declared, or a range that it is in: `image/*`, `text` (for `text/*`), `*/*`.
fn covers(mode: &str, declared: &str) -> bool {
    let essence = |value: &str| {
        let end = value.split(';').next().unwrap_or_default();
        end.trim().to_ascii_lowercase()
    };
    let (mode, declared) = (essence(mode), essence(declared));
    let range = mode.strip_suffix("/*").unwrap_or(&mode);
    let kind = declared.split('/').next().unwrap_or_default();
    mode == declared || range == "*" || (!range.contains('/') && range == kind)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    fn card(extensions: &str) -> AgentCard {
        let card = format!(
            r#"{{"name":"a","description":"b","version":"1","supportedInterfaces":[],"capabilities":{{{extensions}}},
                "defaultInputModes":["text/plain","image/*"],"defaultOutputModes":[],
                "skills":[{{"id":"s","name":"s","description":"s","tags":[],"inputModes":["application/JSON"]}}]}}"#
        );
        AgentCard::read(&card).unwrap()
    }

    #[test]
    fn an_extension_is_known_and_may_be_required() {
        let said = Said::of(&card(
            r#""extensions":[{"uri":"urn:a"},{"uri":"urn:b","required":true}]"#,
        ));
        assert!(said.knows("urn:a") && !said.knows("urn:c"));
        assert_eq!(said.missing(|uri| uri == "urn:a"), Some("urn:b"));
        assert_eq!(said.missing(|uri| uri == "urn:b"), None);
        assert_eq!(Said::of(&card("")), Said::default());
    }

    #[test]
    fn content_is_taken_by_its_declared_type() {
        let own = Declared::of_own(&card("")).said().unwrap();
        let elsewhere = Declared::default();
        elsewhere.learn(&card(""));
        for (part, refused) in [
            (r#"{"text":"t","mediaType":"text/markdown"}"#, None),
            (r#"{"url":"u"}"#, None),
            (r#"{"url":"u","mediaType":"image/png"}"#, None),
            (
                r#"{"data":1,"mediaType":"application/json; charset=utf-8"}"#,
                None,
            ),
            (
                r#"{"raw":"AA==","mediaType":"audio/wav"}"#,
                Some("audio/wav"),
            ),
        ] {
            let message = format!(r#"{{"messageId":"m","role":"ROLE_USER","parts":[{part}]}}"#);
            let message = Message::parse(&RawValue::from_string(message).unwrap()).unwrap();
            assert_eq!(own.refused_type(&message), refused, "{part}");
            assert_eq!(elsewhere.said().unwrap().refused_type(&message), None);
        }
        assert!(covers("text", "text/html") && covers("*/*", "a/b") && covers("*", "a/b"));
    }
}
