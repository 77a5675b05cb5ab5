//! Canonical text against cases of the contract, RFC 8785 and the number rules of ECMAScript.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use proptest::prelude::*;

use super::*;

fn check(json: &str, expected: &str) {
    assert_eq!(canonicalize(json).unwrap(), expected, "{json}");
}

#[test]
fn sorts_names_by_utf16_units() {
    check(
        r#"{"b":1,"a":{"z":1,"y":[3,2]}}"#,
        r#"{"a":{"y":[3,2],"z":1},"b":1}"#,
    );
    check(
        r#"{"10":1,"9":2,"1":3,"":4}"#,
        r#"{"":4,"1":3,"10":1,"9":2}"#,
    );
    check(
        r#"{"\uff5e":1,"\ud83d\ude00":2}"#,
        "{\"\u{1f600}\":2,\"\u{ff5e}\":1}",
    );
    check(r#"{"a":1,"a":2}"#, r#"{"a":2}"#);
    check(r#"{"\u0061":1,"a":[]}"#, r#"{"a":[]}"#);
}

#[test]
fn writes_numbers_as_ecmascript() {
    for (number, expected) in [
        ("0", "0"),
        ("-0", "0"),
        ("-0.0", "0"),
        ("1.0", "1"),
        ("100.50", "100.5"),
        ("1e20", "100000000000000000000"),
        ("1e21", "1e+21"),
        ("-1e21", "-1e+21"),
        ("123456789012345680000", "123456789012345680000"),
        ("1234567890123456789012", "1.2345678901234568e+21"),
        ("0.000001", "0.000001"),
        ("0.0000001", "1e-7"),
        ("9007199254740993", "9007199254740992"),
        ("-9007199254740993", "-9007199254740992"),
        ("18446744073709551615", "18446744073709552000"),
        ("5e-324", "5e-324"),
        ("1e-400", "0"),
        ("1.7976931348623157e308", "1.7976931348623157e+308"),
        ("1e400", "null"),
        ("-1e400", "null"),
        ("0.30000000000000004", "0.30000000000000004"),
    ] {
        check(number, expected);
    }
}

#[test]
fn replaces_only_numbers_that_overflow() {
    check(
        r#"{"1e400":"-1e400 \"1e400","n":[1e400,-2E+999,3]}"#,
        r#"{"1e400":"-1e400 \"1e400","n":[null,null,3]}"#,
    );
    let digits = format!("1{}", "0".repeat(400));
    check(&digits, "null");
    for refused in [
        "01e400", "1.e400", "+1e400", "1e400x", "-", "\"1e400", "[1e400",
    ] {
        assert!(canonicalize(refused).is_err(), "{refused}");
    }
}

#[test]
fn escapes_only_what_must_be() {
    check(
        r#""\u0000\u001f\b\t\n\f\r\"\\\/\u007f\u2028é""#,
        "\"\\u0000\\u001f\\b\\t\\n\\f\\r\\\"\\\\/\u{7f}\u{2028}é\"",
    );
}

#[test]
fn refuses_what_it_cannot_write_in_one_way() {
    let deep = "[".repeat(200) + &"]".repeat(200);
    for refused in [
        "",
        "nul",
        "[1,]",
        r#""\ud800""#,
        "\u{feff}1",
        "NaN",
        deep.as_str(),
    ] {
        assert!(canonicalize(refused).is_err(), "{refused}");
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((".{0,4}", inner), 0..5)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn is_idempotent_and_stable_under_parsing(value in any_json()) {
        let text = to_string(&value);
        prop_assert_eq!(canonicalize(&text).unwrap(), text.clone());
        prop_assert_eq!(canonicalize(&value.to_string()).unwrap(), text);
    }
}
