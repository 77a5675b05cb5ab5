//! What is sent: the same request every time but for its number, and the token of a peer.

use std::cell::RefCell;
use std::io::Write;
use std::time::Duration;

use crate::rows::{Asks, Credential, Signer, Target};

/// Where a node looks for a peer's token.
const TOKEN_HEADER: &str = "X-Hive-Federation-JWT";

/// Tokens that are minted ahead for a second of asking: more than a node of two processors answers. They live a minute.
const TOKENS_A_SECOND: u64 = 10_000;

/// Tasks of one conversation, as a power of two.
const CONVERSATION: u32 = 8;

/// Head and body of a request, cut where its number goes. The number has always as many digits.
pub(super) struct Template {
    /// Without the blank line at its end.
    head: String,
    /// Adds a line to the head.
    signer: Option<Signer>,
    /// Minted and not sent yet.
    tokens: RefCell<Vec<String>>,
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
        let signer = match &target.credential {
            Credential::Peer(signer) => Some(signer.clone()),
            _ => None,
        };
        Self {
            head: head(target, size + end.len()),
            signer,
            tokens: RefCell::default(),
            pieces,
            end,
        }
    }

    /// Mints tokens for so long, before anybody's time is taken: it costs about as much as the node's checking of them, on
    /// the processors that the node needs.
    pub(super) fn mint_ahead(&self, time: Duration) -> anyhow::Result<()> {
        let Some(signer) = &self.signer else {
            return Ok(());
        };
        let wanted = usize::try_from(time.as_secs().saturating_mul(TOKENS_A_SECOND))?;
        let mut tokens = self.tokens.borrow_mut();
        while tokens.len() < wanted {
            tokens.push(signer.token()?);
        }
        Ok(())
    }

    /// Replaces what is in `request`.
    pub(super) fn write(&self, number: u64, request: &mut Vec<u8>) -> anyhow::Result<()> {
        request.clear();
        request.extend_from_slice(self.head.as_bytes());
        if let Some(signer) = &self.signer {
            let ready = self.tokens.borrow_mut().pop();
            let token = ready.map_or_else(|| signer.token(), Ok)?;
            write!(request, "{TOKEN_HEADER}: {token}\r\n")?;
        }
        request.extend_from_slice(b"\r\n");
        for (text, cut) in &self.pieces {
            write!(request, "{text}{:012x}", number >> cut)?;
        }
        request.extend_from_slice(self.end.as_bytes());
        Ok(())
    }
}

fn head(target: &Target, size: usize) -> String {
    let credential = match &target.credential {
        Credential::None | Credential::Peer(_) => String::new(),
        Credential::Bearer(token) => format!("Authorization: Bearer {token}\r\n"),
        Credential::Bad(token) => format!("{TOKEN_HEADER}: {token}\r\n"),
    };
    format!(
        "POST {} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nA2A-Version: 1.0\r\n{credential}\
         Content-Length: {size}\r\n",
        target.path, target.address,
    )
}
