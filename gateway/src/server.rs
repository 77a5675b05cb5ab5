//! What a connection passes before requests are read from it, in order.
//!
//! Read `crowd`: how much one address has at once.

mod crowd;

use std::{io, net::SocketAddr, rc::Rc, sync::Arc, time::Duration};

use actix_http::{HttpService, Protocol, error::DispatchError};
use actix_server::{Server, ServerBuilder};
use actix_service::{
    IntoServiceFactory as _, Service as _, ServiceFactoryExt as _, apply_fn_factory, boxed,
    fn_service,
};
use archipel_kit::{
    admission::limiter_key,
    http::second_looks,
    tls::{Stream, handshake},
};
use http::HeaderValue;
use socket2::{Domain, Protocol as Transport, Socket, Type};
use tokio::{net::TcpStream, time::timeout};

use crate::{
    metrics::Unserved,
    proxy::{self, Worker},
    state::Shared,
};

pub(crate) use crowd::{Crowd, Place};

/// A connection of a client. It counts for its address while it lives.
type Connection = Stream<Option<Place>>;

/// Time for what comes before the first request: a PROXY header, the TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// How HTTP/2 without TLS begins, in its first bytes; no method of HTTP/1 does.
const HTTP2_PREFACE: &[u8] = b"PRI ";

/// What requests may know of the connection they came over.
#[derive(Debug, Clone, Default)]
pub(crate) struct Facts {
    /// Whether it is over TLS.
    pub(crate) is_tls: bool,
    /// The certificate that the client showed, as nodes are told of it.
    pub(crate) certificate: Option<HeaderValue>,
}

impl Facts {
    fn of(stream: &Connection) -> Self {
        let shown = stream.client_certificate();
        Self {
            is_tls: stream.is_tls(),
            certificate: shown.and_then(|certificate| certificate.forwarded()),
        }
    }
}

/// A server on a bound listener.
pub(crate) fn serve(shared: &Arc<Shared>, listener: std::net::TcpListener) -> io::Result<Server> {
    let settings = &shared.current().settings;
    let builder = ServerBuilder::new()
        .workers(worker_count(settings.workers))
        .max_concurrent_connections(settings.max_connections)
        .shutdown_timeout(settings.drain_timeout.as_secs())
        .disable_signals();
    let ending = builder.graceful_shutdown_signal();
    let shared = Arc::clone(shared);
    let request_timeout = settings.request_timeout;
    let keep_alive = settings.keep_alive;
    let builder = builder.listen("gateway", listener, move || {
        // A worker's clients and connections belong to its thread, so they are made on it.
        let worker = Rc::new(Worker::new(Arc::clone(&shared)));
        let for_expect = Rc::clone(&worker);
        let ending = ending.clone();
        let accepting = Arc::clone(&shared);
        let http = HttpService::build()
            .keep_alive(keep_alive)
            .client_request_timeout(request_timeout)
            // A client that closed its side has left: its exchange with the node must end.
            .h1_allow_half_closed(false)
            .graceful_shutdown_signal(move || {
                let ending = ending.clone();
                async move { ending.notified().await }
            })
            .on_connect_ext(|stream: &Connection, data| {
                data.insert(Facts::of(stream));
            })
            .expect(fn_service(move |request| {
                let worker = Rc::clone(&for_expect);
                async move { proxy::expect(request, &worker) }
            }))
            .finish(fn_service(move |request| {
                proxy::serve(request, Rc::clone(&worker))
            }));
        // Boxed, here and below, because whoever waits for what serves a connection holds it twice over, for as long as
        // the connection lasts.
        let http = apply_fn_factory(http, |accepted, http| {
            second_looks(Box::pin(http.call(accepted)))
        });
        boxed::factory(
            fn_service(move |stream| accept(stream, Arc::clone(&accepting)))
                .into_factory()
                .and_then(http),
        )
    })?;
    Ok(builder.run())
}

/// The order of everything before HTTP.
async fn accept(
    mut stream: TcpStream,
    shared: Arc<Shared>,
) -> Result<(Connection, Protocol, Option<SocketAddr>), DispatchError> {
    let current = shared.current();
    let settings = &current.settings;
    let unserved = |why: Unserved, error: io::Error| {
        shared.metrics.unserved.count(why);
        DispatchError::Io(error)
    };
    // Without it each small write after the first waits up to 40 ms for the peer's delayed acknowledgement.
    stream
        .set_nodelay(true)
        .map_err(|error| unserved(Unserved::Broken, error))?;
    let peer = stream
        .peer_addr()
        .map_err(|error| unserved(Unserved::Broken, error))?;
    // Whom it is forwarded for, before anything that counts addresses.
    let header = settings.proxy_header;
    let rules = &current.client_rules;
    let peer = header.client(&mut stream, peer, rules, HANDSHAKE).await;
    let peer = peer.map_err(|error| unserved(Unserved::ProxyHeader, error))?;
    // How much of us this address has already. Proxies that we trust stand for many.
    let stands_for_many = rules.trusts(peer.ip());
    let most = settings.max_connections_per_address;
    let place =
        if most == 0 || stands_for_many {
            None
        } else {
            let place = shared.connections.enter(limiter_key(peer.ip()), most);
            Some(place.ok_or_else(|| {
                unserved(Unserved::TooMany, io::ErrorKind::ConnectionRefused.into())
            })?)
        };
    // Who they are, where TLS tells.
    let tls = current.tls.as_ref().map(|tls| Arc::clone(&tls.config));
    // A connection must not hold the configuration it began with.
    let http2 = settings.http2_without_tls;
    let first_byte = settings.request_timeout;
    drop(current);
    if let Some(tls) = tls {
        let accepted = Box::pin(handshake(stream, tls, HANDSHAKE)).await;
        let stream = accepted.map_err(|error| unserved(Unserved::Handshake, error))?;
        let stream = Stream::tls(stream, place);
        let protocol = if stream.is_http2() {
            Protocol::Http2
        } else {
            Protocol::Http1
        };
        return Ok((stream, protocol, Some(peer)));
    }
    // That it says anything at all: the HTTP server's own patience begins with the first byte.
    let protocol = first_words(&stream, http2, first_byte).await;
    let protocol = protocol.map_err(|error| unserved(Unserved::Silent, error))?;
    Ok((Stream::plain(stream, place), protocol, Some(peer)))
}

/// Waits for the first bytes of a connection without TLS, and tells from them what is spoken.
async fn first_words(stream: &TcpStream, http2: bool, patience: Duration) -> io::Result<Protocol> {
    let spoke = async {
        stream.readable().await?;
        let mut first = [0; HTTP2_PREFACE.len()];
        if http2 && stream.peek(&mut first).await? == first.len() && first == *HTTP2_PREFACE {
            return Ok(Protocol::Http2);
        }
        Ok(Protocol::Http1)
    };
    if patience.is_zero() {
        return spoke.await;
    }
    timeout(patience, spoke)
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

pub(crate) fn worker_count(setting: usize) -> usize {
    if setting > 0 {
        setting
    } else {
        std::thread::available_parallelism().map_or(1, usize::from)
    }
}

/// Binds a listener, and tells where it is.
pub(crate) fn bind(address: SocketAddr) -> io::Result<(SocketAddr, std::net::TcpListener)> {
    // More may wait to be accepted than the standard library's listener allows.
    const BACKLOG: i32 = 4096;
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Transport::TCP),
    )?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    let listener = std::net::TcpListener::from(socket);
    Ok((listener.local_addr()?, listener))
}
