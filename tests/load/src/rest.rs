//! What a gateway costs that has nothing to do: until it serves, then, and with streams in which nothing happens.

use std::time::Duration;

use anyhow::{Context, ensure};
use archipel_kit::clock::{Clock, SystemClock};
use futures_util::{StreamExt, TryStreamExt, stream};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::process::{Server, free_address};
use crate::programs::Programs;
use crate::progress;
use crate::rows::{Limit, gateway};

/// Starts that are timed; the quickest counts, because whatever else the machine does only adds.
const STARTS: usize = 10;
/// Streams that are opened at once.
const AT_ONCE: usize = 64;
const PATIENCE: Duration = Duration::from_secs(10);

const REQUEST: &[u8] =
    b"POST /v1/a2a/jsonrpc HTTP/1.1\r\nHost: gateway\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";
const STREAM: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n\
    9\r\ndata: 1\n\n\r\n";

/// What was found.
#[derive(Debug)]
pub(crate) struct Rest {
    /// From the start of the process to its first answer.
    pub(crate) start: Duration,
    /// Resident memory then, in bytes.
    pub(crate) idle: u64,
    pub(crate) streams: u64,
    /// Resident memory with so many streams.
    pub(crate) with_streams: u64,
}

/// Starts gateways, then has one carry so many streams that have begun and go on without a word.
pub(crate) async fn measure(
    programs: &Programs,
    streams: u64,
    clock: SystemClock,
) -> anyhow::Result<Rest> {
    let folder = TempDir::new()?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let behind = listener.local_addr()?;
    tokio::task::spawn_local(serve(listener));
    let mut quickest: Option<(Duration, Server, _)> = None;
    for _ in 0..STARTS {
        let address = free_address()?;
        let command = gateway(programs, address, behind, Limit::Local, folder.path())?;
        let before = clock.monotonic();
        let server = Server::start("gateway", command, address, folder.path()).await?;
        ask_alive(address).await?;
        let took = clock.monotonic().saturating_sub(before);
        if quickest.as_ref().is_none_or(|(least, ..)| took < *least) {
            quickest = Some((took, server, address));
        }
    }
    let (start, mut server, address) = quickest.context("nothing was started")?;
    let idle = server.memory()?;
    let open = stream::iter(0..streams).map(|_| begin(address));
    let open: Vec<TcpStream> = open.buffer_unordered(AT_ONCE).try_collect().await?;
    let with_streams = server.memory()?;
    // Others are served meanwhile.
    ask_alive(address).await?;
    server.check_alive()?;
    progress(&format!(
        "rest     {start:.1?}, {} KiB, {} KiB with {} streams",
        idle / 1024,
        with_streams / 1024,
        open.len()
    ));
    Ok(Rest {
        start,
        idle,
        streams,
        with_streams,
    })
}

/// Begins every stream and says no more. Others ask whether it is there.
async fn serve(listener: TcpListener) -> anyhow::Result<()> {
    loop {
        let (mut socket, _) = listener.accept().await?;
        tokio::task::spawn_local(async move {
            let mut received = Vec::new();
            while !received.ends_with(b"\r\n\r\n{}") {
                if socket.read_buf(&mut received).await? == 0 {
                    return Ok(());
                }
                if received.starts_with(b"GET ") {
                    let fine = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
                    return socket.write_all(fine).await;
                }
            }
            socket.write_all(STREAM).await?;
            // Until the gateway goes.
            socket.read_buf(&mut received).await.map(|_| ())
        });
    }
}

/// A stream whose first event has come.
async fn begin(address: std::net::SocketAddr) -> anyhow::Result<TcpStream> {
    let mut socket = TcpStream::connect(address).await?;
    socket.write_all(REQUEST).await?;
    read_until(&mut socket, b"data: 1\n\n\r\n").await?;
    Ok(socket)
}

async fn ask_alive(address: std::net::SocketAddr) -> anyhow::Result<()> {
    let mut socket = TcpStream::connect(address).await?;
    let request = b"GET /livez HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n\r\n";
    socket.write_all(request).await?;
    read_until(&mut socket, b"}").await
}

async fn read_until(socket: &mut TcpStream, end: &[u8]) -> anyhow::Result<()> {
    let mut received = Vec::new();
    while !received.ends_with(end) {
        let read = timeout(PATIENCE, socket.read_buf(&mut received)).await??;
        ensure!(read > 0, "the gateway said {}", received.escape_ascii());
    }
    ensure!(
        received.starts_with(b"HTTP/1.1 200"),
        "the gateway said {}",
        received.escape_ascii()
    );
    Ok(())
}
