//! What the format says, case by case; and that no case depends on how the bytes were cut.

use super::{SseError, SseReader};

const LIMIT: usize = 64;

/// What it is about, the bytes of the stream, the data of its events.
type Case = (&'static str, &'static [u8], &'static [&'static [u8]]);

const CASES: &[Case] = &[
    ("nothing", b"", &[]),
    ("one event", b"data: a\n\n", &[b"a"]),
    ("no space after the colon", b"data:a\n\n", &[b"a"]),
    ("only one space is taken", b"data:  a\n\n", &[b" a"]),
    ("two events", b"data: a\n\ndata: b\n\n", &[b"a", b"b"]),
    (
        "several lines",
        b"data: a\ndata: b\ndata:\n\n",
        &[b"a\nb\n"],
    ),
    ("carriage returns", b"data: a\r\rdata: b\r\r", &[b"a", b"b"]),
    (
        "carriage return, line feed",
        b"data: a\r\ndata: b\r\n\r\n",
        &[b"a\nb"],
    ),
    (
        "endings mixed",
        b"data: a\r\n\ndata: b\n\rdata: c\r\r\n",
        &[b"a", b"b", b"c"],
    ),
    (
        "a comment",
        b": still here\n\ndata: a\n: between\n\n",
        &[b"a"],
    ),
    (
        "other fields",
        b"event: x\nid: 7\nretry: 10\ndata: a\n\n",
        &[b"a"],
    ),
    (
        "an event without data is none",
        b"event: x\nid: 7\n\ndata: a\n\n",
        &[b"a"],
    ),
    (
        "names that only begin alike",
        b"dataset: x\ndat: y\nDATA: z\n data: w\n\n",
        &[],
    ),
    ("a field without a colon", b"data\n\n", &[b""]),
    ("empty data", b"data:\n\n", &[b""]),
    ("a colon inside", b"data: {\"a\":1}\n\n", &[b"{\"a\":1}"]),
    ("a byte order mark", b"\xEF\xBB\xBFdata: a\n\n", &[b"a"]),
    (
        "a mark later is text",
        b"data: a\n\n\xEF\xBB\xBFdata: b\n\n",
        &[b"a"],
    ),
    ("a mark alone", b"\xEF\xBB\xBF\n\ndata: a\n\n", &[b"a"]),
    (
        "long characters",
        "data: Grüße 🏝\n\n".as_bytes(),
        &["Grüße 🏝".as_bytes()],
    ),
    ("blank lines", b"\n\n\r\n\r\ndata: a\n\n\n\n", &[b"a"]),
    ("no blank line at the end", b"data: a\n\ndata: b\n", &[b"a"]),
    ("no end of line at the end", b"data: a\n\ndata: b", &[b"a"]),
];

fn read(chunks: &[&[u8]]) -> (Vec<Vec<u8>>, Result<(), SseError>) {
    let mut reader = SseReader::new(LIMIT);
    let mut events = Vec::new();
    for chunk in chunks {
        if let Err(error) = reader.push(chunk, &mut events) {
            return (events, Err(error));
        }
    }
    (events, Ok(()))
}

/// The stream gives `events` and then `end`: whole, byte by byte, and cut in two at every place.
fn check(name: &str, stream: &[u8], events: &[&[u8]], end: Result<(), SseError>) {
    let expected = (
        events
            .iter()
            .map(|event| event.to_vec())
            .collect::<Vec<_>>(),
        end,
    );
    assert_eq!(read(&[stream]), expected, "{name}: whole");
    assert_eq!(
        read(&stream.chunks(1).collect::<Vec<_>>()),
        expected,
        "{name}: byte by byte"
    );
    for cut in 0..=stream.len() {
        let (head, tail) = stream.split_at(cut);
        assert_eq!(read(&[head, &[], tail]), expected, "{name}: cut at {cut}");
    }
}

#[test]
fn the_format() {
    for (name, stream, events) in CASES {
        check(name, stream, events, Ok(()));
    }
}

#[test]
fn one_stream_of_all_cases_in_chunks_of_every_size() {
    let stream: Vec<u8> = CASES
        .iter()
        .flat_map(|(_, stream, _)| [stream, b"\n\n".as_slice()].concat())
        .collect();
    let (whole, end) = read(&[&stream]);
    end.unwrap();
    assert!(whole.len() > CASES.len());
    for size in 1..=stream.len() {
        assert_eq!(
            read(&stream.chunks(size).collect::<Vec<_>>()),
            (whole.clone(), Ok(())),
            "chunks of {size}"
        );
    }
}

#[test]
fn lines_and_events_are_bounded() {
    let fits = format!("data: {}\n\n", "x".repeat(LIMIT - 6));
    check(
        "a line of the limit",
        fits.as_bytes(),
        &["x".repeat(LIMIT - 6).as_bytes()],
        Ok(()),
    );
    let too_long = Err(SseError::TooLong(LIMIT));
    let line = format!("data: a\n\ndata: {}", "x".repeat(LIMIT));
    check("a line that never ends", line.as_bytes(), &[b"a"], too_long);
    let comment = format!("data: a\n\n:{}\n\n", "x".repeat(LIMIT));
    check("a comment", comment.as_bytes(), &[b"a"], too_long);
    let event = format!("data: a\n\n{}", "data: 0123456789\n".repeat(7));
    check(
        "an event of many lines",
        event.as_bytes(),
        &[b"a"],
        too_long,
    );
}
