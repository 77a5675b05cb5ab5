//! Spans: a caller's trace goes on in the node, and agents are told to go on from there.

use archipel_tests::collector::{collector, spans};
use archipel_tests::mesh::{FakeAgent, NodeProcess, say, their_status};

use crate::{NODE, upstream_agent};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER_SPAN: &str = "b7ad6b7169203331";

#[actix_web::test]
async fn a_callers_trace_goes_on_in_the_node_and_from_there_to_the_agent() {
    let (exports, url) = collector();
    let mut agent = FakeAgent::start();
    let mut node = NodeProcess::start(NODE, |config| {
        config.add(&format!(
            "[telemetry]\nlog = \"info\"\notlp_endpoint = \"{url}\""
        ));
        config.add(&upstream_agent("played", agent.origin()));
    })
    .await;
    let caller = format!("00-{TRACE}-{CALLER_SPAN}-01");
    let client = node.client().with("traceparent", &caller);
    let called = async {
        client
            .call("/agents/played", "SendMessage", say("begin"))
            .await
    };
    let seen = async {
        let call = agent.call().await;
        let seen = call.header("traceparent").map(str::to_owned);
        call.stream().tell(their_status("TASK_STATE_COMPLETED"));
        seen
    };
    let (_, seen) = tokio::join!(called, seen);
    // What is left is sent before it ends.
    node.terminate().await;
    assert!(node.ended().await.success());
    let spans = spans(&exports.lock().unwrap(), TRACE);
    let own = spans.iter().find(|(_, parent)| parent == CALLER_SPAN);
    let (own, _) = own.unwrap();
    assert_eq!(seen, Some(format!("00-{TRACE}-{own}-01")));
}
