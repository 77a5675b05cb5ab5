//! Calls to small servers that play the peer.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::http::header::WWW_AUTHENTICATE;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use archipel_kit::clock::{Clock, SystemClock};
use archipel_kit::settings::{Environment, from_json, load};
use archipel_protocol::federation::keys;
use archipel_protocol::ids::Origin;
use archipel_protocol::names::Dialect;
use bytes::Bytes;
use futures_util::StreamExt;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::uri::PathAndQuery;
use http::{Method, StatusCode};
use tokio::sync::mpsc;

use super::{
    FORWARDED_HEADERS, NodeKind, Outbound, OutboundError, OutboundLimits, OutboundRules, PeerCall,
};
use crate::agents::breaker::BreakerRule;
use crate::config::CardCheck;
use crate::egress::Egress;
use crate::error::MINT_AGAIN;
use crate::federation::acting::{Behind, CallerNames};
use crate::federation::settings::{FederationSettings, PeerSettings};
use crate::federation::{Federation, FederationRefusal};

const OWN: &str = "https://own.example";
const SECRET: &str = "shared-hs256-secret-for-developers-0001";
const LIMITS: OutboundLimits = OutboundLimits {
    first_byte: Duration::from_secs(20),
    idle: Duration::from_secs(20),
    total: None,
};

const OPERATOR: Behind<'_> = Behind {
    principal: "operator",
    came_from: None,
};

/// A request as the peer saw it: path, body and headers.
type Seen = (String, Bytes, Vec<(String, String)>);

/// A peer that tells what it saw, and how it streams.
#[derive(Clone)]
struct Played {
    seen: mpsc::UnboundedSender<Seen>,
    /// The pieces of `/stream`, each sent when the test has one for it.
    pieces: Arc<tokio::sync::Mutex<mpsc::UnboundedReceiver<Bytes>>>,
    /// Requests so far.
    requests: Arc<AtomicU32>,
}

struct Peer {
    origin: String,
    seen: mpsc::UnboundedReceiver<Seen>,
    pieces: Option<mpsc::UnboundedSender<Bytes>>,
    server: ServerHandle,
}

impl Peer {
    fn start() -> Self {
        let (seen_by, seen) = mpsc::unbounded_channel();
        let (pieces, pieces_of) = mpsc::unbounded_channel();
        let played = Played {
            seen: seen_by,
            pieces: Arc::new(tokio::sync::Mutex::new(pieces_of)),
            requests: Arc::default(),
        };
        let server = HttpServer::new(move || {
            App::new()
                .app_data(web::Data::new(played.clone()))
                .default_service(web::to(answer))
        })
        .workers(1)
        .bind(("127.0.0.1", 0))
        .unwrap();
        let origin = format!("http://{}", server.addrs().first().unwrap());
        let server = server.run();
        let handle = server.handle();
        actix_rt::spawn(server);
        Self {
            origin,
            seen,
            pieces: Some(pieces),
            server: handle,
        }
    }
}

async fn answer(request: HttpRequest, body: Bytes, played: web::Data<Played>) -> HttpResponse {
    let headers = request.headers().iter();
    let headers = headers
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
        .collect();
    played
        .seen
        .send((request.uri().to_string(), body, headers))
        .unwrap();
    let before = played.requests.fetch_add(1, Ordering::Relaxed);
    match request.path() {
        "/again" if before == 0 => HttpResponse::Unauthorized()
            .insert_header((WWW_AUTHENTICATE, MINT_AGAIN))
            .finish(),
        "/refused" => HttpResponse::Unauthorized()
            .insert_header((WWW_AUTHENTICATE, "Bearer"))
            .finish(),
        "/.well-known/hive-mesh.json" => HttpResponse::NotFound().finish(),
        "/.well-known/pilox-mesh.json" => {
            HttpResponse::Ok().body(r#"{"schema":"pilox-mesh-descriptor-v1"}"#)
        }
        "/moved" => HttpResponse::Found()
            .insert_header(("location", "/"))
            .finish(),
        "/never" => std::future::pending().await,
        "/large" => HttpResponse::Ok().body(vec![b' '; 256 * 1024 + 1]),
        "/missing" => HttpResponse::NotFound().finish(),
        "/stream" => {
            let pieces = Arc::clone(&played.pieces);
            let stream = futures_util::stream::unfold(pieces, |pieces| async move {
                let piece = pieces.lock().await.recv().await?;
                Some((Ok::<_, actix_web::Error>(piece), pieces))
            });
            HttpResponse::Ok()
                .content_type("text/event-stream")
                .streaming(stream)
        }
        _ => HttpResponse::Ok()
            .insert_header(("retry-after", "7"))
            .body("hello"),
    }
}

fn settings(variables: &[(&str, &str)]) -> FederationSettings {
    let on = [("MESH_FEDERATION_ENABLED", "true")];
    load(
        None,
        &on.iter().chain(variables).copied().collect::<Environment>(),
    )
    .unwrap()
}

fn with_keys() -> FederationSettings {
    settings(&[("MESH_FEDERATION_ED25519_SEED_HEX", &"11".repeat(32))])
}

fn named(name: &str, origin: &str, seed: u8) -> PeerSettings {
    let key = keys::to_hex(&keys::public_key_of_seed(&[seed; 32]).unwrap());
    let peer = format!(r#"{{"name":"{name}","origin":"{origin}","ed25519_public_key":"{key}"}}"#);
    from_json(&peer).unwrap()
}

fn outbound(settings: &FederationSettings, peer_origin: &str, limits: OutboundLimits) -> Outbound {
    let own = Origin::parse(OWN).unwrap();
    let peers = [named("beta", peer_origin, 0x22)];
    let federation =
        Federation::from_settings(&own, Dialect::Hive, settings, &peers, CardCheck::Off).unwrap();
    let egress = Egress::new(&load(None, &Environment::default()).unwrap());
    Outbound::new(
        Arc::new(federation),
        Arc::new(egress),
        Arc::new(SystemClock::new()),
        rules(limits),
        &opentelemetry::global::meter("tests"),
    )
}

fn rules(limits: OutboundLimits) -> OutboundRules {
    OutboundRules {
        limits,
        breaker: BreakerRule {
            failures: 0,
            pause: Duration::ZERO,
            longest: Duration::ZERO,
        },
        names: CallerNames::new(b"secret"),
    }
}

fn call<'a>(peer: &'a str, path: &'static str) -> PeerCall<'a> {
    PeerCall {
        peer,
        method: Method::POST,
        path_and_query: PathAndQuery::from_static(path),
        headers: HeaderMap::new(),
        body: Bytes::from_static(b"{}"),
        only_reads: false,
        behind: OPERATOR,
    }
}

fn value_of<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers
        .iter()
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.as_str())
}

#[actix_rt::test]
async fn a_call_carries_our_token_and_nothing_of_the_callers_credentials() {
    let mut peer = Peer::start();
    let outbound = outbound(&with_keys(), &peer.origin, LIMITS);
    let mut calling = call("beta", "/agents/text?x=1");
    let dialects = Dialect::ALL.iter().flat_map(|dialect| {
        [
            dialect.federation_jwt_header(),
            dialect.federation_secret_header(),
            dialect.gateway_auth_header(),
        ]
    });
    let credentials = [
        "authorization",
        "cookie",
        "proxy-authorization",
        "x-api-key",
        "x-forwarded-for",
    ];
    for name in dialects
        .chain(credentials)
        .map(HeaderName::from_static)
        .chain(FORWARDED_HEADERS)
    {
        calling
            .headers
            .append(name, HeaderValue::from_static("of the caller"));
    }
    let answer = outbound.call(calling).await.unwrap();
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.headers.get("retry-after").unwrap(), "7");
    assert_eq!(answer.read_all(1024).await.unwrap(), "hello");

    let (path, body, headers) = peer.seen.recv().await.unwrap();
    assert_eq!((path.as_str(), &body[..]), ("/agents/text?x=1", &b"{}"[..]));
    let mut of_the_caller: Vec<&str> = headers
        .iter()
        .filter(|(_, value)| value == "of the caller")
        .map(|(name, _)| name.as_str())
        .collect();
    let mut forwarded: Vec<String> = FORWARDED_HEADERS.iter().map(ToString::to_string).collect();
    of_the_caller.sort_unstable();
    forwarded.sort_unstable();
    assert_eq!(of_the_caller, forwarded);
    assert_eq!(
        value_of(&headers, "user-agent"),
        Some("Hive-Mesh-Federation/2.5")
    );
    let token = value_of(&headers, "x-hive-federation-jwt").unwrap();
    assert_eq!(value_of(&headers, "x-pilox-federation-jwt"), Some(token));

    let at_the_peer = settings(&[("MESH_FEDERATION_ED25519_SEED_HEX", &"22".repeat(32))]);
    let peer_origin = Origin::parse(&peer.origin).unwrap();
    let theirs = Federation::from_settings(
        &peer_origin,
        Dialect::Pilox,
        &at_the_peer,
        &[named("own", OWN, 0x11)],
        CardCheck::Off,
    )
    .unwrap();
    let genuine = theirs.check(token, SystemClock::new().now_ms()).unwrap();
    let acting = genuine.identity.acting.unwrap();
    let principal = format!("peer:own/{}", acting.id);
    assert_eq!(*genuine.identity.principal, principal);
    assert_eq!((acting.chain.len(), genuine.identity.hops), (1, 3));
    peer.server.stop(false).await;
}

#[actix_rt::test]
async fn with_a_shared_secret_each_dialect_gets_its_token_and_every_call_a_new_one() {
    let mut peer = Peer::start();
    let settings = settings(&[("MESH_FEDERATION_SHARED_SECRET", SECRET)]);
    let outbound = outbound(&settings, &peer.origin, LIMITS);
    let peer_origin = Origin::parse(&peer.origin).unwrap();
    let mut tokens = std::collections::BTreeSet::new();
    for _ in 0..2 {
        outbound.call(call("beta", "/")).await.unwrap();
        let (_, _, headers) = peer.seen.recv().await.unwrap();
        for dialect in Dialect::ALL {
            let mut strict = settings.clone();
            strict.accept_both_dialects = false;
            let theirs =
                Federation::from_settings(&peer_origin, dialect, &strict, &[], CardCheck::Off)
                    .unwrap();
            let token = value_of(&headers, dialect.federation_jwt_header()).unwrap();
            theirs.check(token, SystemClock::new().now_ms()).unwrap();
            tokens.insert(token.to_owned());
        }
    }
    assert_eq!(tokens.len(), 4);
    peer.server.stop(false).await;
}

#[actix_rt::test]
async fn an_answer_streams_piece_by_piece() {
    let peer = Peer::start();
    let outbound = outbound(&with_keys(), &peer.origin, LIMITS);
    let pieces = peer.pieces.unwrap();
    pieces.send(Bytes::from_static(b"first")).unwrap();
    let mut body = outbound.call(call("beta", "/stream")).await.unwrap().body;
    assert_eq!(body.next().await.unwrap().unwrap(), "first");
    // The next piece is made only after the one before has arrived.
    for piece in ["second", "third"] {
        pieces.send(Bytes::from_static(piece.as_bytes())).unwrap();
        assert_eq!(body.next().await.unwrap().unwrap(), piece);
    }
    drop(pieces);
    assert!(body.next().await.is_none());
    peer.server.stop(false).await;
}

#[actix_rt::test]
async fn answers_that_do_not_come() {
    let peer = Peer::start();
    let hasty = OutboundLimits {
        first_byte: Duration::from_millis(50),
        ..LIMITS
    };
    let hasty = outbound(&with_keys(), &peer.origin, hasty);
    let restless = OutboundLimits {
        idle: Duration::from_millis(500),
        ..LIMITS
    };
    let restless = outbound(&with_keys(), &peer.origin, restless);
    let patient = outbound(&with_keys(), &peer.origin, LIMITS);
    assert_eq!(
        patient.call(call("gamma", "/")).await.err(),
        Some(OutboundError::UnknownPeer)
    );
    assert_eq!(
        patient.call(call("beta", "/moved")).await.err(),
        Some(OutboundError::BadAnswer)
    );
    assert_eq!(
        hasty.call(call("beta", "/never")).await.err(),
        Some(OutboundError::Slow)
    );
    let mut silent = patient.call(call("beta", "/missing")).await.unwrap();
    assert_eq!(silent.status, StatusCode::NOT_FOUND);
    assert!(silent.body.next().await.is_none());

    // A stream that falls silent after it has begun.
    let pieces = peer.pieces.as_ref().unwrap();
    pieces.send(Bytes::from_static(b"first")).unwrap();
    let mut body = restless.call(call("beta", "/stream")).await.unwrap().body;
    assert_eq!(body.next().await.unwrap().unwrap(), "first");
    assert_eq!(
        OutboundError::from(body.next().await.unwrap().unwrap_err()),
        OutboundError::Slow
    );
    peer.server.stop(false).await;
}

#[actix_rt::test]
async fn a_peer_that_is_away() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let outbound = outbound(&with_keys(), &origin, LIMITS);
    assert_eq!(
        outbound.call(call("beta", "/")).await.err(),
        Some(OutboundError::Down)
    );
}

#[actix_rt::test]
async fn without_a_key_nobody_is_called() {
    let mut peer = Peer::start();
    let mut listed = settings(&[]);
    listed.peer_origins = vec![peer.origin.clone()];
    let own = Origin::parse(OWN).unwrap();
    let federation =
        Federation::from_settings(&own, Dialect::Hive, &listed, &[], CardCheck::Off).unwrap();
    let name = federation.roster().peers().first().unwrap().name.clone();
    assert_eq!(
        federation.check("x", 0).err(),
        Some(FederationRefusal::NotConfigured)
    );
    let egress = Egress::new(&load(None, &Environment::default()).unwrap());
    let outbound = Outbound::new(
        Arc::new(federation),
        Arc::new(egress),
        Arc::new(SystemClock::new()),
        rules(LIMITS),
        &opentelemetry::global::meter("tests"),
    );
    assert_eq!(
        outbound.call(call(&name, "/")).await.err(),
        Some(OutboundError::NotReady)
    );
    assert!(peer.seen.try_recv().is_err());
    peer.server.stop(false).await;
}

#[actix_rt::test]
async fn cards_are_read_within_bounds() {
    let mut peer = Peer::start();
    let outbound = outbound(&with_keys(), &peer.origin, LIMITS);
    let card = |path: &'static str| {
        let path = PathAndQuery::from_static(path);
        outbound.card("beta", path, OPERATOR)
    };
    let read = card("/.well-known/agent-card.json").await.unwrap();
    assert_eq!((read.body.as_ref(), read.modified), (&b"hello"[..], None));
    assert!(!outbound.keys_of("beta").is_empty());
    assert!(outbound.keys_of("nobody").is_empty());
    let (path, body, headers) = peer.seen.recv().await.unwrap();
    assert_eq!(
        (path.as_str(), body.len()),
        ("/.well-known/agent-card.json", 0)
    );
    assert_eq!(value_of(&headers, "accept"), Some("application/json"));
    assert_eq!(value_of(&headers, "a2a-version"), Some("1.0"));
    assert!(value_of(&headers, "x-hive-federation-jwt").is_some());
    assert_eq!(card("/large").await.err(), Some(OutboundError::BadAnswer));
    assert_eq!(
        card("/missing").await.err(),
        Some(OutboundError::NoSuchAgent)
    );
    peer.server.stop(false).await;
}

#[actix_rt::test]
async fn a_peer_that_forgot_which_tokens_it_took_gets_another() {
    let mut peer = Peer::start();
    let outbound = outbound(&with_keys(), &peer.origin, LIMITS);
    let answer = outbound.call(call("beta", "/again")).await.unwrap();
    assert_eq!(answer.status, StatusCode::OK);
    let mut tokens = std::collections::BTreeSet::new();
    for _ in 0..2 {
        let (_, body, headers) = peer.seen.recv().await.unwrap();
        assert_eq!(body, "{}", "all of the call is sent again");
        tokens.insert(
            value_of(&headers, "x-hive-federation-jwt")
                .unwrap()
                .to_owned(),
        );
    }
    assert_eq!(tokens.len(), 2);
    let answer = outbound.call(call("beta", "/refused")).await.unwrap();
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    assert!(peer.seen.recv().await.is_some());
    assert!(peer.seen.try_recv().is_err(), "a refusal is an answer");
    peer.server.stop(false).await;
}

#[actix_rt::test]
async fn what_a_peer_is_is_asked_once() {
    let mut peer = Peer::start();
    let outbound = outbound(&with_keys(), &peer.origin, LIMITS);
    for _ in 0..2 {
        assert_eq!(outbound.kind("beta").await, Ok(NodeKind::Hive));
    }
    for path in [
        "/.well-known/hive-mesh.json",
        "/.well-known/pilox-mesh.json",
    ] {
        let (seen, _, headers) = peer.seen.recv().await.unwrap();
        assert_eq!(seen, path);
        assert_eq!(value_of(&headers, "x-hive-federation-jwt"), None);
    }
    assert!(peer.seen.try_recv().is_err());
    let unknown = outbound.kind("gamma").await;
    assert_eq!(unknown, Err(OutboundError::UnknownPeer));
    peer.server.stop(false).await;
}
