//! Spans: a client's trace goes on in the gateway, and the node is told to go on from there.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use actix_web::test;
use archipel_kit::client::{AddressPolicy, ClientOptions, HttpClient, Timeouts};
use archipel_tests::collector::{collector, spans};
use http::Request;

use crate::{process::GatewayProcess, world::Node};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CLIENT_SPAN: &str = "00f067aa0ba902b7";

#[test]
async fn a_clients_trace_goes_on_in_the_gateway_and_from_there_to_the_node() {
    let (exports, url) = collector();
    let mut node = Node::start();
    let gateway = GatewayProcess::start(
        node.address,
        &[("OTEL_EXPORTER_OTLP_ENDPOINT", url.as_str())],
    );
    let request = Request::post(format!("http://{}/agents/echo", gateway.address))
        .header("traceparent", format!("00-{TRACE}-{CLIENT_SPAN}-01"))
        .header("tracestate", "vendor=x");
    let client = HttpClient::new(ClientOptions::new(AddressPolicy::Any));
    let request = request.body("{}".into()).unwrap();
    let answer = client.send(request, Timeouts::default()).await.unwrap();
    assert_eq!(answer.status, 200);
    answer.read_all(1 << 20).await.unwrap();
    let seen = node.seen.recv().await.unwrap();
    // What is left is sent before it ends.
    gateway.end().await;
    let spans = spans(&exports.lock().unwrap(), TRACE);
    let own = spans.iter().find(|(_, parent)| parent == CLIENT_SPAN);
    let (own, _) = own.unwrap();
    assert_eq!(
        seen.header("traceparent"),
        Some(format!("00-{TRACE}-{own}-01"))
    );
    assert_eq!(seen.header("tracestate").as_deref(), Some("vendor=x"));
}
