//! What is sent: the same request every time but for its number.

use std::io::{self, Write};

use crate::rows::{Asks, Target};

/// Tasks of one conversation, as a power of two.
const CONVERSATION: u32 = 8;

/// Head and body of a request, cut where its number goes. The number has always as many digits.
pub(super) struct Template {
    /// Each is followed by the number without so many of its lowest bits.
    pieces: Vec<(String, u32)>,
    end: String,
}

impl Template {
    pub(super) fn new(target: &Target) -> Self {
        // Two runs against one server must not repeat each other's ids.
        let run = hex::encode(rand::random::<[u8; 8]>());
        let method = match target.asks {
            Asks::Stream => "SendStreamingMessage",
            _ => "SendMessage",
        };
        let opening = format!(
            r#"{{"jsonrpc":"2.0","id":"1","method":"{method}","params":{{"message":{{"messageId":"{run}-"#
        );
        let mut pieces = vec![(opening, 0)];
        if target.asks == Asks::Conversation {
            pieces.push((r#"","contextId":"conversation-"#.to_owned(), CONVERSATION));
        }
        let said = match target.asks {
            Asks::Nothing => r#"","role":"ROLE_USER","parts":[{"data":""#,
            _ => r#"","role":"ROLE_USER","parts":[{"text":"hello from the benchmark "#,
        };
        pieces.push((said.to_owned(), 0));
        let end = r#""}]}}}"#.to_owned();
        let size: usize = pieces.iter().map(|(text, _)| text.len() + 12).sum();
        let head = head(target, size + end.len());
        if let Some((first, _)) = pieces.first_mut() {
            first.insert_str(0, &head);
        }
        Self { pieces, end }
    }

    /// Replaces what is in `request`.
    pub(super) fn write(&self, number: u64, request: &mut Vec<u8>) -> io::Result<()> {
        request.clear();
        for (text, cut) in &self.pieces {
            write!(request, "{text}{:012x}", number >> cut)?;
        }
        request.write_all(self.end.as_bytes())
    }
}

fn head(target: &Target, size: usize) -> String {
    let authorization = target
        .token
        .map(|token| format!("Authorization: Bearer {token}\r\n"))
        .unwrap_or_default();
    format!(
        "POST {} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nA2A-Version: 1.0\r\n{authorization}\
         Content-Length: {size}\r\n\r\n",
        target.path, target.address,
    )
}
