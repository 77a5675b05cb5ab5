//! A node that speaks TLS: what it shows, whom it lets in, and files that change while it runs.
//!
//! Read on in `peers`: certificates between nodes, and through a gateway.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use archipel_kit::client::{
    AddressPolicy, ClientError, ClientOptions, HttpClient, RequestBody, Timeouts,
};
use archipel_kit::settings::Environment;
use archipel_kit::tls::BadTls;
use archipel_node::config::NodeSettings;
use archipel_node::tls::NodeTls;
use archipel_tests::authority::{Authority, KeyFiles, certificates};
use archipel_tests::mesh::{StoppedNode, TOKEN, TestNode, say, state_of, until};
use http::{Request, Version};
use rustls::ClientConfig;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::ECHO;

mod peers;

/// A node that shows this certificate.
fn settings(shown: &KeyFiles, more: &str) -> String {
    let (certificate, key) = shown;
    format!(
        "[tls]\nreload_every = \"20ms\"\ncertificate = {certificate:?}\nkey = {key:?}\n{more}\n"
    )
}

fn start(shown: &KeyFiles, more: &str) -> TestNode {
    TestNode::start(|config| config.add(&settings(shown, more)))
}

/// A client that speaks TLS, over connections of its own.
fn client(tls: ClientConfig) -> HttpClient {
    HttpClient::new(ClientOptions {
        tls: Some(tls),
        // Each call shows anew whether it may connect.
        max_idle_per_host: 0,
        ..ClientOptions::new(AddressPolicy::Any)
    })
}

/// Says something to the echo agent as the operator.
async fn call(node: &TestNode, client: &HttpClient) -> Result<Value, ClientError> {
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": say("hello")});
    let request = Request::builder()
        .method("POST")
        .uri(format!("https://{}{ECHO}", node.address()))
        .header("authorization", format!("Bearer {TOKEN}"))
        .header("content-type", "application/json")
        .header("a2a-version", "1.0")
        .body(RequestBody::from(body.to_string()))
        .unwrap();
    let answer = client.send(request, Timeouts::default()).await?;
    let bytes = answer.read_all(1 << 20).await?;
    Ok(serde_json::from_slice(&bytes).unwrap())
}

fn assert_served(answer: Result<Value, ClientError>) {
    let answer = answer.unwrap();
    assert_eq!(state_of(&answer["result"]), "TASK_STATE_COMPLETED");
}

/// The certificate that a node shows.
async fn shown(node: &TestNode, tls: ClientConfig) -> CertificateDer<'static> {
    let stream = TcpStream::connect(node.address()).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let connector = TlsConnector::from(Arc::new(tls));
    let stream = connector.connect(name, stream).await.unwrap();
    stream.get_ref().1.peer_certificates().unwrap()[0].clone()
}

/// The value of a metric that has no labels but these.
async fn metric(node: &TestNode, authority: &Authority, name: &str) -> f64 {
    let request = Request::builder()
        .uri(format!("https://{}/metrics", node.address()))
        .header("authorization", format!("Bearer {TOKEN}"))
        .body(RequestBody::empty())
        .unwrap();
    let client = client(authority.client(None));
    let answer = client.send(request, Timeouts::default()).await.unwrap();
    let text = answer.read_all(1 << 20).await.unwrap();
    let text = std::str::from_utf8(&text).unwrap();
    let line = text.lines().find(|line| line.starts_with(name));
    let line = line.unwrap_or_else(|| panic!("no {name} in {text}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_call_comes_over_tls_and_a_new_certificate_is_taken_while_the_node_runs() {
    let authority = Authority::new("mesh");
    let files = authority.sign("node");
    let node = start(&files, "");
    assert_served(call(&node, &client(authority.client(None))).await);
    let request = Request::builder().uri(format!("https://{}/livez", node.address()));
    let request = request.body(RequestBody::empty()).unwrap();
    let mut tls = authority.client(None);
    tls.alpn_protocols = vec![b"h2".to_vec()];
    let stream = TcpStream::connect(node.address()).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let connector = TlsConnector::from(Arc::new(tls));
    let stream = connector.connect(name, stream).await.unwrap();
    let io = hyper_util::rt::TokioIo::new(stream);
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut sender, connection) = hyper::client::conn::http2::handshake(executor, io)
        .await
        .unwrap();
    tokio::spawn(connection);
    let answer = sender.send_request(request).await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), answer.version()),
        (200, Version::HTTP_2)
    );

    let first = shown(&node, authority.client(None)).await;
    assert_eq!(first, certificates(&files.0)[0]);
    authority.sign("node");
    let next = certificates(&files.0)[0].clone();
    until("the new certificate is shown", async || {
        (shown(&node, authority.client(None)).await == next).then_some(())
    })
    .await;
    let expires = metric(
        &node,
        &authority,
        "archipel_certificate_expires_timestamp_seconds{certificate=\"listener\"",
    )
    .await;
    assert!(expires > 2e9, "{expires}");
}

#[tokio::test]
async fn only_clients_of_the_authority_get_in_and_no_session_outlives_their_authority() {
    let (authority, others) = (Authority::new("mesh"), Authority::new("others"));
    let server = authority.sign("node");
    let (alice, mallory) = (authority.sign("alice"), others.sign("mallory"));
    let expired = authority.sign_with("late", |params| {
        params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    });
    let node = start(
        &server,
        &format!("client_ca = {:?}", authority.path("ca.pem")),
    );
    let known = client(authority.client(Some(&alice)));
    assert_served(call(&node, &known).await);
    for shown in [None, Some(&mallory), Some(&expired)] {
        let refused = call(&node, &client(authority.client(shown))).await;
        assert!(refused.is_err(), "{shown:?}: {refused:?}");
    }
    // The same client has a session that it could resume.
    assert_served(call(&node, &known).await);
    fs::copy(others.path("ca.pem"), authority.path("ca.pem")).unwrap();
    until("the old authority is no longer believed", async || {
        call(&node, &known).await.err()
    })
    .await;
    assert_served(call(&node, &client(authority.client(Some(&mallory)))).await);
}

#[tokio::test]
async fn a_certificate_that_need_not_be_shown_must_be_good_when_it_is() {
    let (authority, others) = (Authority::new("mesh"), Authority::new("others"));
    let server = authority.sign("node");
    let ca = authority.path("ca.pem");
    let more = format!("client_ca = {ca:?}\nclient_certificates = \"optional\"");
    let node = start(&server, &more);
    assert_served(call(&node, &client(authority.client(None))).await);
    let mallory = client(authority.client(Some(&others.sign("mallory"))));
    assert!(call(&node, &mallory).await.is_err());
    // And somebody who speaks no TLS at all.
    let stranger = node.stranger();
    assert!(
        stranger
            .try_post_rpc(ECHO, "SendMessage", say("hello"))
            .await
            .is_none()
    );
    let failed = metric(&node, &authority, "archipel_handshakes_failed_total").await;
    assert!(failed >= 2.0, "{failed}");
}

#[test]
fn files_that_cannot_be_used_change_nothing_and_keys_are_kept_from_others() {
    let authority = Authority::new("mesh");
    let files = authority.sign("node");
    let mut home = StoppedNode::fresh(|config| config.add(&settings(&files, "")));
    let path = home.config().write();
    let load =
        || archipel_kit::settings::load::<NodeSettings>(Some(&path), &Environment::default());
    let tls = NodeTls::load(&load().unwrap().tls).unwrap().unwrap();
    let before = tls.current();
    assert!(!tls.look().unwrap());
    fs::write(&files.0, "not a certificate").unwrap();
    assert!(matches!(tls.look(), Err(BadTls::NoCertificate(_))));
    assert!(*tls.current() == *before);
    authority.sign("node");
    assert!(tls.look().unwrap());
    assert!(*tls.current() != *before);

    fs::set_permissions(&files.1, fs::Permissions::from_mode(0o644)).unwrap();
    let problems = load().unwrap_err().to_string();
    assert!(
        problems.contains("may be read by everybody (mode 0644)"),
        "{problems}"
    );
    home.config().add("tls.client_ca = \"/nowhere\"");
    home.config().write();
    authority.sign("node");
    let problems = load().unwrap_err().to_string();
    assert_eq!(
        problems,
        "tls.certificate: /nowhere cannot be read: No such file or directory (os error 2)"
    );
}
