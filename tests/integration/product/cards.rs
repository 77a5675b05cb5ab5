//! Cards: who sees one, and what it says of where to call.

use archipel_protocol::a2a::card::{
    CardSigner, TrustedKeys,
    signature::{VerifyError, verify},
};
use archipel_tests::mesh::{FakeAgent, Refusal, TestMesh, TestNode, run, say, state_of};
use serde_json::{Value, json};

use crate::{NODE, upstream_agent};

const CARD: &str = "/.well-known/agent-card.json";

#[tokio::test]
async fn a_card_says_where_and_how_to_call() {
    let node = TestNode::start(|config| {
        config.add("[[agents]]\nid = \"reader\"\nkind = \"text\"\nname = \"Reader\"\ndescription = \"Reads.\"");
    });
    for (path, name, agent) in [
        (CARD.to_owned(), "echo", "echo"),
        (format!("/agents/echo{CARD}"), "echo", "echo"),
        (format!("/agents/reader{CARD}"), "Reader", "reader"),
    ] {
        let answer = node.stranger().get(&path).await;
        assert_eq!(answer.header("content-type"), Some("application/json"));
        let card = answer.json();
        assert_eq!(card["name"], name);
        let offered = &card["supportedInterfaces"][0];
        assert_eq!(offered["url"], format!("{}/agents/{agent}", node.origin()));
        assert_eq!(
            (&offered["protocolBinding"], &offered["protocolVersion"]),
            (&"JSONRPC".into(), &"1.0".into())
        );
        assert_eq!(card["capabilities"]["streaming"], true);
        assert_eq!(
            card["capabilities"]["extensions"][0]["uri"],
            "urn:archipel:a2a:extension:last-event-id:v1"
        );
        assert_eq!(card["capabilities"]["extendedAgentCard"], Value::Null);
        assert_eq!(
            card["securityRequirements"],
            json!([{"schemes": {"bearer": {}}}])
        );
        for member in [
            "description",
            "version",
            "defaultInputModes",
            "defaultOutputModes",
            "skills",
        ] {
            assert!(!card[member].is_null(), "{member}: {card}");
        }
    }
    assert_eq!(
        node.stranger()
            .get(&format!("/agents/nobody{CARD}"))
            .await
            .status,
        404
    );
}

#[tokio::test]
async fn a_card_is_not_sent_twice() {
    let node = TestNode::start(|_| {});
    let first = node.stranger().get(CARD).await;
    let tag = first.header("etag").unwrap();
    assert!(first.header("cache-control").unwrap().contains("max-age="));
    for known in [
        tag.to_owned(),
        format!("\"other\", {tag}"),
        format!("W/{tag}"),
        "*".to_owned(),
    ] {
        let again = node
            .stranger()
            .with("if-none-match", &known)
            .get(CARD)
            .await;
        assert_eq!((again.status, again.body.len()), (304, 0), "{known}");
        assert_eq!(again.header("etag"), Some(tag));
    }
    let changed = node
        .stranger()
        .with("if-none-match", "\"other\"")
        .get(CARD)
        .await;
    assert_eq!((changed.status, &changed.body), (200, &first.body));
}

#[tokio::test]
async fn a_card_names_the_public_origin() {
    let node =
        TestNode::start(|config| config.add("public_origin = \"https://node.example.org/\""));
    let card = node.stranger().get(CARD).await.json();
    assert_eq!(
        card["supportedInterfaces"][0]["url"],
        "https://node.example.org/agents/echo"
    );
}

#[tokio::test]
async fn a_card_of_an_upstream_agent_is_its_own_with_our_url() {
    let agent = FakeAgent::start();
    let node = TestNode::start(|config| config.add(&upstream_agent("played", agent.origin())));
    let path = format!("/agents/played{CARD}");
    let answer = node.stranger().get(&path).await;
    let card = answer.json();
    assert_eq!(
        (&card["name"], &card["description"]),
        (&"played".into(), &"an agent that a test plays".into())
    );
    for interface in card["supportedInterfaces"].as_array().unwrap() {
        assert_eq!(interface["url"], format!("{}/agents/played", node.origin()));
    }
    assert!(answer.text().contains("\"x-kept\":1.5"), "{answer}");
    assert!(!answer.text().contains("elsewhere.invalid"), "{answer}");
    // An agent that is away for a moment still has its card.
    drop(agent);
    let again = node.stranger().get(&path).await;
    assert_eq!((again.status, again.body), (200, answer.body));
}

/// Members that only a card of 0.3 has.
const OF_03: [&str; 5] = [
    "url",
    "protocolVersion",
    "preferredTransport",
    "additionalInterfaces",
    "security",
];

#[tokio::test]
async fn a_card_is_of_the_version_that_is_asked_for() {
    let node = TestNode::start(|_| {});
    let own = format!("/agents/echo{CARD}");
    let old = "/.well-known/agent.json";
    for (path, asked, of_1, of_03) in [
        (CARD, None, true, true),
        (CARD, Some("1.0"), true, false),
        (CARD, Some("1.0.1"), true, false),
        (CARD, Some("0.3"), false, true),
        (CARD, Some("7.0"), true, false),
        (&own, None, true, false),
        (&own, Some("0.3.0"), false, true),
        (old, None, false, true),
        (old, Some("1.0"), true, false),
    ] {
        let client = match asked {
            Some(version) => node.stranger().with("a2a-version", version),
            None => node.stranger().without("a2a-version"),
        };
        let answer = client.get(path).await;
        assert_eq!(answer.header("vary"), Some("A2A-Version"));
        let card = answer.json();
        let has = |name: &str| !card[name].is_null();
        assert_eq!(has("supportedInterfaces"), of_1, "{path} {asked:?} {card}");
        assert_eq!(has("securityRequirements"), of_1, "{path} {asked:?} {card}");
        for name in OF_03 {
            assert_eq!(has(name), of_03, "{path} {asked:?} {name} {card}");
        }
        let scheme = &card["securitySchemes"]["bearer"];
        assert_eq!(scheme["httpAuthSecurityScheme"].is_object(), of_1, "{card}");
        assert_eq!(scheme["type"] == "http", of_03, "{card}");
        if of_03 {
            assert_eq!(card["url"], format!("{}/agents/echo", node.origin()));
            assert_eq!(card["preferredTransport"], "JSONRPC");
        }
    }
    let asked = format!("{own}?A2A-Version=0.3");
    let client = node.stranger().without("a2a-version");
    let card = client.get(&asked).await.json();
    assert_eq!(card["protocolVersion"], "0.3.0");
}

#[tokio::test]
async fn the_root_card_is_of_the_version_that_the_operator_chose() {
    for (chosen, of_1, of_03) in [("1.0", true, false), ("0.3", false, true)] {
        let node = TestNode::start(|config| config.add(&format!("a2a.root_card = \"{chosen}\"")));
        let client = node.stranger().without("a2a-version");
        let card = client.get(CARD).await.json();
        assert_eq!(card["supportedInterfaces"].is_array(), of_1, "{card}");
        assert_eq!(card["url"].is_string(), of_03, "{card}");
    }
}

#[tokio::test]
async fn a_card_has_a_date_that_can_be_asked_for() {
    let node = TestNode::start(|_| {});
    let first = node.stranger().get(CARD).await;
    let date = first.header("last-modified").unwrap();
    for (since, status) in [
        (date, 304),
        ("Fri, 01 Jan 2100 00:00:00 GMT", 304),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 200),
        ("yesterday", 200),
    ] {
        let client = node.stranger().with("if-modified-since", since);
        assert_eq!(client.get(CARD).await.status, status, "{since}");
        // A tag says more than a date.
        let client = client.with("if-none-match", "\"other\"");
        assert_eq!(client.get(CARD).await.status, 200, "{since}");
    }
}

#[tokio::test]
async fn every_form_of_a_card_is_signed_with_the_published_key() {
    let node = TestNode::start(|_| {});
    let answer = node.stranger().get("/.well-known/jwks.json").await;
    assert_eq!(
        answer.header("content-type"),
        Some("application/jwk-set+json")
    );
    let keys = TrustedKeys::from_jwks(answer.text()).unwrap();
    for version in ["", "1.0", "0.3"] {
        let card = node.stranger().with("a2a-version", version).get(CARD).await;
        verify(card.text(), &keys).unwrap();
        let changed = card.text().replace("\"echo\"", "\"other\"");
        assert_eq!(verify(&changed, &keys), Err(VerifyError::Wrong));
    }
    let node = node.stop().await.start();
    let again = node.stranger().get("/.well-known/jwks.json").await;
    assert_eq!(again.body, answer.body, "the key is kept");
}

#[tokio::test]
async fn the_catalog_lists_what_the_caller_may_see() {
    let node = TestNode::start(|config| {
        for visibility in ["peers", "private"] {
            config.add(&format!(
                "[[agents]]\nid = \"for-{visibility}\"\nkind = \"echo\"\nvisibility = \"{visibility}\""
            ));
        }
    });
    let catalog = "/.well-known/ai-catalog.json";
    let seen = |body: &Value| -> Vec<String> {
        let entries = body["entries"].as_array().unwrap().iter();
        let name = |entry: &Value| {
            let url = entry["url"].as_str().unwrap().to_owned();
            let below = url.strip_prefix(&format!("{}/agents/", node.origin()));
            below.unwrap().strip_suffix(CARD).unwrap().to_owned()
        };
        entries.map(name).collect()
    };
    let answer = node.stranger().get(catalog).await;
    assert_eq!(
        answer.header("content-type"),
        Some("application/ai-catalog+json")
    );
    assert_eq!(answer.json()["specVersion"], "1.0");
    assert_eq!(
        answer.json()["entries"][0]["type"],
        "application/a2a-agent-card+json"
    );
    assert_eq!(seen(&answer.json()), ["echo"]);
    let all = node.client().get(catalog).await.json();
    assert_eq!(seen(&all), ["echo", "for-peers", "for-private"]);
    // A credential that is wrong is refused, not taken for none.
    let wrong = node.stranger().with("authorization", "Bearer wrong");
    wrong
        .get(catalog)
        .await
        .assert_gate(401, "Invalid API token");
}

#[tokio::test]
async fn an_agent_is_shown_and_called_only_with_a_card_that_is_signed_as_it_must_be() {
    let signer = CardSigner::new(&[9; 32], None).unwrap();
    let plain = json!({
        "name": "played", "description": "d", "version": "1",
        "supportedInterfaces": [{"url": "http://0.0.0.0/", "protocolBinding": "JSONRPC", "protocolVersion": "1.0"}],
        "capabilities": {"streaming": true}, "defaultInputModes": ["text/plain"],
        "defaultOutputModes": ["text/plain"], "skills": [],
    });
    let signed = signer.sign(&plain.to_string()).unwrap();
    let changed = signed.replace("\"d\"", "\"e\"");
    for (check, card, shown) in [
        ("require", &signed, true),
        ("require", &changed, false),
        ("require", &plain.to_string(), false),
        ("warn", &changed, true),
        ("off", &plain.to_string(), true),
    ] {
        let agent = FakeAgent::start_with(Some(card.clone()));
        let node = TestNode::start(|config| {
            let keys = signer.jwks();
            let agent = upstream_agent("played", agent.origin());
            config.add(&format!("{agent}\ncard_keys = '{keys}'"));
            config.add(&format!("trust.cards = \"{check}\""));
        });
        let answer = node.stranger().get(&format!("/agents/played{CARD}")).await;
        assert_eq!(
            answer.status,
            if shown { 200 } else { 503 },
            "{check} {card}"
        );
        if !shown {
            let client = node.client();
            let answer = client.call("/agents/played", "SendMessage", say("hello"));
            assert_eq!(state_of(&answer.await["task"]), "TASK_STATE_FAILED");
        }
    }
}

#[tokio::test]
async fn a_peers_card_is_believed_by_the_key_that_the_peer_is_known_by() {
    let path = format!("/peers/beta/agents/echo{CARD}");
    let mesh = TestMesh::pair_with(|alpha| alpha.add("trust.cards = \"require\""), |_| {});
    let answer = mesh.alpha.client().get(&path).await;
    assert_eq!(answer.status, 200, "{answer}");
    let keys = mesh.alpha.stranger().get("/.well-known/jwks.json").await;
    let keys = TrustedKeys::from_jwks(keys.text()).unwrap();
    verify(answer.text(), &keys).unwrap();
    let old = mesh.alpha.client().with("a2a-version", "0.3");
    let card = old.get(&path).await.json();
    let url = format!("{}/peers/beta/agents/echo", mesh.alpha.origin());
    assert_eq!(card["url"], url);
    assert_eq!(card["protocolVersion"], "0.3.0");
}

#[tokio::test]
async fn a_peer_that_signs_with_another_key_is_not_believed() {
    let mesh = TestMesh::pair_with(
        |alpha| alpha.add("trust.cards = \"require\""),
        |beta| beta.add(&format!("a2a.card_seed = \"{}\"", "5".repeat(64))),
    );
    let path = format!("/peers/beta/agents/echo{CARD}");
    assert_eq!(mesh.alpha.client().get(&path).await.status, 502);
}

#[tokio::test]
async fn an_extended_card_is_for_callers_in_every_binding_and_through_a_peer() {
    let agent = r#"
        [[agents]]
        id = "more"
        kind = "echo"
        extended_card = '{"skills":[{"id":"more","name":"More","description":"d","tags":["t"]}]}'
    "#;
    let mesh = TestMesh::pair_with(|_| {}, |beta| beta.add(agent));
    for (node, base) in [
        (&mesh.beta, "/agents/more"),
        (&mesh.alpha, "/peers/beta/agents/more"),
    ] {
        let keys = node.stranger().get("/.well-known/jwks.json").await;
        let keys = TrustedKeys::from_jwks(keys.text()).unwrap();
        let public = node.client().get(&format!("{base}{CARD}")).await.json();
        assert_eq!(public["capabilities"]["extendedAgentCard"], true);
        assert_eq!(public["skills"][0]["id"], "echo");
        let url = format!("{}{base}", node.origin());
        let check = |card: &Value| {
            assert_eq!(card["skills"][0]["id"], "more", "{card}");
            verify(&card.to_string(), &keys).unwrap();
        };
        let old = node.client().with("a2a-version", "0.3");
        let client = node.client();
        let rest = client.get(&format!("{base}/extendedAgentCard")).await;
        let new = client.call(base, "GetExtendedAgentCard", json!({}));
        for card in [new.await, rest.json()] {
            check(&card);
            assert_eq!(card["supportedInterfaces"][0]["url"], url);
        }
        let card = old.call(base, "agent/getAuthenticatedExtendedCard", json!({}));
        let card = card.await;
        check(&card);
        assert_eq!(
            (&card["url"], &card["supportedInterfaces"]),
            (&json!(url), &Value::Null)
        );
        let stranger = node.stranger();
        let answer = stranger.post_rpc(base, "GetExtendedAgentCard", json!({}));
        assert_eq!(answer.await.status, 401);
    }
    let node = &mesh.beta;
    let refusal = node.client();
    let refusal = refusal.refused("/agents/echo", "GetExtendedAgentCard", json!({}));
    assert_eq!(
        refusal.await,
        Refusal::new(200, -32004, "UNSUPPORTED_OPERATION")
    );
}

#[tokio::test]
async fn an_operator_can_see_check_and_sign_a_card() {
    let node = TestNode::start(|_| {});
    let directory = tempfile::tempdir().unwrap();
    let keys = node.stranger().get("/.well-known/jwks.json").await;
    std::fs::write(directory.path().join("keys.json"), keys.text()).unwrap();
    let card = async |arguments: &[&str]| {
        let all = [&["card"], arguments].concat();
        run(NODE, directory.path(), &all, &[("HOME", "/")]).await
    };
    let at = ["--node", node.origin()];
    let shown = card(&[&["show", "echo", "--json"], &at[..]].concat()).await;
    assert_eq!(shown.code, Some(0), "{shown:?}");
    std::fs::write(directory.path().join("card.json"), &shown.out).unwrap();
    let verified = card(&["verify", "card.json", "--keys", "keys.json"]).await;
    assert_eq!(verified.code, Some(0), "{verified:?}");
    let other = "5".repeat(64);
    let asked = ["verify", "echo", "--ed25519", &other, "--json"];
    let unknown = card(&[&asked, &at[..]].concat()).await;
    assert_eq!(unknown.code, Some(1), "{unknown:?}");
    let told: Value = serde_json::from_str(&unknown.out).unwrap();
    assert_eq!(told["verified"], false);
    let changed = shown.out.replace("\"Echo\"", "\"Other\"");
    std::fs::write(directory.path().join("card.json"), changed).unwrap();
    let refused = card(&["verify", "card.json", "--keys", "keys.json"]).await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    // The key of the node, as its configuration says it.
    let config = node.config().write();
    let config = config.to_str().unwrap();
    let signed = card(&["sign", "card.json", "--config", config]).await;
    assert_eq!(signed.code, Some(0), "{signed:?}");
    std::fs::write(directory.path().join("card.json"), &signed.out).unwrap();
    let verified = card(&["verify", "card.json", "--keys", "keys.json"]).await;
    assert_eq!(verified.code, Some(0), "{verified:?}");
}

#[tokio::test]
async fn the_card_of_an_agent_that_is_only_passed_through_is_its_own_byte_for_byte() {
    let card = "{ \"name\" : \"played\",\n  \"url\":\"http://elsewhere.invalid\", \"x\": 1.50, \"signatures\": [7] }\n";
    let agent = FakeAgent::start_with(Some(card.to_owned()));
    let node = TestNode::start(|config| {
        let agent = upstream_agent("played", agent.origin());
        config.add(&format!("{agent}mode = \"passthrough\""));
    });
    let path = format!("/agents/played{CARD}");
    for version in ["1.0", "0.3"] {
        let client = node.stranger().with("a2a-version", version);
        let answer = client.get(&path).await;
        assert_eq!((answer.status, answer.text()), (200, card));
        let tag = answer.header("etag").unwrap().to_owned();
        let again = client.with("if-none-match", &tag).get(&path).await;
        assert_eq!(again.status, 304);
    }
}
