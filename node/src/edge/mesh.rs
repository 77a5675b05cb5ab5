//! The node as one of a mesh: what its operator sees of it and of its peers, what everybody may know of it, and the
//! indexed `proxy` to peers (contract/federation.md 8 and 9, contract/a2a-surface.md 5, 6 and 9).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use actix_web::http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL};
use actix_web::{HttpRequest, HttpResponse, web};
use archipel_protocol::ids::Origin;
use archipel_protocol::names::Dialect;
use futures_util::{StreamExt, stream};
use parking_lot::Mutex;
use serde::Serialize;
use serde_json::{Value, json};

use crate::edge::{Edge, auth, limits, only, operator};
use crate::error::Failure;
use crate::federation::outbound::Probe;
use crate::federation::peers::Peer;
use crate::federation::views::{MeshViews, hostname};

mod proxy;

/// Peers that are looked after at once.
const PROBES: usize = 8;

/// How long it counts that a peer was there.
const COUNTS_FOR: Duration = Duration::from_secs(300);

/// Looks in a row that found nobody before a peer is said to be better left out.
const EVICTABLE: u32 = 5;

/// What the edge knows of the mesh. One for all workers.
pub struct Mesh {
    pub views: MeshViews,
    /// How peers were found when they were last looked after; only of peers of the roster.
    seen: Mutex<BTreeMap<Origin, Seen>>,
}

impl Mesh {
    /// Nobody has been looked after yet.
    pub fn new(views: MeshViews) -> Self {
        Self {
            views,
            seen: Mutex::default(),
        }
    }
}

/// How a peer was found just now, as the contract tells it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ProbeRow {
    origin: Origin,
    hostname: String,
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    status_code: Option<u16>,
    latency_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'static str>,
}

/// How a peer was found when it was last looked after.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PeerRow<'a> {
    origin: &'a str,
    healthy: bool,
    last_probe_at: u64,
    latency_ms: u64,
    error_count: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_error: Option<&'a str>,
}

/// How a peer was found.
#[derive(Debug, Clone, Default)]
struct Seen {
    healthy: bool,
    at_ms: u64,
    latency_ms: u64,
    errors: u32,
    last_error: Option<String>,
}

/// Every path of the mesh, and those under which it looks whether a node is there.
pub(super) fn routes(config: &mut web::ServiceConfig) {
    config
        .service(only(
            &["/api/health", "/api/site_status", "/site_status"],
            web::get().to(operator::health),
        ))
        .service(only(
            &[Dialect::Hive.mesh_descriptor_path()],
            web::get().to(hive_descriptor),
        ))
        .service(only(
            &[Dialect::Pilox.mesh_descriptor_path()],
            web::get().to(pilox_descriptor),
        ))
        .service(only(
            &["/api/mesh/federation/proxy/jsonrpc"],
            web::post().to(proxy::call),
        ))
        .service(only(
            &["/api/mesh/federation/status"],
            web::get().to(status),
        ))
        .service(only(
            &["/api/mesh/federation/directory"],
            web::get().to(directory),
        ))
        .service(only(&["/api/mesh/peers"], web::get().to(peers)))
        .service(only(&["/api/a2a/status"], web::get().to(a2a_status)))
        .service(only(&["/api/system/health"], web::get().to(system_health)));
}

/// `GET /.well-known/hive-mesh.json`
async fn hive_descriptor(request: HttpRequest, edge: web::Data<Edge>) -> Told {
    descriptor(&request, &edge, Dialect::Hive)
}

/// `GET /.well-known/pilox-mesh.json`
async fn pilox_descriptor(request: HttpRequest, edge: web::Data<Edge>) -> Told {
    descriptor(&request, &edge, Dialect::Pilox)
}

/// `GET /api/mesh/federation/status`
async fn status(request: HttpRequest, edge: web::Data<Edge>) -> Told {
    enter(&request, &edge).await?;
    let mut status = edge.mesh.views.status(asked(&request, "debug_manifest"));
    if asked(&request, "probe") {
        status.insert("probe".to_owned(), json!(probed(&edge).await));
    }
    Ok(fresh(&Value::Object(status)))
}

/// `GET /api/mesh/federation/directory`
async fn directory(request: HttpRequest, edge: web::Data<Edge>) -> Told {
    enter(&request, &edge).await?;
    Ok(fresh(&edge.mesh.views.directory()))
}

/// `GET /api/a2a/status`
async fn a2a_status(request: HttpRequest, edge: web::Data<Edge>) -> Told {
    enter(&request, &edge).await?;
    Ok(fresh(&edge.mesh.views.a2a_status()))
}

/// `GET /api/mesh/peers`: how peers were found; with `probe=1` those are looked after of whom it is not known.
async fn peers(request: HttpRequest, edge: web::Data<Edge>) -> Told {
    enter(&request, &edge).await?;
    if asked(&request, "probe") {
        look_after(&edge).await;
    }
    Ok(fresh(&health(&edge)))
}

/// `GET /api/system/health`: which parts of the node do their work.
async fn system_health(request: HttpRequest, edge: web::Data<Edge>) -> Told {
    enter(&request, &edge).await?;
    let (parts, away) = (edge.health.all(), edge.health.away());
    let word = |is_well: bool| if is_well { "healthy" } else { "unhealthy" };
    let service = |(name, is_well): (&str, bool)| {
        let told = json!({"status": word(is_well), "latency": 0});
        (name.to_owned(), told)
    };
    let is_well = parts.values().all(|is_well| *is_well);
    let services: serde_json::Map<String, Value> = parts
        .into_iter()
        .chain(away.iter().map(|name| (*name, false)))
        .map(service)
        .collect();
    let (mut response, status) = match (is_well, away.is_empty()) {
        (true, true) => (HttpResponse::Ok(), "healthy"),
        (true, false) => (HttpResponse::Ok(), "degraded"),
        (false, _) => (HttpResponse::ServiceUnavailable(), "unhealthy"),
    };
    let body = json!({"status": status, "services": services, "gpu": null});
    Ok(response
        .insert_header((CACHE_CONTROL, "no-store"))
        .json(body))
}

type Told = Result<HttpResponse, Failure>;

async fn enter(request: &HttpRequest, edge: &Edge) -> Result<(), Failure> {
    limits::check_url(request, &edge.limits)?;
    let caller = auth::identify(request, edge).await?;
    auth::require_operator(request, edge, &caller)
}

fn descriptor(request: &HttpRequest, edge: &Edge, dialect: Dialect) -> Told {
    limits::check_url(request, &edge.limits)?;
    Ok(HttpResponse::Ok()
        .insert_header((CACHE_CONTROL, "public, max-age=120"))
        .insert_header((ACCESS_CONTROL_ALLOW_ORIGIN, "*"))
        .json(edge.mesh.views.descriptor(dialect)))
}

fn fresh(body: &Value) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((CACHE_CONTROL, "no-store"))
        .json(body)
}

/// Whether the query says `name=1`.
fn asked(request: &HttpRequest, name: &str) -> bool {
    let mut pairs = request.query_string().split('&');
    pairs.any(|pair| pair.split_once('=') == Some((name, "1")))
}

/// One row for each peer, in the order of the roster.
async fn probed(edge: &Edge) -> Vec<ProbeRow> {
    if !edge.mesh.views.is_enabled() {
        return Vec::new();
    }
    let rows = edge.mesh.views.peers().into_iter().map(|peer| async move {
        let probe = edge.outbound.probe(&peer).await;
        ProbeRow {
            origin: peer.origin.clone(),
            hostname: hostname(&peer),
            ok: probe.is_ok(),
            status_code: probe.status,
            latency_ms: probe.latency_ms,
            error: probe.error,
        }
    });
    stream::iter(rows).buffered(PROBES).collect().await
}

async fn look_after(edge: &Edge) {
    let now_ms = edge.outbound.now_ms();
    let peers = edge.mesh.views.peers();
    let due: Vec<Arc<Peer>> = {
        let mut seen = edge.mesh.seen.lock();
        seen.retain(|origin, _| peers.iter().any(|peer| peer.origin == *origin));
        let is_due = |peer: &&Arc<Peer>| {
            let seen = seen.get(&peer.origin);
            seen.is_none_or(|seen| seen.is_due(now_ms))
        };
        peers.iter().filter(is_due).cloned().collect()
    };
    let probes = due.into_iter().map(|peer| async move {
        let probe = edge.outbound.probe(&peer).await;
        (peer.origin.clone(), probe)
    });
    let probes: Vec<_> = stream::iter(probes)
        .buffer_unordered(PROBES)
        .collect()
        .await;
    let mut seen = edge.mesh.seen.lock();
    for (origin, probe) in probes {
        seen.entry(origin).or_default().note(probe, now_ms);
    }
}

impl Seen {
    fn is_due(&self, now_ms: u64) -> bool {
        let age = now_ms.saturating_sub(self.at_ms);
        !self.healthy || u128::from(age) >= COUNTS_FOR.as_millis()
    }

    fn note(&mut self, probe: Probe, now_ms: u64) {
        self.healthy = probe.is_ok();
        self.at_ms = now_ms;
        self.latency_ms = probe.latency_ms;
        self.errors = if self.healthy { 0 } else { self.errors + 1 };
        self.last_error = match (self.healthy, probe.error, probe.status) {
            (true, ..) => None,
            (false, Some(error), _) => Some(error.to_owned()),
            (false, None, status) => status.map(|status| format!("HTTP {status}")),
        };
    }
}

fn health(edge: &Edge) -> Value {
    let seen = edge.mesh.seen.lock();
    let peers = edge.mesh.views.peers();
    let known: Vec<(&Origin, &Seen)> = peers
        .iter()
        .filter_map(|peer| seen.get_key_value(&peer.origin))
        .collect();
    let healthy = known.iter().filter(|(_, seen)| seen.healthy).count();
    let evictable: Vec<&str> = known
        .iter()
        .filter(|(_, seen)| seen.errors >= EVICTABLE)
        .map(|(origin, _)| origin.as_str())
        .collect();
    let rows: Vec<PeerRow<'_>> = known
        .iter()
        .map(|(origin, seen)| row(origin, seen))
        .collect();
    json!({
        "peers": rows,
        "total": rows.len(),
        "healthy": healthy,
        "unhealthy": rows.len() - healthy,
        "evictable": evictable,
        "federationEnabled": edge.mesh.views.is_enabled(),
    })
}

fn row<'a>(origin: &'a Origin, seen: &'a Seen) -> PeerRow<'a> {
    PeerRow {
        origin: origin.as_str(),
        healthy: seen.healthy,
        last_probe_at: seen.at_ms,
        latency_ms: seen.latency_ms,
        error_count: seen.errors,
        last_error: seen.last_error.as_deref(),
    }
}
