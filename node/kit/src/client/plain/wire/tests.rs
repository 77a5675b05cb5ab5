//! What is written, and what is read or refused, case by case.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use super::*;

/// The body that is read when the answer comes in two parts, cut anywhere; and what is left behind it.
fn read(
    text: &[u8],
    cut: usize,
    asked: &Method,
) -> Result<(u16, Vec<u8>, bool, Vec<u8>), BadAnswer> {
    let (first, second) = text.split_at(cut);
    let mut received = BytesMut::from(first);
    let mut second = Some(second);
    let mut more = |received: &mut BytesMut| {
        let more = second.take();
        received.extend_from_slice(more.unwrap_or_default());
        more.is_some()
    };
    let head = loop {
        if let Some(head) = read_head(&mut received, asked)? {
            break head;
        }
        assert!(more(&mut received), "no head");
    };
    let mut framing = head.framing;
    let mut body = Vec::new();
    loop {
        match framing.take(&mut received)? {
            Some(piece) => body.extend_from_slice(&piece),
            None if framing.is_ended() || !more(&mut received) => break,
            None => {}
        }
    }
    assert!(
        framing.is_ended() || framing == Framing::UntilClose,
        "{framing:?}"
    );
    received.extend_from_slice(second.unwrap_or_default());
    Ok((head.status.as_u16(), body, head.is_kept, received.to_vec()))
}

#[test]
fn an_answer_ends_where_it_says_wherever_it_is_cut() {
    let check = |head: &str, body: &str, expected: (u16, &str, bool, &str)| {
        let text = format!("HTTP/1.1 {head}\r\n\r\n{body}");
        for cut in 0..=text.len() {
            let (status, body, is_kept, left) = read(text.as_bytes(), cut, &Method::POST).unwrap();
            let (body, left) = (
                body.escape_ascii().to_string(),
                left.escape_ascii().to_string(),
            );
            assert_eq!(
                (status, body.as_str(), is_kept, left.as_str()),
                expected,
                "{text} {cut}"
            );
        }
    };
    check(
        "200 OK\r\ncontent-length: 5",
        "hello",
        (200, "hello", true, ""),
    );
    check(
        "200\r\nContent-Length: 5\r\ncontent-length:5",
        "hello",
        (200, "hello", true, ""),
    );
    check(
        "503 No\r\ncontent-length: 0",
        "more",
        (503, "", true, "more"),
    );
    check("204 None\r\ncontent-length: 5", "", (204, "", true, ""));
    check(
        "200 OK\r\nconnection: x, Close\r\ncontent-length: 2",
        "hi",
        (200, "hi", false, ""),
    );
    check("200 OK", "until the end", (200, "until the end", false, ""));
    check(
        "100 Go\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2",
        "hi",
        (200, "hi", true, ""),
    );
    check("101 Other\r\nupgrade: x", "", (101, "", false, ""));
    let chunked = "200 OK\r\nTransfer-Encoding: Chunked";
    check(chunked, "5\r\nhello\r\n0\r\n\r\n", (200, "hello", true, ""));
    check(
        chunked,
        "a;x=1\r\n0123456789\r\n02 \r\nab\r\n000\r\nTrailer: x\r\n\r\n",
        (200, "0123456789ab", true, ""),
    );
    check(chunked, "0\r\n\r\nHTTP", (200, "", true, "HTTP"));
}

#[test]
fn the_answer_to_head_has_no_body() {
    let text = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n";
    let (_, body, is_kept, _) = read(text, 9, &Method::HEAD).unwrap();
    assert_eq!((body.len(), is_kept), (0, true));
}

#[test]
fn an_older_server_keeps_the_connection_only_when_it_says_so() {
    let kept = |line: &str| {
        let text = format!("HTTP/1.0 200 OK\r\n{line}content-length: 2\r\n\r\nhi");
        read(text.as_bytes(), 0, &Method::GET).unwrap().2
    };
    assert_eq!(
        (kept(""), kept("connection: keep-alive\r\n")),
        (false, true)
    );
}

#[test]
fn what_can_be_read_in_two_ways_is_refused() {
    let check = |head: &str, body: &str, expected: fn(&BadAnswer) -> bool| {
        let text = format!("HTTP/1.1 {head}\r\n\r\n{body}");
        let refused = read(text.as_bytes(), text.len(), &Method::POST).unwrap_err();
        assert!(expected(&refused), "{text}: {refused}");
    };
    let head = |error: &BadAnswer| matches!(error, BadAnswer::Head(_));
    let length = |error: &BadAnswer| *error == BadAnswer::Length;
    let chunk = |error: &BadAnswer| *error == BadAnswer::Chunk;
    check("2000 OK", "", head);
    check("200 OK\r\nname : value", "", head);
    check("200 OK\r\nfolded: a\r\n b", "", head);
    check(
        "200 OK\r\ncontent-length: 5\r\ncontent-length: 6",
        "",
        length,
    );
    check("200 OK\r\ncontent-length: +5", "", length);
    check("200 OK\r\ncontent-length: 5, 5", "", length);
    check(
        "200 OK\r\ncontent-length: 99999999999999999999999",
        "",
        length,
    );
    check(
        "200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked",
        "",
        length,
    );
    check("200 OK\r\ntransfer-encoding: gzip, chunked", "", length);
    check(
        "200 OK\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked",
        "",
        length,
    );
    for body in [
        "\r\n",
        "x\r\n",
        "-1\r\n",
        "0x1\r\n",
        "5\nhello",
        "5\r\nhelloXX",
        "11111111111111111\r\n",
        &format!("5;{}\r\n", "x".repeat(300)),
        &"5".repeat(300),
        &format!("0\r\n{}\r\n", "a: b\r\n".repeat(5000)),
    ] {
        check("200 OK\r\ntransfer-encoding: chunked", body, chunk);
    }
    let endless = format!("200 OK\r\nx: {}", "y".repeat(MOST_HEAD));
    let refused = read_head(&mut endless.as_str().into(), &Method::GET);
    assert!(refused.is_err());
    let mut endless = BytesMut::from(format!("HTTP/1.1 {endless}").as_str());
    assert!(matches!(
        read_head(&mut endless, &Method::GET),
        Err(BadAnswer::HeadTooLarge)
    ));
}

#[test]
fn a_request_is_written_with_our_framing_alone() {
    let check = |method: Method, length: Option<u64>, expected: &str| {
        let mut written = BytesMut::new();
        let host = HeaderValue::from_static("node:1");
        write_start(&method, "/a/b?c=d", &host, &mut written);
        for (name, value) in [
            ("accept", "x"),
            ("content-length", "7"),
            ("transfer-encoding", "chunked"),
            ("connection", "close"),
            ("host", "elsewhere"),
            ("accept", "y"),
        ] {
            write_header(
                &HeaderName::from_static(name),
                value.as_bytes(),
                &mut written,
            );
        }
        write_end(&method, length, &mut written);
        assert_eq!(std::str::from_utf8(&written).unwrap(), expected);
    };
    let head = "/a/b?c=d HTTP/1.1\r\nhost: node:1\r\naccept: x\r\naccept: y\r\n";
    check(Method::GET, Some(0), &format!("GET {head}\r\n"));
    check(
        Method::POST,
        Some(0),
        &format!("POST {head}content-length: 0\r\n\r\n"),
    );
    check(
        Method::DELETE,
        Some(1204),
        &format!("DELETE {head}content-length: 1204\r\n\r\n"),
    );
    check(
        Method::POST,
        None,
        &format!("POST {head}transfer-encoding: chunked\r\n\r\n"),
    );
}

#[test]
fn chunks_are_written_as_they_are_read() {
    let mut written = BytesMut::new();
    for piece in ["hello", "", "0123456789abcdef"] {
        write_chunk(piece.as_bytes(), &mut written);
    }
    write_last_chunk(&mut written);
    assert_eq!(
        &*written,
        b"5\r\nhello\r\n10\r\n0123456789abcdef\r\n0\r\n\r\n"
    );
}
