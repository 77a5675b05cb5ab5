//! A call of a peer, from its envelope to its answer.

use std::sync::Arc;

use actix_web::ResponseError;
use archipel_protocol::a2a::{SendMessageParams, Version};
use archipel_protocol::error::{ErrorCode, RpcError};
use archipel_protocol::federation::Delegation;
use archipel_protocol::ids::Origin;
use archipel_protocol::jsonrpc::{self, Id, Request};
use archipel_protocol::method::Method;
use archipel_protocol::wan::{Direction, MeshTrace};
use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;

use super::{later, read, refused, verify, watched};
use crate::audit::AuditAction;
use crate::edge::auth::trail::{self, Trail};
use crate::edge::auth::{self, ByEnvelope, Caller, Source};
use crate::edge::extensions::Wanted;
use crate::edge::operation::{Asking, Operation};
use crate::edge::{Edge, rpc};
use crate::error::Failure;
use crate::federation::letters::Letters;
use crate::federation::{FederationRefusal, Proof};
use crate::registry::HostedAgent;
use crate::replay::ClaimId;
use crate::tasks::command::TaskError;
use crate::wan::calls::{Letter, Post, PostError, Posted, Seen, task_id};
use crate::wan::queue::Parcel;

/// A call by somebody who is known.
struct Visit<'a> {
    edge: &'a Edge,
    letters: &'a Letters,
    posted: &'a Posted,
    came: ByEnvelope<'a>,
    caller: Caller,
    claim: ClaimId,
}

/// What is to be said to the caller.
enum Told {
    Task(Id, Bytes),
    /// The agent works.
    NotYet,
    /// Nothing: it was said before.
    Repeated(FederationRefusal),
}

/// A call came.
pub(super) async fn see_to(edge: &Edge, letters: &Letters, posted: &Posted) -> Seen {
    let Some(post) = &edge.wan.post else {
        return Seen::Dead("the answer has no way back: this node has no line".to_owned());
    };
    // From where: whoever hands envelopes to a broker has no address here, so no list of addresses has them.
    if !edge.gates.allowlist.is_open() {
        let came = ByEnvelope(&posted.envelope.correlation_id);
        auth::audit_refusal(&came, edge, AuditAction::FederationRefused, "address");
        return Seen::Dead("peers may call from listed addresses only".to_owned());
    }
    // With what.
    let (letter, source) = match verify(edge, letters, posted).await {
        Ok(verified) => verified,
        Err(refusal) => return refused(edge, posted, refusal),
    };
    let Some(claim) = letter.claim else {
        return Seen::Dead("its token has no id".to_owned());
    };
    let visit = Visit {
        edge,
        letters,
        posted,
        came: ByEnvelope(&posted.envelope.correlation_id),
        caller: Caller {
            principal: Arc::clone(&letter.identity.principal),
            source: Source::Peer(Box::new(letter.identity), Proof::Token),
        },
        claim,
    };
    visit.see_to(post, &source).await
}

impl Visit<'_> {
    async fn see_to(self, post: &Post, source: &Origin) -> Seen {
        let mut trail = Trail::default();
        trail.at(&self.caller, &self.posted.call.agent);
        let (status, body) = match self.serve(&mut trail).await {
            Ok(Told::NotYet) => return later(self.posted),
            Ok(Told::Repeated(refusal)) => return refused(self.edge, self.posted, refusal),
            Ok(Told::Task(id, task)) => (200, result(&id, &task)),
            // What may pass is waited for, as long as the call lives.
            Err(failure) if failure.may_pass() => return later(self.posted),
            Err(failure) => (failure.status_code().as_u16(), error(&failure)),
        };
        let parcel = self.answer(post, source, body).or_else(|why| match why {
            PostError::TooLarge => {
                let why = "the answer is larger than an envelope may be";
                let too_large = RpcError::new(ErrorCode::UnsupportedOperation, why);
                self.answer(post, source, jsonrpc::encode_error(&Id::Null, &too_large))
            }
            PostError::NotReady => Err(why),
        });
        let parcel = match parcel {
            Ok(parcel) => parcel,
            Err(why) => return Seen::Dead(format!("no answer can be sent: {why}")),
        };
        // Kept in the outbox, which knows it again; only then is the call over.
        if let Err(error) = self.edge.wan.desk.publish(parcel).await {
            tracing::warn!(%error, "the answer to a call has to wait");
            return later(self.posted);
        }
        if !self.letters.take(self.claim.clone()).await {
            return later(self.posted);
        }
        let status = actix_web::http::StatusCode::from_u16(status).unwrap_or_default();
        trail::record_call(&self.came, self.edge, &self.caller, trail, status);
        Seen::Done
    }

    /// The gates, in the order of `edge::call_agent`, then the operation.
    async fn serve(&self, trail: &mut Trail) -> Result<Told, Failure> {
        let (edge, caller, call) = (self.edge, &self.caller, &self.posted.call);
        auth::check_open(edge)?;
        self.check_pin()?;
        auth::require_role(&self.came, edge, caller)?;
        let agent = self.find_agent()?;
        let body = call.body.as_bytes();
        let asks = || rpc::asks(body);
        auth::check_asked(&self.came, edge, caller, asks, body, true)?;
        let request = Request::decode(body)?;
        trail.asks_for(caller, &request.method);
        let failed = |error| Failure::rpc(request.id.clone(), error);
        let params = params(&call.version, &request, &agent).map_err(failed)?;
        let traceparent = self.posted.trace.traceparent();
        let asking = Asking {
            edge,
            caller,
            agent: &agent,
            version: Version::V1,
            traceparent,
            extensions: Wanted::default(),
            last_event: None,
        };
        let id = task_id(&self.posted.envelope, self.posted.kept_ms, 0);
        let whose = asking.whose(params.tenant.as_deref());
        let told = |error: TaskError| failed(error.told(None));
        match read(edge, id, &whose).await {
            // It was begun by this very envelope, whatever became of us since.
            Ok(_) => {}
            Err(TaskError::NotFound) => {
                match self.letters.check_fresh(&self.claim).await {
                    Ok(()) => {}
                    Err(FederationRefusal::Replayed) => {
                        return Ok(Told::Repeated(FederationRefusal::Replayed));
                    }
                    Err(refusal) => return Err(failed(not_to_be_told(refusal))),
                }
                // How often. Only what begins something counts.
                auth::check_rate(&self.came, edge, caller, None).await?;
                asking.open_as(id, params).await.map_err(failed)?;
            }
            Err(error) => return Err(told(error)),
        }
        let task = watched(edge, id, &whose).await.map_err(told)?;
        Ok(match task {
            Some((_, task)) => Told::Task(request.id, task),
            None => Told::NotYet,
        })
    }

    /// A peer that is known by its certificate must show it, and an envelope shows none.
    fn check_pin(&self) -> Result<(), Failure> {
        let is_pinned = match &self.caller.source {
            Source::Peer(identity, _) => identity
                .peer
                .as_ref()
                .is_some_and(|peer| peer.tls.pin.is_some()),
            Source::Operator | Source::Public(_) => false,
        };
        if !is_pinned {
            return Ok(());
        }
        auth::refuse_caller(&self.came, self.edge, &self.caller, "pin");
        let error = RpcError::new(
            ErrorCode::MethodNotAllowed,
            "the peer must come with the certificate that it is pinned to, and an envelope has none",
        );
        Err(Failure::rpc(Id::Null, error))
    }

    fn find_agent(&self) -> Result<Arc<HostedAgent>, Failure> {
        let table = self.edge.agents.load();
        let found = table.find(&self.posted.call.agent);
        if found.is_some_and(|agent| !self.caller.may_see(&agent.id, agent.visibility)) {
            auth::refuse_caller(&self.came, self.edge, &self.caller, "hidden_agent");
            return Err(rpc::agent_not_found(&Id::Null));
        }
        found
            .cloned()
            .ok_or_else(|| rpc::agent_not_found(&Id::Null))
    }

    fn answer(&self, post: &Post, to: &Origin, body: Vec<u8>) -> Result<Parcel, PostError> {
        let id = &self.posted.envelope.correlation_id;
        let trace = &self.posted.trace;
        post.write(Letter {
            to,
            // Calls are named by UUIDs; another name is no call of ours that could be answered.
            id: id.parse().map_err(|_| PostError::NotReady)?,
            direction: Direction::Answer,
            agent: &self.posted.call.agent,
            body: String::from_utf8(body).map_err(|_| PostError::NotReady)?,
            delegation: &Delegation::NONE,
            trace: MeshTrace::new(trace.traceparent(), trace.tracestate()),
        })
    }
}

/// What is asked for: one message, which opens a task.
fn params(
    version: &str,
    request: &Request<'_>,
    agent: &HostedAgent,
) -> Result<SendMessageParams, RpcError> {
    let refused = |why| Err(RpcError::new(ErrorCode::UnsupportedOperation, why));
    if Version::parse(Some(version)) != Some(Version::V1) {
        let why = "envelopes speak A2A 1.0";
        return Err(RpcError::new(ErrorCode::VersionNotSupported, why));
    }
    if agent.passthrough.is_some() {
        return refused("the agent keeps its own tasks: it cannot be called by envelope");
    }
    let method = Method::parse(Version::V1, &request.method);
    if method != Some(Method::SendMessage) {
        return refused("an envelope takes SendMessage, and no other operation");
    }
    let operation = Operation::read(Version::V1, Method::SendMessage, request.params)?;
    let Operation::Send(params) = operation else {
        return refused("an envelope takes SendMessage, and no other operation");
    };
    if params.message.task_id.is_some() {
        return refused("a message by envelope opens a task; it cannot go on with one");
    }
    Ok(*params)
}

/// What nobody decided before, and nobody will: the caller may send it again.
fn not_to_be_told(refusal: FederationRefusal) -> RpcError {
    let code = match refusal {
        FederationRefusal::Undecided => ErrorCode::Unavailable,
        _ => ErrorCode::UnsupportedOperation,
    };
    RpcError::new(code, refusal.to_string())
}

fn result(id: &Id, task: &[u8]) -> Vec<u8> {
    #[derive(Serialize)]
    struct Answer<'a> {
        task: &'a RawValue,
    }
    let written =
        serde_json::from_slice(task).and_then(|task| jsonrpc::encode_result(id, &Answer { task }));
    written.unwrap_or_else(|_| {
        let error = RpcError::new(ErrorCode::Internal, "the task cannot be told");
        jsonrpc::encode_error(id, &error)
    })
}

fn error(failure: &Failure) -> Vec<u8> {
    let (id, error) = failure.as_rpc();
    jsonrpc::encode_error(&id, &error)
}
