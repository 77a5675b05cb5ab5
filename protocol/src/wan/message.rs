//! An envelope as NATS carries it: bare, or with the trace that it belongs to (`contract/transport-bridge.md` 3).

use serde_json::{Map, Value, json};

use super::{BridgeError, Envelope, IngressError, parse_body};

/// The members of the shape with a trace.
const ENVELOPE: &str = "wanEnvelope";
const TRACE: &str = "meshTrace";

/// An envelope on its way.
#[derive(Clone, Debug, PartialEq)]
pub struct WanMessage {
    /// What is carried.
    pub envelope: Envelope,
    /// What it is part of.
    pub trace: MeshTrace,
}

/// W3C trace context, as it was given; a member that is blank is absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MeshTrace {
    traceparent: Option<String>,
    tracestate: Option<String>,
}

impl WanMessage {
    /// Reads either shape. What is no text in a trace is left out: a trace is never a reason to lose an envelope.
    ///
    /// # Errors
    /// [`IngressError`], by the rules of the ingress.
    pub fn decode(body: &[u8]) -> Result<Self, IngressError> {
        let value = parse_body(body).ok_or(IngressError::NotJson)?;
        let (envelope, trace) = parts(&value);
        Ok(Self {
            envelope: Envelope::from_value(envelope).map_err(IngressError::Invalid)?,
            trace,
        })
    }

    /// As [`Self::decode`], of a message that is to go, whose envelope passed the bridge.
    ///
    /// # Errors
    /// [`BridgeError`], by the rules of the bridge.
    pub fn decode_outgoing(body: &[u8]) -> Result<Self, BridgeError> {
        let value = parse_body(body).ok_or(BridgeError::NotJson)?;
        let (envelope, trace) = parts(&value);
        Ok(Self {
            envelope: Envelope::from_value_of_bridge(envelope)?,
            trace,
        })
    }

    /// The bare shape where there is no trace, else the other.
    pub fn encode(&self) -> Vec<u8> {
        let envelope = self.envelope.to_value();
        let value = match self.trace.to_value() {
            Some(trace) => json!({ENVELOPE: envelope, TRACE: trace}),
            None => envelope,
        };
        value.to_string().into_bytes()
    }
}

impl MeshTrace {
    /// A trace of these headers, without the space around them.
    pub fn new(traceparent: Option<&str>, tracestate: Option<&str>) -> Self {
        let filled = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
        Self {
            traceparent: traceparent.and_then(filled),
            tracestate: tracestate.and_then(filled),
        }
    }

    /// The header of that name.
    pub fn traceparent(&self) -> Option<&str> {
        self.traceparent.as_deref()
    }

    /// The header of that name.
    pub fn tracestate(&self) -> Option<&str> {
        self.tracestate.as_deref()
    }

    fn to_value(&self) -> Option<Value> {
        if *self == Self::default() {
            return None;
        }
        let mut members = Map::new();
        members.insert("v".to_owned(), 1.into());
        let both = [
            ("traceparent", &self.traceparent),
            ("tracestate", &self.tracestate),
        ];
        for (name, text) in both {
            if let Some(text) = text {
                members.insert(name.to_owned(), text.as_str().into());
            }
        }
        Some(Value::Object(members))
    }
}

/// The envelope of either shape, and its trace.
fn parts(message: &Value) -> (&Value, MeshTrace) {
    let wrapped = message.get(ENVELOPE).filter(|wrapped| !wrapped.is_null());
    let trace = wrapped.and_then(|_| message.get(TRACE));
    let text = |name: &str| trace.and_then(|trace| trace.get(name)?.as_str());
    let trace = MeshTrace::new(text("traceparent"), text("tracestate"));
    (wrapped.unwrap_or(message), trace)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    const BARE: &str = r#"{"v":1,"correlationId":"corr-0001","sourceOrigin":"https://a.example"}"#;

    fn check(message: &str, trace: MeshTrace, again: &str) {
        let read = WanMessage::decode(message.as_bytes()).unwrap();
        assert_eq!(read.envelope.correlation_id, "corr-0001", "{message}");
        assert_eq!(read.trace, trace, "{message}");
        let written: Value = serde_json::from_slice(&read.encode()).unwrap();
        assert_eq!(
            written,
            serde_json::from_str::<Value>(again).unwrap(),
            "{message}"
        );
    }

    #[test]
    fn both_shapes_are_read() {
        let none = MeshTrace::default();
        check(BARE, none.clone(), BARE);
        check(&format!(r#"{{"wanEnvelope":{BARE}}}"#), none.clone(), BARE);
        check(
            &format!(r#"{{"wanEnvelope":{BARE},"meshTrace":{{"traceparent":7}}}}"#),
            none,
            BARE,
        );
        let traced =
            format!(r#"{{"wanEnvelope":{BARE},"meshTrace":{{"v":1,"traceparent":" 00-a "}}}}"#);
        check(
            &traced,
            MeshTrace::new(Some("00-a"), Some(" ")),
            &traced.replace(" 00-a ", "00-a"),
        );
    }

    #[test]
    fn what_is_no_envelope_is_refused() {
        for (body, expected) in [
            ("{", "not JSON"),
            (
                r#"{"wanEnvelope":[]}"#,
                "not a WAN envelope:  must be an object",
            ),
        ] {
            let refused = WanMessage::decode(body.as_bytes()).unwrap_err();
            assert_eq!(refused.to_string(), expected);
        }
        // A null counts as a member of a bare envelope, which has no such member.
        assert!(WanMessage::decode(br#"{"wanEnvelope":null}"#).is_err());
    }
}
