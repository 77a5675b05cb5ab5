//! The agent that reads a text: statistics, key terms and a summary, each streamed as soon as it is there.
//!
//! The work itself is in `text`, as pure functions. A long text is read on a blocking thread, so that a worker never
//! stands still for it, and nothing more is read once the task is canceled.

use std::sync::Arc;

use archipel_protocol::a2a::{Artifact, Message, Part, TaskState};
use archipel_protocol::object::Json;
use futures_util::FutureExt;
use serde::Serialize;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::agents::text;
use crate::tasks::executor::{
    AgentExecutor, ExecutorFailure, Turn, TurnEvent, TurnEvents, TurnFuture,
};

/// Texts up to this size are read where they are; reading them takes less than handing them over.
const READ_IN_PLACE: usize = 4096;
const KEY_TERMS: usize = 8;

/// See the module.
#[derive(Debug)]
pub struct TextReader;

impl AgentExecutor for TextReader {
    fn run(self: Arc<Self>, turn: Turn, events: TurnEvents) -> TurnFuture {
        read(turn, events).boxed_local()
    }
}

async fn read(turn: Turn, events: TurnEvents) -> Result<(), ExecutorFailure> {
    let given: Arc<str> = turn.message.joined_text().into();
    if given.trim().is_empty() {
        let asks = Message::from_agent(
            Uuid::new_v4().to_string(),
            "Send me the text to read, as a text part.",
        );
        let status = TurnEvent::status(TaskState::InputRequired, Some(asks));
        return Ok(events.tell(status).await?);
    }
    let canceled = &turn.canceled;
    let statistics = on(&given, canceled, text::statistics).await?;
    events.tell(data("statistics", &statistics)?).await?;
    let terms = on(&given, canceled, |given| text::key_terms(given, KEY_TERMS)).await?;
    events.tell(data("key-terms", &terms)?).await?;
    let summary = on(&given, canceled, text::summary).await?;
    let last = summary.len().saturating_sub(1);
    for (index, sentence) in summary.into_iter().enumerate() {
        let separated = if index == 0 {
            sentence.text
        } else {
            format!(" {}", sentence.text)
        };
        let artifact = Artifact::new("summary", "summary", vec![Part::text(separated)]);
        events
            .tell(TurnEvent::artifact(artifact, index > 0, index == last))
            .await?;
    }
    Ok(())
}

/// One step of the work. A canceled task does not wait for the step that is under way, nor begin another.
async fn on<T: Send + 'static>(
    given: &Arc<str>,
    canceled: &CancellationToken,
    work: impl FnOnce(&str) -> T + Send + 'static,
) -> Result<T, ExecutorFailure> {
    if canceled.is_cancelled() {
        return Err(ExecutorFailure::Ended);
    }
    if given.len() <= READ_IN_PLACE {
        return Ok(work(given));
    }
    let given = Arc::clone(given);
    let done = actix_rt::task::spawn_blocking(move || work(&given));
    match canceled.run_until_cancelled(done).await {
        None => Err(ExecutorFailure::Ended),
        // The only way this fails is a panic in the work.
        Some(done) => done.map_err(|_| ExecutorFailure::Broken),
    }
}

fn data(name: &str, value: &impl Serialize) -> Result<TurnEvent, ExecutorFailure> {
    let json = Json::of(value).map_err(|_| ExecutorFailure::NotA2a)?;
    let mut part = Part::data(json);
    part.media_type = Some("application/json".to_owned());
    let artifact = Artifact::new(name, name, vec![part]);
    Ok(TurnEvent::artifact(artifact, false, true))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests;
