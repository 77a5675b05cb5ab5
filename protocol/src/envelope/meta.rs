//! `meshMeta`: who published a bus message and under which id (`contract/bus.md` 3).

use std::fmt;

use serde_json::{Map, Value};
use uuid::Uuid;

use crate::{ids::Text, names::Dialect};

/// What goes with every bus message. On the wire the dialect adds `v` and `producer`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeshMeta {
    /// The id of this message; a subscriber takes it once.
    pub event_id: EventId,
    /// The request it came from.
    pub correlation_id: Option<Text<256>>,
}

/// The id of a bus message: a UUID whose spelling is kept, since it is signed as it was written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId(String);

/// `meshMeta` is not as the contract has it; names the member, or nothing if it is no object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("meshMeta is invalid: {0}")]
pub struct MetaError(pub &'static str);

impl MeshMeta {
    /// Reads the `meshMeta` of a dialect; unknown members are dropped.
    ///
    /// # Errors
    /// [`MetaError`] names the first offending member.
    pub fn parse(value: &Value, dialect: Dialect) -> Result<Self, MetaError> {
        let members = value.as_object().ok_or(MetaError(""))?;
        let text = |name: &'static str| members.get(name).and_then(Value::as_str);
        if members.get("v").and_then(Value::as_f64) != Some(1.0) {
            return Err(MetaError("v"));
        }
        if text("producer") != Some(dialect.bus_producer()) {
            return Err(MetaError("producer"));
        }
        let event_id = EventId::parse(text("eventId").ok_or(MetaError("eventId"))?)?;
        let correlation_id = members
            .get("correlationId")
            .map(|value| value.as_str().and_then(|text| Text::parse(text).ok()))
            .map(|text| text.ok_or(MetaError("correlationId")))
            .transpose()?;
        Ok(Self {
            event_id,
            correlation_id,
        })
    }

    /// `meshMeta` as it is written in a dialect.
    pub fn to_value(&self, dialect: Dialect) -> Value {
        let mut members = Map::new();
        members.insert("v".into(), 1.into());
        members.insert("producer".into(), dialect.bus_producer().into());
        members.insert("eventId".into(), self.event_id.as_str().into());
        if let Some(correlation_id) = &self.correlation_id {
            members.insert("correlationId".into(), correlation_id.as_str().into());
        }
        Value::Object(members)
    }
}

impl EventId {
    /// Reads an RFC 9562 UUID of version 1 to 8 in either case, the nil UUID, or the max UUID in lower case.
    ///
    /// # Errors
    /// [`MetaError`] when it is none of them.
    pub fn parse(text: &str) -> Result<Self, MetaError> {
        let special = [
            "00000000-0000-0000-0000-000000000000",
            "ffffffff-ffff-ffff-ffff-ffffffffffff",
        ];
        if special.contains(&text) || is_versioned_uuid(text) {
            return Ok(Self(text.to_owned()));
        }
        Err(MetaError("eventId"))
    }

    /// The id as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<Uuid> for EventId {
    fn from(id: Uuid) -> Self {
        Self(id.to_string())
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

fn is_versioned_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(index, byte)| match index {
            8 | 13 | 18 | 23 => byte == b'-',
            14 => matches!(byte, b'1'..=b'8'),
            19 => matches!(byte, b'8' | b'9' | b'a' | b'b' | b'A' | b'B'),
            _ => byte.is_ascii_hexdigit(),
        })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use serde_json::json;

    use super::*;

    const ID: &str = "6f1d2a0e-8b4c-4d7e-9a55-0c2f4b6d8e10";

    #[test]
    fn reads_only_its_own_dialect_and_version() {
        let check = |meta: Value, expected: Result<(), MetaError>| {
            assert_eq!(
                MeshMeta::parse(&meta, Dialect::Hive).map(drop),
                expected,
                "{meta}"
            );
        };
        check(
            json!({"v": 1, "producer": "hive-core", "eventId": ID}),
            Ok(()),
        );
        check(
            json!({"v": 1.0, "producer": "hive-core", "eventId": ID, "hop": 1}),
            Ok(()),
        );
        check(
            json!({"v": 2, "producer": "hive-core", "eventId": ID}),
            Err(MetaError("v")),
        );
        check(
            json!({"v": "1", "producer": "hive-core", "eventId": ID}),
            Err(MetaError("v")),
        );
        check(
            json!({"v": 1, "producer": "pilox-core", "eventId": ID}),
            Err(MetaError("producer")),
        );
        check(
            json!({"v": 1, "producer": "hive-core"}),
            Err(MetaError("eventId")),
        );
        for correlation in [json!(""), json!("c".repeat(257)), json!(null), json!(7)] {
            check(
                json!({"v": 1, "producer": "hive-core", "eventId": ID, "correlationId": correlation}),
                Err(MetaError("correlationId")),
            );
        }
        check(json!([]), Err(MetaError("")));
    }

    #[test]
    fn writes_what_it_reads() {
        for dialect in Dialect::ALL {
            let meta = MeshMeta {
                event_id: EventId::from(Uuid::max()),
                correlation_id: Some(Text::parse("c").unwrap()),
            };
            assert_eq!(MeshMeta::parse(&meta.to_value(dialect), dialect), Ok(meta));
        }
    }

    #[test]
    fn event_ids_are_uuids() {
        for (id, valid) in [
            (ID, true),
            ("6F1D2A0E-8B4C-4D7E-9A55-0C2F4B6D8E10", true),
            ("00000000-0000-0000-0000-000000000000", true),
            ("ffffffff-ffff-ffff-ffff-ffffffffffff", true),
            ("FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF", false),
            ("6f1d2a0e-8b4c-9d7e-9a55-0c2f4b6d8e10", false),
            ("6f1d2a0e-8b4c-4d7e-ca55-0c2f4b6d8e10", false),
            ("6f1d2a0e8b4c4d7e9a550c2f4b6d8e10", false),
            ("6f1d2a0e-8b4c-4d7e-9a55-0c2f4b6d8e1g", false),
            ("", false),
        ] {
            assert_eq!(EventId::parse(id).is_ok(), valid, "{id:?}");
        }
    }
}
