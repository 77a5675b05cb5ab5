//! What was told of a task already: digests of it, not copies.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use archipel_protocol::a2a::{Artifact, Message, Part, Task, TaskState, TaskStatus};

/// Pure; one for each turn.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// By their ids; bounded by the size of the task.
    artifacts: BTreeMap<String, Parts>,
    status: Option<u64>,
}

/// The parts of an artifact as far as they were told.
#[derive(Debug, Clone, Default)]
struct Parts {
    count: usize,
    digest: DefaultHasher,
}

impl Seen {
    /// Everything that is in `task`.
    pub(super) fn of(task: &Task) -> Self {
        let mut seen = Self::default();
        for artifact in &task.artifacts {
            seen.note(artifact, false);
        }
        seen.note_status(&task.status);
        seen
    }

    /// An artifact, or a piece that goes behind it, is told now.
    pub(super) fn note(&mut self, artifact: &Artifact, append: bool) {
        let id = artifact.artifact_id.clone();
        let parts = self.artifacts.entry(id).or_default();
        if !append {
            *parts = Parts::default();
        }
        parts.add(&artifact.parts);
    }

    /// What is still to be told of an artifact that the agent shows whole, and whether it goes behind what was told.
    pub(super) fn news_of(&mut self, mut artifact: Artifact) -> Option<(Artifact, bool)> {
        let known = self.artifacts.get(&artifact.artifact_id).cloned();
        self.note(&artifact, false);
        let Some(known) = known else {
            return Some((artifact, false));
        };
        let mut same = Parts::default();
        let Some(begin) = artifact.parts.get(..known.count) else {
            return Some((artifact, false));
        };
        same.add(begin);
        if same.digest.finish() != known.digest.finish() {
            return Some((artifact, false));
        }
        artifact.parts.drain(..known.count);
        (!artifact.parts.is_empty()).then_some((artifact, true))
    }

    /// A status is told now; whether it was not the last one told.
    pub(super) fn note_status(&mut self, status: &TaskStatus) -> bool {
        let digest = digest_of(status);
        self.status.replace(digest) != Some(digest)
    }
}

impl Parts {
    fn add(&mut self, parts: &[Part]) {
        self.count += parts.len();
        for part in parts {
            // Parts of the protocol have a JSON form.
            if let Ok(json) = serde_json::to_vec(part) {
                json.hash(&mut self.digest);
            }
        }
    }
}

/// Ids of tasks and conversations are left out: ours are not the agent's.
fn digest_of(status: &TaskStatus) -> u64 {
    let state = match status.state {
        TaskState::Submitted => TaskState::Working,
        other => other,
    };
    let mut digest = DefaultHasher::new();
    state.number().hash(&mut digest);
    if let Some(Message {
        message_id, parts, ..
    }) = &status.message
    {
        message_id.hash(&mut digest);
        let mut said = Parts::default();
        said.add(parts);
        said.digest.finish().hash(&mut digest);
    }
    digest.finish()
}
