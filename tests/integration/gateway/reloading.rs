//! Another configuration while the gateway runs.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use actix_web::test;
use archipel_kit::client::{AddressPolicy, ClientOptions, HttpClient, RequestBody, Timeouts};
use archipel_tests::mesh::until;
use futures_util::StreamExt as _;
use http::Request;

use crate::{
    balancing::{file, write},
    process::GatewayProcess,
    world::{Node, TestGateway, assert_rpc_error},
};

const QUICK: &str = "reload_interval = \"20ms\"";

#[test]
async fn a_changed_file_is_taken_and_no_connection_breaks() {
    let mut nodes = [Node::start(), Node::start()];
    let urls: Vec<String> = nodes.iter().map(Node::url).collect();
    let (_directory, path) = file(&urls[..1], QUICK);
    let gateway = TestGateway::start_from(Some(&path), &[]);
    let mut stream = gateway
        .send("POST", "/agents/stream", &[], RequestBody::empty())
        .await
        .unwrap();
    nodes[0].pieces.send("data: 1\n\n").await.unwrap();
    stream.body.next().await.unwrap().unwrap();

    write(&path, &urls[1..], QUICK);
    gateway
        .wait_for(r#"reloads_total{outcome="taken"} 1"#)
        .await;
    assert_eq!(gateway.call_status(&[]).await, 200);
    assert_eq!((nodes[0].count(), nodes[1].count()), (0, 1));
    nodes[0].pieces.send("data: 2\n\n").await.unwrap();
    assert_eq!(stream.body.next().await.unwrap().unwrap(), "data: 2\n\n");
}

#[test]
async fn a_file_with_problems_changes_nothing() {
    let node = Node::start();
    let (_directory, path) = file(&[node.url()], QUICK);
    let gateway = TestGateway::start_from(Some(&path), &[]);
    for broken in ["max_body = \"1B\"", "no toml ] at all"] {
        write(&path, &[node.url()], &format!("{QUICK}\n{broken}"));
        gateway
            .wait_for(r#"reloads_total{outcome="refused"}"#)
            .await;
        assert_eq!(gateway.call_status(&[]).await, 200);
    }
    write(&path, &[node.url()], &format!("{QUICK}\nclosed = true"));
    gateway
        .wait_for(r#"reloads_total{outcome="taken"} 1"#)
        .await;
}

#[test]
async fn everything_or_one_place_can_be_closed_and_opened() {
    let node = Node::start();
    let (_directory, path) = file(&[node.url()], &format!("{QUICK}\nclosed = true"));
    let gateway = TestGateway::start_from(Some(&path), &[]);
    let answer = gateway.call(&[]).await;
    assert_eq!(answer.headers.get("retry-after").unwrap(), "30");
    assert_rpc_error(answer, 503, -32000, "CLOSED").await;
    assert_eq!(gateway.get("/v1/health").await.status.as_u16(), 200);
    assert_eq!(gateway.get("/livez").await.status.as_u16(), 200);

    let one = format!("{QUICK}\n[[routes]]\npath = \"/agents/old\"\nclosed = true");
    write(&path, &[node.url()], &one);
    gateway
        .wait_for(r#"reloads_total{outcome="taken"} 1"#)
        .await;
    for (path, status) in [
        ("/agents/old", 503),
        ("/agents/old/v1/card", 503),
        ("/agents/older", 200),
    ] {
        assert_eq!(gateway.get(path).await.status.as_u16(), status, "{path}");
    }
    write(&path, &[node.url()], QUICK);
    gateway
        .wait_for(r#"reloads_total{outcome="taken"} 2"#)
        .await;
    assert_eq!(gateway.get("/agents/old").await.status.as_u16(), 200);
}

#[test]
async fn a_hangup_takes_what_the_file_says_at_once() {
    let node = Node::start();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("gateway.toml");
    // Nobody looks at it but for the signal.
    let settings = "reload_interval = \"0s\"\nclosed = ";
    std::fs::write(&path, format!("{settings}true")).unwrap();
    let gateway = GatewayProcess::start_from(Some(&path), node.address, &[]);
    let client = HttpClient::new(ClientOptions::new(AddressPolicy::Any));
    let status = async || {
        let uri = format!("http://{}/agents/echo", gateway.address);
        let request = Request::get(uri).body(RequestBody::empty()).unwrap();
        let answer = client.send(request, Timeouts::default()).await.unwrap();
        answer.status.as_u16()
    };
    assert_eq!(status().await, 503);
    std::fs::write(&path, format!("{settings}false")).unwrap();
    assert_eq!(status().await, 503);
    gateway.hang_up();
    until("an open gateway", async || {
        (status().await == 200).then_some(())
    })
    .await;
}

#[test]
async fn what_the_limiter_counted_still_counts() {
    let node = Node::start();
    let limited = format!("{QUICK}\nrate_limit_per_minute = 2");
    let (_directory, path) = file(&[node.url()], &limited);
    let gateway = TestGateway::start_from(Some(&path), &[]);
    assert_eq!(gateway.call_status(&[]).await, 200);
    assert_eq!(gateway.call_status(&[]).await, 200);
    write(&path, &[node.url()], &format!("{limited}\nretries = 0"));
    gateway
        .wait_for(r#"reloads_total{outcome="taken"} 1"#)
        .await;
    assert_eq!(gateway.call_status(&[]).await, 429);
}
