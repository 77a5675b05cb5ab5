//! TLS on both sides of the gateway, with certificates that change while it runs.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::{
    fs, net::SocketAddr, os::unix::fs::PermissionsExt as _, path::PathBuf, sync::Arc,
    time::Duration,
};

use actix_web::test;
use archipel_gateway::GatewaySettings;
use archipel_kit::{
    client::{AddressPolicy, ClientError, ClientOptions, HttpClient, RequestBody, Timeouts},
    settings::Environment,
};
use archipel_tests::authority::{Authority, certificates, private_key};
use http::Request;
use rcgen::date_time_ymd;
use rustls::{
    ClientConfig, ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName},
    server::WebPkiClientVerifier,
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::world::{Node, TestGateway};

/// Calls over TLS, and gives the status and the version of HTTP that was agreed on.
async fn call(
    gateway: &TestGateway,
    tls: ClientConfig,
    headers: &[(&str, &str)],
) -> Result<u16, ClientError> {
    let client = HttpClient::new(ClientOptions {
        tls: Some(tls),
        ..ClientOptions::new(AddressPolicy::Any)
    });
    let mut request = Request::builder()
        .method("POST")
        .uri(format!("https://{}/v1/a2a/jsonrpc", gateway.address));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let body = RequestBody::from(r#"{"jsonrpc":"2.0"}"#);
    let answer = client
        .send(request.body(body).unwrap(), Timeouts::default())
        .await?;
    let status = answer.status.as_u16();
    answer.read_all(1 << 20).await?;
    Ok(status)
}

/// The text at a path, over TLS.
async fn get(gateway: &TestGateway, tls: ClientConfig, path: &str) -> String {
    let client = HttpClient::new(ClientOptions {
        tls: Some(tls),
        ..ClientOptions::new(AddressPolicy::Any)
    });
    let request = Request::builder().uri(format!("https://{}{path}", gateway.address));
    let request = request.body(RequestBody::empty()).unwrap();
    let answer = client.send(request, Timeouts::default()).await.unwrap();
    let bytes = answer.read_all(1 << 20).await.unwrap();
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The certificate that a gateway shows.
async fn shown(address: SocketAddr, tls: ClientConfig) -> Option<CertificateDer<'static>> {
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let stream = TlsConnector::from(Arc::new(tls))
        .connect(name, stream)
        .await;
    let stream = stream.ok()?;
    stream.get_ref().1.peer_certificates()?.first().cloned()
}

fn listener(paths: &(PathBuf, PathBuf), more: &str) -> String {
    format!(
        "reload_interval = \"20ms\"\n[tls]\ncertificate = {:?}\nkey = {:?}\n{more}\n",
        paths.0, paths.1
    )
}

fn start(node: &Node, settings: &str) -> (TempDir, TestGateway) {
    let (directory, path) = crate::balancing::file(&[node.url()], settings);
    (directory, TestGateway::start_from(Some(&path), &[]))
}

#[test]
async fn both_versions_of_http_are_served_over_tls() {
    let authority = Authority::new("mesh");
    let paths = authority.sign("gateway");
    let node = Node::start();
    let (_directory, gateway) = start(&node, &listener(&paths, "hsts = \"365d\""));
    assert_eq!(
        call(&gateway, authority.client(None), &[]).await.unwrap(),
        200
    );

    let mut old = authority.client(None);
    old.alpn_protocols = vec![b"http/1.1".to_vec()];
    let stream = TcpStream::connect(gateway.address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let mut stream = TlsConnector::from(Arc::new(old))
        .connect(name, stream)
        .await
        .unwrap();
    stream
        .write_all(b"GET /agents/echo HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    let _closed = stream.read_to_string(&mut answer).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(
        answer.contains("strict-transport-security: max-age=31536000"),
        "{answer}"
    );
    let text = get(&gateway, authority.client(None), "/v1/metrics").await;
    let expires =
        "archipel_gateway_certificate_expires_timestamp_seconds{certificate=\"listener\"}";
    assert!(text.contains(expires), "{text}");
}

#[test]
async fn a_changed_certificate_is_shown_to_the_next_connection() {
    let authority = Authority::new("mesh");
    let paths = authority.sign("gateway");
    let node = Node::start();
    let (_directory, gateway) = start(&node, &listener(&paths, ""));
    let first = shown(gateway.address, authority.client(None))
        .await
        .unwrap();
    // A half-written pair changes nothing: the old one is shown until both fit.
    fs::write(&paths.0, "not a certificate").unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(
        shown(gateway.address, authority.client(None))
            .await
            .as_ref(),
        Some(&first)
    );
    authority.sign("gateway");
    let mut second = first.clone();
    for _ in 0..200 {
        second = shown(gateway.address, authority.client(None))
            .await
            .unwrap();
        if second != first {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_ne!(first, second);
}

#[test]
async fn a_clients_certificate_is_checked_and_told_to_the_node() {
    let authority = Authority::new("mesh");
    let others = Authority::new("others");
    let (server, client) = (authority.sign("gateway"), authority.sign("alice"));
    let stranger = others.sign("mallory");
    let mut node = Node::start();
    let ca = format!("client_ca = {:?}", authority.path("ca.pem"));
    let (_directory, gateway) = start(&node, &listener(&server, &ca));
    let forged = [("x-forwarded-client-cert", "Subject=\"CN=root\"")];
    let known = authority.client(Some(&client));
    assert_eq!(call(&gateway, known.clone(), &forged).await.unwrap(), 200);
    let seen = node.seen.recv().await.unwrap();
    let told = seen.header("x-forwarded-client-cert").unwrap();
    assert!(
        told.starts_with("Hash=")
            && told.contains("CN=alice")
            && told.contains("URI=\"spiffe://mesh/alice\"")
            && !told.contains("root"),
        "{told}"
    );
    assert!(call(&gateway, authority.client(None), &[]).await.is_err());
    assert!(
        call(&gateway, authority.client(Some(&stranger)), &[])
            .await
            .is_err()
    );

    // Another authority takes over: a session of before does not let the old one in.
    let was = call(&gateway, known.clone(), &[]).await;
    assert_eq!(was.unwrap(), 200);
    fs::copy(others.path("ca.pem"), authority.path("ca.pem")).unwrap();
    let mut refused = false;
    for _ in 0..200 {
        refused = call(&gateway, known.clone(), &[]).await.is_err();
        if refused {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(refused);
    let mallory = authority.client(Some(&stranger));
    assert_eq!(call(&gateway, mallory, &[]).await.unwrap(), 200);
}

/// The URL of a node that shows this certificate and wants to see one of the authority.
async fn tls_node(authority: &Authority, server: &(PathBuf, PathBuf)) -> String {
    let verifier = WebPkiClientVerifier::builder_with_provider(
        Arc::new(authority.roots()),
        Arc::new(aws_lc_rs::default_provider()),
    );
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(certificates(&server.0), private_key(&server.1))
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let acceptor = TlsAcceptor::from(Arc::new(config));
    actix_rt::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else {
                continue;
            };
            let _read = stream.read(&mut [0; 4096]).await;
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";
            let _written = stream.write_all(answer).await;
            let _closed = stream.shutdown().await;
        }
    });
    url
}

#[test]
async fn nodes_are_believed_by_their_authority_and_see_our_certificate() {
    let authority = Authority::new("mesh");
    let others = Authority::new("others");
    let (server, client) = (authority.sign("node"), authority.sign("gateway"));
    let expired = authority.sign_with("expired", |certificate| {
        certificate.not_before = date_time_ymd(2020, 1, 1);
        certificate.not_after = date_time_ymd(2021, 1, 1);
    });
    let check = async |server: &(PathBuf, PathBuf), ca: PathBuf, status: u16| {
        let url = tls_node(&authority, server).await;
        let settings = format!(
            "[health]\ninterval = \"0s\"\n[upstream_tls]\nca = {ca:?}\ncertificate = {:?}\nkey = {:?}",
            client.0, client.1
        );
        let (_directory, path) = crate::balancing::file(std::slice::from_ref(&url), &settings);
        let gateway = TestGateway::start_from(Some(&path), &[]);
        assert_eq!(gateway.call_status(&[]).await, status);
    };
    check(&server, authority.path("ca.pem"), 200).await;
    check(&server, others.path("ca.pem"), 503).await;
    check(&expired, authority.path("ca.pem"), 503).await;
}

#[test]
async fn a_certificate_that_has_expired_is_trouble_and_no_reason_to_stop() {
    const HUNDRED_YEARS: Duration = Duration::from_secs(100 * 366 * 86_400);
    let authority = Authority::new("mesh");
    // To the clock of the gateway, not to that of the client, which would not take it.
    let paths = authority.sign_with("gateway", |certificate| {
        certificate.not_after = date_time_ymd(2099, 1, 1);
    });
    let node = Node::start();
    let (_directory, gateway) = start(&node, &listener(&paths, ""));
    let check = async |is_well: bool| {
        let health = get(&gateway, authority.client(None), "/v1/health").await;
        assert_eq!(health.contains("\"ok\":true"), is_well, "{health}");
        assert_eq!(health.contains("certificate_expired"), !is_well, "{health}");
    };
    check(true).await;
    gateway.clock.advance(HUNDRED_YEARS);
    check(false).await;
    assert_eq!(
        call(&gateway, authority.client(None), &[]).await.unwrap(),
        200
    );
}

#[test]
async fn keys_are_kept_from_others_and_may_be_encrypted() {
    let authority = Authority::new("mesh");
    let paths = authority.sign("gateway");
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("gateway.toml");
    let load = |more: &str| {
        fs::write(&file, listener(&paths, more)).unwrap();
        GatewaySettings::load(Some(&file), &Environment::default())
            .map(drop)
            .map_err(|problems| problems.to_string())
    };
    assert_eq!(load(""), Ok(()));

    fs::set_permissions(&paths.1, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(
        load("")
            .unwrap_err()
            .contains("may be read by everybody (mode 0644)")
    );
    fs::set_permissions(&paths.1, fs::Permissions::from_mode(0o640)).unwrap();
    assert_eq!(load(""), Ok(()));

    let status = std::process::Command::new("openssl")
        .args(["pkcs8", "-topk8", "-passout", "pass:open sesame", "-in"])
        .arg(&paths.1)
        .arg("-out")
        .arg(authority.path("encrypted.key"))
        .status()
        .unwrap();
    assert!(status.success());
    fs::copy(authority.path("encrypted.key"), &paths.1).unwrap();
    assert!(
        load("")
            .unwrap_err()
            .contains("is encrypted: set `key_passphrase`")
    );
    assert!(
        load("key_passphrase = \"wrong\"")
            .unwrap_err()
            .contains("is not opened by")
    );
    assert_eq!(load("key_passphrase = \"open sesame\""), Ok(()));

    let half = format!("[tls]\ncertificate = {:?}\n", paths.0);
    fs::write(&file, half).unwrap();
    let problems = GatewaySettings::load(Some(&file), &Environment::default()).unwrap_err();
    assert_eq!(
        problems.to_string(),
        "tls.key: is needed with `certificate`"
    );
}
