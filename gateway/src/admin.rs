//! Where the operator asks and steers: a listener of its own, on loopback.
//!
//! Only programs of this machine reach it. A browser of this machine is one too, and may be led here by any page: so what a
//! page cannot avoid to send (`Origin`) is refused, and so is a `Host` that is not this address, which a name that leads
//! here would have.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    rc::Rc,
    sync::{Arc, atomic::Ordering},
};

use actix_http::{
    HttpMessage as _, HttpService, Method, Request, Response, StatusCode,
    header::{CONTENT_TYPE, HOST, HeaderMap, HeaderValue, ORIGIN},
};
use actix_server::{Server, ServerBuilder};
use actix_service::fn_service;
use archipel_kit::{http::read_body, settings::Scalar as _, telemetry::LogFilter};
use bytes::Bytes;
use serde_json::{Value, json};

use crate::{
    StopHandle,
    exchange::Outgoing,
    limiter::Key,
    own::say,
    proxy::Worker,
    reload::{self, Outcome},
    server,
    state::Shared,
    upstream::BreakerState,
};

/// Serves it with one thread.
pub(crate) fn serve(
    address: SocketAddr,
    shared: &Arc<Shared>,
    stop: StopHandle,
) -> io::Result<(Server, SocketAddr)> {
    let (address, listener) = server::bind(address)?;
    let shared = Arc::clone(shared);
    let builder = ServerBuilder::new().workers(1).disable_signals();
    let builder = builder.listen("admin", listener, move || {
        let worker = Rc::new(Worker::new(Arc::clone(&shared)));
        let stop = stop.clone();
        HttpService::build()
            .finish(fn_service(move |request| {
                let (worker, stop) = (Rc::clone(&worker), stop.clone());
                async move { Ok::<_, actix_http::Error>(answer(request, &worker, &stop).await) }
            }))
            .tcp()
    })?;
    Ok((builder.run(), address))
}

async fn answer(mut request: Request, worker: &Worker, stop: &StopHandle) -> Response<Outgoing> {
    if !is_from_here(request.headers()) {
        return say(StatusCode::FORBIDDEN, &json!({ "error": "forbidden" }));
    }
    let shared = &worker.shared;
    let path = request.path().to_owned();
    match (request.method().clone(), path.as_str()) {
        (Method::GET, "/") => say(StatusCode::OK, &json!({ "places": PLACES })),
        (Method::GET, "/config") => config(shared),
        (Method::GET, "/upstreams") => say(StatusCode::OK, &upstreams(shared)),
        (Method::GET, "/log-level") => {
            let filter = shared.telemetry.log_filter();
            say(StatusCode::OK, &json!({ "log": filter }))
        }
        (Method::PUT, "/log-level") => set_log_level(&mut request, shared).await,
        (Method::POST, "/reload") => match reload::look(shared).await {
            Outcome::Same => say(StatusCode::OK, &json!({ "reload": "same" })),
            Outcome::Taken(waiting) => {
                let answer = json!({ "reload": "taken", "needsRestart": waiting });
                say(StatusCode::OK, &answer)
            }
            Outcome::Refused(problems) => {
                let problems: Vec<&str> = problems.lines().collect();
                let answer = json!({ "reload": "refused", "problems": problems });
                say(StatusCode::CONFLICT, &answer)
            }
        },
        (Method::POST, place @ ("/close" | "/open")) => {
            let closes = place == "/close";
            shared.is_closed.store(closes, Ordering::Relaxed);
            tracing::warn!(closes, "operator closes or opens the gateway");
            say(StatusCode::OK, &json!({ "closed": closes }))
        }
        (Method::POST, "/drain") => {
            let stop = stop.clone();
            tracing::info!("operator drains the gateway");
            actix_rt::spawn(async move { stop.stop().await });
            say(StatusCode::ACCEPTED, &json!({ "draining": true }))
        }
        (Method::GET, "/limits") => limit(request.uri().query(), worker).await,
        _ => say(StatusCode::NOT_FOUND, &json!({ "error": "not_found" })),
    }
}

const PLACES: [&str; 9] = [
    "GET /config",
    "GET /upstreams",
    "GET /limits?key={address or key}",
    "GET /log-level",
    "PUT /log-level",
    "POST /reload",
    "POST /close",
    "POST /open",
    "POST /drain",
];

/// Whether a program of this machine asks, and not a page that a browser of this machine shows.
fn is_from_here(headers: &HeaderMap) -> bool {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    let host = host.unwrap_or_default();
    let names_loopback = host == "localhost"
        || host.starts_with("localhost:")
        || host
            .parse::<SocketAddr>()
            .map(|address| address.ip())
            .or_else(|_| host.parse::<IpAddr>())
            .is_ok_and(|address| address.is_loopback());
    names_loopback && !headers.contains_key(ORIGIN)
}

/// The configuration in force; secrets show as `[REDACTED]`.
fn config(shared: &Shared) -> Response<Outgoing> {
    let text = format!("{:#?}\n", shared.current().settings);
    let mut response = Response::with_body(StatusCode::OK, Outgoing::Own(Bytes::from(text)));
    response.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    response
}

fn upstreams(shared: &Shared) -> Value {
    let now = shared.clock.monotonic();
    let current = shared.current();
    let members = current.fleet.members().iter().map(|member| {
        let node = &member.node;
        let (state, until) = match node.breaker_state() {
            BreakerState::Passing => ("passing", None),
            BreakerState::Tripped { until } => ("tripped", Some(until)),
            BreakerState::Probing { until } => ("probing", Some(until)),
        };
        let left = until.map(|until| until.saturating_sub(now).as_millis() as u64);
        json!({
            "name": node.name(),
            "url": node.url().as_str(),
            "weight": member.weight,
            "healthy": node.is_healthy(),
            "breaker": state,
            "breakerLeftMs": left,
            "requests": node.in_flight(),
            "asked": node.may_be_asked(now),
        })
    });
    json!({ "upstreams": members.collect::<Vec<_>>() })
}

async fn set_log_level(request: &mut Request, shared: &Shared) -> Response<Outgoing> {
    const MOST: usize = 4096;
    let mut payload = request.take_payload();
    let time = std::time::Duration::from_secs(5);
    let body = read_body(request.headers(), &mut payload, MOST, time).await;
    let text = body
        .ok()
        .and_then(|body| String::from_utf8(body.to_vec()).ok());
    let filter = text
        .as_deref()
        .map(str::trim)
        .and_then(LogFilter::from_text);
    let Some(filter) = filter else {
        let problem = format!("expected {}", LogFilter::EXPECTED);
        return say(StatusCode::BAD_REQUEST, &json!({ "error": problem }));
    };
    if !shared.telemetry.set_log_filter(&filter) {
        return say(
            StatusCode::CONFLICT,
            &json!({ "error": "the log is not ours" }),
        );
    }
    tracing::info!(log = text, "operator changes the log level");
    say(StatusCode::OK, &json!({ "log": text }))
}

/// Where an address or a client's key stands, here and in Redis.
async fn limit(query: Option<&str>, worker: &Worker) -> Response<Outgoing> {
    let mut pairs = url::form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    let Some((_, text)) = pairs.find(|(name, _)| name == "key") else {
        return say(StatusCode::BAD_REQUEST, &json!({ "error": "no key" }));
    };
    let setup = worker.setup();
    let Some(limiter) = &setup.current.limiter else {
        return say(
            StatusCode::NOT_FOUND,
            &json!({ "error": "nothing is limited" }),
        );
    };
    let key = Key::of_text(&text);
    let (local, denied) = limiter.standing(&key);
    let local = json!({ "fullInSeconds": seconds(local), "deniedForSeconds": seconds(denied) });
    let redis = match &setup.limit {
        None => Value::Null,
        Some(shared) => match shared.standing(&key).await {
            Ok(ahead) => json!({ "fullInSeconds": seconds(ahead) }),
            Err(error) => json!({ "error": format!("{:?}", error.kind()) }),
        },
    };
    let answer = json!({ "key": key.to_string(), "local": local, "redis": redis });
    say(StatusCode::OK, &answer)
}

fn seconds(microseconds: Option<u64>) -> Option<f64> {
    microseconds.map(|microseconds| microseconds as f64 / 1e6)
}
