//! What works: discovery, a call and a stream across the federation, and the stream through the gateway.

use anyhow::{Context, bail};
use bytes::Bytes;
use http::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::demonstration::THROUGH_ALPHA;
use crate::demonstration::outcome::Outcome;
use crate::http::{Answer, Credential, Http};
use crate::input::Input;
use crate::mesh::Site;
use crate::report::{Recorder, tenths_of_ms};

type Done = anyhow::Result<(String, ())>;

/// Reads the card of beta's agent from alpha.
pub(crate) async fn discover(http: &Http, site: &Site) -> Done {
    let url = format!(
        "{}/.well-known/agent-card.json",
        site.alpha.url(THROUGH_ALPHA)
    );
    let card = expect_ok(
        http.get(&url, Credential::Bearer(&site.alpha.internal_token))
            .await?,
    )?;
    let name = card
        .get("name")
        .and_then(Value::as_str)
        .filter(|name| !name.is_empty());
    let name = name.context("the card names no agent")?;
    if card.pointer("/capabilities/streaming") != Some(&Value::Bool(true)) {
        bail!("the card of {name} does not say that it streams");
    }
    let skills = card
        .get("skills")
        .and_then(Value::as_array)
        .map_or(0, Vec::len);
    if skills == 0 {
        bail!("the card of {name} has no skills");
    }
    Ok((format!("{name}, {skills} skills, streams"), ()))
}

/// Sends the text and waits for the finished task.
pub(crate) async fn call(http: &Http, site: &Site, input: &Input) -> Done {
    let url = site.alpha.url(THROUGH_ALPHA);
    let credential = Credential::Bearer(&site.alpha.internal_token);
    let answer = http
        .post(&url, credential, request("SendMessage", &input.text))
        .await?;
    Ok((
        Outcome::of_answer(&expect_ok(answer)?)?.check(input.characters)?,
        (),
    ))
}

/// Sends the text and shows what the agent writes, while it writes it.
pub(crate) async fn stream(
    recorder: &Recorder<'_>,
    http: &Http,
    site: &Site,
    url: &str,
    input: &Input,
) -> Done {
    let credential = Credential::Bearer(&site.alpha.internal_token);
    let mut outcome = Outcome::default();
    let mut first_event = None;
    let started = recorder.elapsed();
    let each = |event: Value| {
        first_event.get_or_insert_with(|| recorder.elapsed().saturating_sub(started));
        if let Some(text) = outcome.take_event(&event)? {
            recorder.screen().quote(&text);
        }
        Ok(())
    };
    http.stream(
        url,
        credential,
        request("SendStreamingMessage", &input.text),
        each,
    )
    .await?;
    let detail = outcome.check_stream(input.characters)?;
    let first = tenths_of_ms(first_event.unwrap_or_default());
    Ok((format!("{detail}, the first after {first} ms"), ()))
}

/// A JSON-RPC request that sends one message.
pub(crate) fn request(method: &str, text: &str) -> Bytes {
    let message =
        json!({"messageId": Uuid::new_v4(), "role": "ROLE_USER", "parts": [{"text": text}]});
    let request =
        json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": {"message": message}});
    Bytes::from(request.to_string())
}

/// The body of an answer that is 200.
pub(crate) fn expect_ok(answer: Answer) -> anyhow::Result<Value> {
    if answer.status != StatusCode::OK {
        bail!("answered {}", answer.excerpt());
    }
    answer.json()
}
