//! What people read about peers: pure.

use std::fmt::Write;

use serde_json::Value;

/// An invitation: the line to hand over.
pub(super) fn invitation(told: &Value) -> String {
    format!("{}\n", text_of(told, "invitation"))
}

/// What whoever made an invitation should know of it.
pub(super) fn about_invitation(told: &Value) -> String {
    let mut text = String::new();
    line(&mut text, "for", &name_of(told));
    line(&mut text, "expires", text_of(told, "expiresAt"));
    line(&mut text, "our fingerprint", text_of(told, "fingerprint"));
    line(&mut text, "grants", &grants(told));
    if flag(told, "hold") {
        line(
            &mut text,
            "afterwards",
            "`archipel peers resume NAME` lets it in",
        );
    }
    text.push_str(
        "\nWhoever holds this line can pair with this node, once. Hand it over as you would a password; at the other node:\n\
         archipel peers accept INVITATION\n\n",
    );
    text
}

/// A line for each invitation that is open.
pub(super) fn invitations(told: &Value) -> String {
    let open = told.get("invitations").and_then(Value::as_array);
    let mut text = String::new();
    for open in open.into_iter().flatten() {
        let _ = writeln!(
            text,
            "{}  expires {}  for {:<24} {}",
            text_of(open, "id"),
            text_of(open, "expiresAt"),
            name_of(open),
            grants(open),
        );
    }
    if text.is_empty() {
        text.push_str("no invitation is open\n");
    }
    text
}

/// What is shown before an invitation is accepted.
pub(super) fn offer(told: &Value) -> String {
    let mut text = String::new();
    line(&mut text, "invited by", text_of(told, "origin"));
    line(&mut text, "its fingerprint", text_of(told, "fingerprint"));
    line(&mut text, "ours", text_of(told, "ownFingerprint"));
    line(&mut text, "called here", text_of(told, "name"));
    line(&mut text, "grants us", &grants(told));
    if flag(told, "held") {
        line(
            &mut text,
            "afterwards",
            "its operator has still to let us in",
        );
    }
    text
}

/// The new peer of whoever accepted.
pub(super) fn accepted(told: &Value) -> String {
    let mut text = one(told);
    let (name, origin) = (text_of(told, "name"), text_of(told, "origin"));
    if flag(told, "held") {
        let _ = writeln!(
            text,
            "\n{origin} has us as a peer; its operator has still to let us in."
        );
    } else {
        let _ = writeln!(
            text,
            "\nBoth nodes have each other. An agent there: archipel call {name}/AGENT TEXT"
        );
    }
    text
}

/// A line for each peer, and one for ourselves.
pub(super) fn all(told: &Value) -> String {
    let mut text = String::new();
    let peers = told.get("peers").and_then(Value::as_array);
    for peer in peers.into_iter().flatten() {
        let review = match (flag(peer, "reviewDue"), text_of(peer, "reviewBy")) {
            (_, "") => String::new(),
            (true, day) => format!("review was due {day}"),
            (false, day) => format!("review by {day}"),
        };
        let row = format!(
            "{:<24} {:<10} {:<10} {:<40} {review}",
            text_of(peer, "name"),
            text_of(peer, "state"),
            text_of(peer, "source"),
            text_of(peer, "origin"),
        );
        let _ = writeln!(text, "{}", row.trim_end());
    }
    if text.is_empty() {
        text.push_str(
            "There are no peers. `archipel peers invite` prints an invitation for one.\n",
        );
    }
    if let Some(own) = told.get("own").filter(|own| own.is_object()) {
        let _ = writeln!(
            text,
            "\nThis node: {}, fingerprint {}",
            text_of(own, "origin"),
            text_of(own, "fingerprint")
        );
    }
    text
}

/// Everything about one peer.
pub(super) fn one(told: &Value) -> String {
    let mut text = String::new();
    for (label, key) in [
        ("name", "name"),
        ("origin", "origin"),
        ("state", "state"),
        ("source", "source"),
        ("paired", "pairedAt"),
        ("since", "since"),
        ("review by", "reviewBy"),
    ] {
        line(&mut text, label, text_of(told, key));
    }
    let keys = told.get("keys").and_then(Value::as_array);
    for key in keys.into_iter().flatten() {
        let until = match text_of(key, "notAfter") {
            "" => String::new(),
            until => format!(" until {until}"),
        };
        line(
            &mut text,
            "fingerprint",
            &format!("{}{until}", text_of(key, "fingerprint")),
        );
    }
    if let Some(rights) = told.get("rights") {
        line(&mut text, "may ask agents", &list(rights, "agents"));
        line(&mut text, "may ask for", &list(rights, "methods"));
        line(&mut text, "at most as", text_of(rights, "maxRole"));
    }
    if let Some(limit) = told.get("limit").filter(|limit| limit.is_object()) {
        line(&mut text, "may call", &per(limit));
    }
    text
}

/// Our new key.
pub(super) fn rotated(told: &Value) -> String {
    let own = told.get("own").unwrap_or(&Value::Null);
    let previous = told.get("previous").unwrap_or(&Value::Null);
    let mut text = String::new();
    line(&mut text, "new key", text_of(own, "fingerprint"));
    line(&mut text, "old key", text_of(previous, "fingerprint"));
    line(&mut text, "counts until", text_of(previous, "notAfter"));
    text.push_str("\nPeers that paired follow by themselves.\n");
    let must_be_told = list(told, "mustBeTold");
    if !must_be_told.is_empty() {
        let _ = writeln!(
            text,
            "Tell the operators of {must_be_told} before then: ed25519_public_key = \"{}\"",
            text_of(told, "publicKey")
        );
    }
    text
}

fn grants(told: &Value) -> String {
    let nothing = Value::Null;
    let grants = told.get("grants").unwrap_or(&nothing);
    let listed = |key: &str, what: &str| match grants.get(key).and_then(Value::as_array) {
        Some(_) => format!("{what} {}", list(grants, key)),
        None => format!("all {what}"),
    };
    let mut text = format!(
        "{}, {}",
        listed("agents", "agents"),
        listed("methods", "operations")
    );
    let role = text_of(grants, "maxRole");
    if !role.is_empty() {
        let _ = write!(text, ", as {role} at most");
    }
    if let Some(limit) = grants.get("limit").filter(|limit| limit.is_object()) {
        let _ = write!(text, ", {}", per(limit));
    }
    text
}

fn per(limit: &Value) -> String {
    let number = |key: &str| limit.get(key).and_then(Value::as_u64).unwrap_or_default();
    format!("{} times in {} s", number("calls"), number("seconds"))
}

fn name_of(told: &Value) -> String {
    match text_of(told, "name") {
        "" => "whoever accepts it, called by its host".to_owned(),
        name => name.to_owned(),
    }
}

fn list(told: &Value, key: &str) -> String {
    let items = told
        .get(key)
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    let items: Vec<&str> = items.filter_map(Value::as_str).collect();
    items.join(", ")
}

fn flag(told: &Value, key: &str) -> bool {
    told.get(key).and_then(Value::as_bool).unwrap_or_default()
}

fn text_of<'a>(told: &'a Value, key: &str) -> &'a str {
    told.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// Nothing where there is nothing to say.
fn line(text: &mut String, label: &str, value: &str) {
    if !value.is_empty() {
        let _ = writeln!(text, "{label:<16} {value}");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn grants_are_told_in_words() {
        let check = |grants: Value, expected: &str| {
            assert_eq!(super::grants(&json!({"grants": grants})), expected);
        };
        check(json!({}), "all agents, all operations");
        check(
            json!({"agents": ["echo", "text"], "methods": ["GetTask"], "maxRole": "viewer",
                   "limit": {"calls": 10, "seconds": 60}}),
            "agents echo, text, operations GetTask, as viewer at most, 10 times in 60 s",
        );
        check(json!({"agents": []}), "agents , all operations");
    }

    #[test]
    fn a_list_says_what_is_due() {
        let peer = json!({"name": "beta", "state": "active", "source": "paired",
            "origin": "https://beta.example.org", "reviewBy": "2027-01-31", "reviewDue": true});
        let text = all(&json!({"peers": [peer], "own": {"origin": "o", "fingerprint": "f"}}));
        assert!(text.contains("review was due 2027-01-31"), "{text}");
        assert!(text.contains("This node: o, fingerprint f"), "{text}");
        assert!(all(&json!({"peers": []})).starts_with("There are no peers."));
    }
}
