//! One HTTP/1.1 answer, read from what has been received so far.

use std::borrow::Cow;

use anyhow::{Context, bail};

/// A whole answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer<'a> {
    pub(super) status: u16,
    /// Bytes that it takes of what was received.
    pub(super) size: usize,
    body: Cow<'a, [u8]>,
}

impl<'a> Answer<'a> {
    /// The answer that `received` begins with, if it is all there.
    pub(super) fn read(received: &'a [u8]) -> anyhow::Result<Option<Self>> {
        let Some(head_size) = find(received, b"\r\n\r\n").map(|at| at + 4) else {
            return Ok(None);
        };
        let (head, rest) = received.split_at(head_size);
        let head = std::str::from_utf8(head).context("a head that is no UTF-8")?;
        let status = head.get(9..12).and_then(|status| status.parse().ok());
        let status = status.with_context(|| format!("not HTTP/1.1: {head}"))?;
        let body = match body_of(head)? {
            Body::Sized(size) => rest.get(..size).map(|body| (Cow::Borrowed(body), size)),
            Body::Chunked => chunks(rest)?,
        };
        Ok(body.map(|(body, size)| Self {
            status,
            size: head_size + size,
            body,
        }))
    }

    pub(super) fn body(&self) -> anyhow::Result<&str> {
        std::str::from_utf8(&self.body).context("an answer that is no UTF-8")
    }
}

enum Body {
    Sized(usize),
    Chunked,
}

fn body_of(head: &str) -> anyhow::Result<Body> {
    for line in head.split("\r\n").skip(1) {
        let Some((name, value)) = line.split_once(':') else {
            continue;
        };
        if name.eq_ignore_ascii_case("content-length") {
            return Ok(Body::Sized(value.trim().parse()?));
        }
        if name.eq_ignore_ascii_case("transfer-encoding")
            && value.trim().eq_ignore_ascii_case("chunked")
        {
            return Ok(Body::Chunked);
        }
    }
    bail!("an answer without a length: {head}")
}

/// The body in the chunks and the bytes that they take, if the last one is there.
fn chunks<'a>(received: &[u8]) -> anyhow::Result<Option<(Cow<'a, [u8]>, usize)>> {
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let rest = received.get(at..).unwrap_or_default();
        let Some(line) = find(rest, b"\r\n") else {
            return Ok(None);
        };
        let digits = std::str::from_utf8(rest.get(..line).unwrap_or_default())?;
        let size = usize::from_str_radix(digits, 16)
            .with_context(|| format!("no chunk size: {digits}"))?;
        let Some(chunk) = rest.get(line + 2..line + 2 + size) else {
            return Ok(None);
        };
        at += line + 2 + size + 2;
        if received.len() < at {
            return Ok(None);
        }
        if size == 0 {
            return Ok(Some((Cow::Owned(body), at)));
        }
        body.extend_from_slice(chunk);
    }
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}

#[cfg(test)]
#[expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]
mod tests {
    use super::Answer;

    fn check(text: &str, status: u16, body: &str) {
        for size in 0..text.len() {
            assert_eq!(
                Answer::read(&text.as_bytes()[..size]).unwrap(),
                None,
                "{size} of {text}"
            );
        }
        let with_next = format!("{text}HTTP/1.1 ");
        let answer = Answer::read(with_next.as_bytes()).unwrap().unwrap();
        assert_eq!(
            (answer.status, answer.size, answer.body().unwrap()),
            (status, text.len(), body)
        );
    }

    #[test]
    fn an_answer_is_read_when_it_is_whole() {
        check(
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
            200,
            "hello",
        );
        check(
            "HTTP/1.1 503 No\r\nA: b\r\ncontent-length:0\r\n\r\n",
            503,
            "",
        );
        check(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n",
            200,
            "hello",
        );
    }

    #[test]
    fn what_is_no_answer_is_an_error() {
        for text in [
            "SSH-2.0\r\n\r\n",
            "HTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        ] {
            assert!(Answer::read(text.as_bytes()).is_err(), "{text}");
        }
    }
}
