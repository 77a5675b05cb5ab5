//! Canonical JSON, the text under every HMAC and signature of the mesh (`contract/bus.md` 2).
//!
//! It is what ECMAScript would print after sorting the members of every object by the UTF-16 units of their names, so
//! it agrees with RFC 8785 wherever that one is defined.

use serde_json::{Value, value::RawValue};

/// Why a text has no canonical form.
#[derive(Debug, thiserror::Error)]
#[error("no canonical form: {0}")]
pub struct CanonicalError(#[from] serde_json::Error);

/// The canonical text of a value.
///
/// ```
/// use archipel_protocol::canonical;
/// let value = serde_json::json!({"b": 1.0, "a": [1e21, -0.0]});
/// assert_eq!(canonical::to_string(&value), r#"{"a":[1e+21,0],"b":1}"#);
/// ```
pub fn to_string(value: &Value) -> String {
    match serde_json_canonicalizer::to_string(value) {
        Ok(text) => text,
        // Writing into memory does not fail, and a `Value` holds neither a NaN nor a name twice.
        Err(error) => unreachable!("a JSON value always has a canonical form: {error}"),
    }
}

/// The canonical text of a JSON text. Of a repeated name the last member counts; numbers are IEEE doubles, and one
/// that is too large for a double prints as `null`.
///
/// # Errors
/// [`CanonicalError`] when the text is not JSON, nests deeper than 127 levels, or holds a lone surrogate (which a
/// `str` cannot carry).
pub fn canonicalize(json: &str) -> Result<String, CanonicalError> {
    Ok(to_string(&parse(json)?))
}

/// Reads a JSON text as the peers do: a number beyond the doubles is null.
pub(crate) fn parse(json: &str) -> Result<Value, CanonicalError> {
    // serde_json refuses such numbers where ECMAScript reads infinity, which it prints as null. They are so rare that
    // only a refused text is searched for them.
    match serde_json::from_str(json) {
        Ok(value) => Ok(value),
        Err(_) => Ok(serde_json::from_str(&overflow_to_null(json))?),
    }
}

/// The text with every number beyond the doubles replaced by `null`, strings left alone.
fn overflow_to_null(json: &str) -> String {
    let mut replaced = String::with_capacity(json.len());
    let mut rest = json;
    while let Some(start) = rest.find(|c: char| c == '"' || c == '-' || c.is_ascii_digit()) {
        let (between, tail) = rest.split_at(start);
        let (token, after) = tail.split_at(token_length(tail));
        replaced.push_str(between);
        replaced.push_str(if overflows(token) { "null" } else { token });
        rest = after;
    }
    replaced.push_str(rest);
    replaced
}

/// Length of the string or number that `text` begins with.
fn token_length(text: &str) -> usize {
    let end = if text.starts_with('"') {
        let mut escaped = false;
        text.bytes()
            .skip(1)
            .position(|byte| {
                let closes = byte == b'"' && !escaped;
                escaped = byte == b'\\' && !escaped;
                closes
            })
            .map(|quote| quote + 2)
    } else {
        text.find(|c: char| !(c.is_ascii_digit() || matches!(c, '-' | '+' | '.' | 'e' | 'E')))
    };
    end.unwrap_or(text.len())
}

fn overflows(token: &str) -> bool {
    let infinite = token.parse().is_ok_and(f64::is_infinite);
    // Rust reads more forms than JSON has ("01e999"); those must stay what they are: errors.
    infinite && serde_json::from_str::<&RawValue>(token).is_ok()
}

#[cfg(test)]
mod tests;
