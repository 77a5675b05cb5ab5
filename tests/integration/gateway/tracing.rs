//! Spans: a client's trace goes on in the gateway, and the node is told to go on from there.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use std::sync::{Arc, Mutex};

use actix_web::{App, HttpResponse, HttpServer, test, web};
use archipel_kit::client::{AddressPolicy, ClientOptions, HttpClient, Timeouts};
use http::Request;

use crate::{process::GatewayProcess, world::Node};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CLIENT_SPAN: &str = "00f067aa0ba902b7";

/// What collectors were sent, as it came.
type Exports = Arc<Mutex<Vec<u8>>>;

/// A collector that takes OTLP over HTTP, and its URL.
fn collector() -> (Exports, String) {
    let exports = Exports::default();
    let kept = web::Data::new(Arc::clone(&exports));
    let server = HttpServer::new(move || {
        let take = |body: web::Bytes, kept: web::Data<Exports>| async move {
            kept.lock().unwrap().extend_from_slice(&body);
            HttpResponse::Ok().finish()
        };
        App::new()
            .app_data(kept.clone())
            .route("/v1/traces", web::post().to(take))
            .default_service(web::to(HttpResponse::Ok))
    });
    let server = server
        .workers(1)
        .disable_signals()
        .bind("127.0.0.1:0")
        .unwrap();
    let url = format!("http://{}", server.addrs()[0]);
    actix_rt::spawn(server.run());
    (exports, url)
}

/// The spans of the trace, each with the one it belongs to: in a protobuf `Span`, fields 1, 2 and 4 are the ids of the
/// trace, the span and its parent, 3 is the state.
fn spans(exports: &[u8]) -> Vec<(String, String)> {
    let start = [&[0x0a, 0x10][..], &hex::decode(TRACE).unwrap()].concat();
    let at = |index: usize| exports.get(index..index + 8).map(hex::encode);
    let mut found = Vec::new();
    for (index, _) in exports
        .windows(start.len())
        .enumerate()
        .filter(|(_, window)| *window == start)
    {
        let mut next = index + start.len();
        assert_eq!(&exports[next..next + 2], [0x12, 0x08]);
        let span = at(next + 2).unwrap();
        next += 10;
        if exports[next] == 0x1a {
            next += 2 + usize::from(exports[next + 1]);
        }
        if exports[next..].starts_with(&[0x22, 0x08]) {
            found.push((span, at(next + 2).unwrap()));
        }
    }
    found
}

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
    let spans = spans(&exports.lock().unwrap());
    let own = spans.iter().find(|(_, parent)| parent == CLIENT_SPAN);
    let (own, _) = own.unwrap();
    assert_eq!(
        seen.header("traceparent"),
        Some(format!("00-{TRACE}-{own}-01"))
    );
    assert_eq!(seen.header("tracestate").as_deref(), Some("vendor=x"));
}
