//! The agent that says back what it was told: the smallest whole agent, and the one that is measured.

use std::sync::Arc;

use archipel_protocol::a2a::{Artifact, Part};
use futures_util::FutureExt;

use crate::tasks::executor::{AgentExecutor, Turn, TurnEvent, TurnEvents, TurnFuture};

/// See the module.
#[derive(Debug)]
pub struct Echo;

impl AgentExecutor for Echo {
    fn run(self: Arc<Self>, turn: Turn, events: TurnEvents) -> TurnFuture {
        async move {
            let said = format!("Echo: {}", turn.message.joined_text());
            let artifact = Artifact::new("echo", "result", vec![Part::text(said)]);
            events
                .tell(TurnEvent::artifact(artifact, false, true))
                .await?;
            Ok(())
        }
        .boxed_local()
    }
}
