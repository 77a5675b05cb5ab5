//! Connections, from the socket to the first request: silent ones are let go, TLS is agreed on, and what a client's
//! certificate says is left where requests find it.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use actix_http::error::DispatchError;
use actix_http::{HttpService, Protocol};
use actix_server::ServerBuilder;
use actix_service::{
    IntoServiceFactory as _, Service as _, ServiceFactoryExt as _, apply_fn_factory, boxed,
    fn_service, map_config,
};
use actix_web::dev::{AppConfig, Server, ServiceResponse};
use actix_web::{App as WebApp, web};
use archipel_kit::admission::ProxyHeader;
use archipel_kit::http::second_looks;
use archipel_kit::telemetry::metrics::observe_named;
use archipel_kit::tls::{Stream, handshake};
use futures_util::TryFutureExt as _;
use tokio::net::TcpStream;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::timeout;
use tracing::{Instrument as _, Span};

use super::Parts;
use crate::edge;
use crate::egress::Egress;
use crate::tls::NodeTls;

/// Time for a PROXY header, and for the TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// How long a closed connection may take to be closed by the other side.
const DISCONNECT: Duration = Duration::from_secs(1);

/// A server on a bound listener.
pub(super) fn serve(parts: &Arc<Parts>, listener: TcpListener) -> io::Result<Server> {
    let limits = parts.settings.limits.clone();
    let builder = ServerBuilder::new()
        .workers(parts.settings.worker_count())
        .max_concurrent_connections(limits.connections)
        .shutdown_timeout(limits.drain_time.as_secs())
        .disable_signals();
    let ending = builder.graceful_shutdown_signal();
    let parts = Arc::clone(parts);
    let builder = builder.listen("node", listener, move || {
        let ending = ending.clone();
        let accepting = Arc::clone(&parts);
        let app = WebApp::new().configure(edge::routes);
        let app = match parts.edge() {
            Some(edge) => app.app_data(web::Data::new(edge)),
            None => {
                // Without its data a worker answers 500 to everything, so this is loud; it takes more workers than shares.
                tracing::error!("a worker found no share of the tasks");
                app
            }
        };
        // Nothing here asks the application's configuration for the host: cards name the public origin.
        let app = map_config(app, |()| AppConfig::default());
        let sends_traces = parts.telemetry.sends_traces();
        let app = apply_fn_factory(app, move |mut request, app| {
            // Where traces are sent nowhere, this is a comparison.
            let span = if sends_traces {
                edge::trace::begin(&mut request)
            } else {
                Span::none()
            };
            let told = span.clone();
            app.call(request)
                .inspect_ok(move |answer: &ServiceResponse<_>| {
                    told.record("http.response.status_code", answer.status().as_u16());
                })
                .instrument(span)
        });
        let http = HttpService::build()
            .client_request_timeout(limits.head_time)
            .client_disconnect_timeout(DISCONNECT)
            .h1_allow_half_closed(false)
            .graceful_shutdown_signal(move || {
                let ending = ending.clone();
                async move { ending.notified().await }
            })
            .on_connect_ext(|stream: &Stream, data| {
                if let Some(certificate) = stream.client_certificate() {
                    data.insert(certificate);
                }
            })
            .finish(app);
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

/// Everything before HTTP.
async fn accept(
    mut stream: TcpStream,
    parts: Arc<Parts>,
) -> Result<(Stream, Protocol, Option<SocketAddr>), DispatchError> {
    // Without it each small write after the first waits up to 40 ms for the peer's delayed acknowledgement.
    stream.set_nodelay(true)?;
    let peer = stream.peer_addr()?;
    // Whom it is forwarded for. On the heap: few nodes stand behind such a balancer, and a connection keeps this room.
    let header = parts.settings.proxy_header;
    let peer = match header {
        ProxyHeader::Off => peer,
        ProxyHeader::Required => {
            let rules = parts.settings.client_rules();
            Box::pin(header.client(&mut stream, peer, &rules, HANDSHAKE)).await?
        }
    };
    let Some(tls) = &parts.tls else {
        // The HTTP server's own patience begins with the first byte.
        let spoke = timeout(parts.settings.limits.head_time, stream.readable()).await;
        spoke.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        return Ok((Stream::plain(stream, ()), Protocol::Http1, Some(peer)));
    };
    let config = Arc::clone(&tls.current().config);
    // A connection keeps room for the largest state it was ever in: without the box that is the handshake's, also
    // where there is no TLS.
    let stream = Box::pin(handshake(stream, config, HANDSHAKE))
        .await
        .inspect_err(|_| parts.edge_metrics.handshakes_failed.count(()))?;
    let stream = Stream::tls(stream, ());
    let protocol = if stream.is_http2() {
        Protocol::Http2
    } else {
        Protocol::Http1
    };
    Ok((stream, protocol, Some(peer)))
}

/// Takes up certificates and keys that change on disk, ours and those for peers, for as long as the node runs.
pub(super) fn watch(parts: &Parts) {
    let (shown, stopped) = (parts.tls.clone(), parts.drain.clone());
    let for_peers = Arc::clone(&parts.egress);
    observe_named(
        &parts.telemetry.meter(),
        "archipel_certificate_expires_timestamp_seconds",
        "When a certificate of this node expires, in seconds since the Unix epoch.",
        "certificate",
        move || {
            let listener = shown
                .as_ref()
                .map(|tls| ("listener", tls.current().expires));
            let first = for_peers.expires().map(|expires| ("peers", expires));
            listener.into_iter().chain(first).collect()
        },
    );
    let (tls, egress) = (parts.tls.clone(), Arc::clone(&parts.egress));
    let every = parts.settings.tls.reload_every;
    actix_rt::spawn(stopped.run_until_cancelled_owned(async move {
        let mut hangup = match signal(SignalKind::hangup()) {
            Ok(hangup) => hangup,
            Err(error) => return tracing::error!(%error, "SIGHUP cannot be awaited"),
        };
        // A problem is told when it appears, not every time it is met.
        let mut told = None;
        loop {
            tokio::select! {
                _ = hangup.recv() => told = None,
                () = pause(every) => {}
            }
            told = look(tls.clone(), Arc::clone(&egress), told).await;
        }
    }));
}

async fn look(
    tls: Option<Arc<NodeTls>>,
    egress: Arc<Egress>,
    told: Option<String>,
) -> Option<String> {
    // Files are read on a thread that may wait for them.
    let looked = tokio::task::spawn_blocking(move || {
        egress.look();
        tls.map_or(Ok(false), |tls| tls.look())
    });
    match looked.await.ok()? {
        Ok(false) => None,
        Ok(true) => {
            tracing::info!("the listener has another certificate or other authorities for clients");
            None
        }
        Err(error) => {
            let error = error.to_string();
            if told.as_ref() != Some(&error) {
                tracing::error!(error, "certificates were not taken");
            }
            Some(error)
        }
    }
}

async fn pause(time: Duration) {
    if time.is_zero() {
        std::future::pending::<()>().await;
    }
    tokio::time::sleep(time).await;
}
