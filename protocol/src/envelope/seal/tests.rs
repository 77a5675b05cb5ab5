//! Messages sealed and opened: the Hive spelling, rotation, refusals, changed bytes.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::{
    envelope::{
        event::{AgentLifecycle, AgentState, SystemPayload},
        meta::EventId,
        time::Timestamp,
    },
    ids::Text,
};

const CHANNEL: &str = "hive:system:events";

fn secret(byte: char) -> BusSecret {
    BusSecret::new(&byte.to_string().repeat(32)).unwrap()
}

fn meta() -> MeshMeta {
    MeshMeta {
        event_id: EventId::parse("6f1d2a0e-8b4c-4d7e-9a55-0c2f4b6d8e10").unwrap(),
        correlation_id: Some(Text::parse("req-1").unwrap()),
    }
}

fn event() -> Event {
    Event::System(SystemEvent {
        payload: SystemPayload::ModelPulled {
            model_name: Text::parse("m").unwrap(),
        },
        timestamp: Timestamp::from_unix_ms(1_767_225_600_000).unwrap(),
    })
}

fn sealed(secret: Option<&BusSecret>) -> String {
    seal(&event(), CHANNEL, &meta(), secret, Dialect::Hive)
}

fn check(wire: &str, secrets: &[BusSecret], expected: Result<bool, &'static str>) {
    let verdict = open(wire.as_bytes(), CHANNEL, secrets, Dialect::Hive);
    let verdict = verdict
        .as_ref()
        .map(|opened| opened.signed)
        .map_err(OpenError::token);
    assert_eq!(verdict, expected, "{wire}");
}

/// The signature was computed with another implementation (HMAC of Python's standard library).
#[test]
fn seals_in_the_hive_spelling() {
    let secret = BusSecret::new("mesh-bus-hmac-secret-shared-half-00001").unwrap();
    let wire = sealed(Some(&secret));
    assert_eq!(
        wire,
        concat!(
            r#"{"type":"model.pulled","payload":{"modelName":"m"},"timestamp":"2026-01-01T00:00:00.000Z","#,
            r#""meshMeta":{"v":1,"producer":"hive-core","eventId":"6f1d2a0e-8b4c-4d7e-9a55-0c2f4b6d8e10","#,
            r#""correlationId":"req-1"},"#,
            r#""meshSig":"75318e469815f880172b711934d44cb4f556f701680e4cb009cf003ec961d69a"}"#,
        )
    );
    let opened = open(wire.as_bytes(), CHANNEL, &[secret], Dialect::Hive).unwrap();
    assert_eq!(opened.event, event());
    assert_eq!(opened.meta, meta());
    assert_eq!(opened.timestamp_ms(), Some(1_767_225_600_000));
    assert_eq!(opened.event_id(), "6f1d2a0e-8b4c-4d7e-9a55-0c2f4b6d8e10");
}

#[test]
fn any_of_several_secrets_opens() {
    let wire = sealed(Some(&secret('b')));
    check(&wire, &[secret('a'), secret('b')], Ok(true));
    check(&wire, &[secret('a')], Err("bad_signature"));
}

#[test]
fn unsigned_messages_open_only_where_nothing_is_signed() {
    check(&sealed(None), &[], Ok(false));
    check(&sealed(None), &[secret('a')], Err("unsigned"));
    check(&sealed(Some(&secret('a'))), &[], Ok(false));
}

#[test]
fn channel_and_dialect_are_under_the_signature() {
    let wire = sealed(Some(&secret('a')));
    let verdict = |channel, dialect| {
        open(wire.as_bytes(), channel, &[secret('a')], dialect)
            .map(drop)
            .map_err(|error| error.token())
    };
    assert_eq!(verdict(CHANNEL, Dialect::Hive), Ok(()));
    assert_eq!(
        verdict("pilox:system:events", Dialect::Hive),
        Err("bad_signature")
    );
    assert_eq!(verdict(CHANNEL, Dialect::Pilox), Err("invalid_meta"));
}

#[test]
fn refuses_what_is_no_message() {
    let secrets = [secret('a')];
    check("", &secrets, Err("malformed"));
    check("[]", &secrets, Err("malformed"));
    check("{}", &secrets, Err("unsigned"));
    check("{}", &[], Err("invalid_event"));
    check(r#"{"meshSig":"00"}"#, &secrets, Err("invalid_event"));
    check(&" ".repeat(MAX_WIRE + 1), &[], Err("malformed"));
    let wire = sealed(None);
    let with = |member: &str, value: Value| {
        let mut message: Value = serde_json::from_str(&wire).unwrap();
        message
            .as_object_mut()
            .unwrap()
            .insert(member.to_owned(), value);
        message.to_string()
    };
    check(&with("meshMeta", json!(null)), &[], Err("invalid_meta"));
    for signature in [
        json!(null),
        json!(""),
        json!("zz"),
        json!("00".repeat(31)),
        json!(7),
    ] {
        check(&with("meshSig", signature), &secrets, Err("bad_signature"));
    }
}

#[test]
fn unknown_members_of_the_event_are_not_signed_those_of_meta_are() {
    let secrets = [secret('a')];
    let mut message: Value = serde_json::from_str(&sealed(secrets.first())).unwrap();
    message["payload"]["extra"] = json!(1);
    message["extra"] = json!(1e300);
    check(&message.to_string(), &secrets, Ok(true));
    message["meshMeta"]["hop"] = json!(1);
    check(&message.to_string(), &secrets, Err("bad_signature"));
}

#[test]
fn a_status_is_told_from_a_system_event_by_its_members() {
    let status = Event::Status(AgentStatus {
        agent_id: Text::parse("a").unwrap(),
        status: AgentState::Ready,
        timestamp: Timestamp::parse("2026-01-01").unwrap(),
        instance_id: Some(Text::parse("i").unwrap()),
    });
    for original in [status, event()] {
        let wire = seal(&original, CHANNEL, &meta(), None, Dialect::Hive);
        for extra in ["", r#""type":"x","#, r#""agentId":"a","#] {
            let wire = wire.replacen('{', &format!("{{{extra}"), 1);
            let opened = open(wire.as_bytes(), CHANNEL, &[], Dialect::Hive).unwrap();
            assert_eq!(opened.event, original, "{wire}");
        }
    }
}

#[test]
fn secrets_are_long_and_never_printed() {
    assert!(BusSecret::new(&"s".repeat(31)).is_err());
    assert_eq!(format!("{:?}", secret('s')), "BusSecret([redacted])");
}

fn any_event() -> impl Strategy<Value = Event> {
    let change = prop::sample::select(vec![AgentLifecycle::Created, AgentLifecycle::Paused]);
    (change, ".{1,64}", ".{1,256}", 0_i64..4_000_000_000_000).prop_map(
        |(change, agent_id, name, unix_ms)| {
            Event::System(SystemEvent {
                payload: SystemPayload::Agent {
                    change,
                    agent_id: Text::parse(agent_id).unwrap(),
                    name: Text::parse(name).unwrap(),
                },
                timestamp: Timestamp::from_unix_ms(unix_ms).unwrap(),
            })
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_sealed_opens(event in any_event(), pilox in any::<bool>()) {
        let dialect = if pilox { Dialect::Pilox } else { Dialect::Hive };
        let wire = seal(&event, CHANNEL, &meta(), Some(&secret('a')), dialect);
        let opened = open(wire.as_bytes(), CHANNEL, &[secret('a')], dialect);
        prop_assert_eq!(opened, Ok(Opened { event, meta: meta(), signed: true }));
    }

    /// A changed byte is refused, unless the message still says the same (a signature may be written in upper case).
    #[test]
    fn a_changed_message_does_not_open(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut wire = sealed(Some(&secret('a'))).into_bytes();
        if let Some(changed) = wire.get_mut(at.index(sealed(Some(&secret('a'))).len())) {
            *changed = byte;
        }
        if let Ok(opened) = open(&wire, CHANNEL, &[secret('a')], Dialect::Hive) {
            prop_assert_eq!((opened.event, opened.meta), (event(), meta()));
        }
    }
}
