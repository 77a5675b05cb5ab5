//! The program as an operator meets it: its commands, its exit codes, how it starts, how it stops.

use std::path::Path;

use archipel_protocol::federation::keys;
use archipel_tests::mesh::{
    FakeAgent, NodeProcess, Output, RawConnection, TOKEN, TestNode, id_of, run, say, state_of,
    their_status, until, within,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::{NODE, upstream_agent};

/// One of every kind of problem; the places they are told at are in `PLACES`.
const BROKEN: &str = r#"
listen = "nowhere"
internal_token = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
gateway_enforced = true
surprise = 1
limits = { body = "64MiB", keep_alive = "soon" }
federation = { ed25519_seed = "hush-hush" }

[[agents]]
id = "Echo!"
kind = "echo"

[[agents]]
id = "far"
kind = "a2a"

[[agents]]
kind = "parrot"
id = "far"
"#;

const PLACES: &[&str] = &[
    "listen",
    "surprise",
    "limits.body",
    "limits.keep_alive",
    "federation.ed25519_seed",
    "agents[2].kind",
    "ARCHIPEL_WORKERS",
];

async fn archipel(arguments: &[&str]) -> Output {
    let directory = TempDir::new().unwrap();
    run(NODE, directory.path(), arguments, &[]).await
}

/// Runs a command on a configuration that stands in the working directory.
async fn archipel_with(config: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let directory = TempDir::new().unwrap();
    std::fs::write(directory.path().join("archipel.toml"), config).unwrap();
    run(NODE, directory.path(), arguments, variables).await
}

#[tokio::test]
async fn all_problems_of_a_configuration_are_told_at_once() {
    let variables = [("ARCHIPEL_WORKERS", "many")];
    for command in ["check-config", "serve"] {
        let told = archipel_with(BROKEN, &[command], &variables).await;
        assert_eq!((told.code, told.out.as_str()), (Some(2), ""), "{told:?}");
        for place in PLACES {
            assert!(told.err.contains(place), "no {place} in {}", told.err);
        }
        assert!(!told.err.contains("hush-hush"), "{}", told.err);

        let told = archipel_with(BROKEN, &[command, "--json"], &variables).await;
        assert_eq!(told.code, Some(2), "{told:?}");
        let list: Value = serde_json::from_str(&told.out).unwrap();
        assert_eq!(list["ok"], false);
        let places: Vec<_> = list["problems"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["at"].as_str().unwrap())
            .collect();
        for place in PLACES {
            assert!(places.contains(place), "no {place} in {places:?}");
        }
        assert!(
            list["problems"]
                .as_array()
                .unwrap()
                .iter()
                .all(|one| one["what"].is_string())
        );
    }
}

#[tokio::test]
async fn rules_over_several_keys_are_told_at_once_too() {
    let config = r#"
        internal_token = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
        gateway_enforced = true
        [federation]
        enabled = true
        algorithm = "Ed25519"
        [[agents]]
        id = "Echo!"
        kind = "echo"
        [[agents]]
        id = "far"
        kind = "a2a"
        [[agents]]
        id = "far"
        kind = "echo"
        url = "http://127.0.0.1:1"
        [[peers]]
        name = "beta"
        origin = "ftp://beta"
    "#;
    let told = archipel_with(config, &["check-config"], &[]).await;
    assert_eq!(told.code, Some(2), "{told:?}");
    for place in [
        "internal_token",
        "gateway_enforced",
        "agents[0].id",
        "agents[1].url",
        "agents[2].id",
        "agents[2].url",
        "peers[0].origin",
        "federation",
    ] {
        assert!(told.err.contains(place), "no {place} in {}", told.err);
    }
}

#[tokio::test]
async fn a_good_configuration_is_fine() {
    let good =
        format!("internal_token = \"{TOKEN}\"\n[[agents]]\nid = \"echo\"\nkind = \"echo\"\n");
    let told = archipel_with(&good, &["check-config"], &[]).await;
    assert_eq!((told.code, told.err.as_str()), (Some(0), ""), "{told:?}");
    assert!(told.out.contains("1 agents, 0 peers"), "{told:?}");
    let told = archipel_with(&good, &["check-config", "--json"], &[]).await;
    let expected = json!({"ok": true, "problems": []});
    assert_eq!(serde_json::from_str::<Value>(&told.out).unwrap(), expected);
    let told = archipel(&["check-config", "--config", "nowhere.toml"]).await;
    assert_eq!(told.code, Some(2), "{told:?}");
    assert!(told.err.contains("nowhere.toml"), "{told:?}");
    // Nothing at all is a configuration too.
    assert_eq!(archipel(&["check-config"]).await.code, Some(0));
}

#[tokio::test]
async fn certificates_for_single_peers_are_looked_at() {
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    let config = format!(
        "[federation]\nenabled = true\nshared_secret = \"{}\"\n[[peers]]\nname = \"beta\"\norigin = \"https://beta.example\"\n\
         tls.ca_file = \"{}\"\n",
        "0123456789abcdef".repeat(2),
        ca.display()
    );
    for held in [None, Some("no certificate")] {
        if let Some(held) = held {
            std::fs::write(&ca, held).unwrap();
        }
        let told = archipel_with(&config, &["check-config"], &[]).await;
        assert_eq!(told.code, Some(2), "{told:?}");
        assert!(told.err.contains("peers.beta.tls"), "{told:?}");
    }
    let good = rcgen::generate_simple_self_signed(vec!["beta.example".to_owned()]).unwrap();
    std::fs::write(&ca, good.cert.pem()).unwrap();
    let told = archipel_with(&config, &["check-config"], &[]).await;
    assert_eq!(told.code, Some(0), "{told:?}");
    // What a shared secret means is told, and what is worse about it.
    for warned in ["one caller", "inbound_allow_legacy_secret"] {
        assert!(told.err.contains(warned), "{told:?}");
    }
}

#[tokio::test]
async fn the_example_is_complete_and_loads() {
    let printed = archipel(&["example-config"]).await;
    assert_eq!((printed.code, printed.err.as_str()), (Some(0), ""));
    let told = archipel_with(&printed.out, &["check-config"], &[]).await;
    assert_eq!(told.code, Some(0), "{told:?}");
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("../node/archipel.example.toml");
    let kept = std::fs::read_to_string(&kept).unwrap();
    assert!(
        kept == printed.out,
        "node/archipel.example.toml is old: cargo run -p archipel-node -- example-config > node/archipel.example.toml"
    );
    for key in [
        "internal_token",
        "[limits]",
        "turn_time",
        "[federation]",
        "ed25519_seed",
        "[[agents]]",
        "[[peers]]",
    ] {
        assert!(printed.out.contains(key), "no {key}");
    }
}

#[tokio::test]
async fn help_names_every_command() {
    let help = archipel(&["--help"]).await;
    assert_eq!((help.code, help.err.as_str()), (Some(0), ""));
    for command in ["serve", "check-config", "example-config", "keygen", "call"] {
        assert!(
            help.out.contains(&format!("  {command} ")),
            "no {command} in {}",
            help.out
        );
        let of_command = archipel(&[command, "--help"]).await;
        assert_eq!(of_command.code, Some(0), "{command}");
        assert!(of_command.out.contains("Usage: "), "{command}");
    }
    assert_eq!(
        archipel(&["--version"]).await.out,
        format!("archipel {}\n", env!("CARGO_PKG_VERSION"))
    );
    assert_eq!(archipel(&["no-such-command"]).await.code, Some(2));
    assert_eq!(archipel(&[]).await.code, Some(2));
}

#[tokio::test]
async fn a_key_is_made_fresh() {
    let made = archipel(&["keygen", "--json"]).await;
    let key: Value = serde_json::from_str(&made.out).unwrap();
    let seed = keys::from_hex(key["seed"].as_str().unwrap()).unwrap();
    let public = keys::to_hex(&keys::public_key_of_seed(&seed).unwrap());
    assert_eq!(key["publicKey"], public);
    assert_ne!(archipel(&["keygen", "--json"]).await.out, made.out);
    // As it is printed for people, it can be pasted into a configuration.
    let printed = archipel(&["keygen"]).await.out;
    let told = archipel_with(&printed, &["check-config"], &[]).await;
    assert_eq!(told.code, Some(0), "{printed} {told:?}");
}

#[tokio::test]
async fn a_call_from_the_shell_shows_what_the_agent_made() {
    let node = TestNode::start(|_| {});
    let call = async |arguments: &[&str], token: Option<&str>| {
        let variables: Vec<_> = token
            .map(|token| ("ARCHIPEL_TOKEN", token))
            .into_iter()
            .collect();
        let directory = TempDir::new().unwrap();
        let arguments = [&["call"], arguments].concat();
        run(NODE, directory.path(), &arguments, &variables).await
    };
    let url = format!("{}/agents/echo", node.origin());
    for arguments in [
        &[url.as_str(), "hello you"][..],
        &[&url, "hello you", "--stream"],
        &["echo", "hello you", "--node", node.origin()],
    ] {
        let said = call(arguments, Some(TOKEN)).await;
        assert_eq!(said.code, Some(0), "{arguments:?} {said:?}");
        assert!(
            said.out.contains("Echo: hello you"),
            "{arguments:?} {said:?}"
        );
    }
    let said = call(&[&url, "hello", "--json"], Some(TOKEN)).await;
    assert_eq!(
        state_of(&serde_json::from_str(&said.out).unwrap()),
        "TASK_STATE_COMPLETED"
    );
    let said = call(&[&url, "hello", "--json", "--stream"], Some(TOKEN)).await;
    let events: Vec<Value> = said
        .out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(state_of(events.last().unwrap()), "TASK_STATE_COMPLETED");
    for (arguments, token, told) in [
        (&[url.as_str(), "hello"][..], None, "--token"),
        (&[&url, "hello"], Some("wrong"), "401"),
        (&[&format!("{url}y"), "hello"], Some(TOKEN), "no such agent"),
        (
            &["http://127.0.0.1:1/agents/echo", "hello"],
            Some(TOKEN),
            "cannot call",
        ),
    ] {
        let said = call(arguments, token).await;
        assert_eq!(
            (said.code, said.out.as_str()),
            (Some(1), ""),
            "{arguments:?} {said:?}"
        );
        assert!(said.err.contains(told), "{arguments:?} {said:?}");
    }
}

#[tokio::test]
async fn a_busy_port_is_named() {
    let node = TestNode::start(|_| {});
    let listen = format!("listen = \"{}\"\n", node.address());
    let told = archipel_with(&listen, &["serve"], &[]).await;
    assert_eq!(told.code, Some(1), "{told:?}");
    assert!(
        told.err
            .contains(&format!("cannot listen on {}", node.address())),
        "{told:?}"
    );
    assert_eq!(
        told.err
            .to_lowercase()
            .matches("address already in use")
            .count(),
        1,
        "said once: {told:?}"
    );
    node.client()
        .call("/agents/echo", "SendMessage", say("the first goes on"))
        .await;
}

#[tokio::test]
async fn a_node_that_is_asked_to_stop_finishes_its_work() {
    let mut agent = FakeAgent::start();
    let mut node = NodeProcess::start(NODE, |config| {
        config.add(&upstream_agent("played", agent.origin()));
        config.add("limits.drain_time = \"60s\"");
    })
    .await;
    let client = node.client();
    let sent = tokio::spawn(async move {
        client
            .call("/agents/played", "SendMessage", say("begin"))
            .await
    });
    let call = agent.call().await;
    node.terminate().await;
    let address = node.origin().trim_start_matches("http://").to_owned();
    until("the node taking no more connections", async || {
        TcpStream::connect(&address).await.is_err().then_some(())
    })
    .await;
    call.stream().tell(their_status("TASK_STATE_COMPLETED"));
    let task = within("the answer", sent).await.unwrap();
    assert_eq!(state_of(&task), "TASK_STATE_COMPLETED");
    assert_eq!(node.ended().await.code(), Some(0));
    // It was kept as it was told.
    node.restart().await;
    let id = id_of(&task);
    let kept = node
        .client()
        .call("/agents/played", "GetTask", json!({"id": id}))
        .await;
    assert_eq!(kept, task["task"]);
}

#[tokio::test]
async fn idle_connections_do_not_hold_a_stopping_node_up() {
    let mut node =
        NodeProcess::start(NODE, |config| config.add("limits.drain_time = \"10m\"")).await;
    // A connection on which nobody waits for anything must not hold the node up for as long as a request may take.
    let address = node.origin().trim_start_matches("http://").to_owned();
    let _silent = TcpStream::connect(&address).await.unwrap();
    let mut kept_alive = RawConnection::open(&address).await;
    kept_alive
        .write(b"GET /livez HTTP/1.1\r\nhost: node\r\n\r\n")
        .await;
    kept_alive.read_until("\"ok\":true").await;
    node.terminate().await;
    assert_eq!(node.ended().await.code(), Some(0));
}
