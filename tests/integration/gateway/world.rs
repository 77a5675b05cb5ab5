//! A node that the test plays, a gateway in front of it, and a client.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, dev::ServerHandle, web};
use archipel_gateway::{ConfigSource, Gateway, GatewaySettings, StopHandle};
use archipel_kit::{
    client::{
        AddressPolicy, Answer, ClientError, ClientOptions, HttpClient, RequestBody, Timeouts,
    },
    clock::ManualClock,
    settings::load,
    telemetry::{Telemetry, TelemetrySettings},
};
use bytes::Bytes;
use futures_util::stream;
use http::Request;
use serde_json::Value;
use tokio::sync::{Mutex, mpsc};

/// What reached the node.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Bytes,
}

impl Seen {
    /// All values of a header, joined.
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        let values: Vec<&str> = self
            .headers
            .iter()
            .filter(|(seen, _)| seen == name)
            .map(|(_, value)| value.as_str())
            .collect();
        (!values.is_empty()).then(|| values.join("|"))
    }
}

/// The node: answers most paths with `{"ok":true}` and tells the test what it saw.
pub(crate) struct Node {
    pub(crate) address: SocketAddr,
    pub(crate) seen: mpsc::UnboundedReceiver<Seen>,
    /// What `/agents/stream` sends, piece by piece; closed once nobody reads that stream any more.
    pub(crate) pieces: mpsc::Sender<&'static str>,
    server: ServerHandle,
}

struct Play {
    seen: mpsc::UnboundedSender<Seen>,
    pieces: Mutex<Option<mpsc::Receiver<&'static str>>>,
}

impl Node {
    pub(crate) fn start() -> Self {
        let (seen_by, seen) = mpsc::unbounded_channel();
        let (pieces, receiver) = mpsc::channel(8);
        let play = web::Data::new(Play {
            seen: seen_by,
            pieces: Mutex::new(Some(receiver)),
        });
        let server = HttpServer::new(move || {
            App::new()
                .app_data(play.clone())
                .app_data(web::PayloadConfig::new(16 << 20))
                .route("/agents/stream", web::post().to(stream_pieces))
                .route(
                    "/agents/never",
                    web::to(std::future::pending::<HttpResponse>),
                )
                .route("/agents/headers", web::to(odd_headers))
                .route("/agents/task", web::to(make_task))
                .route("/readyz", web::to(HttpResponse::Ok))
                .default_service(web::to(record))
        })
        .workers(1)
        .h1_allow_half_closed(false)
        .disable_signals()
        .bind("127.0.0.1:0")
        .unwrap();
        let address = *server.addrs().first().unwrap();
        let server = server.run();
        let handle = server.handle();
        actix_rt::spawn(server);
        Self {
            address,
            seen,
            pieces,
            server: handle,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Ends it at once: its connections break, and nobody listens there any more.
    pub(crate) async fn stop(&self) {
        self.server.stop(false).await;
    }

    /// How many requests reached it so far.
    pub(crate) fn count(&mut self) -> usize {
        std::iter::from_fn(|| self.seen.try_recv().ok())
            .filter(|seen| seen.target != "/readyz")
            .count()
    }
}

async fn record(request: HttpRequest, body: Bytes, play: web::Data<Play>) -> HttpResponse {
    let headers = request.headers().iter();
    let headers = headers
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
        .collect();
    play.seen
        .send(Seen {
            target: request.uri().to_string(),
            headers,
            body,
        })
        .unwrap();
    HttpResponse::Ok().json(serde_json::json!({ "ok": true }))
}

/// A task that only this node has.
async fn make_task(request: HttpRequest) -> HttpResponse {
    let port = request.app_config().local_addr().port();
    HttpResponse::Ok().json(serde_json::json!({
        "jsonrpc": "2.0", "id": 1,
        "result": { "task": { "id": format!("task-of-{port}"), "contextId": format!("talk-of-{port}") } },
    }))
}

async fn stream_pieces(play: web::Data<Play>) -> HttpResponse {
    let receiver = play.pieces.lock().await.take().unwrap();
    let body = stream::unfold(receiver, |mut receiver| async {
        let piece = receiver.recv().await?;
        Some((
            Ok::<_, actix_web::Error>(Bytes::from_static(piece.as_bytes())),
            receiver,
        ))
    });
    HttpResponse::Ok()
        .content_type("text/event-stream")
        .streaming(body)
}

async fn odd_headers() -> HttpResponse {
    HttpResponse::Found()
        .insert_header(("location", "http://127.0.0.1:1/elsewhere"))
        .insert_header(("retry-after", "7"))
        .insert_header(("x-a2a-extensions", "one"))
        .insert_header(("keep-alive", "timeout=9"))
        .insert_header(("proxy-authenticate", "Basic"))
        .body("moved")
}

/// A gateway in front of a node, and a client of its own.
pub(crate) struct TestGateway {
    pub(crate) address: SocketAddr,
    pub(crate) admin: Option<SocketAddr>,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) stop: StopHandle,
    client: HttpClient,
}

impl TestGateway {
    /// Starts one on a free port; `variables` are added to its environment.
    pub(crate) fn start(node: SocketAddr, variables: &[(&str, &str)]) -> Self {
        let upstream = format!("http://{node}");
        // Nodes that a test plays by hand are not asked how they are.
        let mut all = vec![
            ("GATEWAY_UPSTREAM_BASE", upstream.as_str()),
            ("GATEWAY_HEALTH_INTERVAL_MS", "0"),
        ];
        all.extend(variables);
        Self::start_from(None, &all)
    }

    /// Starts one from the text of a file, which may be written anew later.
    pub(crate) fn start_from(file: Option<&Path>, variables: &[(&str, &str)]) -> Self {
        let mut environment = vec![
            ("GATEWAY_LISTEN", "127.0.0.1:0"),
            ("GATEWAY_WORKERS", "1"),
            ("GATEWAY_DRAIN_TIMEOUT_MS", "1000"),
        ];
        environment.extend(variables);
        let source = ConfigSource {
            file: file.map(Path::to_owned),
            environment: environment.into_iter().collect(),
        };
        let settings = GatewaySettings::load(file, &source.environment).unwrap();
        let quiet: TelemetrySettings =
            load(None, &[("ARCHIPEL_LOG", "off")].into_iter().collect()).unwrap();
        let telemetry = Arc::new(Telemetry::start(&quiet, "gateway-test").unwrap());
        let clock = Arc::new(ManualClock::new(1_700_000_000_000));
        let gateway = Gateway::bind(settings, source, telemetry, clock.clone()).unwrap();
        let (address, admin) = (gateway.addr(), gateway.admin_addr());
        let stop = gateway.stop_handle();
        actix_rt::spawn(gateway.run());
        let client = HttpClient::new(ClientOptions::new(AddressPolicy::Any));
        Self {
            address,
            admin,
            clock,
            stop,
            client,
        }
    }

    /// Waits until the metrics hold a line.
    pub(crate) async fn wait_for(&self, line: &str) {
        for _ in 0..500 {
            if self.metrics().await.contains(line) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(
            self.metrics().await.contains(line),
            "{line} in {}",
            self.metrics().await
        );
    }

    /// Asks the operator's listener.
    pub(crate) async fn admin(&self, method: &str, path: &str, body: &'static str) -> Answer {
        let request = Request::builder()
            .method(method)
            .uri(format!("http://{}{path}", self.admin.unwrap()))
            .body(body.into())
            .unwrap();
        self.client
            .send(request, Timeouts::default())
            .await
            .unwrap()
    }

    /// Sends a request with headers and a body.
    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: RequestBody,
    ) -> Result<Answer, ClientError> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("http://{}{path}", self.address));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let limits = Timeouts {
            total: Some(Duration::from_secs(20)),
            ..Timeouts::default()
        };
        self.client.send(request.body(body).unwrap(), limits).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], RequestBody::empty())
            .await
            .unwrap()
    }

    /// A JSON-RPC call to the default agent.
    pub(crate) async fn call(&self, headers: &[(&str, &str)]) -> Answer {
        self.send(
            "POST",
            "/v1/a2a/jsonrpc",
            headers,
            r#"{"jsonrpc":"2.0"}"#.into(),
        )
        .await
        .unwrap()
    }

    /// The status of a JSON-RPC call, and nothing else.
    pub(crate) async fn call_status(&self, headers: &[(&str, &str)]) -> u16 {
        let answer = self.call(headers).await;
        let status = answer.status.as_u16();
        answer.read_all(1 << 20).await.unwrap();
        status
    }

    pub(crate) async fn metrics(&self) -> String {
        let text = self
            .get("/v1/metrics")
            .await
            .read_all(1 << 20)
            .await
            .unwrap();
        String::from_utf8(text.to_vec()).unwrap()
    }
}

/// Status and JSON body of an answer.
pub(crate) async fn json(answer: Answer) -> (u16, Value) {
    let status = answer.status.as_u16();
    let body = answer.read_all(1 << 20).await.unwrap();
    (status, serde_json::from_slice(&body).unwrap())
}

/// Asserts that an answer is a JSON-RPC error with that status, code and reason.
pub(crate) async fn assert_rpc_error(answer: Answer, status: u16, code: i64, reason: &str) {
    let (got, body) = json(answer).await;
    let error = body.get("error").unwrap();
    assert_eq!(
        (got, error.get("code").unwrap().as_i64()),
        (status, Some(code)),
        "{body}"
    );
    assert_eq!(body.get("id"), Some(&Value::Null), "{body}");
    assert_eq!(
        error.pointer("/data/0/reason").and_then(Value::as_str),
        Some(reason),
        "{body}"
    );
}
