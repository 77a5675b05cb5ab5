//! The example of a web server in front of the gateway, run as it is but for its addresses and files.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
};

use actix_web::test;
use archipel_kit::client::{
    AddressPolicy, Answer, ClientOptions, HttpClient, RequestBody, Timeouts,
};
use archipel_tests::{
    authority::Authority,
    mesh::{free_port, until},
};
use futures_util::StreamExt as _;
use http::Request;
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::world::{Node, TestGateway};

/// A running nginx; ended with its workers when it is dropped.
struct Nginx {
    child: Child,
    _directory: TempDir,
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let id = self.child.id().to_string();
        let _ = Command::new("kill").args(["-TERM", &id]).status();
        let _ = self.child.wait();
    }
}

/// Starts nginx with the example, and gives where it listens.
async fn nginx(gateway: SocketAddr, paths: &(impl AsRef<Path>, impl AsRef<Path>)) -> (Nginx, u16) {
    let port = free_port();
    let example = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../gateway/examples/nginx.conf"
    );
    let mut text = fs::read_to_string(example).unwrap();
    let kept = "http {\nclient_body_temp_path b; proxy_temp_path p; fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s;";
    let (certificate, key) = (paths.0.as_ref(), paths.1.as_ref());
    for (from, to) in [
        ("127.0.0.1:7480", gateway.to_string().as_str()),
        ("listen 443", &format!("listen 127.0.0.1:{port}")),
        ("/etc/archipel/mesh.pem", certificate.to_str().unwrap()),
        ("/etc/archipel/mesh.key", key.to_str().unwrap()),
        ("http {", kept),
    ] {
        assert!(text.contains(from), "{from} is not in the example");
        text = text.replacen(from, to, 1);
    }
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("nginx.conf");
    let head = "daemon off; pid nginx.pid; error_log stderr; worker_processes 1;\n";
    fs::write(&file, format!("{head}{text}")).unwrap();
    // Debian keeps servers in a folder that is not in everybody's path.
    let path = format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default());
    let child = Command::new("nginx")
        .env("PATH", path)
        .arg("-p")
        .arg(directory.path())
        .args(["-e", "stderr", "-c"])
        .arg(&file)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let nginx = Nginx {
        child,
        _directory: directory,
    };
    until("an nginx that listens", async || {
        TcpStream::connect(("127.0.0.1", port)).await.ok()
    })
    .await;
    (nginx, port)
}

#[test]
async fn nginx_in_front_leaves_streams_and_what_browsers_are_told_as_they_are() {
    let authority = Authority::new("mesh");
    let paths = authority.sign("front");
    let mut node = Node::start();
    let gateway = TestGateway::start(
        node.address,
        &[
            ("GATEWAY_TRUSTED_PROXIES", "127.0.0.1/32"),
            ("GATEWAY_CORS_ORIGINS", "https://app.example.org"),
            ("GATEWAY_CORS_PRIVATE_NETWORK", "true"),
        ],
    );
    let (_nginx, port) = nginx(gateway.address, &paths).await;
    let client = HttpClient::new(ClientOptions {
        tls: Some(authority.client(None)),
        ..ClientOptions::new(AddressPolicy::Any)
    });
    let send = async |method: &str, path: &str, headers: &[(&str, &str)]| -> Answer {
        let uri = format!("https://127.0.0.1:{port}{path}");
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = RequestBody::from(if method == "POST" { "{}" } else { "" });
        let request = request.body(body).unwrap();
        client.send(request, Timeouts::default()).await.unwrap()
    };
    let header = |answer: &Answer, name: &str| {
        let value = answer.headers.get(name);
        value.map(|value| value.to_str().unwrap().to_owned())
    };

    let preflight = [
        ("origin", "https://app.example.org"),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "content-type"),
        ("access-control-request-private-network", "true"),
    ];
    let allowed = send("OPTIONS", "/agents/echo", &preflight).await;
    assert_eq!(
        (
            header(&allowed, "access-control-allow-origin").as_deref(),
            header(&allowed, "access-control-allow-private-network").as_deref()
        ),
        (Some("https://app.example.org"), Some("true")),
        "{:?}",
        allowed.headers
    );

    let claims = [
        ("origin", "https://app.example.org"),
        ("x-forwarded-for", "203.0.113.9"),
    ];
    let answer = send("POST", "/agents/echo", &claims).await;
    assert_eq!(
        header(&answer, "access-control-allow-origin").as_deref(),
        Some("https://app.example.org")
    );
    let seen = node.seen.recv().await.unwrap();
    assert_eq!(seen.header("x-forwarded-for").as_deref(), Some("127.0.0.1"));

    // Each event is here before the next is written; nginx sends no head before the first.
    node.pieces.send("data: 0\n\n").await.unwrap();
    let mut stream = send("POST", "/agents/stream", &[]).await;
    assert_eq!(
        header(&stream, "content-type").as_deref(),
        Some("text/event-stream")
    );
    assert_eq!(stream.body.next().await.unwrap().unwrap(), "data: 0\n\n");
    for event in ["data: 1\n\n", "data: 2\n\n"] {
        node.pieces.send(event).await.unwrap();
        assert_eq!(stream.body.next().await.unwrap().unwrap(), event);
    }
    drop(stream);
    node.pieces.closed().await;
}
