//! Event streams: the same events come out however the bytes are cut, and no event is longer than the limit.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../../node/src/agents/upstream/sse.rs"]
mod sse;

use sse::{SseError, SseReader};

fuzz_target!(|input: &[u8]| {
    // The first byte says how the rest is cut.
    let Some((cut, stream)) = input.split_first() else {
        return;
    };
    let limit = 64;
    let whole = read([stream].into_iter(), limit);
    let pieces = read(stream.chunks(usize::from(*cut % 16) + 1), limit);
    assert_eq!(whole, pieces);
    assert!(whole.0.iter().all(|event| event.len() <= limit));
});

fn read<'a>(
    chunks: impl Iterator<Item = &'a [u8]>,
    limit: usize,
) -> (Vec<Vec<u8>>, Result<(), SseError>) {
    let mut reader = SseReader::new(limit);
    let mut events = Vec::new();
    for chunk in chunks {
        if let Err(error) = reader.push(chunk, &mut events) {
            return (events, Err(error));
        }
    }
    (events, Ok(()))
}
