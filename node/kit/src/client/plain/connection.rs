//! One connection to the server: what is being sent over it, and what came.

use std::{
    future::{Future as _, poll_fn},
    io,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, Bytes, BytesMut};
use http::{HeaderName, HeaderValue, Method};
use http_body::Body as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWrite as _},
    net::TcpStream,
    time::{Instant, Sleep, sleep_until},
};

use super::{
    super::{ClientError, RequestBody},
    wire::{self, Framing, Head},
};

/// Room for what is read at once: most answers need less, and many connections are open.
const READ_ROOM: usize = 4 * 1024;
/// Room for a usual request.
const HEAD_ROOM: usize = 1024;
/// As `READ_ROOM`, within a body of which more is known to come.
const BODY_ROOM: usize = 32 * 1024;
/// This much of a request is gathered before it is written: a small body leaves together with its head.
const SEND_ROOM: usize = 32 * 1024;

/// One connection, in nobody's or one exchange's hands.
#[derive(Debug)]
pub(super) struct Connection {
    socket: TcpStream,
    /// What came and was not taken yet.
    received: BytesMut,
    /// The rest of a request whose answer began before it had left.
    sending: Option<Sending>,
    /// Whether the server keeps it open after the present answer, as far as is known.
    is_kept: bool,
    /// Bounds the wait for each answer's head. It stays, because moving a timer on is far cheaper than making one.
    timer: Pin<Box<Sleep>>,
    pub(super) unused_since: Instant,
}

/// The head of a request to a known server, being written.
#[derive(Debug)]
pub struct PlainHead {
    method: Method,
    buffer: BytesMut,
}

impl PlainHead {
    pub(super) fn new(method: Method, target: &str, host: &HeaderValue) -> Self {
        let mut buffer = BytesMut::with_capacity(HEAD_ROOM);
        wire::write_start(&method, target, host, &mut buffer);
        Self { method, buffer }
    }

    /// Adds a header, whose value must be that of a header that was received or made, and so has no line break. What
    /// says whom the request is for and how long it is is left out: that is said already.
    pub fn add(&mut self, name: &HeaderName, value: &[u8]) {
        wire::write_header(name, value, &mut self.buffer);
    }
}

/// A request on its way out.
#[derive(Debug)]
pub(super) struct Sending {
    method: Method,
    /// What is written next.
    buffer: BytesMut,
    /// What comes behind it.
    body: Option<RequestBody>,
    /// How many bytes of the body are to come; `None`: chunks, until it ends.
    left: Option<u64>,
    has_begun: bool,
}

/// Why an exchange brought no head.
#[derive(Debug)]
pub(super) enum Failure {
    /// The connection was gone before a byte of the request was written.
    NotSent(io::Error),
    /// The time was over.
    Late,
    Other(ClientError),
}

impl Connection {
    pub(super) fn new(socket: TcpStream, now: Instant) -> Self {
        Self {
            socket,
            received: BytesMut::new(),
            sending: None,
            is_kept: true,
            timer: Box::pin(sleep_until(now)),
            unused_since: now,
        }
    }

    /// Whether it can carry another exchange: it is open, and nothing came that nobody asked for. No system call is made
    /// unless something has happened to it.
    pub(super) fn is_ready(&self) -> bool {
        let nothing_came = |error: io::Error| error.kind() == io::ErrorKind::WouldBlock;
        self.is_kept
            && self.sending.is_none()
            && self.received.is_empty()
            && self.socket.try_read(&mut [0]).is_err_and(nothing_came)
    }

    /// Sends a request and waits for the head of its answer.
    pub(super) async fn exchange(
        &mut self,
        sending: &mut Sending,
        until: Option<Instant>,
    ) -> Result<Head, Failure> {
        if let Some(until) = until {
            self.timer.as_mut().reset(until);
        }
        let mut unwritten = None;
        let head = poll_fn(|context| {
            if unwritten.is_none()
                && let Poll::Ready(Err(error)) = sending.poll_send(&mut self.socket, context)
            {
                match error {
                    SendError::Body(error) => return Poll::Ready(Err(broken(&error))),
                    SendError::Socket(error) if !sending.has_begun => {
                        return Poll::Ready(Err(Failure::NotSent(error)));
                    }
                    // A server may answer and close before it has read everything.
                    SendError::Socket(error) => unwritten = Some(error),
                }
            }
            match self.poll_head(&sending.method, context) {
                Poll::Ready(Err(error)) => {
                    Poll::Ready(Err(broken(unwritten.as_ref().unwrap_or(&error))))
                }
                Poll::Ready(Ok(head)) => Poll::Ready(Ok(head)),
                Poll::Pending if until.is_some() => {
                    let timer = self.timer.as_mut().poll(context);
                    timer.map(|()| Err(Failure::Late))
                }
                Poll::Pending => Poll::Pending,
            }
        });
        let head = head.await?;
        self.is_kept = head.is_kept && unwritten.is_none();
        Ok(head)
    }

    /// Goes on sending, within the answer, what an exchange has not sent yet.
    pub(super) fn go_on_sending(&mut self, sending: Sending) {
        if !sending.is_done() {
            self.sending = Some(sending);
        }
    }

    fn poll_head(&mut self, asked: &Method, context: &mut Context<'_>) -> Poll<io::Result<Head>> {
        loop {
            if !self.received.is_empty()
                && let Some(head) =
                    wire::read_head(&mut self.received, asked).map_err(io::Error::other)?
            {
                return Poll::Ready(Ok(head));
            }
            self.received.reserve(READ_ROOM);
            ready!(self.poll_read(context))?;
        }
    }

    /// The next piece of a body; `None` at its end.
    pub(super) fn poll_piece(
        &mut self,
        framing: &mut Framing,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<Option<Bytes>>> {
        self.poll_rest_of_request(context)?;
        loop {
            let piece = framing.take(&mut self.received).map_err(io::Error::other)?;
            if piece.is_some() || framing.is_ended() {
                return Poll::Ready(Ok(piece));
            }
            let room = match framing {
                Framing::Sized(left) => (*left).clamp(1, BODY_ROOM as u64) as usize,
                _ => READ_ROOM,
            };
            if self.received.is_empty() {
                // A stream may be silent for hours, and there may be many: it keeps no room meanwhile.
                if self.socket.poll_read_ready(context)?.is_pending() {
                    self.received = BytesMut::new();
                    return Poll::Pending;
                }
            }
            self.received.reserve(room);
            match ready!(self.poll_read(context)) {
                Err(error)
                    if *framing == Framing::UntilClose
                        && error.kind() == io::ErrorKind::UnexpectedEof =>
                {
                    return Poll::Ready(Ok(None));
                }
                read => read?,
            }
        }
    }

    fn poll_rest_of_request(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        let Some(sending) = &mut self.sending else {
            return Ok(());
        };
        match sending.poll_send(&mut self.socket, context) {
            Poll::Pending => Ok(()),
            Poll::Ready(Ok(())) => {
                self.sending = None;
                Ok(())
            }
            Poll::Ready(Err(SendError::Body(error))) => Err(error),
            // The answer says why, if it says anything.
            Poll::Ready(Err(SendError::Socket(_))) => {
                self.sending = None;
                self.is_kept = false;
                Ok(())
            }
        }
    }

    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let read = pin!(self.socket.read_buf(&mut self.received)).poll(context);
        match ready!(read)? {
            0 => Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
            _ => Poll::Ready(Ok(())),
        }
    }
}

/// Why a request did not leave whole.
enum SendError {
    /// Its body broke off.
    Body(io::Error),
    /// The connection does not take it.
    Socket(io::Error),
}

impl Sending {
    pub(super) fn new(head: PlainHead, body: RequestBody) -> Self {
        let PlainHead { method, mut buffer } = head;
        let left = body.size_hint().exact();
        wire::write_end(&method, left, &mut buffer);
        Self {
            method,
            buffer,
            body: Some(body),
            left,
            has_begun: false,
        }
    }

    fn is_done(&self) -> bool {
        self.buffer.is_empty() && self.body.is_none()
    }

    fn poll_send(
        &mut self,
        socket: &mut TcpStream,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), SendError>> {
        loop {
            let gathered = self.poll_gather(context);
            if let Poll::Ready(Err(error)) = gathered {
                return Poll::Ready(Err(SendError::Body(error)));
            }
            if self.buffer.is_empty() {
                return gathered.map_err(SendError::Body);
            }
            let written = Pin::new(&mut *socket).poll_write(context, &self.buffer);
            match ready!(written).map_err(SendError::Socket)? {
                0 => return Poll::Ready(Err(SendError::Socket(io::ErrorKind::WriteZero.into()))),
                size => self.buffer.advance(size),
            }
            self.has_begun = true;
        }
    }

    /// Takes pieces of the body until there is enough to write; ready when there are no more.
    fn poll_gather(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.buffer.len() < SEND_ROOM {
            let Some(body) = &mut self.body else {
                return Poll::Ready(Ok(()));
            };
            match ready!(Pin::new(body).poll_frame(context)).transpose()? {
                Some(frame) => {
                    let Ok(data) = frame.into_data() else {
                        continue;
                    };
                    self.add(&data)?;
                }
                None => {
                    self.body = None;
                    match self.left {
                        None => wire::write_last_chunk(&mut self.buffer),
                        Some(0) => {}
                        // Less than was declared: the server must not take it for all.
                        Some(_) => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                    }
                }
            }
        }
        Poll::Pending
    }

    fn add(&mut self, data: &[u8]) -> io::Result<()> {
        match &mut self.left {
            None => wire::write_chunk(data, &mut self.buffer),
            Some(left) => {
                let rest = left.checked_sub(data.len() as u64);
                *left = rest.ok_or(io::ErrorKind::InvalidData)?;
                self.buffer.extend_from_slice(data);
            }
        }
        Ok(())
    }
}

fn broken(error: &io::Error) -> Failure {
    Failure::Other(ClientError::Other(match error.kind() {
        io::ErrorKind::UnexpectedEof => "the connection was closed before the answer".to_owned(),
        _ => super::super::chain(error),
    }))
}
