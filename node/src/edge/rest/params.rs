//! Parameters of the HTTP+JSON binding, put together as one JSON object.

use archipel_protocol::error::{ErrorCode, RpcError};
use archipel_protocol::object::Invalid;
use serde_json::value::RawValue;
use url::form_urlencoded;

use super::path::Address;

/// The object, of which the last of several members with one name counts.
#[derive(Debug)]
pub(super) struct Params(Box<RawValue>);

impl Params {
    /// Of a request that carries its parameters in the body, which is JSON.
    pub(super) fn of_body(body: &str, address: &Address) -> Result<Self, RpcError> {
        let body = match body.trim() {
            "" => "{}",
            body => body,
        };
        let open = body
            .strip_suffix('}')
            .filter(|_| body.starts_with('{'))
            .ok_or_else(|| Invalid::new("", "the body must be an object"))?;
        Self::close(open.to_owned(), address)
    }

    /// Of a request without a body (§11.5).
    pub(super) fn of_query(query: &str, address: &Address) -> Result<Self, RpcError> {
        let mut open = String::from("{");
        let mut names = Vec::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            if names.contains(&name) {
                return Err(Invalid::new(name, "is given more than once").into());
            }
            let state = (name == "status").then(|| state(&value));
            let value = state.as_deref().unwrap_or(&value);
            push(&mut open, &name, value, is_flag(&name, value));
            names.push(name);
        }
        Self::close(open, address)
    }

    /// What the path says stands last, so that it counts whatever query or body say.
    fn close(mut open: String, address: &Address) -> Result<Self, RpcError> {
        for (name, value) in address.members() {
            push(&mut open, name, value, false);
        }
        open.push('}');
        let raw = RawValue::from_string(open)
            .map_err(|_| RpcError::new(ErrorCode::Parse, "the body is not JSON"))?;
        Ok(Self(raw))
    }

    pub(super) fn raw(&self) -> &RawValue {
        &self.0
    }
}

fn push(object: &mut String, name: &str, value: &str, bare: bool) {
    if object.trim_end() != "{" {
        object.push(',');
    }
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    object.push_str(&quoted(name));
    object.push(':');
    object.push_str(&if bare {
        value.to_owned()
    } else {
        quoted(value)
    });
}

/// The examples of the specification have states in a query without what they begin with in JSON (§11.5).
fn state(value: &str) -> String {
    if value
        .bytes()
        .all(|byte| matches!(byte, b'a'..=b'z' | b'-' | b'_'))
        && !value.is_empty()
    {
        let name = value.to_ascii_uppercase().replace('-', "_");
        return format!("TASK_STATE_{name}");
    }
    value.to_owned()
}

/// Numbers may be texts (ProtoJSON), truth values may not.
fn is_flag(name: &str, value: &str) -> bool {
    matches!(name, "includeArtifacts" | "include_artifacts") && matches!(value, "true" | "false")
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use actix_web::http::Method as Verb;

    use super::*;

    fn at(verb: &Verb, below: &str) -> Address {
        Address::find(verb, below).unwrap()
    }

    #[test]
    fn a_query_becomes_an_object() {
        let list = at(&Verb::GET, "acme/tasks");
        for (query, expected) in [
            ("", r#"{"tenant":"acme"}"#),
            (
                "pageSize=5&includeArtifacts=true&contextId=a%22b+c",
                r#"{"pageSize":"5","includeArtifacts":true,"contextId":"a\"b c","tenant":"acme"}"#,
            ),
            (
                "status=input-required",
                r#"{"status":"TASK_STATE_INPUT_REQUIRED","tenant":"acme"}"#,
            ),
            (
                "include_artifacts=yes&tenant=other",
                r#"{"include_artifacts":"yes","tenant":"other","tenant":"acme"}"#,
            ),
        ] {
            let params = Params::of_query(query, &list).unwrap();
            assert_eq!(params.0.get(), expected, "{query}");
        }
        let twice = Params::of_query("pageSize=1&pageSize=2", &list).unwrap_err();
        assert_eq!(twice.violations.first().unwrap().0, "pageSize");
    }

    #[test]
    fn a_body_is_joined_by_what_the_path_says() {
        let cancel = at(&Verb::POST, "tasks/1:cancel");
        for (body, expected) in [
            ("", r#"{"id":"1"}"#),
            (" { } ", r#"{ "id":"1"}"#),
            (r#"{"id":"2"}"#, r#"{"id":"2","id":"1"}"#),
        ] {
            let params = Params::of_body(body, &cancel).unwrap();
            assert_eq!(params.0.get(), expected, "{body}");
        }
        for body in ["[]", "\"}\"", "1"] {
            let refused = Params::of_body(body, &cancel).unwrap_err();
            assert_eq!(refused.code, ErrorCode::InvalidParams, "{body}");
        }
    }
}
