//! Cards: who sees one, and what it says of where to call.

use archipel_tests::mesh::{FakeAgent, TestNode};

use crate::upstream_agent;

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
    assert_eq!(card["supportedInterfaces"].as_array().unwrap().len(), 1);
    assert_eq!(
        card["supportedInterfaces"][0]["url"],
        format!("{}/agents/played", node.origin())
    );
    assert!(answer.text().contains("\"x-kept\":1.5"), "{answer}");
    assert!(!answer.text().contains("elsewhere.invalid"), "{answer}");
    // An agent that is away for a moment still has its card.
    drop(agent);
    let again = node.stranger().get(&path).await;
    assert_eq!((again.status, again.body), (200, answer.body));
}
