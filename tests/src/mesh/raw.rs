//! A connection on which a test says byte by byte what it wants: what is cut off, slow, or a lie.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::config::TOKEN;
use super::wait::within;

/// See the module.
#[derive(Debug)]
pub struct RawConnection(TcpStream);

/// What came back until the server closed the connection; empty when it just closed it.
#[derive(Debug)]
pub struct RawAnswer(Vec<u8>);

/// The head of a call of the operator's, with what it says of its body.
pub fn head_of_call(path: &str, of_the_body: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nhost: node\r\nauthorization: Bearer {TOKEN}\r\na2a-version: 1.0\r\n\
         content-type: application/json\r\nconnection: close\r\n{of_the_body}\r\n\r\n"
    )
}

impl RawConnection {
    /// Connects to `HOST:PORT`.
    pub async fn open(address: &str) -> Self {
        Self::open_with(address, TcpSocket::new_v4().unwrap()).await
    }

    /// As [`Self::open`], ready to take very little at a time, so that a server soon has to wait for us.
    pub async fn open_narrow(address: &str) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        Self::open_with(address, socket).await
    }

    async fn open_with(address: &str, socket: TcpSocket) -> Self {
        let address: SocketAddr = address.parse().unwrap();
        let connected = within("a connection", socket.connect(address)).await;
        Self(connected.unwrap())
    }

    /// Says something.
    pub async fn write(&mut self, bytes: &[u8]) {
        let written = within("room for more bytes", self.0.write_all(bytes)).await;
        written.unwrap();
    }

    /// Says as much of this as the server takes.
    pub async fn try_write(&mut self, bytes: &[u8]) {
        let _closed = within("room for more bytes", self.0.write_all(bytes)).await;
    }

    /// Says no more; a server that has closed the connection heard nothing anyway.
    pub async fn end_writing(&mut self) {
        let _closed = self.0.shutdown().await;
    }

    /// Reads until something with this text has arrived.
    pub async fn read_until(&mut self, text: &str) -> RawAnswer {
        let mut read = RawAnswer(Vec::new());
        while !read.text().contains(text) {
            let count = within(text, self.0.read_buf(&mut read.0)).await.unwrap();
            assert!(count > 0, "closed before {text:?}: {}", read.text());
        }
        read
    }

    /// Reads until the server closes the connection.
    pub async fn read_to_end(&mut self) -> RawAnswer {
        let mut all = Vec::new();
        let reading = async {
            // A connection that is reset after the answer was sent is closed as well.
            while self.0.read_buf(&mut all).await.is_ok_and(|count| count > 0) {}
        };
        within("the end of a connection", reading).await;
        RawAnswer(all)
    }
}

impl RawAnswer {
    /// Everything.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.0).into_owned()
    }

    /// The status; `None` when there was no answer.
    pub fn status(&self) -> Option<u16> {
        self.text().split(' ').nth(1)?.parse().ok()
    }

    /// The body, as far as it came.
    pub fn body(&self) -> String {
        let text = self.text();
        text.split_once("\r\n\r\n")
            .map(|(_, body)| body.to_owned())
            .unwrap_or_default()
    }
}
