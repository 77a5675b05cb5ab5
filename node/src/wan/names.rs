//! What an envelope is called: in the store, on the bus and on the line. Pure.
//!
//! The name is made of the sender and its correlation id, so that an envelope has one name whichever way it comes, and the
//! answer to it, which has the same correlation id, another.

use archipel_protocol::wan::Envelope;
use aws_lc_rs::digest::{Context, SHA256};
use uuid::Uuid;

use crate::store::wan::RowName;

/// By which an envelope is known again.
pub(crate) fn of(envelope: &Envelope) -> RowName {
    let (source, id) = (&envelope.source_origin, &envelope.correlation_id);
    digest(["envelope", source, id])
}

/// By which the message is known again that carried an envelope; ids of two senders never meet.
pub(crate) fn of_message(envelope: &Envelope, message_id: &str) -> RowName {
    digest(["message", &envelope.source_origin, message_id])
}

/// Whose order is kept: everything of one correlation id, whoever says it.
pub(crate) fn lane(envelope: &Envelope) -> RowName {
    digest(["lane", "", &envelope.correlation_id])
}

/// The id of the event that tells the bus of an envelope: a UUID of version 8, the same each time it is told.
pub(crate) fn event_id(name: RowName) -> Uuid {
    uuid::Builder::from_custom_bytes(name.0).into_uuid()
}

/// What the line calls the letter with an envelope.
pub(crate) fn message_id(name: RowName) -> String {
    hex::encode(name.0)
}

fn digest(parts: [&str; 3]) -> RowName {
    let mut hash = Context::new(&SHA256);
    for part in parts {
        hash.update(&(part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    let hash = hash.finish();
    let name = hash.as_ref().first_chunk();
    RowName(name.copied().unwrap_or_default())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use archipel_protocol::envelope::EventId;

    use super::*;

    fn envelope(source: &str, id: &str) -> Envelope {
        let body = format!(r#"{{"v":1,"correlationId":"{id}","sourceOrigin":"{source}"}}"#);
        Envelope::decode_ingress(body.as_bytes()).unwrap()
    }

    #[test]
    fn sender_and_correlation_id_make_the_name() {
        let one = envelope("https://a.example", "corr-0001");
        assert_eq!(of(&one), of(&one.clone()));
        for other in [
            envelope("https://b.example", "corr-0001"),
            envelope("https://a.example", "corr-0002"),
        ] {
            assert_ne!(of(&one), of(&other));
            assert_ne!(of_message(&one, "id-1"), of(&other));
        }
        let answer = envelope("https://b.example", "corr-0001");
        assert_eq!(lane(&one), lane(&answer));
        assert_ne!(of_message(&one, "id-1"), of_message(&answer, "id-1"));
    }

    #[test]
    fn the_bus_takes_the_id_of_the_event() {
        let id = event_id(of(&envelope("https://a.example", "corr-0001")));
        assert!(EventId::parse(&id.to_string()).is_ok(), "{id}");
    }
}
