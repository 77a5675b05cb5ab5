//! Server-sent events as bytes come in: a pure, incremental reader of the event stream format of the HTML standard,
//! section 9.2.6. It owns the unfinished line and the unfinished event, nothing else.
//!
//! Only `data` is kept: A2A carries whole JSON-RPC responses in it, and puts nothing into `event`, `id` or `retry` that
//! an agent's client would need. Bytes are not decoded here; JSON does that, so a character split over two chunks needs
//! no care.

/// The stream broke a bound and cannot be read further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SseError {
    /// One line, or the data of one event, is longer than the limit.
    #[error("an event of the stream is longer than {0} bytes")]
    TooLong(usize),
}

/// The state between two chunks.
#[derive(Debug)]
pub(crate) struct SseReader {
    /// Bounds a line and the data of an event, each, in bytes. So at most twice this is held.
    limit: usize,
    /// The line whose end has not come yet.
    line: Vec<u8>,
    /// The data lines of the event whose blank line has not come yet, joined by line feeds.
    data: Option<Vec<u8>>,
    /// The last byte was a carriage return that ended a line: a line feed right after it belongs to it.
    after_return: bool,
    /// No line has been read yet: the first may begin with a byte order mark.
    first_line: bool,
}

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

impl SseReader {
    /// A reader of a new stream. `limit` bounds each line and the data of each event.
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit,
            line: Vec::new(),
            data: None,
            after_return: false,
            first_line: true,
        }
    }

    /// Takes the next chunk and appends the data of every event that it completes to `events`.
    ///
    /// The events go into the caller's list, so those before a broken bound are not lost with it. What follows an error
    /// is undefined: drop the reader.
    pub(crate) fn push(&mut self, chunk: &[u8], events: &mut Vec<Vec<u8>>) -> Result<(), SseError> {
        let mut rest = chunk;
        if self.after_return && !rest.is_empty() {
            self.after_return = false;
            rest = rest.strip_prefix(b"\n").unwrap_or(rest);
        }
        while let Some(end) = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
            let (line, ending) = rest.split_at(end);
            self.complete(line, events)?;
            rest = ending
                .strip_prefix(b"\r\n")
                .unwrap_or_else(|| ending.split_at(1).1);
            self.after_return = ending == b"\r";
        }
        self.keep(rest)
    }

    fn keep(&mut self, part: &[u8]) -> Result<(), SseError> {
        self.check_length(self.line.len() + part.len())?;
        self.line.extend_from_slice(part);
        Ok(())
    }

    fn complete(&mut self, end_of_line: &[u8], events: &mut Vec<Vec<u8>>) -> Result<(), SseError> {
        // The usual line arrives whole and is read where it lies, without a copy.
        if self.line.is_empty() {
            self.check_length(end_of_line.len())?;
            return self.read_line(end_of_line, events);
        }
        self.keep(end_of_line)?;
        let line = std::mem::take(&mut self.line);
        self.read_line(&line, events)
    }

    fn read_line(&mut self, raw: &[u8], events: &mut Vec<Vec<u8>>) -> Result<(), SseError> {
        let mut line = raw;
        if std::mem::take(&mut self.first_line) {
            line = line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line);
        }
        if line.is_empty() {
            events.extend(self.data.take());
            return Ok(());
        }
        match data_of(line) {
            Some(value) => self.append(value),
            None => Ok(()),
        }
    }

    fn append(&mut self, value: &[u8]) -> Result<(), SseError> {
        let Some(data) = &mut self.data else {
            self.data = Some(value.to_vec());
            return Ok(());
        };
        let length = data.len() + 1 + value.len();
        if length > self.limit {
            return Err(SseError::TooLong(self.limit));
        }
        data.push(b'\n');
        data.extend_from_slice(value);
        Ok(())
    }

    fn check_length(&self, length: usize) -> Result<(), SseError> {
        if length > self.limit {
            Err(SseError::TooLong(self.limit))
        } else {
            Ok(())
        }
    }
}

/// The value of a `data` line; nothing for comments and for the fields that are not kept.
fn data_of(line: &[u8]) -> Option<&[u8]> {
    let after_name = line.strip_prefix(b"data")?;
    match after_name.split_first() {
        None => Some(after_name),
        Some((b':', value)) => Some(value.strip_prefix(b" ").unwrap_or(value)),
        Some(_) => None,
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests;
