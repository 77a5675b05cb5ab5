//! Where requests go, and where not.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use archipel_kit::client::{ClientError, Lookup, RequestBody, Timeouts};
use archipel_kit::settings::{Environment, load};
use http::Request;

use super::{Destination, Egress, EgressSettings, TlsFiles};

fn settings(allowlist: &str) -> EgressSettings {
    load(
        None,
        &Environment::from_iter([("HIVE_EGRESS_FETCH_HOST_ALLOWLIST", allowlist)]),
    )
    .unwrap()
}

fn request(uri: &str) -> Request<RequestBody> {
    let mut request = Request::new(RequestBody::empty());
    *request.uri_mut() = uri.parse().unwrap();
    request
}

async fn send(egress: &Egress, destination: Destination, uri: &str) -> Result<u16, ClientError> {
    let sent = egress.send(destination, request(uri), Timeouts::default());
    sent.await.map(|answer| answer.status.as_u16())
}

/// A server that knows no path, on a port of 127.0.0.1.
fn serve() -> (u16, actix_web::dev::ServerHandle) {
    let server = actix_web::HttpServer::new(actix_web::App::new)
        .workers(1)
        .bind(("127.0.0.1", 0))
        .unwrap();
    let port = server.addrs().first().unwrap().port();
    let server = server.run();
    let stop = server.handle();
    actix_rt::spawn(server);
    (port, stop)
}

#[actix_rt::test]
async fn a_private_server_is_reached_only_when_it_is_trusted_or_listed() {
    let (port, stop) = serve();
    let uri = format!("http://127.0.0.1:{port}/");

    let egress = Egress::new(&settings(""));
    assert_eq!(
        send(&egress, Destination::Trusted, &uri).await.unwrap(),
        404
    );
    assert!(matches!(
        send(&egress, Destination::Outside, &uri).await,
        Err(ClientError::Refused(_))
    ));

    let listing = Egress::new(&settings("127.0.0.1"));
    assert_eq!(
        send(&listing, Destination::Outside, &uri).await.unwrap(),
        404
    );
    let with_password = format!("http://user:password@127.0.0.1:{port}/");
    assert!(matches!(
        send(&listing, Destination::Outside, &with_password).await,
        Err(ClientError::Refused(_))
    ));
    stop.stop(false).await;
}

#[actix_rt::test]
async fn a_name_that_means_something_else_when_it_is_called_is_judged_again() {
    let (port, stop) = serve();
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    // First a public address, from then on one of this machine.
    let lookup = Lookup::new(move |_, port| {
        let address = match counted.fetch_add(1, Ordering::SeqCst) {
            0 => [93, 184, 216, 34],
            _ => [127, 0, 0, 1],
        };
        Box::pin(async move { Ok(vec![SocketAddr::from((address, port))]) })
    });
    let egress = Egress::with_lookup(&settings(""), lookup);
    let url = format!("http://rebinding.example:{port}/");
    let judged = egress.judge(&url).await.unwrap();
    assert!(matches!(
        send(&egress, Destination::Outside, &judged.to_string()).await,
        Err(ClientError::Refused(host)) if host == "rebinding.example"
    ));
    // Once for each: what is connected to is what was judged.
    assert_eq!(asked.load(Ordering::SeqCst), 2);
    stop.stop(false).await;
}

#[actix_rt::test]
async fn files_that_cannot_be_read_are_a_failure_to_connect() {
    let tls = TlsFiles {
        ca: Some("/nowhere/ca.pem".into()),
        identity: None,
    };
    let egress = Egress::new(&settings(""));
    let way = (Destination::Trusted, Some(tls));
    let sent = egress
        .send_with(way, request("https://127.0.0.1:1/"), Timeouts::default())
        .await;
    assert!(
        matches!(&sent, Err(ClientError::Connect(cause)) if cause.contains("/nowhere/ca.pem cannot be read")),
        "{sent:?}"
    );
    assert_eq!(egress.expires(), None);
}
