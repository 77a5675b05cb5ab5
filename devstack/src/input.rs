//! The text that the agent works on, and what the runner itself knows of it.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, bail};

/// A text of this size stays under the body limits on the way, escaped as JSON.
const LARGEST: u64 = 256 * 1024;
const SAMPLE: &str = include_str!("../sample.txt");

/// A text and the number of its characters, counted here, so that an agent's answer can be compared with something on
/// which nobody differs; what a word is depends on the language.
pub(crate) struct Input {
    pub(crate) text: String,
    pub(crate) characters: usize,
}

/// Reads the user's file, or takes the built-in text.
pub(crate) fn read(path: Option<&Path>) -> anyhow::Result<(String, Input)> {
    let (name, text) = match path {
        Some(path) => (path.display().to_string(), read_file(path)?),
        None => ("the built-in text".to_owned(), SAMPLE.to_owned()),
    };
    let characters = text.chars().count();
    let detail = format!("{name}: {} bytes, {characters} characters", text.len());
    Ok((detail, Input { text, characters }))
}

fn read_file(path: &Path) -> anyhow::Result<String> {
    let name = path.display();
    let file = File::open(path).with_context(|| format!("{name} cannot be opened"))?;
    let mut bytes = Vec::new();
    file.take(LARGEST + 1)
        .read_to_end(&mut bytes)
        .with_context(|| format!("{name} cannot be read"))?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > LARGEST) {
        bail!(
            "{name} is larger than {} KiB; give a shorter text",
            LARGEST / 1024
        );
    }
    let Ok(text) = String::from_utf8(bytes) else {
        bail!("{name} is no UTF-8 text")
    };
    if text.trim().is_empty() {
        bail!("{name} holds no text");
    }
    Ok(text)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use std::io::Write;

    use super::{LARGEST, read};

    fn refusal(content: &[u8]) -> String {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(content).unwrap();
        read(Some(file.path()))
            .err()
            .map(|error| error.to_string())
            .unwrap_or_default()
    }

    #[test]
    fn a_file_is_a_text_of_bounded_size() {
        let largest = usize::try_from(LARGEST).unwrap();
        assert!(refusal(&vec![b'a'; largest + 1]).contains("larger than 256 KiB"));
        assert_eq!(refusal(&vec![b'a'; largest]), "");
        assert!(refusal(b"a\xFFb").contains("no UTF-8"));
        assert!(refusal(b" \n ").contains("no text"));
        let missing = read(Some("/nonexistent/text".as_ref()))
            .err()
            .map(|error| error.to_string());
        assert_eq!(
            missing.as_deref(),
            Some("/nonexistent/text cannot be opened")
        );
    }
}
