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
        event::{AgentLifecycle, AgentState, RecordedSource, SystemPayload},
        meta::EventId,
        time::Timestamp,
    },
    ids::Text,
    wan,
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

/// A status and a system event, which the quick reading knows.
fn usual_events() -> [Event; 2] {
    let status = Event::Status(AgentStatus {
        agent_id: Text::parse("a").unwrap(),
        status: AgentState::Ready,
        timestamp: Timestamp::parse("2026-01-01").unwrap(),
        instance_id: Some(Text::parse("i").unwrap()),
    });
    let agent = Event::System(SystemEvent {
        payload: SystemPayload::Agent {
            change: AgentLifecycle::Paused,
            agent_id: Text::parse("a").unwrap(),
            name: Text::parse("b").unwrap(),
        },
        timestamp: Timestamp::from_unix_ms(0).unwrap(),
    });
    [status, agent]
}

/// Messages that the quick reading might take for something else than the thorough one does.
#[test]
fn both_readings_agree() {
    let secrets = [secret('a')];
    let changes = [
        ("", ""),
        (r#""eventId""#, r#""correlationId":null,"eventId""#),
        (r#""correlationId":"req-1""#, r#""correlationId":null"#),
        (r#""v":1"#, r#""v":1.0"#),
        (r#""v":1"#, r#""v":1,"v":1"#),
        (r#""v":1"#, r#""v":2"#),
        (r#""agentId":"a""#, r#""agentId":"""#),
        (r#""agentId":"a""#, r#""agentId":"\u0061""#),
        (r#""agentId":"a""#, r#""agentId":"b","agentId":"a""#),
        (r#""agentId":"a""#, r#""agentId":"a","reason":"idle""#),
        (r#""agentId":"a""#, r#""agentId":7"#),
        (
            r#""status""#,
            r#""type":"agent.paused","payload":{},"status""#,
        ),
        (r#""type""#, r#""instanceId":"i","type""#),
        (r#""type""#, r#""payload":null,"type""#),
        (r#""type""#, r#""agentId":null,"type""#),
        (r#""agentId""#, r#""payload":null,"agentId""#),
        ("agent.paused", "agent.moved"),
        ("1970-01-01", "1970-13-01"),
        ("ready", "eager"),
        ("6f1d", "xf1d"),
        (r#""meshSig":""#, r#""meshSig":"0"#),
        (r#""meshSig":""#, r#""meshSig":null,"x":""#),
        ("hive-core", "pilox-core"),
        ("{", "[{"),
        ("{", " {"),
        ("}", "}}"),
    ];
    for original in usual_events() {
        for sealer in [None, secrets.first()] {
            let wire = seal(&original, CHANNEL, &meta(), sealer, Dialect::Hive);
            for (from, to) in changes {
                let changed = wire.replacen(from, to, 1);
                for secrets in [&secrets[..], &[]] {
                    let bytes = changed.as_bytes();
                    let thorough = open_thoroughly(bytes, CHANNEL, secrets, Dialect::Hive);
                    let read = open(bytes, CHANNEL, secrets, Dialect::Hive);
                    assert_eq!(read, thorough, "{changed}");
                }
            }
            let quick = quick::read(wire.as_bytes(), Dialect::Hive);
            assert!(quick.is_some_and(|said| said.event == original));
        }
    }
}

/// What is written straight is what the tree of values would be written as.
#[test]
fn texts_are_those_of_the_members() {
    let envelope = r#"{"v":1,"correlationId":"corr-0001","sourceOrigin":"https://a.example",
        "payload":{"b":[1e21,-0.0],"a":"\u2028\n"}}"#;
    let envelope = wan::Envelope::decode_ingress(envelope.as_bytes()).unwrap();
    let odd = "\"\\\u{1}\u{7f}\u{2028}\u{1f600}/";
    let payloads = [
        SystemPayload::WanEnvelope(envelope),
        SystemPayload::BackupCompleted {
            backup_id: Text::parse(odd).unwrap(),
        },
        SystemPayload::AgentImported {
            agent_id: Text::parse(odd).unwrap(),
            name: Text::parse("n").unwrap(),
            source_type: Text::parse("s").unwrap(),
            recorded_source: Some(RecordedSource::Registry),
        },
    ];
    for payload in payloads {
        let timestamp = Timestamp::from_unix_ms(7).unwrap();
        let event = Event::System(SystemEvent { payload, timestamp });
        let core = event.to_members();
        let raw_meta = meta().to_value(Dialect::Hive);
        let input = signing_input(
            Value::Object(core.clone()),
            raw_meta.clone(),
            CHANNEL,
            Dialect::Hive,
        );
        assert_eq!(text::signed(&event, &meta(), CHANNEL, Dialect::Hive), input);
        let wire = seal(&event, CHANNEL, &meta(), None, Dialect::Hive);
        let mut wire: Map<String, Value> = serde_json::from_str(&wire).unwrap();
        assert_eq!(wire.remove("meshMeta"), Some(raw_meta));
        assert_eq!(wire, core);
    }
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
