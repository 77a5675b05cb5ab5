//! Peers that come, change and go while a node runs.

use std::fs;
use std::path::PathBuf;

use archipel_tests::mesh::{
    EventStream, FakeAgent, Identity, NodeProcess, StreamItem, TestNode, id_of, say, until,
};
use serde_json::json;

use crate::{ECHO, NODE, upstream_agent};

const PLAYED: &str = "/agents/played";
const AT_BETA: &str = "/peers/beta/agents/played";
const JWT: &str = "x-hive-federation-jwt";

/// A node whose peers stand in files, which it looks at when it is told to.
struct Host {
    node: NodeProcess,
    own: Identity,
}

impl Host {
    async fn start(more: &str) -> Self {
        let own = Identity::of_new_node();
        let node = NodeProcess::start(NODE, |config| {
            own.configure(config);
            config.add("federation.peers_reload = \"0s\"");
            config.add(more);
        })
        .await;
        fs::create_dir(node.directory().join("peers.d")).unwrap();
        Self { node, own }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.node.directory().join("peers.d").join(name)
    }

    /// Writes a file and says so.
    async fn tell(&self, name: &str, text: &str) {
        fs::write(self.file(name), text).unwrap();
        self.node.hang_up().await;
    }

    /// Waits until the metrics have this line.
    async fn wait_for(&self, line: &str) {
        let client = self.node.client();
        until(line, async || {
            let metrics = client.get("/metrics").await;
            metrics
                .text()
                .lines()
                .any(|found| found == line)
                .then_some(())
        })
        .await;
    }

    /// How a call of this peer is answered.
    async fn answers(&self, peer: &Identity) -> u16 {
        let client = self.node.client().without("authorization");
        let client = client.with(JWT, &peer.token_for(self.own.origin()));
        client
            .post_rpc(ECHO, "SendMessage", say("hello"))
            .await
            .status
    }
}

/// The comment with which a stream ends.
async fn last_comment(mut stream: EventStream) -> String {
    let mut last = String::new();
    while let Some(item) = stream.next().await {
        if let StreamItem::Comment(comment) = item {
            last = comment;
        }
    }
    last
}

#[tokio::test]
async fn peers_come_and_go_with_their_files() {
    let host = Host::start("").await;
    let (beta, gamma) = (
        Identity::at("https://beta.example"),
        Identity::at("https://gamma.example"),
    );
    assert_eq!(host.answers(&beta).await, 401);
    host.tell("beta.toml", &beta.as_peer("beta")).await;
    host.wait_for("archipel_peers{source=\"folder\"} 1").await;
    assert_eq!(host.answers(&beta).await, 200);
    // What has problems changes nothing, not even what is fine beside it.
    fs::write(host.file("gamma.toml"), gamma.as_peer("gamma")).unwrap();
    host.tell("wrong.toml", "name = \"wrong\"").await;
    host.wait_for("archipel_peer_files_total{outcome=\"refused\"} 1")
        .await;
    assert_eq!(host.answers(&beta).await, 200);
    assert_eq!(host.answers(&gamma).await, 401);
    fs::remove_file(host.file("wrong.toml")).unwrap();
    host.tell(
        "beta.toml",
        &format!("{}suspended = true\n", beta.as_peer("beta")),
    )
    .await;
    host.wait_for("archipel_peers{source=\"folder\"} 2").await;
    assert_eq!(host.answers(&gamma).await, 200);
    assert_eq!(host.answers(&beta).await, 401);
}

#[tokio::test]
async fn a_peer_changes_its_key_without_a_gap() {
    let host = Host::start("").await;
    let origin = "https://beta.example";
    let (old, new) = (Identity::at(origin), Identity::at(origin));
    let both = format!(
        "{}[[keys]]\npublic_key = \"{}\"\nkid = \"new\"\n",
        old.as_peer("beta"),
        new.public_key()
    );
    host.tell("beta.toml", &both).await;
    host.wait_for("archipel_peers{source=\"folder\"} 1").await;
    assert_eq!(
        (host.answers(&old).await, host.answers(&new).await),
        (200, 200)
    );
    let gone = format!(
        "name = \"beta\"\norigin = \"{origin}\"\n\
         [[keys]]\npublic_key = \"{}\"\nnot_after = 2020-01-01T00:00:00Z\n\
         [[keys]]\npublic_key = \"{}\"\n",
        old.public_key(),
        new.public_key()
    );
    host.tell("beta.toml", &gone).await;
    host.wait_for("archipel_peer_files_total{outcome=\"taken\"} 2")
        .await;
    assert_eq!(
        (host.answers(&old).await, host.answers(&new).await),
        (401, 200)
    );
}

#[tokio::test]
async fn streams_end_with_the_trust_under_which_they_began() {
    let mut agent = FakeAgent::start();
    let played = upstream_agent("played", agent.origin());
    let beta = Identity::of_new_node();
    let host = Host::start(&played).await;
    let theirs = TestNode::start(|config| {
        beta.configure(config);
        host.own.configure_as_peer(config, "alpha");
        config.add(&played);
    });
    host.tell("beta.toml", &beta.as_peer("beta")).await;
    host.wait_for("archipel_peers{source=\"folder\"} 1").await;
    let operator = host.node.client();
    let begin = say("begin");
    let outbound = operator.stream(AT_BETA, "SendStreamingMessage", begin.clone());
    let mut outbound = outbound.await;
    id_of(&outbound.event().await);
    let _at_beta = agent.call().await;
    let caller = operator.without("authorization");
    let caller = caller.with(JWT, &beta.token_for(host.own.origin()));
    let mut inbound = caller.stream(PLAYED, "SendStreamingMessage", begin).await;
    let id = id_of(&inbound.event().await);
    let _at_alpha = agent.call().await;
    let kept = operator.stream(PLAYED, "SendStreamingMessage", say("mine"));
    let mut kept = kept.await;
    id_of(&kept.event().await);
    host.tell(
        "beta.toml",
        &format!("{}suspended = true\n", beta.as_peer("beta")),
    )
    .await;
    for stream in [outbound, inbound] {
        let comment = last_comment(stream).await;
        assert!(comment.contains("this peer has changed"), "{comment}");
    }
    let refusal = operator
        .post_rpc(AT_BETA, "GetTask", json!({"id": id}))
        .await;
    assert_eq!(refusal.status, 502, "{}", refusal.text());
    // What has nothing to do with the peer goes on.
    let mine = agent.call().await.stream();
    mine.tell(archipel_tests::mesh::their_piece("still here"));
    assert!(kept.try_event().await.is_some());
    drop(theirs);
}
