//! A connection as an HTTP server sees it, with or without TLS.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::ClientCertificate;

/// One connection of a client, and what is held for as long as it lives.
#[derive(Debug)]
pub struct Stream<H = ()> {
    io: Io,
    _held: H,
}

#[derive(Debug)]
enum Io {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Agrees on TLS with a client, within a time limit.
///
/// # Errors
/// When the client does not, shows no certificate that is asked for, or takes too long.
pub async fn handshake(
    stream: TcpStream,
    config: Arc<ServerConfig>,
    limit: Duration,
) -> io::Result<TlsStream<TcpStream>> {
    timeout(limit, TlsAcceptor::from(config).accept(stream))
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

impl<H> Stream<H> {
    /// Without TLS.
    pub const fn plain(stream: TcpStream, held: H) -> Self {
        Self {
            io: Io::Plain(stream),
            _held: held,
        }
    }

    /// With TLS, after the [`handshake`].
    pub fn tls(stream: TlsStream<TcpStream>, held: H) -> Self {
        Self {
            io: Io::Tls(Box::new(stream)),
            _held: held,
        }
    }

    /// Whether it is over TLS.
    pub const fn is_tls(&self) -> bool {
        matches!(self.io, Io::Tls(_))
    }

    /// Whether the handshake agreed on HTTP/2.
    pub fn is_http2(&self) -> bool {
        match &self.io {
            Io::Plain(_) => false,
            Io::Tls(stream) => stream.get_ref().1.alpn_protocol() == Some(b"h2"),
        }
    }

    /// The certificate that the client showed.
    pub fn client_certificate(&self) -> Option<ClientCertificate> {
        match &self.io {
            Io::Plain(_) => None,
            Io::Tls(stream) => {
                let shown = stream.get_ref().1.peer_certificates()?.first()?;
                ClientCertificate::read(shown)
            }
        }
    }
}

impl<H: Unpin> AsyncRead for Stream<H> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.io {
            Io::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Io::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl<H: Unpin> AsyncWrite for Stream<H> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.io {
            Io::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Io::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Io::Plain(stream) => Pin::new(stream).poll_flush(context),
            Io::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Io::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Io::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.io {
            Io::Plain(stream) => Pin::new(stream).poll_write_vectored(context, pieces),
            Io::Tls(stream) => Pin::new(stream).poll_write_vectored(context, pieces),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.io {
            Io::Plain(stream) => stream.is_write_vectored(),
            Io::Tls(stream) => stream.is_write_vectored(),
        }
    }
}
