//! What comes back from a model: one chunk of its stream, or its whole answer. Pure.

use serde::Deserialize;

/// What ends a stream.
const DONE: &[u8] = b"[DONE]";

/// One event of the stream.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Chunk {
    Piece(Piece),
    /// Nothing comes after it.
    Done,
    /// The endpoint tells an error in the middle of its stream.
    Error,
}

/// A piece of an answer.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) text: Option<String>,
    /// Why the model stopped, in its last piece.
    pub(super) finish: Option<String>,
}

#[derive(Deserialize)]
struct Body {
    #[serde(default)]
    choices: Vec<Choice>,
    #[serde(default)]
    error: Option<serde::de::IgnoredAny>,
}

/// A chunk says `delta`, a whole answer `message`; otherwise they are alike.
#[derive(Deserialize)]
struct Choice {
    #[serde(alias = "message", default)]
    delta: Delta,
    #[serde(default)]
    finish_reason: Option<String>,
}

#[derive(Default, Deserialize)]
struct Delta {
    #[serde(default)]
    content: Option<String>,
}

impl Chunk {
    /// Reads the data of an event; `None` when it makes no sense.
    pub(super) fn read(data: &[u8]) -> Option<Self> {
        if data.trim_ascii() == DONE {
            return Some(Self::Done);
        }
        let body: Body = serde_json::from_slice(data).ok()?;
        Some(match body.error {
            Some(_) => Self::Error,
            // A chunk without a choice tells only what was counted.
            None => Self::Piece(Piece::first(body.choices).unwrap_or_default()),
        })
    }
}

impl Piece {
    /// Reads a whole answer.
    pub(super) fn of_whole(body: &[u8]) -> Option<Self> {
        let body: Body = serde_json::from_slice(body).ok()?;
        Self::first(body.choices)
    }

    /// One answer was asked for, so there is one choice.
    fn first(choices: Vec<Choice>) -> Option<Self> {
        let choice = choices.into_iter().next()?;
        Some(Self {
            text: choice.delta.content,
            finish: choice.finish_reason,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(text: Option<&str>, finish: Option<&str>) -> Piece {
        Piece {
            text: text.map(str::to_owned),
            finish: finish.map(str::to_owned),
        }
    }

    #[test]
    fn chunks_of_a_stream() {
        let check = |data: &str, expected: Option<Chunk>| {
            assert_eq!(Chunk::read(data.as_bytes()), expected, "{data}");
        };
        let said = r#"{"id":"x","choices":[{"index":0,"delta":{"role":"assistant","content":"Hi"},"finish_reason":null}]}"#;
        check(said, Some(Chunk::Piece(piece(Some("Hi"), None))));
        let last = r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#;
        check(last, Some(Chunk::Piece(piece(None, Some("stop")))));
        let silent = r#"{"choices":[{"delta":{"content":null,"reasoning_content":"hm"}}]}"#;
        check(silent, Some(Chunk::Piece(piece(None, None))));
        let counted = r#"{"choices":[],"usage":{"total_tokens":3}}"#;
        check(counted, Some(Chunk::Piece(Piece::default())));
        check("[DONE]", Some(Chunk::Done));
        check(" [DONE] ", Some(Chunk::Done));
        check(r#"{"error":{"message":"overloaded"}}"#, Some(Chunk::Error));
        for nonsense in ["", "hello", r#"{"choices":[{"delta":{"content":1}}]}"#] {
            check(nonsense, None);
        }
    }

    #[test]
    fn a_whole_answer() {
        let whole = r#"{"choices":[{"message":{"role":"assistant","content":"Hi"},"finish_reason":"length"}]}"#;
        let expected = Some(piece(Some("Hi"), Some("length")));
        assert_eq!(Piece::of_whole(whole.as_bytes()), expected);
        assert_eq!(Piece::of_whole(br#"{"choices":[]}"#), None);
        assert_eq!(Piece::of_whole(b"<html>"), None);
    }
}
