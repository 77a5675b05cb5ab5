//! What is shown of agents: never a secret, only whether there is one.

use serde_json::{Value, json};

use crate::config::AgentKind;
use crate::control::ControlError;
use crate::control::hosted::{Held, Hosted};

pub(super) fn all(hosted: &Hosted) -> Value {
    let agents: Vec<Value> = hosted
        .iter()
        .map(|held| agent(held, hosted.is_default(&held.settings.id)))
        .collect();
    json!({"agents": agents})
}

pub(super) fn one(hosted: &Hosted, id: &str) -> Result<Value, ControlError> {
    let held = hosted.find(id).ok_or(ControlError::NotFound)?;
    Ok(agent(held, hosted.is_default(id)))
}

pub(super) fn agent(held: &Held, is_default: bool) -> Value {
    let settings = &held.settings;
    let mut shown = json!({
        "id": settings.id,
        "kind": settings.kind.word(),
        "mode": settings.mode.word(),
        "visibility": settings.visibility.word(),
        "default": is_default,
        "source": if held.given.is_some() { "added" } else { "configuration" },
        "state": held.state,
    });
    let optional = [
        ("name", settings.name.as_deref().map(Value::from)),
        (
            "description",
            settings.description.as_deref().map(Value::from),
        ),
        ("url", settings.url.as_ref().map(|url| url.as_str().into())),
        (
            "bearer_set",
            settings
                .url
                .is_some()
                .then(|| (settings.bearer.is_some() || settings.api_key.is_some()).into()),
        ),
        ("model", settings.model.as_deref().map(Value::from)),
        (
            "turns",
            held.agent.run.as_ref().map(|run| {
                let (now, limits) = (run.snapshot(), run.limits());
                json!({
                    "open": now.turns,
                    "max_concurrent": limits.concurrent,
                    "max_waiting": limits.waiting,
                    "breaker": now.breaker.word(),
                })
            }),
        ),
        ("health", held.looked.as_ref().map(|looked| looked.shown())),
    ];
    if let Some(members) = shown.as_object_mut() {
        for (name, value) in optional {
            members.extend(value.map(|value| (name.to_owned(), value)));
        }
        if settings.kind == AgentKind::OpenAi {
            members.insert("conversation".to_owned(), settings.conversation.into());
            members.insert("images".to_owned(), settings.images.into());
        }
    }
    shown
}
