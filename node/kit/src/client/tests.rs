//! Against a small server on a real socket: each way in which an exchange can fail, and streaming.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use actix_web::{App, HttpResponse, HttpServer, web};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::Request;
use parking_lot::Mutex;
use tokio::{net::TcpListener, sync::mpsc};

use super::*;

fn client(addresses: AddressPolicy) -> HttpClient {
    HttpClient::new(ClientOptions {
        connect: Duration::from_millis(300),
        ..ClientOptions::new(addresses)
    })
}

fn get(address: SocketAddr, path: &str) -> Request<RequestBody> {
    Request::get(format!("http://{address}{path}"))
        .body(RequestBody::empty())
        .unwrap()
}

/// A server whose `/pieces` answers with what the test sends into the channel, piece by piece.
fn serve() -> (SocketAddr, mpsc::Sender<&'static str>) {
    let (pieces, receiver) = mpsc::channel::<&'static str>(8);
    let receiver = Arc::new(tokio::sync::Mutex::new(Some(receiver)));
    let server = HttpServer::new(move || {
        let receiver = Arc::clone(&receiver);
        let pieces = move || {
            let receiver = Arc::clone(&receiver);
            async move {
                let receiver = receiver.lock().await.take().unwrap();
                let body = stream::unfold(receiver, |mut receiver| async {
                    let piece = receiver.recv().await?;
                    Some((
                        Ok::<_, actix_web::Error>(Bytes::from_static(piece.as_bytes())),
                        receiver,
                    ))
                });
                HttpResponse::Ok().streaming(body)
            }
        };
        App::new()
            .route(
                "/hello",
                web::get().to(|| async { HttpResponse::Ok().body("hello") }),
            )
            .route(
                "/echo",
                web::post().to(|body: Bytes| async { HttpResponse::Accepted().body(body) }),
            )
            .route(
                "/never",
                web::get().to(std::future::pending::<HttpResponse>),
            )
            .route(
                "/away",
                web::get().to(|| async {
                    HttpResponse::Found()
                        .insert_header(("location", "/hello"))
                        .finish()
                }),
            )
            .route("/pieces", web::get().to(pieces))
    })
    .workers(1)
    .h1_allow_half_closed(false)
    .disable_signals()
    .bind("127.0.0.1:0")
    .unwrap();
    let address = *server.addrs().first().unwrap();
    actix_rt::spawn(server.run());
    (address, pieces)
}

#[actix_web::test]
async fn an_answer_has_status_headers_and_body() {
    let (address, _pieces) = serve();
    let client = client(AddressPolicy::Any);
    let answer = client
        .send(get(address, "/hello"), Timeouts::default())
        .await
        .unwrap();
    assert_eq!(
        (answer.status.as_u16(), answer.body.exact_length()),
        (200, Some(5))
    );
    assert_eq!(answer.read_all(5).await.unwrap(), "hello");

    let answer = client
        .send(get(address, "/hello"), Timeouts::default())
        .await
        .unwrap();
    assert!(matches!(
        answer.read_all(4).await,
        Err(ClientError::TooLarge(4))
    ));

    let redirect = client
        .send(get(address, "/away"), Timeouts::default())
        .await
        .unwrap();
    assert_eq!(redirect.status.as_u16(), 302);
}

#[actix_web::test]
async fn bodies_are_sent_whole_or_as_they_come() {
    let (address, _pieces) = serve();
    let check = async |body: RequestBody, expected: &'static str| {
        let request = Request::post(format!("http://{address}/echo"))
            .body(body)
            .unwrap();
        let answer = client(AddressPolicy::Any)
            .send(request, Timeouts::default())
            .await
            .unwrap();
        assert_eq!(answer.read_all(100).await.unwrap(), expected);
    };
    let pieces =
        || stream::iter(["ab", "", "cd"].map(|piece| Ok(Bytes::from_static(piece.as_bytes()))));
    check(RequestBody::empty(), "").await;
    check("whole".into(), "whole").await;
    check(RequestBody::stream(pieces(), None), "abcd").await;
    check(RequestBody::stream(pieces(), Some(4)), "abcd").await;
}

#[actix_web::test]
async fn pieces_arrive_as_they_are_sent() {
    let (address, pieces) = serve();
    let mut answer = client(AddressPolicy::Any)
        .send(get(address, "/pieces"), Timeouts::default())
        .await
        .unwrap();
    for piece in ["one", "two", "three"] {
        pieces.send(piece).await.unwrap();
        assert_eq!(answer.body.next().await.unwrap().unwrap(), piece);
    }
    drop(answer);
    // The server drops its end of the stream once the exchange is closed.
    pieces.closed().await;
}

#[actix_web::test]
async fn counted_bodies_have_a_limit_too() {
    let (address, pieces) = serve();
    let answer = client(AddressPolicy::Any)
        .send(get(address, "/pieces"), Timeouts::default())
        .await
        .unwrap();
    pieces.send("abc").await.unwrap();
    pieces.send("def").await.unwrap();
    assert!(matches!(
        answer.read_all(5).await,
        Err(ClientError::TooLarge(5))
    ));
}

#[actix_web::test]
async fn each_time_limit_has_its_name() {
    let (address, pieces) = serve();
    let client = client(AddressPolicy::Any);
    let short = Some(Duration::from_millis(50));
    let long = Some(Duration::from_secs(60));
    let first = Timeouts {
        first_byte: short,
        total: long,
        ..Timeouts::default()
    };
    assert!(matches!(
        client.send(get(address, "/never"), first).await,
        Err(ClientError::FirstByteTimeout)
    ));
    let total = Timeouts {
        first_byte: long,
        total: short,
        ..Timeouts::default()
    };
    assert!(matches!(
        client.send(get(address, "/never"), total).await,
        Err(ClientError::TotalTimeout)
    ));

    let idle = Timeouts {
        idle: short,
        total: long,
        ..Timeouts::default()
    };
    let mut answer = client.send(get(address, "/pieces"), idle).await.unwrap();
    pieces.send("one").await.unwrap();
    assert_eq!(answer.body.next().await.unwrap().unwrap(), "one");
    assert!(matches!(
        answer.body.next().await,
        Some(Err(ClientError::IdleTimeout))
    ));
}

#[actix_web::test]
async fn the_total_limit_holds_for_the_body() {
    let (address, _pieces) = serve();
    let limits = Timeouts {
        idle: Some(Duration::from_secs(60)),
        total: Some(Duration::from_millis(50)),
        first_byte: None,
    };
    let mut answer = client(AddressPolicy::Any)
        .send(get(address, "/pieces"), limits)
        .await
        .unwrap();
    assert!(matches!(
        answer.body.next().await,
        Some(Err(ClientError::TotalTimeout))
    ));
}

#[actix_web::test]
async fn forbidden_addresses_are_never_connected_to() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let client = client(AddressPolicy::PublicOnly);
    for host in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "[::1]"] {
        let request = Request::get(format!("http://{host}:{port}/"))
            .body(RequestBody::empty())
            .unwrap();
        let refused = client.send(request, Timeouts::default()).await;
        let bare = host.trim_matches(['[', ']']);
        assert!(
            matches!(&refused, Err(ClientError::Refused(name)) if name == bare),
            "{host}: {refused:?}"
        );
    }
    let nobody_came = futures_util::FutureExt::now_or_never(listener.accept());
    assert!(nobody_came.is_none());
}

#[actix_web::test]
async fn a_connection_goes_where_the_lookup_led_that_was_judged() {
    let (address, _pieces) = serve();
    let answers = Arc::new(Mutex::new(vec![[127, 0, 0, 2], [127, 0, 0, 1]]));
    let told = Arc::clone(&answers);
    let only_the_first = AddressPolicy::Rule(Arc::new(|_, address| {
        address == IpAddr::from([127, 0, 0, 1])
    }));
    let client = HttpClient::new(ClientOptions {
        lookup: Lookup::new(move |_, port| {
            let next = told.lock().pop().unwrap();
            Box::pin(async move { Ok(vec![SocketAddr::from((next, port))]) })
        }),
        max_idle_per_host: 0,
        ..ClientOptions::new(only_the_first)
    });
    let ask = async || {
        let request = Request::get(format!("http://moving.example:{}/hello", address.port()));
        let request = request.body(RequestBody::empty()).unwrap();
        client.send(request, Timeouts::default()).await
    };
    assert_eq!(ask().await.unwrap().status, 200);
    assert_eq!(answers.lock().len(), 1);
    assert!(matches!(ask().await, Err(ClientError::Refused(_))));
}

#[actix_web::test]
async fn one_forbidden_address_among_others_forbids_the_host() {
    let (address, _pieces) = serve();
    let client = HttpClient::new(ClientOptions {
        lookup: Lookup::new(|_, port| {
            let found = [[127, 0, 0, 1], [10, 0, 0, 1]].map(|one| SocketAddr::from((one, port)));
            Box::pin(async move { Ok(found.to_vec()) })
        }),
        ..ClientOptions::new(AddressPolicy::Rule(Arc::new(|_, address| {
            address.is_loopback()
        })))
    });
    let request = Request::get(format!("http://mixed.example:{}/hello", address.port()));
    let request = request.body(RequestBody::empty()).unwrap();
    let refused = client.send(request, Timeouts::default()).await;
    assert!(matches!(refused, Err(ClientError::Refused(host)) if host == "mixed.example"));
}

#[actix_web::test]
async fn nobody_listening_is_a_failure_to_connect() {
    let free = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let failed = client(AddressPolicy::Any)
        .send(get(free, "/"), Timeouts::default())
        .await;
    assert!(
        matches!(&failed, Err(ClientError::Connect(cause)) if cause.contains("refused")),
        "{failed:?}"
    );
    assert!(!failed.unwrap_err().is_timeout());
}

#[actix_web::test]
async fn tls_that_is_none_is_a_failure_to_connect() {
    let (address, _pieces) = serve();
    let request = Request::get(format!("https://{address}/hello"))
        .body(RequestBody::empty())
        .unwrap();
    let failed = client(AddressPolicy::Any)
        .send(request, Timeouts::default())
        .await;
    assert!(matches!(failed, Err(ClientError::Connect(_))), "{failed:?}");
}

#[actix_web::test]
async fn an_answer_that_is_no_http_is_reported() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    actix_rt::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut stream, b"nonsense\r\n\r\n")
            .await
            .unwrap();
    });
    let failed = client(AddressPolicy::Any)
        .send(get(address, "/"), Timeouts::default())
        .await;
    assert!(matches!(failed, Err(ClientError::Other(_))), "{failed:?}");
}
