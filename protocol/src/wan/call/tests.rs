//! Calls in envelopes: read, written, and what binds a token to one.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::ids::Origin;

fn call() -> PostedCall {
    PostedCall {
        direction: Direction::Request,
        agent: "text".to_owned(),
        version: "1.0".to_owned(),
        body: r#"{"jsonrpc":"2.0"}"#.to_owned(),
        token: "a.b.c".to_owned(),
    }
}

fn sent(call: &PostedCall) -> Envelope {
    let origin = |text| Origin::parse(text).unwrap();
    let (source, target) = (origin("https://a.example"), origin("https://b.example"));
    Envelope::with_call(Uuid::nil(), &source, &target, call)
}

/// Reads the call of an envelope in which something was changed on the way.
fn check(
    change: impl FnOnce(&mut Value),
    expected: Result<Option<PostedCall>, CallError>,
    what: &str,
) {
    let mut envelope = sent(&call()).to_value();
    change(&mut envelope);
    let envelope = Envelope::decode_ingress(envelope.to_string().as_bytes()).unwrap();
    assert_eq!(PostedCall::of(&envelope), expected, "{what}");
}

fn check_member(name: &str, value: Value, expected: Result<Option<PostedCall>, CallError>) {
    let what = format!("{name}: {value}");
    check(
        |envelope| {
            *envelope.pointer_mut("/payload/archipelCall").unwrap() = {
                let mut members = envelope.pointer("/payload/archipelCall").unwrap().clone();
                members
                    .as_object_mut()
                    .unwrap()
                    .insert(name.to_owned(), value);
                members
            }
        },
        expected,
        &what,
    );
}

#[test]
fn a_call_is_read_strictly() {
    check(|_| {}, Ok(Some(call())), "as it was written");
    for (name, value, refused) in [
        ("v", 2.into(), CallError::Version),
        ("direction", "back".into(), CallError::Direction),
        ("direction", "answer".into(), CallError::Agent),
        ("agent", "other".into(), CallError::Agent),
        ("agent", "".into(), CallError::Agent),
        ("body", json!({"jsonrpc": "2.0"}), CallError::Shape),
        ("token", Value::Null, CallError::Shape),
        ("more", 1.into(), CallError::Shape),
    ] {
        check_member(name, value, Err(refused));
    }
    check_member("v", json!(1.0), Ok(Some(call())));
    let without_target = |envelope: &mut Value| {
        envelope.as_object_mut().unwrap().remove("targetOrigin");
    };
    check(without_target, Err(CallError::NoTarget), "no target");
    let no_object = |envelope: &mut Value| {
        *envelope.pointer_mut("/payload/archipelCall").unwrap() = 1.into();
    };
    check(no_object, Err(CallError::Shape), "no object");
}

#[test]
fn other_payloads_are_none_of_ours() {
    let set = |payload: Value| {
        move |envelope: &mut Value| *envelope.pointer_mut("/payload").unwrap() = payload
    };
    for payload in [json!({}), json!({"jsonrpc": "2.0", "token": "a.b.c"})] {
        check(set(payload.clone()), Ok(None), &payload.to_string());
    }
    let without = |envelope: &mut Value| {
        envelope.as_object_mut().unwrap().remove("payload");
    };
    check(without, Ok(None), "no payload");
}

#[test]
fn both_doors_take_an_envelope_with_a_call() {
    let mut answer = call();
    answer.direction = Direction::Answer;
    for call in [call(), answer] {
        let envelope = sent(&call);
        let written = envelope.to_value().to_string();
        for read in [
            Envelope::decode_ingress(written.as_bytes()).unwrap(),
            Envelope::decode_bridge(written.as_bytes()).unwrap(),
        ] {
            assert_eq!(read, envelope);
            assert_eq!(PostedCall::of(&read), Ok(Some(call.clone())));
        }
    }
}

#[test]
fn a_token_is_bound_to_everything_but_itself() {
    const ROUTE: Route<'_> = Route {
        correlation_id: "corr-0001",
        source: "https://a.example",
        target: "https://b.example",
    };
    let digest = call().digest(&ROUTE);
    // Made with the standard library of Python.
    assert_eq!(digest, "u95ydnGx11Uki0pGS1rpw66JQo76lKpDnnucImNayQ0");
    let mut resealed = call();
    resealed.token.clear();
    assert_eq!(resealed.digest(&ROUTE), digest);
    let changes: [fn(&mut PostedCall, &mut Route<'_>); 7] = [
        |call, _| call.direction = Direction::Answer,
        |call, _| call.agent.push('x'),
        |call, _| call.version.push('x'),
        |call, _| call.body.push(' '),
        |_, route| route.correlation_id = "corr-0002",
        |_, route| route.source = "https://c.example",
        |_, route| route.target = "https://c.example",
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let (mut other, mut route) = (call(), ROUTE);
        change(&mut other, &mut route);
        assert_ne!(other.digest(&route), digest, "{number}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_is_carried_comes_out_as_it_went_in(
        is_answer in any::<bool>(),
        agent in "[a-z0-9_.-]{1,128}",
        body in any::<String>(),
        token in any::<String>(),
    ) {
        let direction = if is_answer { Direction::Answer } else { Direction::Request };
        let call = PostedCall { direction, agent, version: "1.0".to_owned(), body, token };
        let written = sent(&call).to_value().to_string();
        let read = Envelope::decode_ingress(written.as_bytes()).unwrap();
        prop_assert_eq!(PostedCall::of(&read), Ok(Some(call)));
    }
}
