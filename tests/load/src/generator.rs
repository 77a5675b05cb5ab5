//! The clients: a fixed number of connections, each with one request under way, every answer checked.
//!
//! It speaks just enough HTTP/1.1 to cost little beside the servers that it loads: on a small machine what the generator
//! takes is missing there. `template` writes what is asked, `answer` reads what comes back.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, bail};
use archipel_kit::clock::{Clock, SystemClock};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::generator::answer::Answer;
use crate::generator::template::Template;
use crate::rows::{Asks, Target};

mod answer;
mod template;

/// No server takes this long over one answer.
const SILENCE: Duration = Duration::from_secs(10);

/// How long connections go on asking.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Until {
    Time(Duration),
    Requests(u64),
    /// For so long, so many in a second. A request that cannot begin in time begins later; the others do not wait for it.
    Paced(Duration, u32),
}

/// What a run came to.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) elapsed: Duration,
    /// How long each request took, in microseconds; one for each.
    pub(crate) waits_us: Vec<u32>,
}

/// Asks one server. The connections stay open between runs.
pub(crate) struct Generator {
    shared: Rc<Shared>,
    connections: Vec<Option<Connection>>,
}

struct Shared {
    target: Target,
    clock: SystemClock,
    template: Template,
    /// Number of the next request: no two messages of a server have the same id.
    next: Cell<u64>,
    /// No request has this number or a greater one; moves with every run.
    end: Cell<u64>,
    /// On the clock's monotonic time.
    deadline: Cell<Duration>,
    /// When the next request may begin, and how much later the one after it.
    begin: Cell<Duration>,
    apart: Cell<Duration>,
}

struct Connection {
    socket: TcpStream,
    request: Vec<u8>,
    received: Vec<u8>,
}

impl Generator {
    /// Connects when it is first run.
    pub(crate) fn new(target: &Target, connections: u16, clock: SystemClock) -> Self {
        let shared = Shared {
            template: Template::new(target),
            target: target.clone(),
            clock,
            next: Cell::new(0),
            end: Cell::new(0),
            deadline: Cell::new(Duration::ZERO),
            begin: Cell::new(Duration::ZERO),
            apart: Cell::new(Duration::ZERO),
        };
        Self {
            shared: Rc::new(shared),
            connections: (0..connections).map(|_| None).collect(),
        }
    }

    /// Makes ready what can be made ready of what is asked for so long.
    ///
    /// # Errors
    /// When a token cannot be minted.
    pub(crate) fn prepare(&mut self, time: Duration) -> anyhow::Result<()> {
        self.shared.template.mint_ahead(time)
    }

    /// Asks until then. Must run inside a `LocalSet`.
    ///
    /// # Errors
    /// At the first answer that is missing or wrong.
    pub(crate) async fn run(&mut self, until: Until) -> anyhow::Result<Outcome> {
        let shared = &self.shared;
        let started = shared.clock.monotonic();
        let (requests, time) = match until {
            Until::Time(time) | Until::Paced(time, _) => (u64::MAX, time),
            Until::Requests(requests) => {
                (shared.next.get().saturating_add(requests), Duration::MAX)
            }
        };
        shared.end.set(requests);
        shared.deadline.set(started.saturating_add(time));
        shared.begin.set(started);
        shared.apart.set(match until {
            Until::Paced(_, pace) => Duration::from_secs(1) / pace.max(1),
            _ => Duration::ZERO,
        });
        let waits_us = Rc::new(RefCell::new(Vec::new()));
        let mut asking = JoinSet::new();
        for connection in self.connections.drain(..) {
            asking.spawn_local(ask(connection, Rc::clone(shared), Rc::clone(&waits_us)));
        }
        while let Some(ended) = asking.join_next().await {
            self.connections.push(Some(ended??));
        }
        let elapsed = shared.clock.monotonic().saturating_sub(started);
        Ok(Outcome {
            elapsed,
            waits_us: waits_us.take(),
        })
    }
}

async fn ask(
    connection: Option<Connection>,
    shared: Rc<Shared>,
    waits_us: Rc<RefCell<Vec<u32>>>,
) -> anyhow::Result<Connection> {
    let mut connection = match connection {
        Some(connection) => connection,
        None => Connection::open(&shared).await?,
    };
    loop {
        shared.await_turn().await;
        let (number, begun) = (shared.next.get(), shared.clock.monotonic());
        if number >= shared.end.get() || begun >= shared.deadline.get() {
            return Ok(connection);
        }
        shared.next.set(number + 1);
        let answered = timeout(SILENCE, connection.exchange(&shared, number)).await;
        answered.context("a request was not answered in time")??;
        let wait = shared.clock.monotonic().saturating_sub(begun);
        waits_us
            .borrow_mut()
            .push(u32::try_from(wait.as_micros()).unwrap_or(u32::MAX));
    }
}

impl Shared {
    /// Waits until one more request may begin.
    async fn await_turn(&self) {
        let (begin, apart) = (self.begin.get(), self.apart.get());
        if apart.is_zero() || begin >= self.deadline.get() {
            return;
        }
        self.begin.set(begin + apart);
        let wait = begin.saturating_sub(self.clock.monotonic());
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }
}

impl Connection {
    async fn open(shared: &Shared) -> anyhow::Result<Self> {
        let socket = TcpStream::connect(shared.target.address).await?;
        socket.set_nodelay(true)?;
        Ok(Self {
            socket,
            request: Vec::new(),
            received: Vec::with_capacity(8192),
        })
    }

    async fn exchange(&mut self, shared: &Shared, number: u64) -> anyhow::Result<()> {
        shared.template.write(number, &mut self.request)?;
        self.socket.write_all(&self.request).await?;
        loop {
            if let Some(answer) = Answer::read(&self.received)? {
                let size = answer.size;
                check(&answer, shared.target.asks, number)?;
                self.received.drain(..size);
                return Ok(());
            }
            if self.socket.read_buf(&mut self.received).await? == 0 {
                bail!(
                    "the server closed the connection in mid-answer: {}",
                    self.received.escape_ascii()
                );
            }
        }
    }
}

/// Whether the agent did what it was asked for.
fn check(answer: &Answer<'_>, asks: Asks, number: u64) -> anyhow::Result<()> {
    let body = answer.body()?;
    let said = || format!("\"Echo: hello from the benchmark {number:012x}\"");
    let is_complete = || body.contains("\"TASK_STATE_COMPLETED\"");
    let is_right = match asks {
        Asks::Anything => is_complete() && body.contains("\"artifacts\""),
        Asks::Echo | Asks::Conversation => {
            is_complete() && body.contains("\"artifacts\"") && body.contains(&said())
        }
        Asks::Stream => {
            is_complete() && body.contains("\"artifactUpdate\"") && body.contains(&said())
        }
        Asks::Denial => body.contains("\"RATE_LIMITED\""),
        Asks::Nothing => body.contains("\"TASK_STATE_INPUT_REQUIRED\""),
        Asks::Refusal => body.contains("\"error\""),
    };
    let is_expected = match asks {
        Asks::Refusal => matches!(answer.status, 401 | 429),
        Asks::Denial => answer.status == 429,
        _ => answer.status == 200,
    };
    if !is_expected || !is_right {
        bail!("a wrong answer, status {}: {body}", answer.status);
    }
    Ok(())
}
