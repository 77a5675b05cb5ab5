//! Against a scripted server on a real socket: when a connection is used again, and when it must not be.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::{cell::Cell, rc::Rc};

use futures_util::future::join;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

use super::*;
use crate::client::{AddressPolicy, address::AddressRule};

const HELLO: &str = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";

/// Answers by path, and counts.
struct Server {
    authority: Authority,
    accepted: Rc<Cell<usize>>,
    asked: Rc<Cell<usize>>,
    /// One for each connection that the client closed.
    closed: mpsc::UnboundedReceiver<()>,
}

impl Server {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (on_close, closed) = mpsc::unbounded_channel();
        let (accepted, asked) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        let server = Self {
            authority: address.to_string().parse().unwrap(),
            accepted: Rc::clone(&accepted),
            asked: Rc::clone(&asked),
            closed,
        };
        actix_rt::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                accepted.set(accepted.get() + 1);
                let (asked, on_close) = (Rc::clone(&asked), on_close.clone());
                actix_rt::spawn(async move {
                    if converse(stream, address.to_string(), &asked).await {
                        on_close.send(()).unwrap();
                    }
                });
            }
        });
        server
    }

    fn counts(&self) -> (usize, usize) {
        (self.accepted.get(), self.asked.get())
    }
}

/// Whether the client closed the connection, as against the server.
async fn converse(mut stream: TcpStream, host: String, asked: &Cell<usize>) -> bool {
    loop {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            if !matches!(stream.read_buf(&mut request).await, Ok(1..)) {
                return true;
            }
        }
        asked.set(asked.get() + 1);
        let request = String::from_utf8(request).unwrap();
        assert!(request.contains(&format!("host: {host}\r\n")), "{request}");
        let answer = match request.split(' ').nth(1).unwrap() {
            "/whole" | "/last" => HELLO,
            "/chunked" => {
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
            }
            "/interim" => {
                "HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"
            }
            "/more" => "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello, and more",
            "/old" => "HTTP/1.0 200 OK\r\n\r\nhello",
            "/torn" => "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhello",
            "/twofold" => "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello",
            "/none" => "HTTP/1.1 204 No Content\r\n\r\n",
            "/goodbye" => "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
            "/endless" => "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
            "/silent" => "",
            "/hang-up" => return false,
            other => unreachable!("{other}"),
        };
        stream.write_all(answer.as_bytes()).await.unwrap();
        if ["/last", "/old", "/torn"]
            .iter()
            .any(|path| request.contains(path))
        {
            return false;
        }
    }
}

fn options() -> ClientOptions {
    ClientOptions::new(AddressPolicy::Any)
}

fn get(path: &'static str) -> Request<RequestBody> {
    Request::get(path).body(RequestBody::empty()).unwrap()
}

async fn read(client: &PlainClient, path: &'static str) -> Result<bytes::Bytes, ClientError> {
    let answer = client.send(get(path), Timeouts::default()).await?;
    answer.body.read_all(100).await
}

#[actix_web::test]
async fn a_connection_is_used_again_when_its_answer_has_ended() {
    let server = Server::start().await;
    let client = PlainClient::new(options(), &server.authority).unwrap();
    for path in ["/whole", "/chunked", "/none", "/chunked", "/whole"] {
        let expected = if path == "/none" { "" } else { "hello" };
        assert_eq!(read(&client, path).await.unwrap(), expected, "{path}");
    }
    assert_eq!(server.counts(), (1, 5));
    assert_eq!(read(&client, "/goodbye").await.unwrap(), "");
    assert_eq!(read(&client, "/whole").await.unwrap(), "hello");
    assert_eq!(server.counts(), (2, 7));
}

#[actix_web::test]
async fn a_connection_is_not_used_again_when_it_is_not_clear_what_comes_next() {
    let mut server = Server::start().await;
    let client = PlainClient::new(options(), &server.authority).unwrap();
    assert_eq!(read(&client, "/interim").await.unwrap(), "hello");
    assert_eq!(read(&client, "/more").await.unwrap(), "hello");
    server.closed.recv().await.unwrap();
    assert_eq!(read(&client, "/old").await.unwrap(), "hello");
    assert_eq!(server.counts(), (2, 3));
    for path in ["/torn", "/twofold"] {
        let failed = read(&client, path).await;
        assert!(matches!(failed, Err(ClientError::Other(_))), "{failed:?}");
    }
    assert_eq!(server.counts(), (4, 5));
}

#[actix_web::test]
async fn a_body_is_sent_as_it_comes_and_never_shortened() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = listener.local_addr().unwrap().to_string();
    let client = PlainClient::new(options(), &server.parse().unwrap()).unwrap();
    let check = async |length: Option<u64>, expected: &str| {
        let pieces = ["abc", "", "defghijklmnopqr"].map(|piece| Ok(piece.into()));
        let body = RequestBody::stream(futures_util::stream::iter(pieces), length);
        let request = Request::post("/x").body(body).unwrap();
        let serve = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut received = Vec::new();
            while !received.ends_with(expected.as_bytes()) {
                if !matches!(stream.read_buf(&mut received).await, Ok(1..)) {
                    return;
                }
            }
            stream.write_all(HELLO.as_bytes()).await.unwrap();
        };
        let (answer, ()) = join(client.send(request, Timeouts::default()), serve).await;
        answer.map(|answer| answer.status.as_u16())
    };
    let chunks = "transfer-encoding: chunked\r\n\r\n3\r\nabc\r\nf\r\ndefghijklmnopqr\r\n0\r\n\r\n";
    assert_eq!(check(None, chunks).await.unwrap(), 200);
    let sized = "content-length: 18\r\n\r\nabcdefghijklmnopqr";
    assert_eq!(check(Some(18), sized).await.unwrap(), 200);
    for wrong in [17, 19] {
        let failed = check(Some(wrong), "never").await;
        assert!(matches!(failed, Err(ClientError::Other(_))), "{failed:?}");
    }
}

#[actix_web::test]
async fn an_answer_may_come_before_the_request_has_left() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = listener.local_addr().unwrap().to_string();
    let client = PlainClient::new(options(), &server.parse().unwrap()).unwrap();
    let (pieces, mut receiver) = mpsc::channel::<std::io::Result<bytes::Bytes>>(1);
    let body = futures_util::stream::poll_fn(move |context| receiver.poll_recv(context));
    let request = Request::post("/x").body(RequestBody::stream(body, None));
    let serve = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let begun = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n";
        stream.write_all(begun.as_bytes()).await.unwrap();
        stream
    };
    let sent = client.send(request.unwrap(), Timeouts::default());
    let (answer, mut stream) = join(sent, serve).await;
    // What is still to be sent leaves while the answer is read.
    let echo = async {
        pieces.send(Ok("later".into())).await.unwrap();
        drop(pieces);
        let mut received = Vec::new();
        while !received.ends_with(b"5\r\nlater\r\n0\r\n\r\n") {
            assert_ne!(stream.read_buf(&mut received).await.unwrap(), 0);
        }
        stream.write_all(b"0\r\n\r\n").await.unwrap();
        stream
    };
    let (body, _open) = join(answer.unwrap().body.read_all(100), echo).await;
    assert_eq!(body.unwrap(), "hello");
    assert_eq!(client.pool.unused.lock().len(), 1);
}

#[actix_web::test]
async fn leaving_closes_the_exchange() {
    let mut server = Server::start().await;
    let client = PlainClient::new(options(), &server.authority).unwrap();
    // Within the answer.
    let answer = client.send(get("/endless"), Timeouts::default()).await;
    drop(answer.unwrap());
    server.closed.recv().await.unwrap();
    // Before it.
    let limits = Timeouts {
        first_byte: Some(Duration::from_millis(30)),
        ..Timeouts::default()
    };
    let late = client.send(get("/silent"), limits).await;
    assert!(
        matches!(late, Err(ClientError::FirstByteTimeout)),
        "{late:?}"
    );
    server.closed.recv().await.unwrap();
    assert_eq!(server.counts(), (2, 2));
}

#[actix_web::test]
async fn a_wait_is_bounded_on_a_used_connection_too() {
    let server = Server::start().await;
    let client = PlainClient::new(options(), &server.authority).unwrap();
    let limits = |milliseconds| Timeouts {
        first_byte: Some(Duration::from_secs(60)),
        total: Some(Duration::from_millis(milliseconds)),
        idle: None,
    };
    for _ in 0..3 {
        let answer = client.send(get("/whole"), limits(60_000)).await.unwrap();
        assert_eq!(answer.body.read_all(5).await.unwrap(), "hello");
    }
    let late = client.send(get("/silent"), limits(30)).await;
    assert!(matches!(late, Err(ClientError::TotalTimeout)), "{late:?}");
    assert_eq!(server.counts(), (1, 4));
}

#[actix_web::test]
async fn a_request_that_left_is_never_repeated() {
    let server = Server::start().await;
    let client = PlainClient::new(options(), &server.authority).unwrap();
    assert_eq!(read(&client, "/whole").await.unwrap(), "hello");
    let failed = read(&client, "/hang-up").await;
    assert!(matches!(failed, Err(ClientError::Other(_))), "{failed:?}");
    assert_eq!(server.counts(), (1, 2));
    assert_eq!(read(&client, "/whole").await.unwrap(), "hello");
    assert_eq!(server.counts(), (2, 3));
}

#[actix_web::test]
async fn a_request_that_did_not_leave_goes_out_afresh() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = listener.local_addr().unwrap().to_string();
    let client = PlainClient::new(options(), &server.parse().unwrap()).unwrap();
    let (connection, accepted) = join(client.connect(), listener.accept()).await;
    drop(accepted.unwrap());
    client.pool.unused.lock().push(connection.unwrap());
    // Closed, and the news has just arrived.
    tokio::task::yield_now().await;
    let asked = Cell::new(0);
    let serve = async {
        let (stream, _) = listener.accept().await.unwrap();
        converse(stream, server.clone(), &asked).await
    };
    let (answer, _) = join(read(&client, "/last"), serve).await;
    assert_eq!(answer.unwrap(), "hello");
    assert_eq!(asked.get(), 1);
}

#[actix_web::test]
async fn unused_connections_are_few_and_not_old() {
    let mut server = Server::start().await;
    let few = ClientOptions {
        max_idle_per_host: 1,
        ..options()
    };
    let client = PlainClient::new(few, &server.authority).unwrap();
    let (first, second) = join(read(&client, "/whole"), read(&client, "/chunked")).await;
    assert_eq!(
        (first.unwrap(), second.unwrap()),
        ("hello".into(), "hello".into())
    );
    server.closed.recv().await.unwrap();
    assert_eq!(client.pool.unused.lock().len(), 1);
    assert!(
        client
            .pool
            .take(Instant::now() + options().keep_idle)
            .is_none()
    );
    server.closed.recv().await.unwrap();

    let brief = ClientOptions {
        keep_idle: Duration::from_millis(20),
        ..options()
    };
    let client = PlainClient::new(brief, &server.authority).unwrap();
    assert_eq!(read(&client, "/whole").await.unwrap(), "hello");
    server.closed.recv().await.unwrap();
    assert!(client.pool.unused.lock().is_empty());
}

#[actix_web::test]
async fn it_connects_only_where_it_may() {
    let mut server = Server::start().await;
    let rule: Arc<AddressRule> = Arc::new(|_, _| false);
    let nowhere = ClientOptions::new(AddressPolicy::Rule(rule));
    let client = PlainClient::new(nowhere, &server.authority).unwrap();
    let refused = read(&client, "/whole").await;
    assert!(
        matches!(&refused, Err(ClientError::Refused(host)) if host == "127.0.0.1"),
        "{refused:?}"
    );
    assert_eq!(server.accepted.get(), 0);

    let free = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    server.authority = free.to_string().parse().unwrap();
    let client = PlainClient::new(options(), &server.authority).unwrap();
    let failed = read(&client, "/whole").await;
    assert!(matches!(failed, Err(ClientError::Connect(_))), "{failed:?}");
}
