//! Names, white space and what is carried untouched.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use super::{Fields, Invalid, Json, compact, same_name};

#[test]
fn names_match_in_both_spellings() {
    for (key, name, expected) in [
        ("messageId", "messageId", true),
        ("message_id", "messageId", true),
        ("message_Id", "messageId", false),
        ("messageid", "messageId", false),
        ("reference_task_ids", "referenceTaskIds", true),
        ("reference_task_idsx", "referenceTaskIds", false),
        ("_", "id", false),
    ] {
        assert_eq!(same_name(key, name), expected, "{key} as {name}");
    }
}

#[test]
fn white_space_goes_but_not_inside_texts() {
    assert_eq!(
        compact("{ \"a b\" :\n [1 ,\t\"\\\" \\\\\" , 2] }"),
        "{\"a b\":[1,\"\\\" \\\\\",2]}"
    );
}

#[test]
fn what_is_not_taken_comes_back_as_it_was() {
    let text = r#"{"known":"x","big":123456789012345678901234567890,"deep":{"b":1.0,"a":[ 1 ]},"nothing":null}"#;
    let mut fields = Fields::read(text).unwrap();
    assert_eq!(fields.text("known").unwrap().as_deref(), Some("x"));
    let rest = fields.rest();
    assert_eq!(
        serde_json::to_string(&rest).unwrap(),
        r#"{"big":123456789012345678901234567890,"deep":{"b":1.0,"a":[1]},"nothing":null}"#
    );
    assert_eq!(
        rest.get("big").map(Json::text),
        Some("123456789012345678901234567890")
    );
}

#[test]
fn the_last_of_two_members_wins_and_null_is_absent() {
    let mut fields = Fields::read(r#"{"a":"1","a":"2","b":null}"#).unwrap();
    assert_eq!(fields.text("a").unwrap().as_deref(), Some("2"));
    assert!(fields.take("b").is_none());
    assert!(fields.rest().is_empty());
}

#[test]
fn problems_carry_the_whole_path() {
    let invalid = Invalid::new("text", "must be a text")
        .within("[3]")
        .within("parts")
        .within("message");
    assert_eq!(invalid.to_string(), "message.parts[3].text: must be a text");
}

#[test]
fn counts_are_bounded() {
    for (text, expected) in [
        ("0", Some(0)),
        ("7", Some(7)),
        ("\"7\"", Some(7)),
        ("2147483647", Some(2_147_483_647)),
        ("-1", None),
        ("2147483648", None),
        ("1.5", None),
        ("true", None),
    ] {
        let document = format!("{{\"n\":{text}}}");
        assert_eq!(
            Fields::read(&document).unwrap().count("n").ok().flatten(),
            expected,
            "{text}"
        );
    }
}
