//! What a request passes, in order. This page is the only place where the order stands.
//!
//! Children, in that order: `trace` (whose trace it is part of), `limits` (bounds), `auth` (who calls), `client` (from
//! where), `public` (strangers), `binding` (how A2A is spoken: `rpc` and `rest`),
//! `operation` (what an agent of ours is asked for) with `sse` (its stream) and `cut` (where it ends early), `peer` (an agent
//! of a peer), `card`, `operator` (health, metrics, the bus from outside), `events` (the bus, watched), `audit` (what was written down), `wan` (envelopes
//! between sites), `via` (calls that go by envelope) and `post` (those that come by one).

use std::sync::Arc;

use actix::Recipient;
use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, Resource, Route, web};
use archipel_kit::settings::Secret;
use archipel_kit::telemetry::Telemetry;
use archipel_protocol::a2a::card::CardSigner;
use archipel_protocol::jsonrpc::Id;
use archipel_protocol::names::Dialect;
use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use crate::audit::{AuditDesk, ReadRecords};
use crate::bus::Deliver;
use crate::config::{CardCheck, LimitSettings, RootCard};
use crate::control::Control;
use crate::error::Failure;
use crate::events::Watch;
use crate::federation::outbound::Outbound;
use crate::federation::{Federation, VerifyPeer};
use crate::limiter::{Conduct, Failures, Limit, Turnstile};
use crate::metrics::EdgeMetrics;
use crate::public::PublicTier;
use crate::push::Webhooks;
use crate::registry::{HostedAgent, ReadCard, SharedAgents};
use crate::role::Role;
use crate::supervise::Health;
use crate::tasks::Tasks;

mod audit;
pub mod auth;
mod binding;
mod card;
mod client;
mod control;
mod cut;
mod entry;
mod events;
mod extensions;
mod limits;
mod mesh;
mod operation;
mod operator;
mod passthrough;
mod peer;
pub mod peers_admin;
pub mod post;
mod public;
mod rest;
mod rpc;
mod sse;
pub(crate) mod trace;
mod via;
mod wan;

use auth::trail::{self, Trail};
use auth::{Allowlist, Arrival, Caller, Counting, Source};
use binding::Binding;
pub use client::ClientAddress;
use extensions::Wanted;
pub use mesh::Mesh;
use operation::Asking;
use peers_admin::PeerDesk;
pub use wan::{LineView, WanGate};

/// Where a card is, below its agent (RFC 8615), and where clients of 0.3 may still look for it.
const CARD: &str = "/.well-known/agent-card.json";
const OLD_CARD: &str = "/.well-known/agent.json";

/// An agent of a peer.
const OF_PEER: &str = "/peers/{peer}/agents/{id}";

/// What every request may need; one for each worker.
pub struct Edge {
    /// Bounds.
    pub limits: LimitSettings,
    /// What callers must present.
    pub gates: Gates,
    /// Who has presented bad credentials too often.
    pub failures: Arc<Failures>,
    /// Lets calls pass as often as they may.
    pub turnstile: Arc<Turnstile>,
    /// What strangers may do; absent where they may do nothing.
    pub public: Option<Arc<PublicTier>>,
    /// This worker's way to the tasks.
    pub tasks: Tasks,
    /// The operations on webhooks.
    pub webhooks: Webhooks,
    /// The agents of this node.
    pub agents: SharedAgents,
    /// What their cards say.
    pub cards: Recipient<ReadCard>,
    /// Adds, changes and removes agents, where that is enabled.
    pub control: Option<Recipient<Control>>,
    /// How peers come and go.
    pub peers: PeerDesk,
    /// This worker's verifier of federation tokens.
    pub verifier: Recipient<VerifyPeer>,
    /// Who is trusted, and with what proof.
    pub federation: Arc<Federation>,
    /// The way to peers.
    pub outbound: Arc<Outbound>,
    /// What is told of the mesh.
    pub mesh: Arc<Mesh>,
    /// Messages for the bus that come from outside.
    pub bus: Recipient<Deliver>,
    /// What happens on the bus.
    pub feed: Recipient<Watch>,
    /// Envelopes between sites.
    pub wan: WanGate,
    /// Records of decisions.
    pub audit: AuditDesk,
    /// Those that are kept.
    pub records: Recipient<ReadRecords>,
    /// Whether the node can do its work.
    pub health: Arc<Health>,
    /// Fires when streams are to end, because the node stops.
    pub drain: CancellationToken,
    /// What is counted.
    pub metrics: EdgeMetrics,
    /// All metrics.
    pub telemetry: Arc<Telemetry>,
    /// How others reach this node.
    pub origin: Arc<str>,
    /// Signs cards.
    pub signer: CardSigner,
    /// Which card of the default agent those get who do not say what they speak.
    pub root_card: RootCard,
    /// Whether the cards of peers must be signed.
    pub card_check: CardCheck,
}

/// What callers must present.
#[derive(Debug, Clone)]
pub struct Gates {
    /// Whether calls are served at all.
    pub open: bool,
    /// The operator's bearer token.
    pub internal_token: Option<Secret>,
    /// The gateway's secret.
    pub gateway_secret: Option<Secret>,
    /// Whether calls must come through the gateway.
    pub gateway_enforced: bool,
    /// What callers must count as to call agents.
    pub min_role: Role,
    /// From which addresses peers may call.
    pub allowlist: Allowlist,
    /// How often peers without a limit of their own may call from one address.
    pub federation_limit: Limit,
    /// How often anybody may call, if that is limited.
    pub call_limit: Option<Limit>,
    /// Who is believed about clients.
    pub client: ClientAddress,
    /// Which header wins when both spellings are there.
    pub dialect: Dialect,
}

/// Which agent a path names.
enum Target {
    Named(String),
    Default,
}

/// A call as it comes in.
struct Visit<'a> {
    request: &'a HttpRequest,
    edge: &'a Edge,
    target: &'a Target,
    binding: &'a Binding,
}

impl<'a> Visit<'a> {
    fn of(
        request: &'a HttpRequest,
        edge: &'a Edge,
        target: &'a Target,
        binding: &'a Binding,
    ) -> Self {
        Self {
            request,
            edge,
            target,
            binding,
        }
    }
}

/// The body of a call, which strangers have sent before anybody knows whether they may.
enum Body {
    Coming(web::Payload),
    Read(Bytes),
}

/// A call to an agent of this node: every gate, in order, and why it stands where it stands. All of them stand before every
/// binding.
async fn call_agent(visit: &Visit<'_>, payload: web::Payload) -> Result<HttpResponse, Failure> {
    let &Visit { request, edge, .. } = visit;
    // A node that is closed answers nobody, so nobody costs it anything.
    auth::check_open(edge)?;
    // Bounds that are read off the head cost nanoseconds; hostile sizes end here, before any secret is compared.
    limits::check_head(request, &edge.limits)?;
    // What did not come through the gateway, where that is required, need not be identified.
    auth::check_gateway(request, edge)?;
    // Who calls. Before the body is read: a stranger cannot make us wait for a megabyte, unless there is a public tier,
    // which must see what is asked for.
    let (caller, body) = match auth::recognise(request, edge, Counting::AtOnce).await? {
        Arrival::Known(caller, passed) => {
            // As what.
            auth::require_role(request, edge, &caller)?;
            // How often, if that was not counted when the token was claimed. Behind identity, so that nobody can use up the
            // calls of somebody else.
            auth::check_rate(request, edge, &caller, passed).await?;
            (caller, Body::Coming(payload))
        }
        Arrival::Unknown(stranger) => {
            // On the heap: few come this way, and the calls of the others need not carry the room for it.
            let admitted = public::admit(request, payload, edge, visit.binding, &stranger);
            let (caller, body) = Box::pin(admitted).await?;
            (caller, Body::Read(body))
        }
    };
    let mut trail = Trail::default();
    let answer = serve(visit, &caller, body, &mut trail).await;
    // What came of it is written down, for those who are not the operator.
    settle(visit, &caller, trail, answer)
}

/// A call of somebody who was let in.
async fn serve(
    visit: &Visit<'_>,
    caller: &Caller,
    body: Body,
    trail: &mut Trail,
) -> Result<HttpResponse, Failure> {
    let &Visit {
        request,
        edge,
        binding,
        ..
    } = visit;
    // Which agent. After identity, so that strangers cannot list agents; an agent that the caller may not see is missing.
    let agent = find_agent(visit, caller)?;
    trail.at(caller, &agent.id);
    // The body, bounded in size and time.
    let body = match body {
        Body::Coming(payload) => limits::read_body(request, payload, &edge.limits).await?,
        Body::Read(body) => body,
    };
    // Whether they may ask for what they ask for, whoever reads the rest of it.
    let is_read_here = agent.passthrough.is_none();
    auth::check_operation(request, edge, caller, binding, &body, is_read_here)?;
    // An agent that keeps its own tasks gets the request as it came: what is in it is between the two.
    if let Some(elsewhere) = &agent.passthrough {
        let below = binding.path();
        let called = (agent.as_ref(), elsewhere.as_ref());
        let answer = passthrough::forward(request, edge, caller, called, below, body);
        // On the heap, so that the other calls need not carry the room for it.
        let answer = Box::pin(answer).await?;
        return Ok(cut::ending_with(answer, caller.cut()));
    }
    // The envelope, and the version: it decides what method, path and parameters mean.
    let call = binding.open(request, &body)?;
    trail.asks_for(caller, call.name());
    // The operation. Whose task it is is decided by the task itself, for every operation alike.
    let asking = Asking {
        edge,
        caller,
        agent: &agent,
        version: call.version(),
        traceparent: auth::header(request, "traceparent"),
        extensions: Wanted::of(request),
        last_event: sse::last_event(request),
    };
    let outcome = operation::run(&asking, call.method(), call.operation()).await;
    let mut answer = call.tell(edge, outcome)?;
    asking.acknowledge_extensions(answer.headers_mut());
    // A stream lasts as long as what its caller may do.
    Ok(cut::ending_with(answer, caller.cut()))
}

/// Records calls of peers, and notes how the public behaves.
fn settle(
    visit: &Visit<'_>,
    caller: &Caller,
    trail: Trail,
    answer: Result<HttpResponse, Failure>,
) -> Result<HttpResponse, Failure> {
    let &Visit { request, edge, .. } = visit;
    if matches!(caller.source, Source::Operator) {
        return answer;
    }
    // As the caller is told, because the status depends on it.
    let answer = answer.map_err(|failure| failure.told_as(visit.binding.form(request)));
    let status = trail::status(&answer);
    match &caller.source {
        Source::Operator => {}
        Source::Peer(..) => trail::record_call(request, edge, caller, trail, status),
        Source::Public(id) => {
            let conduct = if status == StatusCode::OK {
                Conduct::Good
            } else {
                Conduct::Bad
            };
            public::note(edge, id.as_deref(), conduct);
        }
    }
    answer
}

/// A call to an agent of a peer: the same gates, then federation instead of an operation.
async fn call_peer(
    request: &HttpRequest,
    payload: web::Payload,
    edge: &Edge,
    path: &peer::PeerPath,
    binding: &Binding,
) -> Result<HttpResponse, Failure> {
    auth::check_open(edge)?;
    limits::check_head(request, &edge.limits)?;
    auth::check_gateway(request, edge)?;
    let caller = auth::identify(request, edge).await?;
    // Peers do not reach other peers through us, unless the operator lets them: whom they may call is between them.
    auth::check_forward(request, edge, &caller)?;
    auth::require_role(request, edge, &caller)?;
    auth::check_rate(request, edge, &caller, None).await?;
    let body = limits::read_body(request, payload, &edge.limits).await?;
    // What is no call is refused here; a peer is not troubled with it.
    let call = binding.open(request, &body)?;
    if via::is_wanted(request)? {
        // On the heap: few come this way.
        let answer = Box::pin(via::serve(request, edge, &caller, path, &call)).await?;
        return Ok(cut::ending_with(answer, caller.cut()));
    }
    // Taken before the call: what changes while it is made counts as well.
    let cut = edge.outbound.cut_of(&path.peer);
    let answer = peer::forward(request, edge, &caller, path, &body, &call).await?;
    let answer = cut::ending_with(answer, cut.as_ref());
    // A peer whose call went on loses it with its right to call.
    Ok(cut::ending_with(answer, caller.cut()))
}

fn find_agent(visit: &Visit<'_>, caller: &Caller) -> Result<Arc<HostedAgent>, Failure> {
    let &Visit {
        request,
        edge,
        target,
        ..
    } = visit;
    let table = edge.agents.load();
    let found = match target {
        Target::Named(id) => table.find(id),
        Target::Default => table.default_agent(),
    };
    if found.is_some_and(|agent| !caller.may_see(&agent.id, agent.visibility)) {
        auth::refuse_caller(request, edge, caller, "hidden_agent");
        return Err(rpc::agent_not_found(&Id::Null));
    }
    found
        .cloned()
        .ok_or_else(|| rpc::agent_not_found(&Id::Null))
}

/// Every path of the node. A JSON-RPC path works with and without a slash at its end.
pub fn routes(config: &mut web::ServiceConfig) {
    const DEFAULT_AGENT: [&str; 6] = [
        "/api/a2a/jsonrpc",
        "/api/a2a/jsonrpc/",
        "/api/a2a/jsonrpc/public",
        "/api/a2a/jsonrpc/public/",
        "/api/a2a/federated/jsonrpc",
        "/api/a2a/federated/jsonrpc/",
    ];
    config
        .service(only(
            &["/agents/{id}", "/agents/{id}/"],
            web::post().to(entry::named),
        ))
        .service(only(&DEFAULT_AGENT, web::post().to(entry::default)))
        .service(only(
            &[OF_PEER, &format!("{OF_PEER}/")],
            web::post().to(entry::of_peer),
        ))
        .configure(card::routes)
        .configure(peers_admin::routes)
        .service(only(
            &["/api/mesh/bus/{channel}"],
            web::post().to(operator::bus),
        ))
        .service(
            web::resource("/api/agents")
                .route(web::get().to(control::list))
                .route(web::post().to(control::add))
                .default_service(web::to(operator::wrong_method)),
        )
        .service(
            web::resource("/api/agents/{id}")
                .route(web::get().to(control::show))
                .route(web::patch().to(control::change))
                .route(web::delete().to(control::remove))
                .default_service(web::to(operator::wrong_method)),
        )
        .service(only(
            &["/api/agents/{id}/{step}"],
            web::post().to(control::shift),
        ))
        .service(only(&["/api/events"], web::get().to(events::watch)))
        .service(only(&["/api/audit"], web::get().to(audit::page)))
        .configure(mesh::routes)
        .configure(wan::routes)
        .service(only(&["/livez"], web::get().to(operator::live)))
        .service(only(&["/readyz"], web::get().to(operator::ready)))
        .service(only(&["/metrics"], web::get().to(operator::metrics)))
        // HTTP+JSON: whatever else is below an agent. Last, because the first path that fits is taken.
        .route("/agents/{id}/{below:.*}", web::to(entry::named_below))
        .route("/api/a2a/rest/{below:.*}", web::to(entry::default_below))
        .route(
            "/api/a2a/federated/rest/{below:.*}",
            web::to(entry::default_below),
        )
        .route(
            &format!("{OF_PEER}/{{below:.*}}"),
            web::to(entry::of_peer_below),
        )
        .default_service(web::to(operator::nothing_here));
}

/// One kind of request at these paths; another method is told so.
fn only(paths: &[&str], route: Route) -> Resource {
    let paths: Vec<String> = paths.iter().map(|&path| path.to_owned()).collect();
    web::resource(paths)
        .route(route)
        .default_service(web::to(operator::wrong_method))
}
