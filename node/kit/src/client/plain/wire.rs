//! HTTP/1.1 as a client writes and reads it (RFC 9112). Pure: bytes in, bytes out.
//!
//! It takes only what can be read in one way. An answer whose length is told twice, or in a way that another reader may
//! take for something else, is no answer: whatever follows it on the connection would belong to nobody knows whom.

use std::mem::MaybeUninit;

use actix_web::http::{
    StatusCode,
    header::{HeaderName as ServedName, HeaderValue as ServedValue},
};
use bytes::{Buf as _, Bytes, BytesMut};
use http::{
    HeaderName, HeaderValue, Method,
    header::{CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING},
};

use super::super::is_hop_by_hop;

/// Headers of an answer, at most.
const MOST_HEADERS: usize = 100;
/// Size of an answer's head, at most.
pub(super) const MOST_HEAD: usize = 64 * 1024;
/// Size of the line before a chunk, and of all trailers together, at most.
const MOST_CHUNK_LINE: usize = 256;
const MOST_TRAILERS: usize = 16 * 1024;

/// A header as it was read.
type Header<'a> = httparse::Header<'a>;

/// Why what came is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadAnswer {
    /// Not HTTP/1.1, or a header that is none.
    #[error("what came is not HTTP: {0}")]
    Head(#[from] httparse::Error),
    /// The head is larger than anybody's.
    #[error("the head of the answer is too large")]
    HeadTooLarge,
    /// Where the body ends cannot be told in one way.
    #[error("the length of the answer is ambiguous")]
    Length,
    /// A chunk does not begin or end as chunks do.
    #[error("the answer's chunks are broken")]
    Chunk,
}

/// The head of an answer.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) status: StatusCode,
    /// The end-to-end ones, in the form in which a server carries them on.
    pub(super) headers: Vec<(ServedName, ServedValue)>,
    pub(super) framing: Framing,
    /// Whether the server keeps the connection.
    pub(super) is_kept: bool,
}

/// Where an answer's body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// After so many bytes.
    Sized(u64),
    Chunked(Chunks),
    /// With the connection.
    UntilClose,
}

/// How far the chunks of a body have been read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Chunks {
    /// The line with the next one's size comes.
    Size,
    /// So many of its bytes come.
    Data(u64),
    /// The end of its line comes.
    DataEnd,
    /// Trailers come, of which so many bytes have come.
    Trailers(usize),
    Ended,
}

/// Begins the head of a request.
pub(super) fn write_start(method: &Method, target: &str, host: &HeaderValue, to: &mut BytesMut) {
    for piece in [method.as_str(), " ", target, " HTTP/1.1\r\nhost: "] {
        to.extend_from_slice(piece.as_bytes());
    }
    to.extend_from_slice(host.as_bytes());
    to.extend_from_slice(b"\r\n");
}

/// Writes a header; but whom a request is for and where it ends is said by us alone.
pub(super) fn write_header(name: &HeaderName, value: &[u8], to: &mut BytesMut) {
    if [HOST, CONTENT_LENGTH, TRANSFER_ENCODING, CONNECTION].contains(name) {
        return;
    }
    to.extend_from_slice(name.as_str().as_bytes());
    to.extend_from_slice(b": ");
    to.extend_from_slice(value);
    to.extend_from_slice(b"\r\n");
}

/// Ends the head of a request with the length of its body; without one the body is sent in chunks.
pub(super) fn write_end(method: &Method, length: Option<u64>, to: &mut BytesMut) {
    match length {
        None => to.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        Some(0) if *method != Method::POST => {}
        Some(length) => {
            to.extend_from_slice(b"content-length: ");
            write_number(length, 10, to);
            to.extend_from_slice(b"\r\n");
        }
    }
    to.extend_from_slice(b"\r\n");
}

/// Writes one chunk of a body; an empty one would end it and is left out.
pub(super) fn write_chunk(data: &[u8], to: &mut BytesMut) {
    if !data.is_empty() {
        write_number(data.len() as u64, 16, to);
        to.extend_from_slice(b"\r\n");
        to.extend_from_slice(data);
        to.extend_from_slice(b"\r\n");
    }
}

/// Ends a body that was written in chunks.
pub(super) fn write_last_chunk(to: &mut BytesMut) {
    to.extend_from_slice(b"0\r\n\r\n");
}

fn write_number(mut number: u64, base: u64, to: &mut BytesMut) {
    let mut digits = [0; 20];
    let mut count = 0;
    for digit in digits.iter_mut().rev() {
        let value = (number % base) as u8;
        *digit = if value < 10 { b'0' } else { b'a' - 10 } + value;
        number /= base;
        count += 1;
        if number == 0 {
            break;
        }
    }
    to.extend_from_slice(digits.get(digits.len() - count..).unwrap_or_default());
}

/// Takes the head of the final answer from what was received; `None` while it is not all there. Interim answers
/// (100, 103) before it are dropped.
pub(super) fn read_head(
    received: &mut BytesMut,
    asked: &Method,
) -> Result<Option<Head>, BadAnswer> {
    loop {
        let Some((head, size)) = parse_head(received, asked)? else {
            return Ok(None);
        };
        received.advance(size);
        let is_interim =
            head.status.is_informational() && head.status != StatusCode::SWITCHING_PROTOCOLS;
        if !is_interim {
            return Ok(Some(head));
        }
    }
}

fn parse_head(received: &[u8], asked: &Method) -> Result<Option<(Head, usize)>, BadAnswer> {
    // Not cleared for each answer, which has few.
    let mut room = [const { MaybeUninit::uninit() }; MOST_HEADERS];
    let mut answer = httparse::Response::new(&mut []);
    let parsed = httparse::ParserConfig::default().parse_response_with_uninit_headers(
        &mut answer,
        received,
        &mut room,
    );
    let httparse::Status::Complete(size) = parsed? else {
        return if received.len() > MOST_HEAD {
            Err(BadAnswer::HeadTooLarge)
        } else {
            Ok(None)
        };
    };
    let status = answer.code.and_then(|code| StatusCode::from_u16(code).ok());
    let status = status.ok_or(httparse::Error::Status)?;
    let is_1_1 = answer.version == Some(1);
    let framing = framing(answer.headers, status, asked, is_1_1)?;
    let is_kept = framing != Framing::UntilClose
        && status != StatusCode::SWITCHING_PROTOCOLS
        && keeps_connection(answer.headers, is_1_1);
    let head = Head {
        status,
        headers: end_to_end(answer.headers)?,
        framing,
        is_kept,
    };
    Ok(Some((head, size)))
}

/// What does not speak about the connection. It is made of what was read at once, without a map in between: that would
/// be a good part of what reading an answer costs.
fn end_to_end(headers: &[Header<'_>]) -> Result<Vec<(ServedName, ServedValue)>, httparse::Error> {
    let names_more = all(headers, &CONNECTION).next().is_some();
    let mut kept = Vec::with_capacity(headers.len());
    for header in headers {
        let stays = CONTENT_LENGTH.as_str().eq_ignore_ascii_case(header.name)
            || is_hop_by_hop(header.name)
            || (names_more && connection_says(headers, header.name));
        if stays {
            continue;
        }
        let name = ServedName::from_bytes(header.name.as_bytes());
        let name = name.map_err(|_| httparse::Error::HeaderName)?;
        let value = ServedValue::from_bytes(header.value);
        kept.push((name, value.map_err(|_| httparse::Error::HeaderValue)?));
    }
    Ok(kept)
}

/// The values of a header.
fn all<'a>(headers: &'a [Header<'_>], name: &HeaderName) -> impl Iterator<Item = &'a [u8]> {
    let name = name.as_str();
    let named = headers
        .iter()
        .filter(move |header| header.name.eq_ignore_ascii_case(name));
    named.map(|header| header.value)
}

/// RFC 9112, section 6.3, without what readers are known to differ about.
fn framing(
    headers: &[Header<'_>],
    status: StatusCode,
    asked: &Method,
    is_1_1: bool,
) -> Result<Framing, BadAnswer> {
    let has_none = *asked == Method::HEAD
        || status.is_informational()
        || status == StatusCode::NO_CONTENT
        || status == StatusCode::NOT_MODIFIED;
    if has_none {
        return Ok(Framing::Sized(0));
    }
    let mut length = None;
    for value in all(headers, &CONTENT_LENGTH) {
        let told = parse_length(value).ok_or(BadAnswer::Length)?;
        if length.replace(told).is_some_and(|before| before != told) {
            return Err(BadAnswer::Length);
        }
    }
    let mut encodings = all(headers, &TRANSFER_ENCODING);
    match (encodings.next(), length) {
        (None, Some(length)) => Ok(Framing::Sized(length)),
        (None, None) => Ok(Framing::UntilClose),
        (Some(encoding), None)
            if is_1_1
                && encodings.next().is_none()
                && encoding.eq_ignore_ascii_case(b"chunked") =>
        {
            Ok(Framing::Chunked(Chunks::Size))
        }
        (Some(_), _) => Err(BadAnswer::Length),
    }
}

/// Digits only: no sign, no blank, no list.
fn parse_length(text: &[u8]) -> Option<u64> {
    let is_number = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    let text = is_number.then(|| std::str::from_utf8(text).ok()).flatten();
    text?.parse().ok()
}

fn keeps_connection(headers: &[Header<'_>], is_1_1: bool) -> bool {
    if is_1_1 {
        !connection_says(headers, "close")
    } else {
        connection_says(headers, "keep-alive")
    }
}

fn connection_says(headers: &[Header<'_>], word: &str) -> bool {
    let mut tokens = all(headers, &CONNECTION).flat_map(|value| value.split(|byte| *byte == b','));
    tokens.any(|token| token.trim_ascii().eq_ignore_ascii_case(word.as_bytes()))
}

impl Framing {
    /// Whether all of the body was taken.
    pub(super) const fn is_ended(&self) -> bool {
        matches!(self, Self::Sized(0) | Self::Chunked(Chunks::Ended))
    }

    /// Takes the next piece of the body from what was received, if there is one.
    pub(super) fn take(&mut self, received: &mut BytesMut) -> Result<Option<Bytes>, BadAnswer> {
        match self {
            Self::Sized(left) => Ok(take_some(left, received)),
            Self::UntilClose => {
                let mut all = u64::MAX;
                Ok(take_some(&mut all, received))
            }
            Self::Chunked(chunks) => {
                chunks.advance(received)?;
                let Chunks::Data(left) = chunks else {
                    return Ok(None);
                };
                let piece = take_some(left, received);
                // What ends the body usually came with it, and then the connection is free at once.
                chunks.advance(received)?;
                Ok(piece)
            }
        }
    }
}

fn take_some(left: &mut u64, received: &mut BytesMut) -> Option<Bytes> {
    let size = usize::try_from(*left).map_or(received.len(), |left| left.min(received.len()));
    *left -= size as u64;
    (size > 0).then(|| received.split_to(size).freeze())
}

impl Chunks {
    /// Takes what is not data, as far as it is there.
    fn advance(&mut self, received: &mut BytesMut) -> Result<(), BadAnswer> {
        loop {
            *self = match *self {
                Self::Size => {
                    let Some(line) = take_line(received, MOST_CHUNK_LINE)? else {
                        return Ok(());
                    };
                    match parse_size(&line)? {
                        0 => Self::Trailers(0),
                        size => Self::Data(size),
                    }
                }
                Self::Data(0) => Self::DataEnd,
                Self::Data(_) | Self::Ended => return Ok(()),
                Self::DataEnd => {
                    if received.len() < 2 {
                        return Ok(());
                    }
                    if !received.starts_with(b"\r\n") {
                        return Err(BadAnswer::Chunk);
                    }
                    received.advance(2);
                    Self::Size
                }
                Self::Trailers(before) => {
                    let Some(line) = take_line(received, MOST_TRAILERS - before)? else {
                        return Ok(());
                    };
                    match line.len() {
                        0 => Self::Ended,
                        size if before + size + 2 > MOST_TRAILERS => return Err(BadAnswer::Chunk),
                        size => Self::Trailers(before + size + 2),
                    }
                }
            };
        }
    }
}

/// Takes a line without its end, if it is all there.
fn take_line(received: &mut BytesMut, most: usize) -> Result<Option<BytesMut>, BadAnswer> {
    let Some(end) = memchr::memchr(b'\n', received) else {
        return if received.len() > most {
            Err(BadAnswer::Chunk)
        } else {
            Ok(None)
        };
    };
    let mut line = received.split_to(end + 1);
    line.truncate(end);
    if end > most || line.last() != Some(&b'\r') {
        return Err(BadAnswer::Chunk);
    }
    line.truncate(end - 1);
    Ok(Some(line))
}

/// The size before a chunk; what stands behind a semicolon is an extension, of which we know none.
fn parse_size(line: &[u8]) -> Result<u64, BadAnswer> {
    let digits = line.split(|byte| *byte == b';').next().unwrap_or_default();
    let digits = digits.trim_ascii_end();
    let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_hexdigit);
    let text = std::str::from_utf8(digits).ok().filter(|_| is_number);
    let size = text.and_then(|text| u64::from_str_radix(text, 16).ok());
    size.ok_or(BadAnswer::Chunk)
}

#[cfg(test)]
mod tests;
