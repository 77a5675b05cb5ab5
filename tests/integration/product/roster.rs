//! Peers that come, change and go while a node runs.

use std::fs;
use std::path::PathBuf;

use archipel_kit::clock::{Clock, SystemClock};
use archipel_protocol::federation::keys;
use archipel_protocol::federation::manifest::{Manifest, ManifestPeer};
use archipel_tests::mesh::{
    Document, EventStream, FakeAgent, Identity, NodeProcess, StreamItem, TestNode, id_of, say,
    until,
};
use archipel_tests::services::RedisServer;
use futures_util::future::join_all;
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
        wait_for(&self.node, line).await;
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

async fn wait_for(node: &NodeProcess, line: &str) {
    let client = node.client();
    until(line, async || {
        let metrics = client.get("/metrics").await;
        let mut lines = metrics.text().lines();
        lines.any(|found| found == line).then_some(())
    })
    .await;
}

/// Who signs the manifests of these tests.
const SIGNER: [u8; 32] = [7; 32];

fn signed(issued_at: &str, peers: &[&Identity]) -> String {
    let listed = peers.iter().map(|peer| ManifestPeer {
        origin: peer.origin().to_owned(),
        public_key_hex: Some(peer.public_key()),
    });
    let manifest = Manifest {
        issued_at: Some(issued_at.to_owned()),
        peers: listed.collect(),
    };
    manifest.sign(&SIGNER).unwrap()
}

/// Tells a node where its manifest is.
fn manifest_at(document: &Document, refresh: &str) -> String {
    let key = keys::to_hex(&keys::public_key_of_seed(&SIGNER).unwrap());
    format!(
        "[federation]\nmanifest_url = \"{}\"\nmanifest_public_key = \"{key}\"\n\
         manifest_allow_http = true\nmanifest_refresh = \"{refresh}\"\n",
        document.url()
    )
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

#[tokio::test]
async fn a_manifest_is_followed_and_never_goes_back() {
    let beta = Identity::at("https://beta.example");
    let gamma = Identity::at("https://gamma.example");
    let document = Document::serve(&signed("2026-01-02T00:00:00Z", &[&beta])).await;
    let mut host = Host::start(&manifest_at(&document, "1d")).await;
    host.wait_for("archipel_peers{source=\"manifest\"} 1").await;
    assert_eq!(host.answers(&beta).await, 200);
    // While it cannot be had, and when somebody serves an old one, the last good one counts.
    document.answer(500, "");
    host.node.hang_up().await;
    host.wait_for("archipel_manifest_trouble{issue=\"fetch\"} 1")
        .await;
    assert_eq!(host.answers(&beta).await, 200);
    document.answer(200, &signed("2026-01-01T00:00:00Z", &[&gamma]));
    host.node.hang_up().await;
    host.wait_for("archipel_manifest_trouble{issue=\"verify\"} 1")
        .await;
    assert_eq!(
        (host.answers(&beta).await, host.answers(&gamma).await),
        (200, 401)
    );
    // It outlives the process.
    document.answer(404, "");
    host.node.kill().await;
    host.node.restart().await;
    host.wait_for("archipel_peers{source=\"manifest\"} 1").await;
    assert_eq!(host.answers(&beta).await, 200);
    document.answer(200, &signed("2026-01-03T00:00:00Z", &[&gamma]));
    host.node.hang_up().await;
    host.wait_for("archipel_manifest_trouble{issue=\"verify\"} 0")
        .await;
    assert_eq!(
        (host.answers(&beta).await, host.answers(&gamma).await),
        (401, 200)
    );
}

#[tokio::test]
async fn one_of_three_replicas_fetches_the_manifest_for_all() {
    let redis = RedisServer::start().unwrap();
    let url = redis.url();
    let beta = Identity::at("https://beta.example");
    let document = Document::serve(&signed("2026-01-01T00:00:00Z", &[&beta])).await;
    let own = Identity::of_new_node();
    let start = async || {
        NodeProcess::start(NODE, |config| {
            let listen = config.listen().to_owned();
            own.configure(config);
            config.add(&format!(
                "listen = \"{listen}\"\npublic_origin = \"{}\"",
                own.origin()
            ));
            config.add(&format!("[redis]\nurl = \"{url}\""));
            config.add(&manifest_at(&document, "1s"));
        })
        .await
    };
    let nodes = [start().await, start().await, start().await];
    let all = nodes
        .iter()
        .map(|node| wait_for(node, "archipel_peers{source=\"manifest\"} 1"));
    join_all(all).await;
    let clock = SystemClock::new();
    let (began, before) = (clock.monotonic(), document.reads());
    until("further fetches", async || {
        (document.reads() >= before + 5).then_some(())
    })
    .await;
    let (seconds, reads) = (
        (clock.monotonic() - began).as_secs(),
        document.reads() - before,
    );
    assert!(reads <= seconds + 2, "{reads} fetches in {seconds} s");
}
