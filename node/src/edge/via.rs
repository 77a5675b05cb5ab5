//! A call to an agent of a peer that goes by envelope (`?via=wan`): we keep its task, like that of an agent of ours.
//!
//! Only a message goes to the peer, and only one that opens a task. Everything else that is asked with `via=wan` is asked
//! of our task: reading, listing, watching and ending it, and its webhooks.

use std::sync::Arc;

use actix_web::{HttpRequest, HttpResponse};
use archipel_protocol::error::{ErrorCode, RpcError};
use archipel_protocol::method::Method;

use crate::cards::declared::Declared;
use crate::config::Visibility;
use crate::edge::auth::{self, Caller};
use crate::edge::binding::Call;
use crate::edge::extensions::Wanted;
use crate::edge::operation::{self, Asking, Operation};
use crate::edge::{Edge, peer, sse};
use crate::error::{Failure, Gate};
use crate::registry::HostedAgent;
use crate::tasks::executor::AgentExecutor;
use crate::wan::calls::agent::{Address, PostedAgent};
use crate::wan::calls::{Post, agent_of_peer};

/// What a node without a line is asked to do.
const NO_LINE: &str = "this node has no line to other sites: set nats.url, or call without via=wan";

/// Whether a call is to go by envelope.
///
/// # Errors
/// When it is to go on another way that there is not.
pub(super) fn is_wanted(request: &HttpRequest) -> Result<bool, Failure> {
    let mut pairs = request.query_string().split('&');
    match pairs.find_map(|pair| pair.strip_prefix("via=")) {
        None => Ok(false),
        Some("wan") => Ok(true),
        Some(_) => Err(Failure::gate(Gate::BadRequest, "via knows `wan` only")),
    }
}

/// Does what is asked for.
pub(super) async fn serve(
    request: &HttpRequest,
    edge: &Edge,
    caller: &Caller,
    path: &peer::PeerPath,
    call: &Call<'_>,
) -> Result<HttpResponse, Failure> {
    let post = edge.wan.post.as_ref();
    let post = post.ok_or_else(|| Failure::gate(Gate::Unavailable, NO_LINE))?;
    // An agent of that name could not be called over HTTP either.
    path.at_peer("", &call.id())?;
    let operation = call.operation().and_then(fit);
    let executor = match &operation {
        Ok(Operation::Send(_)) => sending(edge, caller, path, post, call)?,
        _ => Arc::new(PostedAgent::of_left_turns(Arc::clone(post))),
    };
    let agent = Arc::new(HostedAgent {
        id: agent_of_peer(&path.peer, &path.agent).into(),
        visibility: Visibility::Private,
        receives_envelopes: false,
        executor,
        // Its card is at the peer, which looks after what the agent takes.
        declared: Arc::new(Declared::default()),
        run: Some(Arc::clone(&post.run)),
        passthrough: None,
        paused: false,
    });
    let asking = Asking {
        edge,
        caller,
        agent: &agent,
        version: call.version(),
        traceparent: auth::header(request, "traceparent"),
        extensions: Wanted::default(),
        last_event: sse::last_event(request),
    };
    let outcome = operation::run(&asking, call.method(), operation).await;
    if call.method() == Some(Method::SendMessage) {
        peer::note(request, edge, caller, path, call, outcome.is_ok());
    }
    call.tell(edge, outcome)
}

/// What our task can be asked, and a message that can go by envelope. Nobody waits for its answer: the task is there at once.
fn fit(operation: Operation) -> Result<Operation, RpcError> {
    let refused = |why: &'static str| Err(RpcError::new(ErrorCode::UnsupportedOperation, why));
    match operation {
        Operation::Send(params) if params.message.task_id.is_some() => {
            refused("a message by envelope opens a task; it cannot go on with one")
        }
        Operation::Send(mut params) => {
            params.return_immediately = true;
            Ok(Operation::Send(params))
        }
        Operation::SendStreaming(_) => refused(
            "SendStreamingMessage does not go by envelope: send with SendMessage, then watch with SubscribeToTask",
        ),
        Operation::ExtendedCard => refused("GetExtendedAgentCard does not go by envelope"),
        other => Ok(other),
    }
}

/// Who takes the message along.
fn sending(
    edge: &Edge,
    caller: &Caller,
    path: &peer::PeerPath,
    post: &Arc<Post>,
    call: &Call<'_>,
) -> Result<Arc<dyn AgentExecutor>, Failure> {
    let addressed = edge.outbound.address(&path.peer, caller.behind());
    let (to, delegation) =
        addressed.map_err(|error| peer::peer_failure(error, &path.peer, &call.id()))?;
    let address = Address {
        to,
        agent: path.agent.clone(),
        delegation,
    };
    Ok(Arc::new(PostedAgent::new(Arc::clone(post), address)))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use archipel_protocol::a2a::Version;

    use super::*;

    fn check(method: Method, params: &str, expected: Result<(), ErrorCode>) {
        let params: Box<serde_json::value::RawValue> = serde_json::from_str(params).unwrap();
        let operation = Operation::read(Version::V1, method, Some(&params)).unwrap();
        let fitted = fit(operation);
        if let Ok(Operation::Send(params)) = &fitted {
            assert!(params.return_immediately);
        }
        let told = fitted.map(drop).map_err(|error| error.code);
        assert_eq!(told, expected, "{method:?} {}", params.get());
    }

    #[test]
    fn one_message_goes_and_our_task_answers_the_rest() {
        let message = r#"{"message":{"messageId":"m","role":"ROLE_USER","parts":[{"text":"x"}]}}"#;
        let further = message.replace("{\"messageId\"", "{\"taskId\":\"t\",\"messageId\"");
        let unsupported = Err(ErrorCode::UnsupportedOperation);
        check(Method::SendMessage, message, Ok(()));
        check(Method::SendMessage, &further, unsupported);
        check(Method::SendStreamingMessage, message, unsupported);
        check(Method::GetExtendedAgentCard, "{}", unsupported);
        for method in [Method::GetTask, Method::CancelTask, Method::SubscribeToTask] {
            check(method, r#"{"id":"t"}"#, Ok(()));
        }
        check(Method::ListTasks, "{}", Ok(()));
    }
}
