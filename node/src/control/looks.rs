//! Who is there: agents elsewhere are asked now and then, a few at a time. What is found is shown, and decides nothing:
//! that is for the breaker, which sees real turns.

use std::sync::Arc;

use archipel_kit::clock::Clock;
use archipel_protocol::a2a::Timestamp;
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};

use crate::control::hosted::Probe;

/// Agents that are asked at once.
const AT_ONCE: usize = 16;

/// How an agent was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Looked {
    /// When.
    pub at_ms: u64,
    /// Why it counts as away.
    pub away: Option<String>,
}

impl Looked {
    pub(super) fn shown(&self) -> Value {
        let at = Timestamp::from_unix_ms(self.at_ms).to_string();
        match &self.away {
            None => json!({"ok": true, "checked_at": at}),
            Some(why) => json!({"ok": false, "checked_at": at, "reason": why}),
        }
    }
}

/// Asks every one of them.
pub(super) async fn round(
    probes: Vec<(Arc<str>, Arc<dyn Probe>)>,
    clock: Arc<dyn Clock>,
) -> Vec<(Arc<str>, Looked)> {
    let looks = probes.into_iter().map(|(id, probe)| {
        let clock = Arc::clone(&clock);
        async move {
            let found = probe.look().await;
            let looked = Looked {
                at_ms: clock.now_ms(),
                away: found.err().map(|failure| failure.to_string()),
            };
            (id, looked)
        }
    });
    stream::iter(looks)
        .buffer_unordered(AT_ONCE)
        .collect()
        .await
}
