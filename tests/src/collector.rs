//! A collector of traces, and what it was sent.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "this is a part of tests, which fail by panicking"
)]

use std::sync::{Arc, Mutex};

use actix_web::{App, HttpResponse, HttpServer, web};

/// What collectors were sent, as it came.
pub type Exports = Arc<Mutex<Vec<u8>>>;

/// A collector that takes OTLP over HTTP, and its URL. Must be called inside an actix system.
pub fn collector() -> (Exports, String) {
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

/// The spans of a trace, each with the one it belongs to: in a protobuf `Span`, fields 1, 2 and 4 are the ids of the
/// trace, the span and its parent, 3 is the state.
pub fn spans(exports: &[u8], trace: &str) -> Vec<(String, String)> {
    let start = [&[0x0a, 0x10][..], &hex::decode(trace).unwrap()].concat();
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
