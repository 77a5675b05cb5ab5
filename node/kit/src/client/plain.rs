//! The short way to one known server over plain HTTP/1.1: its own few connections, and nothing to look up.
//!
//! The general client finds a pool by scheme and name, negotiates, and makes a timer for each exchange, which together
//! is a good part of what a proxied request costs. Here a request takes the connection that was used last from a
//! stack, with the timer that lives on it, and the connection goes back when the answer's body has ended.

use std::{
    future::{Future as _, poll_fn},
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
    time::Duration,
};

use http::{
    HeaderValue, Request, Response, Uri,
    header::HOST,
    uri::{Authority, PathAndQuery, Scheme},
};
use hyper::{
    body::Incoming,
    client::conn::{TrySendError, http1},
};
use parking_lot::Mutex;
use tokio::time::{Instant, Sleep, sleep, sleep_until, timeout_at};

use super::{
    Answer, AnswerBody, ClientError, ClientOptions, RequestBody, Timeouts, chain,
    connector::GuardedConnector, earliest,
};

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
            connector: GuardedConnector::new(options.addresses, options.connect),
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
        mut request: Request<RequestBody>,
        limits: Timeouts,
    ) -> Result<Answer, ClientError> {
        request.headers_mut().insert(HOST, self.host.clone());
        let started = Instant::now();
        let until = earliest(limits).map(|(limit, _)| started + limit);
        let outcome = match self.pool.take(started) {
            Some(connection) => match connection.exchange(request, until).await {
                Err(Failure::NotSent(request, _)) => self.ask_afresh(*request, until).await,
                outcome => outcome,
            },
            None => self.ask_afresh(request, until).await,
        };
        let (connection, response) = outcome.map_err(|failure| failure.explain(limits))?;
        let lease = self.pool.lease(connection);
        let (head, body) = response.into_parts();
        let deadline = limits.total.map(|total| started + total);
        let body = AnswerBody::new(body, limits.idle, deadline, lease);
        Ok(Answer::new(head, body))
    }

    async fn ask_afresh(
        &self,
        request: Request<RequestBody>,
        until: Option<Instant>,
    ) -> Result<(Connection, Response<Incoming>), Failure> {
        let connecting = self.connect();
        let connection = match until {
            Some(until) => timeout_at(until, connecting)
                .await
                .map_err(|_| Failure::Late)?,
            None => connecting.await,
        };
        connection
            .map_err(Failure::Other)?
            .exchange(request, until)
            .await
    }

    async fn connect(&self) -> Result<Connection, ClientError> {
        let stream = self
            .connector
            .connect(&self.server)
            .await
            .map_err(|error| ClientError::from(&error))?;
        let (sender, driver) = http1::handshake(stream)
            .await
            .map_err(|error| ClientError::Connect(chain(&error)))?;
        // It ends by itself when the server or the last sender is gone. What breaks it, the exchange reports.
        actix_rt::spawn(async {
            let _ = driver.await;
        });
        self.pool.sweep();
        let now = Instant::now();
        Ok(Connection {
            sender,
            timer: Box::pin(sleep_until(now)),
            unused_since: now,
        })
    }
}

/// One connection, in nobody's or one exchange's hands.
#[derive(Debug)]
struct Connection {
    sender: http1::SendRequest<RequestBody>,
    /// Bounds the wait for each answer's head. It stays, because moving a timer on is far cheaper than making one.
    timer: Pin<Box<Sleep>>,
    unused_since: Instant,
}

impl Connection {
    /// Gives the connection back with the answer's head: it is busy until the body has ended.
    async fn exchange(
        mut self,
        request: Request<RequestBody>,
        until: Option<Instant>,
    ) -> Result<(Self, Response<Incoming>), Failure> {
        let mut answer = pin!(self.sender.try_send_request(request));
        let response = match until {
            None => answer.await?,
            Some(until) => {
                let timer = &mut self.timer;
                timer.as_mut().reset(until);
                poll_fn(|context| match answer.as_mut().poll(context) {
                    Poll::Ready(answered) => Poll::Ready(answered.map_err(Failure::from)),
                    Poll::Pending => timer.as_mut().poll(context).map(|()| Err(Failure::Late)),
                })
                .await?
            }
        };
        Ok((self, response))
    }
}

/// Why an exchange brought no head.
enum Failure {
    /// The connection was gone before a byte of the request was written.
    NotSent(Box<Request<RequestBody>>, hyper::Error),
    /// The time was over.
    Late,
    Other(ClientError),
}

impl Failure {
    fn explain(self, limits: Timeouts) -> ClientError {
        match self {
            // It was closed before it was used: as good as none.
            Self::NotSent(_, error) => ClientError::Connect(chain(&error)),
            Self::Late => {
                earliest(limits).map_or(ClientError::FirstByteTimeout, |(_, error)| error)
            }
            Self::Other(error) => error,
        }
    }
}

impl From<TrySendError<Request<RequestBody>>> for Failure {
    fn from(mut error: TrySendError<Request<RequestBody>>) -> Self {
        match error.take_message() {
            Some(request) => Self::NotSent(Box::new(request), error.into_error()),
            None => Self::Other(ClientError::Other(chain(error.error()))),
        }
    }
}

/// The connections that nobody uses.
#[derive(Debug)]
struct Pool {
    /// The last used on top; bounded by `max_unused`, cleared of old ones by `take` and the sweeping task.
    unused: Mutex<Vec<Connection>>,
    max_unused: usize,
    keep_unused: Duration,
    /// Whether the sweeping task was started.
    is_swept: AtomicBool,
}

impl Pool {
    /// The connection that was used last, as it is the least likely to be closed by the server.
    fn take(&self, now: Instant) -> Option<Connection> {
        let mut unused = self.unused.lock();
        while let Some(connection) = unused.pop() {
            if now.duration_since(connection.unused_since) >= self.keep_unused {
                // Those below it are older.
                unused.clear();
            } else if connection.sender.is_ready() {
                return Some(connection);
            }
        }
        None
    }

    /// Keeps a connection whose answer is complete; otherwise lends it to the answer's body.
    fn lease(self: &Arc<Self>, connection: Connection) -> Option<Lease> {
        self.give_back(connection).map(|connection| Lease {
            connection: Some(connection),
            pool: Arc::clone(self),
        })
    }

    /// Returns the connection if it is not free: an exchange is under way, or it is closed.
    fn give_back(&self, mut connection: Connection) -> Option<Connection> {
        if !connection.sender.is_ready() {
            return Some(connection);
        }
        let mut unused = self.unused.lock();
        if unused.len() < self.max_unused {
            connection.unused_since = Instant::now();
            unused.push(connection);
        }
        None
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
                    now.duration_since(connection.unused_since) < keep
                        && connection.sender.is_ready()
                });
            }
        });
    }
}

/// A connection whose answer is still arriving. When it is dropped, a connection that has become free goes back; any
/// other is closed, and the exchange over it with it.
#[derive(Debug)]
pub(super) struct Lease {
    connection: Option<Connection>,
    pool: Arc<Pool>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            drop(self.pool.give_back(connection));
        }
    }
}

#[cfg(test)]
mod tests;
