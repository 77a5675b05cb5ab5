//! What a glance at a JSON text tells, without parsing it: the method, the ids that lead to a node, how deep it nests.
//!
//! The node parses it for good. What is seen here is only used to choose a node and to refuse: a text that hides a
//! member behind escapes, or has it twice, counts as one that does not say what it wants.

use memchr::memchr2;

/// How many levels of objects are told apart; ids lie no deeper.
const LEVELS: usize = 4;

/// What was seen.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Glance<'a> {
    /// The JSON-RPC method.
    pub(crate) method: Option<&'a [u8]>,
    /// The id of a task.
    pub(crate) task: Option<&'a [u8]>,
    /// The id of a conversation.
    pub(crate) context: Option<&'a [u8]>,
    /// Members of the outermost object are written so that readers may differ about them.
    pub(crate) is_odd: bool,
}

/// Looks at a request: JSON-RPC, or the body of a REST call.
pub(crate) fn request(text: &[u8]) -> Glance<'_> {
    let mut glance = Glance::default();
    strings(text, |path, value| match path {
        [b"method"] => glance.is_odd |= glance.method.replace(value).is_some(),
        [key] if key.contains(&b'\\') => glance.is_odd = true,
        [b"params", b"id" | b"taskId"]
        | [b"params", b"message", b"taskId"]
        | [b"message", b"taskId"] => glance.task = Some(value),
        [b"params", b"contextId"]
        | [b"params", b"message", b"contextId"]
        | [b"message", b"contextId"] => glance.context = Some(value),
        _ => {}
    });
    glance
}

/// Looks at an answer, or at the first event of a stream: which task and conversation it speaks of.
pub(crate) fn answer(text: &[u8]) -> Glance<'_> {
    let mut glance = Glance::default();
    strings(text, |path, value| match path {
        [b"result", b"id"] | [b"task", b"id"] | [b"result", b"task", b"id"] => {
            glance.task = Some(value);
        }
        [.., b"taskId"] => glance.task = glance.task.or(Some(value)),
        [.., b"contextId"] => glance.context = glance.context.or(Some(value)),
        _ => {}
    });
    glance
}

/// The text of one member of the outermost object.
pub(crate) fn member<'a>(text: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let mut found = None;
    strings(text, |path, value| {
        if path == [name] {
            found = Some(value);
        }
    });
    found
}

/// Tells every text that is the member of an object, with the keys that lead to it, down to `LEVELS`.
fn strings<'a>(text: &'a [u8], mut tell: impl FnMut(&[&'a [u8]], &'a [u8])) {
    let mut keys: [&[u8]; LEVELS] = [b""; LEVELS];
    let mut depth = 0_usize;
    let mut rest = text;
    while let [byte, after @ ..] = rest {
        rest = after;
        match byte {
            b'{' | b'[' => {
                depth += 1;
                // Texts in a list have no key; neither has anything before the first key.
                if let Some(key) = keys.get_mut(depth - 1) {
                    *key = b"";
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'"' => {
                let Some((string, after)) = string(rest) else {
                    return;
                };
                rest = after;
                let Some(path) = keys.get_mut(..depth) else {
                    continue;
                };
                let Some(last) = path.last_mut() else {
                    continue;
                };
                if after.trim_ascii_start().first() == Some(&b':') {
                    *last = string;
                } else if !last.is_empty() {
                    tell(path, string);
                }
            }
            _ => {}
        }
    }
}

/// Splits after the end of a string whose first quote is gone; `None` when it has none.
fn string(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut from = 0;
    loop {
        let found = from + memchr2(b'"', b'\\', text.get(from..)?)?;
        if text.get(found) == Some(&b'"') {
            return Some((text.get(..found)?, text.get(found + 1..)?));
        }
        from = found + 2;
    }
}

/// Counts how deep a JSON text nests while it arrives in pieces.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Depth {
    depth: usize,
    in_string: bool,
    escaped: bool,
}

impl Depth {
    /// Whether a whole text nests no deeper than `most`.
    pub(crate) fn admits_all(text: &[u8], most: usize) -> bool {
        // The usual text has not even so many brackets, and those are counted many bytes at a time.
        let brackets = text.iter().filter(|byte| matches!(byte, b'{' | b'['));
        brackets.count() <= most || Self::default().admits(text, most)
    }

    /// Takes the next piece; false when it nests deeper than `most`.
    pub(crate) fn admits(&mut self, piece: &[u8], most: usize) -> bool {
        let mut rest = piece;
        while let [byte, after @ ..] = rest {
            rest = after;
            if self.escaped {
                self.escaped = false;
            } else if self.in_string {
                match byte {
                    b'"' => self.in_string = false,
                    b'\\' => self.escaped = true,
                    // Long texts are passed over in one step.
                    _ => {
                        let next = memchr2(b'"', b'\\', rest).unwrap_or(rest.len());
                        rest = rest.get(next..).unwrap_or_default();
                    }
                }
            } else {
                match byte {
                    b'"' => self.in_string = true,
                    b'{' | b'[' => self.depth += 1,
                    b'}' | b']' => self.depth = self.depth.saturating_sub(1),
                    _ => {}
                }
                if self.depth > most {
                    return false;
                }
            }
        }
        true
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    fn text(found: Option<&[u8]>) -> Option<&str> {
        found.map(|bytes| std::str::from_utf8(bytes).unwrap())
    }

    #[test]
    fn a_request_tells_its_method_and_ids() {
        let check =
            |json: &str, method: Option<&str>, task: Option<&str>, context: Option<&str>| {
                let glance = request(json.as_bytes());
                assert_eq!(
                    (text(glance.method), text(glance.task), text(glance.context)),
                    (method, task, context),
                    "{json}"
                );
                assert!(!glance.is_odd, "{json}");
            };
        check("", None, None, None);
        check("[1, \"method\"]", None, None, None);
        check(
            r#"{"jsonrpc":"2.0","id":"9","method":"GetTask","params":{"id":"t1"}}"#,
            Some("GetTask"),
            Some("t1"),
            None,
        );
        check(
            r#"{"method" : "SendMessage", "params": {"message": {"parts":[{"text":"\"taskId\":\"x\"","data":{"taskId":"y"}}],
               "contextId":"c", "taskId":"t"}}}"#,
            Some("SendMessage"),
            Some("t"),
            Some("c"),
        );
        check(
            r#"{"message":{"contextId":"c"},"metadata":{"method":"no"}}"#,
            None,
            None,
            Some("c"),
        );
        check(
            r#"{"params":{"a":{"b":{"c":{"d":["x"]}}},"id":"t"}}"#,
            None,
            Some("t"),
            None,
        );
        check(r#"{"method":"Cut"#, None, None, None);
    }

    #[test]
    fn members_that_readers_may_differ_about_are_odd() {
        for json in [
            r#"{"method":"GetTask","method":"CancelTask"}"#,
            r#"{"meth\u006fd":"CancelTask","method":"GetTask"}"#,
        ] {
            assert!(request(json.as_bytes()).is_odd, "{json}");
        }
    }

    #[test]
    fn an_answer_tells_its_task() {
        let check = |json: &str, task: Option<&str>, context: Option<&str>| {
            let glance = answer(json.as_bytes());
            assert_eq!(
                (text(glance.task), text(glance.context)),
                (task, context),
                "{json}"
            );
        };
        check(
            r#"{"id":"1","result":{"task":{"id":"t","contextId":"c","status":{"message":{"taskId":"t"}}}}}"#,
            Some("t"),
            Some("c"),
        );
        check(
            r#"{"result":{"kind":"task","id":"t","contextId":"c"}}"#,
            Some("t"),
            Some("c"),
        );
        check(
            "id: 3\ndata: {\"result\":{\"statusUpdate\":{\"taskId\":\"t\",\"contextId\":\"c\"}}}\n\n",
            Some("t"),
            Some("c"),
        );
        check(r#"{"task":{"id":"t"}}"#, Some("t"), None);
        check(r#"{"id":"1","error":{"message":"no"}}"#, None, None);
    }

    #[test]
    fn depth_is_counted_over_pieces_and_not_within_texts() {
        let check = |json: &str, deepest: usize| {
            for most in [deepest, deepest - 1] {
                let mut depth = Depth::default();
                let passed = json
                    .as_bytes()
                    .chunks(3)
                    .all(|piece| depth.admits(piece, most));
                assert_eq!(passed, most == deepest, "{json} {most}");
                assert_eq!(Depth::admits_all(json.as_bytes(), most), passed);
            }
        };
        check("{}", 1);
        check(r#"{"a":[[{"b":"[[[[[[\"[[["}]]}"#, 4);
        check(r#"[["\\"],["]]]"]]"#, 2);
    }
}
