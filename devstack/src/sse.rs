//! Reads the events of a stream: the data of each, however the bytes were cut.

use anyhow::bail;

/// Far more than any event of the demonstration.
const LARGEST: usize = 8 * 1024 * 1024;

/// The part of the stream that no event has ended yet.
#[derive(Default)]
pub(crate) struct Events {
    line: Vec<u8>,
    data: Vec<u8>,
}

impl Events {
    /// Takes what has arrived; gives the data of the events that it completed.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> anyhow::Result<Vec<Vec<u8>>> {
        let mut events = Vec::new();
        for byte in bytes {
            // Our own servers end lines with a line feed, which a carriage return may precede.
            if *byte == b'\n' {
                events.extend(self.end_line());
            } else {
                self.line.push(*byte);
            }
            if self.line.len() + self.data.len() > LARGEST {
                bail!("an event of the stream is larger than {LARGEST} bytes");
            }
        }
        Ok(events)
    }

    fn end_line(&mut self) -> Option<Vec<u8>> {
        let line = std::mem::take(&mut self.line);
        let line = line.strip_suffix(b"\r").unwrap_or(&line);
        if line.is_empty() {
            let data = std::mem::take(&mut self.data);
            return (!data.is_empty()).then_some(data);
        }
        if let Some(data) = line.strip_prefix(b"data:") {
            if !self.data.is_empty() {
                self.data.push(b'\n');
            }
            self.data
                .extend_from_slice(data.strip_prefix(b" ").unwrap_or(data));
        }
        None
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::Events;

    #[test]
    fn events_do_not_depend_on_the_cuts() {
        let stream =
            "data: {\"a\":\"ü\"}\r\n\r\n: alive\n\ndata:b\ndata: c\n\ndata: cut off".as_bytes();
        for at in 0..stream.len() {
            let (first, second) = stream.split_at(at);
            let mut events = Events::default();
            let mut seen = events.push(first).unwrap();
            seen.extend(events.push(second).unwrap());
            assert_eq!(seen, ["{\"a\":\"ü\"}".as_bytes(), b"b\nc"], "cut at {at}");
        }
    }
}
