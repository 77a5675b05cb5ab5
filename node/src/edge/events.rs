//! `GET /api/events`: what happens on the bus, as an event stream for operators.
//!
//! `?type=agent.*,mesh.wan.envelope` and `?agent=ID` choose; `Last-Event-ID` goes on behind an event that is still known.

use std::time::Duration;

use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName};
use actix_web::rt::time::{Instant, Interval, interval_at};
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::edge::{Edge, auth};
use crate::error::{Failure, Gate};
use crate::events::{Filter, Shown, Watch};

const KEEP_ALIVE: &[u8] = b": still here\n\n";
const TOO_SLOW: &[u8] =
    b": cut off, this watcher did not keep up; come again with Last-Event-ID\n\n";
const STOPPING: &[u8] = b": the node is stopping; come again\n\n";
const INCOMPLETE: &[u8] =
    b": the last event that was seen is not known any more; some may be missing\n\n";

/// Kinds in one request.
const MOST_KINDS: usize = 32;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    /// Kinds of events, by commas; `*` at an end stands for the rest.
    #[serde(rename = "type")]
    kinds: Option<String>,
    agent: Option<String>,
}

pub(super) async fn watch(
    request: HttpRequest,
    edge: web::Data<Edge>,
) -> Result<HttpResponse, Failure> {
    let caller = auth::identify(&request, &edge).await?;
    auth::require_operator(&request, &edge, &caller)?;
    let filter = filter(&request)?;
    let after = auth::header(&request, "last-event-id").map(str::to_owned);
    let watching = edge.feed.send(Watch { filter, after }).await;
    let watching = watching.map_err(|error| {
        Failure::gate(Gate::Unavailable, "the bus does not answer").because(error)
    })?;
    let mut first = Vec::new();
    if watching.incomplete {
        first.extend_from_slice(INCOMPLETE);
    }
    for shown in &watching.past {
        first.extend_from_slice(&written(shown));
    }
    // Something at once, so that the watcher knows that it watches.
    if first.is_empty() {
        first.extend_from_slice(KEEP_ALIVE);
    }
    let rest = Rest {
        news: watching.news,
        keep_alive: pause(edge.limits.keep_alive),
        drain: edge.drain.clone(),
        over: false,
    };
    let rest = stream::unfold(rest, |mut rest| async move {
        let piece = rest.next().await?;
        Some((Ok::<_, actix_web::Error>(piece), rest))
    });
    let first = stream::once(std::future::ready(Ok(Bytes::from(first))));
    Ok(HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "text/event-stream"))
        .insert_header((CACHE_CONTROL, "no-cache"))
        .insert_header((HeaderName::from_static("x-accel-buffering"), "no"))
        .streaming(first.chain(rest)))
}

fn filter(request: &HttpRequest) -> Result<Filter, Failure> {
    let wanted = web::Query::<Wanted>::from_query(request.query_string());
    let wanted = wanted.map_err(|error| {
        let message = "the query may have `type` (kinds by commas) and `agent`, each once";
        Failure::gate(Gate::BadRequest, message).because(error)
    })?;
    let kinds = wanted.kinds.as_deref().unwrap_or_default().split(',');
    let kinds: Vec<String> = kinds
        .map(str::trim)
        .filter(|kind| !kind.is_empty())
        .map(str::to_owned)
        .collect();
    if kinds.len() > MOST_KINDS {
        return Err(Failure::gate(
            Gate::BadRequest,
            "`type` names too many kinds",
        ));
    }
    Ok(Filter {
        kinds,
        agent: wanted.into_inner().agent,
    })
}

/// What follows the past.
struct Rest {
    news: mpsc::Receiver<Shown>,
    keep_alive: Interval,
    drain: CancellationToken,
    over: bool,
}

impl Rest {
    async fn next(&mut self) -> Option<Bytes> {
        if self.over {
            return None;
        }
        let piece = tokio::select! {
            biased;
            shown = self.news.recv() => match shown {
                Some(shown) => {
                    self.keep_alive.reset();
                    Bytes::from(written(&shown))
                }
                None => self.end(if self.drain.is_cancelled() { STOPPING } else { TOO_SLOW }),
            },
            () = self.drain.cancelled() => self.end(STOPPING),
            _ = self.keep_alive.tick() => Bytes::from_static(KEEP_ALIVE),
        };
        Some(piece)
    }

    fn end(&mut self, comment: &'static [u8]) -> Bytes {
        self.over = true;
        Bytes::from_static(comment)
    }
}

fn written(shown: &Shown) -> Vec<u8> {
    let id = shown.id.as_bytes();
    [b"id: ", id, b"\ndata: ", &shown.body, b"\n\n"].concat()
}

fn pause(length: Duration) -> Interval {
    interval_at(Instant::now() + length, length)
}
