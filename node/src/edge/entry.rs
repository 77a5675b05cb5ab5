//! From a path to a call: which agent and which binding it names, and how a call that failed is told.

use actix_web::{HttpRequest, HttpResponse, web};
use futures_util::TryFutureExt as _;

use crate::edge::binding::Binding;
use crate::edge::{Edge, Target, Visit, call_agent, call_peer, peer};
use crate::error::Failure;
use crate::metrics::{Answered, RpcMethod};

pub(super) async fn named(
    request: HttpRequest,
    payload: web::Payload,
    edge: web::Data<Edge>,
    id: web::Path<String>,
) -> Result<HttpResponse, Failure> {
    let target = Target::Named(id.into_inner());
    let binding = Binding::JsonRpc;
    let visit = Visit::of(&request, &edge, &target, &binding);
    let call = call_agent(&visit, payload);
    call.map_err(failed(&request, &edge, &binding)).await
}

pub(super) async fn named_below(
    request: HttpRequest,
    payload: web::Payload,
    edge: web::Data<Edge>,
    id: web::Path<(String, String)>,
) -> Result<HttpResponse, Failure> {
    let target = Target::Named(id.into_inner().0);
    let binding = Binding::below(&request);
    let visit = Visit::of(&request, &edge, &target, &binding);
    let call = call_agent(&visit, payload);
    call.map_err(failed(&request, &edge, &binding)).await
}

pub(super) async fn default(
    request: HttpRequest,
    payload: web::Payload,
    edge: web::Data<Edge>,
) -> Result<HttpResponse, Failure> {
    let binding = Binding::JsonRpc;
    let visit = Visit::of(&request, &edge, &Target::Default, &binding);
    let call = call_agent(&visit, payload);
    call.map_err(failed(&request, &edge, &binding)).await
}

pub(super) async fn default_below(
    request: HttpRequest,
    payload: web::Payload,
    edge: web::Data<Edge>,
) -> Result<HttpResponse, Failure> {
    let binding = Binding::below(&request);
    let visit = Visit::of(&request, &edge, &Target::Default, &binding);
    let call = call_agent(&visit, payload);
    call.map_err(failed(&request, &edge, &binding)).await
}

pub(super) async fn of_peer(
    request: HttpRequest,
    payload: web::Payload,
    edge: web::Data<Edge>,
    path: web::Path<(String, String)>,
) -> Result<HttpResponse, Failure> {
    let (peer, agent) = path.into_inner();
    let path = peer::PeerPath { peer, agent };
    let binding = Binding::JsonRpc;
    let call = call_peer(&request, payload, &edge, &path, &binding);
    call.map_err(failed(&request, &edge, &binding)).await
}

pub(super) async fn of_peer_below(
    request: HttpRequest,
    payload: web::Payload,
    edge: web::Data<Edge>,
    path: web::Path<(String, String, String)>,
) -> Result<HttpResponse, Failure> {
    let (peer, agent, _) = path.into_inner();
    let path = peer::PeerPath { peer, agent };
    let binding = Binding::below(&request);
    let call = call_peer(&request, payload, &edge, &path, &binding);
    call.map_err(failed(&request, &edge, &binding)).await
}

/// Counts calls that ended without an operation done, and tells every failure in the form of the binding. For `map_err`: a
/// function that waits for the call itself would hold it twice.
fn failed<'a>(
    request: &'a HttpRequest,
    edge: &'a Edge,
    binding: &'a Binding,
) -> impl FnOnce(Failure) -> Failure + 'a {
    move |failure| {
        if failure.is_refusal() {
            let labels = (RpcMethod::Other, Answered::Refused);
            edge.metrics.calls.count(labels);
        }
        failure.told_as(binding.form(request))
    }
}
