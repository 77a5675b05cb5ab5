//! What those cost that do nothing: watchers of a task, and tasks that wait for their clients.

use std::time::Duration;

use anyhow::{Context, bail, ensure};
use archipel_kit::clock::SystemClock;
use futures_util::{StreamExt, TryStreamExt, stream};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::client::{HttpClient, call, client, request};
use crate::generator::{Generator, Until};
use crate::programs::Programs;
use crate::progress;
use crate::rows::Row;

/// Watchers that come at once.
const AT_ONCE: usize = 64;
/// No event takes this long to reach every watcher.
const SILENCE: Duration = Duration::from_secs(60);

/// So many idlers, and by how many bytes they made the process grow.
#[derive(Debug)]
pub(crate) struct Idlers {
    pub(crate) number: u64,
    pub(crate) growth: u64,
    /// Resident memory of the process with all of them.
    pub(crate) memory: u64,
}

/// Has so many watchers watch one task of a node that keeps tasks in memory; then the task ends, and each must see how.
pub(crate) async fn watchers(programs: &Programs, number: u64) -> anyhow::Result<Idlers> {
    let mut servers = Row::Watchers.start(programs).await?;
    let target = servers.target.clone();
    let url = format!("http://{}{}", target.address, target.path);
    let client = client();
    let task = json!({"message": message(None, &json!({"data": {}}))});
    let task = call(&client, &url, "SendMessage", &task).await?;
    let id = task.pointer("/task/id").context("no task")?;
    // The first ones touch memory that is there for all.
    let warm: Vec<_> = watch(&client, &url, id, 64).await?;
    let before = servers.measured.memory()?;
    let all = watch(&client, &url, id, number).await?;
    let memory = servers.measured.memory()?;
    let growth = memory.saturating_sub(before);
    progress(&format!("watchers {number}: {} KiB", growth / 1024));
    let answer = json!({"message": message(Some(id), &json!({"text": "One. Two. Three."}))});
    call(&client, &url, "SendMessage", &answer).await?;
    let ends = warm.into_iter().chain(all).map(end_of);
    let ends: Vec<String> = stream::iter(ends)
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await?;
    let same = ends.windows(2).all(|pair| pair.first() == pair.last());
    ensure!(same, "watchers saw different events");
    servers.measured.check_alive()?;
    Ok(Idlers {
        number,
        growth,
        memory,
    })
}

/// Has so many tasks wait for their clients on a node that stores them durably.
pub(crate) async fn waiting(
    programs: &Programs,
    connections: u16,
    number: u64,
    clock: SystemClock,
) -> anyhow::Result<Idlers> {
    let mut servers = Row::Waiting.start(programs).await?;
    let mut generator = Generator::new(&servers.target, connections, clock);
    let before = servers.measured.memory()?;
    generator.run(Until::Requests(number)).await?;
    servers.measured.check_alive()?;
    let memory = servers.measured.memory()?;
    progress(&format!("waiting  {number}: {} KiB", memory / 1024));
    Ok(Idlers {
        number,
        growth: memory.saturating_sub(before),
        memory,
    })
}

fn message(task: Option<&Value>, part: &Value) -> Value {
    let mut message =
        json!({"messageId": uuid::Uuid::new_v4(), "role": "ROLE_USER", "parts": [part]});
    if let (Some(task), Some(message)) = (task, message.as_object_mut()) {
        message.insert("taskId".to_owned(), task.clone());
    }
    message
}

/// Streams that have begun: each has seen the task.
async fn watch(
    client: &HttpClient,
    url: &str,
    id: &Value,
    number: u64,
) -> anyhow::Result<Vec<Incoming>> {
    let begun = (0..number).map(|_| async {
        let request = request(url, "SubscribeToTask", &json!({"id": id}))?;
        let mut events = client.request(request).await?.into_body();
        let first = events.frame().await.context("no first event")??;
        let first = first.into_data().unwrap_or_default();
        let has_task = first.windows(8).any(|text| text == b"\"task\":{");
        ensure!(has_task, "a wrong first event: {}", first.escape_ascii());
        Ok(events)
    });
    stream::iter(begun)
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await
}

/// What was seen after the first event.
async fn end_of(mut events: Incoming) -> anyhow::Result<String> {
    let mut seen = String::new();
    loop {
        let frame = timeout(SILENCE, events.frame()).await?;
        let Some(frame) = frame else {
            break;
        };
        let data = frame?.into_data().unwrap_or_default();
        seen.push_str(std::str::from_utf8(&data)?);
    }
    // Comments come when they come.
    let events = seen
        .lines()
        .filter(|line| !line.starts_with(':') && !line.is_empty());
    let seen = events.collect::<Vec<_>>().join("\n");
    if !seen.contains("TASK_STATE_COMPLETED") {
        bail!("a watcher did not see the end: {seen}");
    }
    Ok(seen)
}
