//! The short way to one known server over plain HTTP/1.1: its own few connections, and nothing to look up.
//!
//! The general client finds a pool by scheme and name, negotiates, makes a timer for each exchange and hands it to the
//! task of a connection and back, which together is a good part of what a proxied request costs. Here the task that
//! asks works the connection itself: it takes the one that was used last from a stack, with the timer that lives on it,
//! and puts it back when the answer has ended. Read `wire` (what is written and read), then `connection`.

mod connection;
mod wire;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{
    HeaderValue, Method, Request, Uri,
    uri::{Authority, PathAndQuery, Scheme},
};
use parking_lot::Mutex;
use tokio::time::{Instant, sleep, timeout_at};

use super::{
    AnswerBody, CarriedAnswer, ClientError, ClientOptions, RequestBody, Timeouts,
    connector::GuardedConnector, earliest,
};

pub use connection::PlainHead;

use connection::{Connection, Failure, Sending};
use wire::{Framing, Head};

/// A client of one `http://` server, with its own connections. Use it on an actix worker only: its connections are
/// tasks of that thread.
#[derive(Debug)]
pub struct PlainClient {
    connector: GuardedConnector,
    server: Uri,
    host: HeaderValue,
    pool: Arc<Pool>,
}

impl PlainClient {
    /// A client without a connection yet.
    ///
    /// # Errors
    /// When the authority cannot be written as a `Host` header.
    pub fn new(options: ClientOptions, server: &Authority) -> Result<Self, http::Error> {
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(Scheme::HTTP);
        parts.authority = Some(server.clone());
        parts.path_and_query = Some(PathAndQuery::from_static("/"));
        Ok(Self {
            connector: GuardedConnector::new(options.addresses, options.lookup, options.connect),
            server: Uri::from_parts(parts)?,
            host: HeaderValue::try_from(server.as_str())?,
            pool: Arc::new(Pool {
                unused: Mutex::default(),
                max_unused: options.max_idle_per_host,
                keep_unused: options.keep_idle,
                is_swept: AtomicBool::new(false),
            }),
        })
    }

    /// Sends a request, whose URI is only a path and a query, and waits for the head of its answer.
    ///
    /// A request that did not leave because the server had just closed the connection goes out on a fresh one. One that
    /// may have been sent is never repeated.
    ///
    /// # Errors
    /// Why there is no answer; see [`ClientError`].
    pub async fn send(
        &self,
        request: Request<RequestBody>,
        limits: Timeouts,
    ) -> Result<CarriedAnswer, ClientError> {
        let (parts, body) = request.into_parts();
        let target = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        let mut head = self.head(parts.method, target);
        for (name, value) in &parts.headers {
            head.add(name, value.as_bytes());
        }
        self.send_written(head, body, limits).await
    }

    /// Begins the head of a request. Writing it where its headers come from saves a map of them.
    ///
    /// `target` must be a path with its query as a URI has them.
    pub fn head(&self, method: Method, target: &str) -> PlainHead {
        PlainHead::new(method, target, &self.host)
    }

    /// As [`send`](Self::send), with a head that was written by hand.
    ///
    /// # Errors
    /// Why there is no answer; see [`ClientError`].
    pub async fn send_written(
        &self,
        head: PlainHead,
        body: RequestBody,
        limits: Timeouts,
    ) -> Result<CarriedAnswer, ClientError> {
        let started = Instant::now();
        let until = earliest(limits).map(|(limit, _)| started + limit);
        let sending = Sending::new(head, body);
        let outcome = self.exchange(sending, started, until).await;
        let (connection, head) = outcome.map_err(|failure| failure.explain(limits))?;
        let deadline = limits.total.map(|total| started + total);
        let mut body = Arriving {
            connection: Some(connection),
            framing: head.framing,
            pool: Arc::clone(&self.pool),
        };
        // Nobody asks for the pieces of a body that has none.
        body.end_if_ended();
        Ok(CarriedAnswer {
            status: head.status,
            headers: head.headers,
            body: AnswerBody::plain(body, limits.idle, deadline),
        })
    }

    async fn exchange(
        &self,
        mut sending: Sending,
        started: Instant,
        until: Option<Instant>,
    ) -> Result<(Box<Connection>, Head), Failure> {
        if let Some(mut connection) = self.pool.take(started) {
            match connection.exchange(&mut sending, until).await {
                Ok(head) => {
                    connection.go_on_sending(sending);
                    return Ok((connection, head));
                }
                Err(Failure::NotSent(_)) => {}
                Err(failure) => return Err(failure),
            }
        }
        let connecting = self.connect();
        let connection = match until {
            Some(until) => timeout_at(until, connecting)
                .await
                .map_err(|_| Failure::Late)?,
            None => connecting.await,
        };
        let mut connection = connection.map_err(Failure::Other)?;
        let head = connection.exchange(&mut sending, until).await?;
        connection.go_on_sending(sending);
        Ok((connection, head))
    }

    async fn connect(&self) -> Result<Box<Connection>, ClientError> {
        let stream = self.connector.connect(&self.server).await;
        let stream = stream.map_err(|error| ClientError::from(&error))?;
        self.pool.sweep();
        let now = Instant::now();
        Ok(Box::new(Connection::new(stream.into_inner(), now)))
    }
}

impl Failure {
    fn explain(self, limits: Timeouts) -> ClientError {
        match self {
            // It was closed before it was used: as good as none.
            Self::NotSent(error) => ClientError::Connect(error.to_string()),
            Self::Late => {
                earliest(limits).map_or(ClientError::FirstByteTimeout, |(_, error)| error)
            }
            Self::Other(error) => error,
        }
    }
}

/// The body of an answer, and the connection it comes over. That goes back when all of it was taken; dropped before, it is
/// closed, and the exchange with it.
#[derive(Debug)]
pub(super) struct Arriving {
    connection: Option<Box<Connection>>,
    framing: Framing,
    pool: Arc<Pool>,
}

impl Arriving {
    /// How many bytes are to come, where that is known.
    pub(super) const fn exact_length(&self) -> Option<u64> {
        match self.framing {
            Framing::Sized(left) => Some(left),
            _ => None,
        }
    }

    pub(super) fn poll_piece(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, ClientError>>> {
        let Some(connection) = &mut self.connection else {
            return Poll::Ready(None);
        };
        let piece = ready!(connection.poll_piece(&mut self.framing, context));
        self.end_if_ended();
        if !matches!(&piece, Ok(Some(_))) {
            self.connection = None;
        }
        let piece = piece.map_err(|error| ClientError::Other(super::chain(&error)));
        Poll::Ready(piece.transpose())
    }

    fn end_if_ended(&mut self) {
        if self.framing.is_ended()
            && let Some(connection) = self.connection.take()
        {
            self.pool.give_back(connection);
        }
    }
}

/// The connections that nobody uses.
#[derive(Debug)]
struct Pool {
    /// The last used on top; bounded by `max_unused`, cleared of old ones by `take` and the sweeping task.
    #[expect(
        clippy::vec_box,
        reason = "a connection changes hands at each request, and is moved as one pointer"
    )]
    unused: Mutex<Vec<Box<Connection>>>,
    max_unused: usize,
    keep_unused: Duration,
    /// Whether the sweeping task was started.
    is_swept: AtomicBool,
}

impl Pool {
    /// The connection that was used last, as it is the least likely to be closed by the server.
    fn take(&self, now: Instant) -> Option<Box<Connection>> {
        let mut unused = self.unused.lock();
        while let Some(connection) = unused.pop() {
            if now.duration_since(connection.unused_since) >= self.keep_unused {
                // Those below it are older.
                unused.clear();
            } else if connection.is_ready() {
                return Some(connection);
            }
        }
        None
    }

    /// Keeps a connection whose exchange has ended, if it can be used again and there are not too many.
    fn give_back(&self, mut connection: Box<Connection>) {
        let mut unused = self.unused.lock();
        if connection.is_ready() && unused.len() < self.max_unused {
            connection.unused_since = Instant::now();
            unused.push(connection);
        }
    }

    /// Starts the task that closes connections which nobody took for too long, unless it runs. It ends with the pool.
    fn sweep(self: &Arc<Self>) {
        if self.is_swept.swap(true, Ordering::Relaxed) {
            return;
        }
        let keep = self.keep_unused;
        let pool = Arc::downgrade(self);
        actix_rt::spawn(async move {
            loop {
                sleep(keep / 2).await;
                let Some(pool) = pool.upgrade() else { return };
                let now = Instant::now();
                pool.unused.lock().retain(|connection| {
                    now.duration_since(connection.unused_since) < keep && connection.is_ready()
                });
            }
        });
    }
}

#[cfg(test)]
mod tests;
