//! Defaults, the file and the environment, and every problem at once.

use std::io::Write;

use archipel_kit::settings::{Environment, Problems, load};
use tempfile::NamedTempFile;

use super::*;

const KEY: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn read(file: &str, variables: &[(&str, &str)]) -> Result<NodeSettings, Problems> {
    let mut written = NamedTempFile::new().unwrap();
    written.write_all(file.as_bytes()).unwrap();
    load(Some(written.path()), &variables.iter().copied().collect())
}

/// The problems of a file, one a line.
fn check(file: &str, expected: &[&str]) {
    let problems = read(file, &[]).map_or_else(|problems| problems.to_string(), |_| String::new());
    assert_eq!(problems, expected.join("\n"), "{file}");
}

#[test]
fn a_node_starts_without_any_configuration() {
    let settings: NodeSettings = load(None, &Environment::default()).unwrap();
    assert_eq!(settings.listen.to_string(), "127.0.0.1:7400");
    assert_eq!(settings.store, StoreKind::Embedded);
    assert_eq!(settings.limits.turn_time, Duration::from_secs(600));
    assert!(settings.a2a_enabled && !settings.federation.enabled);
    assert!(settings.agents.is_empty() && settings.peers.is_empty());
    assert!((1..=256).contains(&settings.worker_count()));
}

#[test]
fn the_environment_goes_before_the_file() {
    let file = "listen = \"127.0.0.1:1\"\nworkers = 3\n";
    let settings = read(file, &[("ARCHIPEL_LISTEN", "127.0.0.1:2")]).unwrap();
    assert_eq!(settings.listen.port(), 2);
    assert_eq!(settings.worker_count(), 3);
}

#[test]
fn a_secret_is_never_printed() {
    let file = format!("internal_token = \"{SECRET}\"\n");
    let settings = read(&file, &[]).unwrap();
    assert!(!format!("{settings:?}").contains(SECRET));
    let problems = read("internal_token = \"hunter2\"\n", &[]).unwrap_err();
    assert!(!problems.to_string().contains("hunter2"), "{problems}");
}

#[test]
fn whatever_is_wrong_with_single_keys_is_told_at_once() {
    let file = "listen = \"nowhere\"\nworkers = 1000\nstor = \"memory\"\n[limits]\nbody = \"1B\"\n";
    let problems = read(file, &[("ARCHIPEL_DURABILITY", "much")]).unwrap_err();
    let mut places: Vec<_> = problems.iter().map(|problem| problem.at.as_str()).collect();
    places.sort_unstable();
    assert_eq!(
        places,
        [
            "ARCHIPEL_DURABILITY",
            "limits.body",
            "listen",
            "stor",
            "workers"
        ],
        "{problems}"
    );
}

#[test]
fn mistakes_of_every_kind_are_told_at_once() {
    let file = r#"
stor = "memory"
listen = "0.0.0.0:7400"
public_origin = "nonsense"
internal_token = "hunter2"
gateway_enforced = true
trusted_proxies = ["10.0.0.0/8", "10.0.0.0/99"]
[limits]
body = "1B"
[telemetry]
log = "not,,a=valid=filter"
[[agents]]
id = "Echo!"
kind = "echo"
[[agents]]
id = "far"
kind = "a2a"
[[agents]]
id = "last"
"#;
    check(
        file,
        &[
            "stor: unknown key, did you mean `store`?",
            "public_origin: expected a URL such as https://example.org, found \"nonsense\"",
            "internal_token: must be between 32 and 512 characters, found 7",
            "trusted_proxies[1]: expected a network such as 10.0.0.0/8, found \"10.0.0.0/99\"",
            "limits.body: must be between \"4KiB\" and \"16MiB\", found \"1B\"",
            "telemetry.log: expected a level or a list such as `info,archipel_node=debug`, found \"not,,a=valid=filter\"",
            "agents[0].id: may hold lower-case letters, digits, `.`, `_` and `-`, and begins with a letter or digit",
            "agents[1].url: is needed for an agent of kind a2a or openai",
            "agents[2].kind: is missing: expected one of `echo` `text` `a2a` `openai`",
            "gateway_enforced: needs gateway_secret: without a secret there is nothing to check",
        ],
    );
}

#[test]
fn tasks_can_be_kept_for_ever() {
    let check = |file: &str, variable: &str, milliseconds: u128| {
        let settings = read(file, &[("A2A_TASK_TTL_SECONDS", variable)]).unwrap();
        let kept = settings.retention.keep_for.as_millis();
        assert_eq!(kept, milliseconds, "{file} {variable}");
    };
    check("", "", 604_800_000);
    check("", "0", u128::MAX);
    check("", "60", 60_000);
    check("[retention]\nkeep_for = \"0s\"\n", "", u128::MAX);
    check("[retention]\nkeep_for = \"0s\"\n", "12h", 43_200_000);
}

#[test]
fn what_is_hardly_meant_so_is_a_warning() {
    let check = |secret: &str, expected: &[&str]| {
        let file = format!("[federation]\nenabled = true\n{secret}\n");
        assert_eq!(read(&file, &[]).unwrap().warnings(), expected, "{file}");
    };
    let weak = format!("shared_secret = \"{}\"", "ab".repeat(20));
    let one_group = "all who hold federation.shared_secret are one caller: rights, limits and suspensions of single peers do \
                     not hold for their calls; Ed25519 gives each an identity";
    let taken = "federation.inbound_allow_legacy_secret is on: whoever sees one call with the shared secret can make any other; \
                 turn it off once all peers send tokens";
    let guessed = "federation.shared_secret is easy to guess";
    check(&weak, &[guessed, one_group, taken]);
    let strong = format!("shared_secret = \"{SECRET}\"");
    check(&strong, &[one_group, taken]);
    let tokens_only = format!("{strong}\ninbound_allow_legacy_secret = false");
    check(&tokens_only, &[one_group]);
    check(&format!("ed25519_seed = \"{}\"", "11".repeat(32)), &[]);
    check(
        "",
        &[
            "federation.shared_secret is missing, and so is ed25519_seed: without one, no peer can call or be called",
        ],
    );
}

#[test]
fn rules_over_several_keys_are_told_at_once() {
    let file = r#"
gateway_enforced = true
internal_token = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
[[agents]]
id = "Echo!"
kind = "echo"
default = true
[[agents]]
id = "twice"
kind = "a2a"
default = true
[[agents]]
id = "twice"
kind = "text"
url = "http://127.0.0.1:9100/"
[[agents]]
id = "files"
kind = "a2a"
url = "file:///tmp/agent"
"#;
    check(
        file,
        &[
            "agents[0].id: may hold lower-case letters, digits, `.`, `_` and `-`, and begins with a letter or digit",
            "agents[1].url: is needed for an agent of kind a2a or openai",
            "agents[2].url: is only for an agent of kind a2a or openai",
            "agents[3].url: must be http or https",
            "internal_token: is too easy to guess: at least 32 characters, more than 4 of them different",
            "agents[2].id: is used twice: twice",
            "agents: only one can be the default",
            "gateway_enforced: needs gateway_secret: without a secret there is nothing to check",
        ],
    );
}

#[test]
fn a_node_that_listens_everywhere_must_say_how_it_is_called() {
    check(
        "listen = \"0.0.0.0:7400\"\n",
        &["public_origin: is needed when the node listens on every address"],
    );
    let named = "listen = \"0.0.0.0:7400\"\npublic_origin = \"https://node.example.org\"\n";
    check(named, &[]);
}

#[test]
fn problems_of_the_roster_are_told_with_the_others() {
    let file = format!(
        "gateway_enforced = true\n[federation]\nenabled = true\nalgorithm = \"Ed25519\"\n\
         [[peers]]\nname = \"Beta\"\norigin = \"https://beta.example.org\"\ned25519_public_key = \"{KEY}\"\n"
    );
    let problems = read(&file, &[]).unwrap_err();
    let places: Vec<_> = problems.iter().map(|problem| problem.at.as_str()).collect();
    assert!(places.contains(&"federation.ed25519_seed"), "{problems}");
    assert!(places.contains(&"peers[0].name"), "{problems}");
    assert!(places.contains(&"gateway_enforced"), "{problems}");
}

#[test]
fn a_whole_node_is_taken() {
    let file = format!(
        "internal_token = \"{SECRET}\"\ngateway_secret = \"{SECRET}\"\ngateway_enforced = true\n\
         [[agents]]\nid = \"echo\"\nkind = \"echo\"\n\
         [[agents]]\nid = \"summarizer-2.0\"\nkind = \"a2a\"\nurl = \"http://127.0.0.1:9100\"\n"
    );
    check(&file, &[]);
}
