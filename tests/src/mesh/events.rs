//! An event stream as a client sees it: events and comments, one by one, as they arrive.

use std::collections::VecDeque;

use http::Response;
use http::header::HeaderMap;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::Value;

use super::wait::within;

/// A stream that is being read. Dropping it closes the connection.
#[derive(Debug)]
pub struct EventStream {
    /// The head of the answer.
    pub headers: HeaderMap,
    /// The id of the last event that was taken: its number in the task's log.
    pub last_id: Option<u64>,
    body: Incoming,
    unread: Vec<u8>,
    items: VecDeque<(Option<u64>, StreamItem)>,
    /// Whether an event is the result itself and no JSON-RPC answer.
    bare: bool,
}

/// What arrives.
#[derive(Debug, Clone, PartialEq)]
pub enum StreamItem {
    /// A whole JSON-RPC answer, or the result itself in HTTP+JSON.
    Event(Value),
    /// What keeps the connection alive, or tells why it ends.
    Comment(String),
}

impl EventStream {
    pub(super) fn new(response: Response<Incoming>) -> Self {
        assert_eq!(response.status(), 200);
        let (head, body) = response.into_parts();
        Self {
            headers: head.headers,
            last_id: None,
            body,
            unread: Vec::new(),
            items: VecDeque::new(),
            bare: false,
        }
    }

    /// The same stream, read as one of HTTP+JSON.
    pub(super) fn bare(mut self) -> Self {
        self.bare = true;
        self
    }

    /// The next item; `None` at the end, and when the connection breaks.
    pub async fn next(&mut self) -> Option<StreamItem> {
        while self.items.is_empty() {
            let frame = within("the next event of a stream", self.body.frame()).await?;
            let data = frame.ok()?.into_data().ok()?;
            self.unread.extend_from_slice(&data);
            self.take_apart();
        }
        let (id, item) = self.items.pop_front()?;
        self.last_id = id.or(self.last_id);
        Some(item)
    }

    /// The result of the next event; comments are passed over.
    pub async fn event(&mut self) -> Value {
        self.try_event().await.expect("the stream goes on")
    }

    /// As [`Self::event`]; `None` at the end.
    pub async fn try_event(&mut self) -> Option<Value> {
        loop {
            match self.next().await? {
                StreamItem::Comment(_) => {}
                StreamItem::Event(event) if self.bare => return Some(event),
                StreamItem::Event(mut answer) => {
                    assert_eq!(answer["id"], 1, "{answer}");
                    assert!(answer.get("error").is_none(), "{answer}");
                    return Some(answer["result"].take());
                }
            }
        }
    }

    /// The results of all further events, to the end.
    pub async fn events(&mut self) -> Vec<Value> {
        let mut events = Vec::new();
        while let Some(event) = self.try_event().await {
            events.push(event);
        }
        events
    }

    /// The last comment before the end.
    pub async fn last_comment(&mut self) -> Option<String> {
        let mut last = None;
        while let Some(item) = self.next().await {
            if let StreamItem::Comment(comment) = item {
                last = Some(comment);
            }
        }
        last
    }

    /// One event is one `data:` line (A2A 1.0 §9.4.2) with its id before it; a comment stands alone.
    fn take_apart(&mut self) {
        while let Some(end) = self.unread.windows(2).position(|pair| pair == b"\n\n") {
            let block: Vec<u8> = self.unread.drain(..end + 2).collect();
            let block = std::str::from_utf8(&block).expect("a stream is UTF-8");
            let (id, line) = match block.trim_end().split_once('\n') {
                Some((id, line)) => (id.strip_prefix("id: "), line),
                None => (None, block.trim_end()),
            };
            assert!(!line.contains('\n'), "an event has one line: {line}");
            let item = match (line.strip_prefix("data: "), line.strip_prefix(": ")) {
                (Some(data), _) => StreamItem::Event(serde_json::from_str(data).unwrap()),
                (_, Some(comment)) => StreamItem::Comment(comment.to_owned()),
                _ => panic!("neither an event nor a comment: {line}"),
            };
            // Those of the bus are no numbers.
            let id = id.and_then(|id| id.parse().ok());
            self.items.push_back((id, item));
        }
    }
}
