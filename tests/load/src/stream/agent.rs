//! An agent that streams artifacts at a steady pace, each with the time at which it was written. It runs on a thread of
//! its own for as long as the benchmark.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use actix_web::http::header::CONTENT_TYPE;
use actix_web::{App, HttpResponse, HttpServer, web};
use anyhow::Context;
use archipel_kit::clock::{Clock, SystemClock};
use bytes::Bytes;
use futures_util::{Stream, stream};
use serde_json::{Value, json};

/// Between two events: long enough for the one before to have arrived everywhere.
const PACE: Duration = Duration::from_millis(5);

/// Where it listens. Every stream has `events` events.
pub(super) fn start(events: u64, clock: SystemClock) -> anyhow::Result<SocketAddr> {
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        actix_web::rt::System::new().block_on(async move {
            let app = move || {
                let answer =
                    move |call: web::Json<Value>| async move { answer(&call, events, clock) };
                App::new().route("/", web::post().to(answer))
            };
            let server = HttpServer::new(app)
                .workers(1)
                .tcp_nodelay(true)
                .disable_signals();
            let server = server.bind((Ipv4Addr::LOCALHOST, 0))?;
            let address = server.addrs().first().copied();
            // Nobody waits any more only when the benchmark has ended.
            let _ = tell.send(address);
            server.run().await
        })
    });
    told.recv()
        .ok()
        .flatten()
        .context("the agent that streams cannot listen on loopback")
}

fn answer(call: &Value, events: u64, clock: SystemClock) -> HttpResponse {
    let id = call.get("id").cloned().unwrap_or_default();
    HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "text/event-stream"))
        .streaming(told(id, events, clock))
}

/// The task, the events, the end. The first event follows the task at once, as an agent's would.
fn told(
    id: Value,
    events: u64,
    clock: SystemClock,
) -> impl Stream<Item = Result<Bytes, Infallible>> {
    let task = uuid::Uuid::new_v4();
    stream::unfold(0, move |step| {
        let id = id.clone();
        async move {
            if step > 1 {
                tokio::time::sleep(PACE).await;
            }
            let result = match step {
                0 => {
                    json!({"task": {"id": task, "contextId": task, "status": {"state": "TASK_STATE_WORKING"}}})
                }
                number if number <= events => artifact(task, number, clock.monotonic()),
                number if number == events + 1 => json!({"statusUpdate": {
                    "taskId": task, "contextId": task, "status": {"state": "TASK_STATE_COMPLETED"}
                }}),
                _ => return None,
            };
            let event = json!({"jsonrpc": "2.0", "id": id, "result": result});
            Some((Ok(format!("data: {event}\n\n").into()), step + 1))
        }
    })
}

fn artifact(task: uuid::Uuid, number: u64, now: Duration) -> Value {
    let artifact =
        json!({"artifactId": number.to_string(), "parts": [{"text": now.as_nanos().to_string()}]});
    json!({"artifactUpdate": {"taskId": task, "contextId": task, "artifact": artifact, "lastChunk": true}})
}
