//! The least that can stand behind a gateway: one thread that answers every request with the same completed task of 400
//! bytes, so that nearly everything that is measured is the gateway's own work. `upstream ADDRESS` serves until it is
//! killed. It understands just enough HTTP/1.1 to stay right on kept connections: the head, its length, chunks.

use std::env;
use std::error::Error;
use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Size of the body of an answer; what an echo of a short text comes to.
const BODY_SIZE: usize = 400;

/// What the head of a request says about what follows it.
struct Head {
    size: usize,
    body: Body,
    is_last: bool,
}

enum Body {
    Sized(usize),
    Chunked,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let address = env::args().nth(1).ok_or("usage: upstream ADDRESS")?;
    let answer: &'static [u8] = Vec::leak(answer());
    let listener = TcpListener::bind(address).await?;
    loop {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        // A connection that breaks concerns nobody but its client.
        tokio::spawn(serve(socket, answer));
    }
}

fn answer() -> Vec<u8> {
    let before = r#"{"jsonrpc":"2.0","id":"1","result":{"task":{"id":"7f4c0b5e-5f0a-4c7e-9f0e-0c9d6a6f1a11","contextId":"c-1","status":{"state":"TASK_STATE_COMPLETED","timestamp":"2026-01-01T00:00:00Z"},"artifacts":[{"artifactId":"a1","name":"result","parts":[{"text":""#;
    let after = r#""}]}]}}}"#;
    let text = "x".repeat(BODY_SIZE - before.len() - after.len());
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {BODY_SIZE}\r\n\r\n"
    );
    [head.as_str(), before, text.as_str(), after]
        .concat()
        .into_bytes()
}

async fn serve(mut socket: TcpStream, answer: &'static [u8]) -> io::Result<()> {
    let mut received = Vec::with_capacity(16 * 1024);
    loop {
        while let Some((size, is_last)) = whole_request(&received) {
            received.drain(..size);
            socket.write_all(answer).await?;
            if is_last {
                return Ok(());
            }
        }
        if socket.read_buf(&mut received).await? == 0 {
            return Ok(());
        }
    }
}

/// Size of the request that `received` begins with, if it is all there, and whether it is the connection's last.
fn whole_request(received: &[u8]) -> Option<(usize, bool)> {
    let head = read_head(received)?;
    let rest = received.get(head.size..)?;
    let body = match head.body {
        Body::Sized(size) => size,
        Body::Chunked => find(rest, b"0\r\n\r\n")? + 5,
    };
    (rest.len() >= body).then_some((head.size + body, head.is_last))
}

fn read_head(received: &[u8]) -> Option<Head> {
    let size = find(received, b"\r\n\r\n")? + 4;
    let mut head = Head {
        size,
        body: Body::Sized(0),
        is_last: false,
    };
    for line in received.get(..size)?.split(|byte| *byte == b'\n').skip(1) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            continue;
        };
        let (name, value) = line.split_at(colon);
        let value = value.get(1..)?.trim_ascii();
        if name.eq_ignore_ascii_case(b"content-length") {
            head.body = Body::Sized(std::str::from_utf8(value).ok()?.parse().ok()?);
        } else if name.eq_ignore_ascii_case(b"transfer-encoding")
            && value.eq_ignore_ascii_case(b"chunked")
        {
            head.body = Body::Chunked;
        } else if name.eq_ignore_ascii_case(b"connection") {
            head.is_last = value.eq_ignore_ascii_case(b"close");
        }
    }
    Some(head)
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}
