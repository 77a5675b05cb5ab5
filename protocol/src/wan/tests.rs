//! Envelopes at both doors.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use serde_json::json;

use super::*;

const MINIMAL: &str = r#"{"v":1,"correlationId":"corr-0001","sourceOrigin":"https://a.example"}"#;

fn with(member: &str, value: Value) -> Vec<u8> {
    let mut envelope: Value = serde_json::from_str(MINIMAL).unwrap();
    envelope
        .as_object_mut()
        .unwrap()
        .insert(member.to_owned(), value);
    envelope.to_string().into_bytes()
}

fn ingress_paths(body: &[u8]) -> Vec<String> {
    match Envelope::decode_ingress(body) {
        Ok(_) => Vec::new(),
        Err(IngressError::Invalid(issues)) => issues.into_iter().map(|issue| issue.path).collect(),
        Err(IngressError::NotJson) => vec!["not JSON".to_owned()],
    }
}

fn bridge_verdict(body: &[u8]) -> String {
    match Envelope::decode_bridge(body) {
        Ok(_) => "ok".to_owned(),
        Err(BridgeError::NotJson) => "not JSON".to_owned(),
        Err(BridgeError::Invalid {
            instance_path,
            keyword,
            ..
        }) => format!("{instance_path} {keyword}"),
    }
}

/// Checks the minimal envelope with one member set.
fn check(member: &str, value: Value, paths: &[&str], verdict: &str) {
    let body = with(member, value);
    let shown = String::from_utf8_lossy(&body);
    assert_eq!(ingress_paths(&body), paths, "{shown}");
    assert_eq!(bridge_verdict(&body), verdict, "{shown}");
}

#[test]
fn both_doors_judge_each_member() {
    check("v", json!(1), &[], "ok");
    check("v", json!(1.5), &["v"], "/v type");
    check("v", json!("1"), &["v"], "/v type");
    check("v", json!(2), &["v"], "/v const");
    let source = "sourceOrigin";
    check(
        source,
        json!("a.example"),
        &[source],
        "/sourceOrigin format",
    );
    check(source, json!(" urn:x "), &[], "/sourceOrigin format");
    let target = "targetOrigin";
    check(target, json!(null), &[target], "/targetOrigin type");
    let handle = "targetHandle";
    check(handle, json!(""), &[handle], "ok");
    check(handle, json!(1), &[handle], "/targetHandle type");
    check("payload", json!([]), &["payload"], "/payload type");
    check("payload", json!({"any": [1, null]}), &[], "ok");
    check("schema", json!("wan-envelope-v1"), &[], "ok");
    check("schema", json!(null), &["schema"], "/schema const");
    check("extra", json!(1), &[""], " additionalProperties");
}

#[test]
fn the_doors_count_characters_differently() {
    let id = "correlationId";
    let emoji = "\u{1f600}";
    check(id, json!("c".repeat(8)), &[], "ok");
    check(id, json!("c".repeat(7)), &[id], "/correlationId minLength");
    check(id, json!("c".repeat(256)), &[], "ok");
    check(
        id,
        json!("c".repeat(257)),
        &[id],
        "/correlationId maxLength",
    );
    check(id, json!(emoji.repeat(4)), &[], "/correlationId minLength");
    check(id, json!(emoji.repeat(129)), &[id], "ok");
    check(id, json!(null), &[id], "/correlationId type");
}

#[test]
fn both_doors_judge_the_whole() {
    for (body, paths, verdict) in [
        (MINIMAL, &[][..], "ok"),
        ("", &["not JSON"], " required"),
        ("{", &["not JSON"], "not JSON"),
        ("null", &[""], " type"),
        ("{}", &["v", "correlationId", "sourceOrigin"], " required"),
        (
            r#"{"v":1e400,"correlationId":"c","x":1}"#,
            &["v", "correlationId", "sourceOrigin", ""],
            " required",
        ),
    ] {
        assert_eq!(ingress_paths(body.as_bytes()), paths, "{body}");
        assert_eq!(bridge_verdict(body.as_bytes()), verdict, "{body}");
    }
}

#[test]
fn the_ingress_trims_urls_and_keeps_the_rest() {
    let body = br#"{"v":1.0,"schema":"wan-envelope-v1","correlationId":"corr-0001","sourceOrigin":" HTTPS://A.example/x ","payload":{"n":9007199254740993,"__proto__":1}}"#;
    let envelope = Envelope::decode_ingress(body).unwrap();
    assert_eq!(
        serde_json::to_value(envelope).unwrap(),
        json!({
            "v": 1,
            "schema": "wan-envelope-v1",
            "correlationId": "corr-0001",
            "sourceOrigin": "HTTPS://A.example/x",
            "payload": {"n": 9_007_199_254_740_993_u64},
        })
    );
}
