//! A connection as the HTTP server sees it, with or without TLS.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
};

use actix_http::Protocol;
use http::HeaderValue;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::server::TlsStream;

use super::Place;
use crate::tls::describe;

/// What requests may know of the connection they came over.
#[derive(Debug, Clone, Default)]
pub(crate) struct Facts {
    /// Whether it is over TLS.
    pub(crate) is_tls: bool,
    /// The certificate that the client showed, as nodes are told of it.
    pub(crate) certificate: Option<HeaderValue>,
}

/// One connection of a client. It counts for its address while it lives.
pub(super) struct Stream {
    io: Io,
    _place: Option<Place>,
}

enum Io {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    pub(super) const fn plain(stream: TcpStream, place: Option<Place>) -> Self {
        Self {
            io: Io::Plain(stream),
            _place: place,
        }
    }

    pub(super) fn tls(stream: TlsStream<TcpStream>, place: Option<Place>) -> Self {
        Self {
            io: Io::Tls(Box::new(stream)),
            _place: place,
        }
    }

    pub(super) fn facts(&self) -> Facts {
        let Io::Tls(stream) = &self.io else {
            return Facts::default();
        };
        let shown = stream.get_ref().1.peer_certificates();
        Facts {
            is_tls: true,
            certificate: shown.and_then(|chain| chain.first()).and_then(describe),
        }
    }
}

/// What was agreed on during the handshake.
pub(super) fn protocol(stream: &TlsStream<TcpStream>) -> Protocol {
    match stream.get_ref().1.alpn_protocol() {
        Some(b"h2") => Protocol::Http2,
        _ => Protocol::Http1,
    }
}

impl AsyncRead for Stream {
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

impl AsyncWrite for Stream {
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
