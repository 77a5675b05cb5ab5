//! What is sent to a model: what was said so far, and what is said now. Pure.

use archipel_protocol::a2a::{Content, Message, Part};
use archipel_protocol::object::Json;
use serde::{Deserialize, Serialize};

use crate::agents::openai::ChatAgentSettings;

/// What was said in a task, oldest first. Kept as the task's memory between two turns.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Chat {
    said: Vec<Said>,
}

/// One message to or from the model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "role", rename_all = "lowercase")]
pub(super) enum Said {
    User { content: Heard },
    Assistant { content: String },
}

/// What the client said, as the endpoint takes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Heard {
    Text(String),
    /// With images among it.
    Parts(Vec<ChatPart>),
}

/// A part of what the client said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum ChatPart {
    Text { text: String },
    ImageUrl { image_url: ImageUrl },
}

/// Where an image is; a `data:` URL holds it itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct ImageUrl {
    url: String,
}

/// A part that the model cannot be given.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("part {number} of the message is {what}, and this agent takes {takes}")]
pub(super) struct Unfit {
    /// Counted from 1.
    number: usize,
    what: String,
    takes: &'static str,
}

impl Heard {
    /// What a message says.
    pub(super) fn of(message: &Message, images: bool) -> Result<Self, Unfit> {
        let parts = message.parts.iter().enumerate();
        let parts: Vec<ChatPart> = parts
            .map(|(index, part)| {
                chat_part(part, images).map_err(|what| Unfit {
                    number: index + 1,
                    what,
                    takes: if images { "text and images" } else { "text" },
                })
            })
            .collect::<Result<_, _>>()?;
        // Plain text where it is enough: many endpoints know no other form.
        let has_image = parts
            .iter()
            .any(|part| matches!(part, ChatPart::ImageUrl { .. }));
        Ok(if has_image {
            Self::Parts(parts)
        } else {
            Self::Text(message.joined_text())
        })
    }

    pub(super) fn is_blank(&self) -> bool {
        matches!(self, Self::Text(text) if text.trim().is_empty())
    }

    fn size(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Parts(parts) => parts
                .iter()
                .map(|part| match part {
                    ChatPart::Text { text } => text.len(),
                    ChatPart::ImageUrl { image_url } => image_url.url.len(),
                })
                .sum(),
        }
    }
}

impl Chat {
    /// Reads a task's memory. What cannot be read was not written here, and counts as nothing.
    pub(super) fn recall(memory: Option<&Json>) -> Self {
        memory
            .and_then(|memory| serde_json::from_str(memory.text()).ok())
            .unwrap_or_default()
    }

    pub(super) fn hear(&mut self, heard: Heard) {
        self.said.push(Said::User { content: heard });
    }

    pub(super) fn answer(&mut self, content: String) {
        self.said.push(Said::Assistant { content });
    }

    /// Forgets the oldest until the rest is within `limit` bytes; what was said last always stays. The rest begins with
    /// the client, since models expect that.
    pub(super) fn shorten(&mut self, limit: usize) {
        let mut size: usize = self.said.iter().map(Said::size).sum();
        let last = self.said.len().saturating_sub(1);
        let mut forgotten = 0;
        for (index, said) in self.said.iter().enumerate().take(last) {
            let follows = matches!(said, Said::Assistant { .. }) && forgotten == index;
            if size <= limit && !follows {
                break;
            }
            size -= said.size();
            forgotten = index + 1;
        }
        self.said.drain(..forgotten);
    }

    /// The body of the request.
    pub(super) fn request(&self, settings: &ChatAgentSettings) -> serde_json::Result<Vec<u8>> {
        serde_json::to_vec(&ChatRequest {
            model: &settings.model,
            messages: Messages {
                system: settings.system_prompt.as_deref(),
                said: &self.said,
            },
            stream: true,
            temperature: settings.temperature,
            max_tokens: settings.max_tokens,
        })
    }
}

impl Said {
    fn size(&self) -> usize {
        match self {
            Self::User { content } => content.size(),
            Self::Assistant { content } => content.len(),
        }
    }
}

#[derive(Serialize)]
struct ChatRequest<'a> {
    model: &'a str,
    messages: Messages<'a>,
    stream: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u32>,
}

/// The system's words, then everybody else's.
struct Messages<'a> {
    system: Option<&'a str>,
    said: &'a [Said],
}

#[derive(Serialize)]
struct System<'a> {
    role: &'static str,
    content: &'a str,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Line<'a> {
    System(System<'a>),
    Said(&'a Said),
}

impl Serialize for Messages<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let system = self.system.map(|content| {
            Line::System(System {
                role: "system",
                content,
            })
        });
        serializer.collect_seq(system.into_iter().chain(self.said.iter().map(Line::Said)))
    }
}

/// A part as the endpoint takes it, or what it is instead.
fn chat_part(part: &Part, images: bool) -> Result<ChatPart, String> {
    let media_type = part.media_type.as_deref().unwrap_or_default();
    let is_image = images && media_type.starts_with("image/");
    let url = match &part.content {
        Content::Text(text) => return Ok(ChatPart::Text { text: text.clone() }),
        Content::Raw(base64) if is_image => format!("data:{media_type};base64,{base64}"),
        Content::Url(url) if is_image => url.clone(),
        Content::Raw(_) | Content::Url(_) => return Err(file(media_type)),
        Content::Data(_) => return Err("structured data".to_owned()),
    };
    Ok(ChatPart::ImageUrl {
        image_url: ImageUrl { url },
    })
}

/// The client's own word for the type comes back to the client, but not at any length.
fn file(media_type: &str) -> String {
    if media_type.is_empty() || media_type.len() > 128 {
        "a file".to_owned()
    } else {
        format!("a file ({media_type})")
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn message(parts: Value) -> Message {
        let json = json!({"messageId": "m", "role": "ROLE_USER", "parts": parts}).to_string();
        Message::parse(serde_json::from_str(&json).unwrap()).unwrap()
    }

    fn check(parts: Value, images: bool, expected: Result<Value, &str>) {
        let heard = Heard::of(&message(parts.clone()), images);
        let heard = heard.map(|heard| serde_json::to_value(heard).unwrap());
        let told = heard.map_err(|unfit| unfit.to_string());
        assert_eq!(told, expected.map_err(str::to_owned), "{parts} {images}");
    }

    #[test]
    fn what_a_message_says_to_a_model() {
        check(
            json!([{"text": "a"}, {"text": "b"}]),
            false,
            Ok(json!("a\nb")),
        );
        let image = json!([{"text": "what is it?"}, {"raw": "AAAA", "mediaType": "image/png"}]);
        let shown = json!([
            {"type": "text", "text": "what is it?"},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
        ]);
        check(image.clone(), true, Ok(shown));
        let refused = "part 2 of the message is a file (image/png), and this agent takes text";
        check(image, false, Err(refused));
        let linked = json!([{"url": "https://a/b.jpg", "mediaType": "image/jpeg"}]);
        let link = json!([{"type": "image_url", "image_url": {"url": "https://a/b.jpg"}}]);
        check(linked, true, Ok(link));
        let refused =
            "part 1 of the message is structured data, and this agent takes text and images";
        check(json!([{"data": {"a": 1}}]), true, Err(refused));
        let refused = "part 1 of the message is a file, and this agent takes text";
        check(json!([{"url": "https://a/b"}]), false, Err(refused));
    }

    fn chat(said: &[&str]) -> Chat {
        let mut chat = Chat::default();
        for (index, text) in said.iter().enumerate() {
            if index % 2 == 0 {
                chat.hear(Heard::Text((*text).to_owned()));
            } else {
                chat.answer((*text).to_owned());
            }
        }
        chat
    }

    fn check_short(said: &[&str], limit: usize, kept: usize) {
        let mut short = chat(said);
        short.shorten(limit);
        let rest = chat(said).said.split_off(said.len() - kept);
        assert_eq!(short.said, rest, "{said:?} within {limit}");
    }

    #[test]
    fn the_oldest_is_forgotten_first_and_the_last_never() {
        let said = ["1234", "5678", "90", "ab", "cd"];
        check_short(&said, 100, 5);
        check_short(&said, 14, 5);
        // An answer whose question is forgotten goes with it.
        check_short(&said, 13, 3);
        check_short(&said, 6, 3);
        check_short(&said, 5, 1);
        check_short(&said, 0, 1);
        check_short(&[], 0, 0);
    }

    #[test]
    fn a_chat_is_remembered_and_forgotten_when_it_cannot_be_read() {
        let chat = chat(&["hello", "what?", "hello!"]);
        let memory = Json::of(&chat).unwrap();
        assert_eq!(Chat::recall(Some(&memory)), chat);
        let other = Json::read(r#"{"taskId":"theirs"}"#).unwrap();
        assert_eq!(Chat::recall(Some(&other)), Chat::default());
        assert_eq!(Chat::recall(None), Chat::default());
    }
}
