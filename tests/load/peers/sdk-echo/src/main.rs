//! The echo agent on the official Rust SDK with its own store in memory: the same events and the same artifact as the
//! node's `echo`. `sdk-echo ADDRESS` serves JSON-RPC there until it is killed.

use std::env;
use std::error::Error;
use std::sync::Arc;

use a2a::event::StreamResponse;
use a2a::{
    A2AError, AgentCapabilities, Artifact, Part, PartContent, TaskArtifactUpdateEvent, TaskState,
    TaskStatus, TaskStatusUpdateEvent,
};
use a2a_server::{
    AgentExecutor, DefaultRequestHandler, ExecutorContext, InMemoryTaskStore,
    jsonrpc::jsonrpc_router,
};
use axum::Router;
use axum::serve::ListenerExt;
use chrono::Utc;
use futures_util::stream::{self, BoxStream, StreamExt};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let address = env::args().nth(1).ok_or("usage: sdk-echo ADDRESS")?;
    // Two providers are in the graph, so rustls cannot choose; that we serve no TLS does not excuse us from it.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let capabilities = AgentCapabilities {
        streaming: Some(true),
        ..AgentCapabilities::default()
    };
    let handler =
        DefaultRequestHandler::new(Echo, InMemoryTaskStore::new()).with_capabilities(capabilities);
    let app = Router::new().merge(jsonrpc_router(Arc::new(handler)));
    // Without it frames of a stream wait for the acknowledgement of the one before, and the comparison would be unfair.
    let listener = TcpListener::bind(address).await?.tap_io(|socket| {
        let _ = socket.set_nodelay(true);
    });
    axum::serve(listener, app).await?;
    Ok(())
}

struct Echo;

impl AgentExecutor for Echo {
    fn execute(
        &self,
        context: ExecutorContext,
    ) -> BoxStream<'static, Result<StreamResponse, A2AError>> {
        let part = context
            .message
            .as_ref()
            .and_then(|message| message.parts.first());
        let said = match part.map(|part| &part.content) {
            Some(PartContent::Text(text)) => text.as_str(),
            _ => "",
        };
        let artifact = StreamResponse::ArtifactUpdate(TaskArtifactUpdateEvent {
            task_id: context.task_id.clone(),
            context_id: context.context_id.clone(),
            artifact: Artifact {
                artifact_id: "echo".into(),
                name: Some("result".into()),
                description: None,
                parts: vec![Part::text(format!("Echo: {said}"))],
                metadata: None,
                extensions: None,
            },
            append: None,
            last_chunk: Some(true),
            metadata: None,
        });
        let events = [
            moved(&context, TaskState::Working),
            artifact,
            moved(&context, TaskState::Completed),
        ];
        stream::iter(events.map(Ok)).boxed()
    }

    fn cancel(
        &self,
        context: ExecutorContext,
    ) -> BoxStream<'static, Result<StreamResponse, A2AError>> {
        stream::iter([Ok(moved(&context, TaskState::Canceled))]).boxed()
    }
}

fn moved(context: &ExecutorContext, state: TaskState) -> StreamResponse {
    StreamResponse::StatusUpdate(TaskStatusUpdateEvent {
        task_id: context.task_id.clone(),
        context_id: context.context_id.clone(),
        status: TaskStatus {
            state,
            message: None,
            timestamp: Some(Utc::now()),
        },
        metadata: None,
    })
}
