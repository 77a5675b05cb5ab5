//! What somebody who is known may do: their role, the agents and the operations that are for them.

use std::collections::BTreeSet;

use actix_web::HttpRequest;
use archipel_protocol::error::{ErrorCode, RpcError};
use archipel_protocol::jsonrpc::{Id, Request};
use archipel_protocol::method::Method;

use super::{Caller, Came, Source, refuse_caller};
use crate::config::Visibility;
use crate::edge::Edge;
use crate::edge::binding::{Asks, Binding};
use crate::error::{Failure, Gate};
use crate::federation::peers::{Allowed, PeerRights};
use crate::metrics::{Answered, RpcMethod};
use crate::public::Asked;
use crate::role::Role;

impl Caller {
    /// Whether the caller may know of an agent.
    pub fn may_see(&self, agent: &str, visibility: Visibility) -> bool {
        match &self.source {
            Source::Operator => true,
            Source::Peer(..) => {
                let rights = self.rights();
                visibility != Visibility::Private
                    && rights.is_none_or(|rights| rights.agents.holds(agent))
            }
            Source::Public(_) => visibility == Visibility::Public,
        }
    }

    /// What the caller counts as. A peer is never more than the operator.
    fn role(&self) -> Role {
        match self.rights().map(|rights| rights.max_role) {
            Some(role) if Role::Operator.covers(role) => role,
            _ => Role::Operator,
        }
    }

    /// What the roster says of a peer; nothing of those who share a secret.
    fn rights(&self) -> Option<&PeerRights> {
        match &self.source {
            Source::Peer(identity, _) => identity.peer.as_ref().map(|peer| &peer.rights),
            Source::Operator | Source::Public(_) => None,
        }
    }

    /// The operations that the caller may ask for, if not for all.
    fn operations(&self) -> Option<&BTreeSet<Method>> {
        match &self.rights()?.methods {
            Allowed::All => None,
            Allowed::Only(operations) => Some(operations),
        }
    }
}

/// Refuses whoever counts for too little to call agents.
pub(in crate::edge) fn require_role(
    came: &dyn Came,
    edge: &Edge,
    caller: &Caller,
) -> Result<(), Failure> {
    if caller.role().covers(edge.gates.min_role) {
        return Ok(());
    }
    refuse_caller(came, edge, caller, "role");
    Err(Failure::gate(
        Gate::Forbidden,
        "calls of agents need a higher role here",
    ))
}

/// Refuses a caller who asks for an operation that is not for them. What cannot be read is left to whoever reads it next,
/// if that is us: an agent elsewhere could read in it what we do not.
pub(in crate::edge) fn check_operation(
    request: &HttpRequest,
    edge: &Edge,
    caller: &Caller,
    binding: &Binding,
    body: &[u8],
    is_read_here: bool,
) -> Result<(), Failure> {
    let asks = || binding.asks(request, body);
    check_asked(request, edge, caller, asks, body, is_read_here)
}

/// The same of a call however it came; `asks` is looked at only where it matters.
pub(in crate::edge) fn check_asked(
    came: &dyn Came,
    edge: &Edge,
    caller: &Caller,
    asks: impl FnOnce() -> Asks,
    body: &[u8],
    is_read_here: bool,
) -> Result<(), Failure> {
    let Some(operations) = caller.operations() else {
        return Ok(());
    };
    let is_allowed = match asks() {
        Asks::For(Asked::Operation(operation)) => operations.contains(&operation),
        Asks::For(Asked::Other(_)) => false,
        Asks::Nothing | Asks::Unreadable => is_read_here,
    };
    if is_allowed {
        return Ok(());
    }
    refuse_caller(came, edge, caller, "method");
    let labels = (RpcMethod::Other, Answered::Refused);
    edge.metrics.calls.count(labels);
    let id = Request::decode(body).map_or(Id::Null, |request| request.id);
    let error = RpcError::new(
        ErrorCode::MethodNotAllowed,
        "the caller has no right to this operation",
    );
    // Under 200, as any other error of an operation, so that a node in between passes it on to whoever asked.
    Err(Failure::rpc(id, error))
}
