//! Peers that come and go while nodes run: two operators with the command line, three replicas, a key that changes.

use std::path::Path;
use std::time::Duration;

use archipel_tests::mesh::{
    Client, FakeAgent, Identity, NodeConfig, NodeProcess, Output, TOKEN, TestNode, id_of, run, say,
    their_task, until,
};
use archipel_tests::services::RedisServer;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::{ECHO, NODE, upstream_agent};

/// Within this time every replica follows what one of them decided.
const EVERYWHERE: Duration = Duration::from_secs(2);

/// A node that may be told of peers while it runs.
fn node(own: &Identity, more: impl FnOnce(&mut NodeConfig)) -> TestNode {
    TestNode::start(|config| {
        own.configure(config);
        config.add("control_plane.enabled = true");
        more(config);
    })
}

fn nodes() -> (TestNode, TestNode) {
    let start = || node(&Identity::of_new_node(), |_| {});
    (start(), start())
}

/// `archipel peers ..`, told to a node by its operator.
async fn peers(origin: &str, arguments: &[&str]) -> Output {
    let all = [&["peers", "--node", origin], arguments].concat();
    run(NODE, Path::new("."), &all, &[("ARCHIPEL_TOKEN", TOKEN)]).await
}

async fn done(origin: &str, arguments: &[&str]) -> String {
    let output = peers(origin, arguments).await;
    assert_eq!(output.code, Some(0), "{arguments:?}: {output:?}");
    output.out
}

async fn shown(origin: &str, arguments: &[&str]) -> Value {
    let told = done(origin, &[arguments, &["--json"]].concat()).await;
    serde_json::from_str(&told).unwrap()
}

/// The line to hand over.
async fn invitation(origin: &str, arguments: &[&str]) -> String {
    let all = [&["invite", "--allow-private"], arguments].concat();
    let told = done(origin, &all).await;
    told.lines().next().unwrap().to_owned()
}

async fn accepted(origin: &str, invitation: &str, name: &str) -> Output {
    let arguments = [
        "accept",
        invitation,
        "--yes",
        "--allow-private",
        "--name",
        name,
    ];
    peers(origin, &arguments).await
}

/// Two nodes that have each other as `alpha` and `beta`.
async fn pair(alpha: &str, beta: &str) {
    let line = invitation(alpha, &["--name", "beta"]).await;
    let output = accepted(beta, &line, "alpha").await;
    assert_eq!(output.code, Some(0), "{output:?}");
}

/// Whether a call to the echo agent of a peer comes through.
async fn reaches(client: &Client, peer: &str) -> bool {
    let path = format!("/peers/{peer}{ECHO}");
    let answer = client.post_rpc(&path, "SendMessage", say("hello")).await;
    answer.status == 200 && answer.text().contains("Echo: hello")
}

#[tokio::test]
async fn two_operators_pair_their_nodes() {
    let (alpha, beta) = nodes();
    let line = invitation(
        alpha.origin(),
        &[
            "--name",
            "beta",
            "--agents",
            "echo",
            "--review-by",
            "2020-01-31",
        ],
    )
    .await;
    assert!(line.starts_with("archipel-invitation:"), "{line}");

    // Nobody can be asked here, so both fingerprints are shown and nothing happens.
    let arguments = ["accept", &line, "--allow-private", "--name", "alpha"];
    let looked = peers(beta.origin(), &arguments).await;
    let ours = shown(alpha.origin(), &["list"]).await["own"]["fingerprint"].clone();
    let theirs = shown(beta.origin(), &["list"]).await["own"]["fingerprint"].clone();
    assert_eq!(looked.code, Some(1));
    for fingerprint in [&ours, &theirs] {
        let fingerprint = fingerprint.as_str().unwrap();
        assert!(looked.err.contains(fingerprint), "{looked:?}");
    }
    assert!(looked.err.contains("agents echo"), "{looked:?}");
    assert_eq!(shown(beta.origin(), &["list"]).await["peers"], json!([]));

    let output = accepted(beta.origin(), &line, "alpha").await;
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(reaches(&beta.client(), "alpha").await);
    assert!(reaches(&alpha.client(), "beta").await);
    let beta_at_alpha = shown(alpha.origin(), &["show", "beta"]).await;
    assert_eq!(beta_at_alpha["keys"][0]["fingerprint"], theirs);
    assert_eq!(beta_at_alpha["rights"]["agents"], json!(["echo"]));
    assert_eq!(beta_at_alpha["source"], "paired");
    assert_eq!(beta_at_alpha["reviewDue"], true);
    let list = done(alpha.origin(), &["list"]).await;
    assert!(list.contains("review was due 2020-01-31"), "{list}");

    // Whoever asks again after a lost answer is told the same; somebody else is not.
    let again = accepted(beta.origin(), &line, "alpha").await;
    assert_eq!(again.code, Some(0), "{again:?}");
    let gamma = node(&Identity::of_new_node(), |_| {});
    let late = accepted(gamma.origin(), &line, "alpha").await;
    assert_eq!(late.code, Some(1));
    assert!(late.err.contains("taken already"), "{late:?}");

    // All of it is there after a restart.
    let alpha = alpha.stop().await.start();
    assert!(reaches(&alpha.client(), "beta").await);
    assert!(reaches(&beta.client(), "alpha").await);
}

#[tokio::test]
async fn trust_is_taken_back_and_given_again() {
    let (alpha, beta) = nodes();
    let line = invitation(alpha.origin(), &["--name", "beta", "--confirm"]).await;
    let held = accepted(beta.origin(), &line, "alpha").await;
    assert!(held.out.contains("has still to let us in"), "{held:?}");
    assert!(!reaches(&beta.client(), "alpha").await);
    assert!(!reaches(&alpha.client(), "beta").await);
    done(alpha.origin(), &["resume", "beta"]).await;
    assert!(reaches(&beta.client(), "alpha").await);
    assert!(reaches(&alpha.client(), "beta").await);

    done(beta.origin(), &["suspend", "alpha"]).await;
    let alpha_at_beta = shown(beta.origin(), &["show", "alpha"]).await;
    assert_eq!(alpha_at_beta["state"], "suspended");
    assert!(!reaches(&alpha.client(), "beta").await);
    assert!(!reaches(&beta.client(), "alpha").await);
    done(beta.origin(), &["resume", "alpha"]).await;
    assert!(reaches(&alpha.client(), "beta").await);

    // An invitation from before trust was taken back is worth nothing; one from after it is.
    let old = invitation(alpha.origin(), &["--name", "beta"]).await;
    done(alpha.origin(), &["revoke", "beta"]).await;
    assert!(!reaches(&beta.client(), "alpha").await);
    assert!(!reaches(&alpha.client(), "beta").await);
    let resumed = peers(alpha.origin(), &["resume", "beta"]).await;
    assert!(resumed.err.contains("pair again"), "{resumed:?}");
    let refused = accepted(beta.origin(), &old, "alpha").await;
    assert!(refused.err.contains("taken back"), "{refused:?}");
    let state = shown(alpha.origin(), &["list"]).await;
    assert_eq!(state["peers"][0]["state"], "revoked");
    // Times are whole seconds: a new invitation is newer only in the next one.
    let paired = until("an invitation that is newer", async || {
        let line = invitation(alpha.origin(), &["--name", "beta"]).await;
        let output = accepted(beta.origin(), &line, "alpha").await;
        (output.code == Some(0)).then_some(())
    });
    paired.await;
    assert!(reaches(&beta.client(), "alpha").await);
}

#[tokio::test]
async fn an_open_invitation_is_listed_and_withdrawn() {
    let (alpha, beta) = nodes();
    let told = shown(
        alpha.origin(),
        &["invite", "--allow-private", "--name", "beta"],
    )
    .await;
    let (line, id) = (
        told["invitation"].as_str().unwrap(),
        told["id"].as_str().unwrap(),
    );
    let open =
        async || shown(alpha.origin(), &["invitations", "list"]).await["invitations"].clone();
    let listed = open().await;
    assert_eq!(
        (&listed[0]["id"], &listed[0]["name"], &listed[1]),
        (&told["id"], &json!("beta"), &json!(null))
    );
    // What is listed is not what can be handed over.
    assert_eq!(listed[0]["invitation"], json!(null));
    assert!(
        done(alpha.origin(), &["invitations", "list"])
            .await
            .contains(id)
    );

    done(alpha.origin(), &["invitations", "withdraw", id]).await;
    assert_eq!(open().await, json!([]));
    let late = accepted(beta.origin(), line, "alpha").await;
    assert!(late.err.contains("withdrawn"), "{late:?}");
    for unknown in [id, "nonsense"] {
        let again = peers(alpha.origin(), &["invitations", "withdraw", unknown]).await;
        assert_eq!(again.code, Some(1), "{again:?}");
    }
    // One that is taken is not open any more.
    pair(alpha.origin(), beta.origin()).await;
    assert_eq!(open().await, json!([]));
}

#[tokio::test]
async fn an_invitation_is_taken_only_as_it_is_meant() {
    let (alpha, beta) = nodes();
    // Private addresses are not called because a stranger says so.
    let line = invitation(alpha.origin(), &[]).await;
    let careful = peers(beta.origin(), &["accept", &line, "--yes"]).await;
    assert_eq!(careful.code, Some(1));
    assert!(careful.err.contains("--allow-private"), "{careful:?}");
    let strict = done(alpha.origin(), &["invite"]).await;
    let strict = strict.lines().next().unwrap();
    let refused = accepted(beta.origin(), strict, "alpha").await;
    assert!(refused.err.contains("cannot be asked"), "{refused:?}");

    for (arguments, expected) in [
        (vec!["accept", "nonsense", "--yes"], "is no invitation"),
        (vec!["accept", &line[..60], "--yes"], "damaged"),
        (vec!["invite", "--methods", "message/send"], "no operation"),
        (vec!["invite", "--role", "root"], "must be `viewer`"),
        (vec!["invite", "--expires", "31d"], "thirty days"),
        (vec!["invite", "--name", "Beta"], "no name"),
        (vec!["show", "nobody"], "no such peer"),
        (vec!["rotate-key", "--overlap", "1s"], "overlap"),
    ] {
        let output = peers(beta.origin(), &arguments).await;
        assert_eq!(output.code, Some(1), "{output:?}");
        assert!(output.err.contains(expected), "{output:?}");
    }
    let keyless = TestNode::start(|config| config.add("control_plane.enabled = true"));
    let output = peers(keyless.origin(), &["invite"]).await;
    assert!(output.err.contains("no key of its own"), "{output:?}");
    let own = peers(alpha.origin(), &["accept", &line, "--yes"]).await;
    assert!(own.err.contains("this node itself"), "{own:?}");

    // At the open door, what proves nothing is refused, and not often.
    let stranger = alpha.stranger();
    let knock = async |body: Value| {
        let path = "/api/mesh/federation/pair";
        stranger.post(path, body.to_string()).await.status
    };
    assert_eq!(knock(json!({})).await, 400);
    let foreign = invitation(beta.origin(), &[]).await;
    let forged = json!({"invitation": foreign, "acceptance": "a.b.c"});
    assert_eq!(knock(forged).await, 403);
    let unsigned = json!({"invitation": line, "acceptance": "a.b.c"});
    assert_eq!(knock(unsigned).await, 400);
    let mut last = 0;
    for _ in 0..12 {
        last = knock(json!({})).await;
    }
    assert_eq!(last, 429);
    for path in ["/api/peers", "/api/peers/beta"] {
        stranger.get(path).await.assert_gate(401, "Unauthorized");
    }
}

/// Three replicas of one node, at the first one's origin.
async fn replicas(redis: &RedisServer, own: &Identity, more: &str) -> [NodeProcess; 3] {
    let url = redis.url();
    let start = async |is_first: bool| {
        NodeProcess::start(NODE, |config| {
            let listen = config.listen().to_owned();
            own.configure(config);
            if !is_first {
                config.add(&format!("listen = \"{listen}\""));
            }
            config.add(&format!(
                "public_origin = \"{}\"\ncontrol_plane.enabled = true\n[redis]\nurl = \"{url}\"\n{more}",
                own.origin()
            ));
        })
        .await
    };
    [start(true).await, start(false).await, start(false).await]
}

#[tokio::test]
async fn every_replica_follows_within_two_seconds_and_streams_end() {
    let redis = RedisServer::start().unwrap();
    let (ours, theirs) = (Identity::of_new_node(), Identity::of_new_node());
    let mut agent = FakeAgent::start();
    let played = upstream_agent("played", agent.origin());
    let replicas = replicas(&redis, &ours, &played).await;
    let peer = node(&theirs, |_| {});
    // An invitation of the very second in which the memory of claims began could be older than it.
    until("an invitation that is newer than the claims", async || {
        let line = invitation(replicas[1].origin(), &["--name", "peer"]).await;
        let output = accepted(peer.origin(), &line, "ours").await;
        (output.code == Some(0)).then_some(())
    })
    .await;

    let call = async |replica: &NodeProcess| {
        let token = theirs.token_for(ours.origin());
        let client = Client::new(replica.origin()).with("x-hive-federation-jwt", &token);
        let answer = client.post_rpc(ECHO, "SendMessage", say("hello")).await;
        answer.status
    };
    let everywhere = async |expected: u16| {
        for replica in &replicas {
            until("a replica that follows", async || {
                (call(replica).await == expected).then_some(())
            })
            .await;
        }
    };
    everywhere(200).await;

    // A stream of the peer at the last replica ends by what the first one is told.
    let token = theirs.token_for(ours.origin());
    let client = Client::new(replicas[2].origin()).with("x-hive-federation-jwt", &token);
    let mut stream = client
        .stream("/agents/played", "SendStreamingMessage", say("begin"))
        .await;
    id_of(&stream.event().await);
    let at_work = agent.call().await.stream();
    at_work.tell(their_task("TASK_STATE_WORKING"));
    done(replicas[0].origin(), &["suspend", "peer"]).await;
    let last = stream.last_comment().await.unwrap();
    assert!(last.contains("peer"), "{last}");
    // Thrice the time, because the machine may be busy with other tests.
    let followed = timeout(EVERYWHERE * 3, everywhere(401)).await;
    assert!(followed.is_ok(), "every replica follows");
    done(replicas[1].origin(), &["resume", "peer"]).await;
    everywhere(200).await;
    done(replicas[2].origin(), &["revoke", "peer"]).await;
    everywhere(401).await;
}

#[tokio::test]
async fn a_key_changes_while_calls_go_on() {
    let (alpha, beta) = nodes();
    pair(alpha.origin(), beta.origin()).await;
    let before = shown(beta.origin(), &["show", "alpha"]).await;
    let told = done(alpha.origin(), &["rotate-key", "--overlap", "1h"]).await;
    assert!(told.contains("follow by themselves"), "{told}");
    assert!(!told.contains("Tell the operators"), "{told}");
    let early = peers(alpha.origin(), &["rotate-key"]).await;
    assert!(early.err.contains("not over yet"), "{early:?}");
    let own = shown(alpha.origin(), &["list"]).await["own"].clone();
    assert_ne!(own["fingerprint"], before["keys"][0]["fingerprint"]);

    // Both ways, call after call, until beta has followed.
    let (at_alpha, at_beta) = (alpha.client(), beta.client());
    let after = until("a peer that followed", async || {
        assert!(reaches(&at_alpha, "beta").await);
        assert!(reaches(&at_beta, "alpha").await);
        let peer = at_beta.get("/api/peers/alpha").await.json();
        (peer["keys"].as_array().unwrap().len() == 2).then_some(peer)
    })
    .await;
    assert_eq!(after["keys"][0]["fingerprint"], own["fingerprint"]);
    assert_eq!(after["keys"][0]["notAfter"], Value::Null);
    assert_eq!(
        after["keys"][1]["fingerprint"],
        before["keys"][0]["fingerprint"]
    );
    assert!(after["keys"][1]["notAfter"].is_string());
    let published = alpha.stranger().get("/.well-known/jwks.json").await.json();
    assert_eq!(published["keys"][0]["kid"], own["kid"]);

    // Both nodes know it after a restart.
    let alpha = alpha.stop().await.start();
    let beta = beta.stop().await.start();
    assert!(reaches(&alpha.client(), "beta").await);
    assert!(reaches(&beta.client(), "alpha").await);
    let again = shown(alpha.origin(), &["list"]).await["own"]["fingerprint"].clone();
    assert_eq!(again, own["fingerprint"]);
}

#[tokio::test]
async fn a_configured_peer_is_followed_where_its_entry_says_so() {
    let (alpha, beta) = nodes();
    // Paired, so that alpha uses its new key at once; at beta, what is configured wins.
    pair(alpha.origin(), beta.origin()).await;
    let before = shown(beta.origin(), &["show", "alpha"]).await["keys"].clone();
    let mut stopped = beta.stop().await;
    stopped.config().add(&format!(
        "[[peers]]\nname = \"alpha\"\norigin = \"{}\"\ned25519_public_key = {}\nfollow_keys = true",
        alpha.origin(),
        before[0]["publicKey"]
    ));
    let beta = stopped.start();
    done(alpha.origin(), &["rotate-key", "--overlap", "1h"]).await;
    let own = shown(alpha.origin(), &["list"]).await["own"].clone();
    let at_alpha = alpha.client();
    let followed = async |beta: &TestNode| {
        let peer = shown(beta.origin(), &["show", "alpha"]).await;
        assert_eq!(peer["source"], "configured");
        let fingerprints = [&own["fingerprint"], &before[0]["fingerprint"]];
        let known = [
            &peer["keys"][0]["fingerprint"],
            &peer["keys"][1]["fingerprint"],
        ];
        (known == fingerprints).then_some(())
    };
    until("a configured peer that is followed", async || {
        assert!(reaches(&at_alpha, "beta").await);
        followed(&beta).await
    })
    .await;
    let beta = beta.stop().await.start();
    assert!(reaches(&at_alpha, "beta").await);
    assert_eq!(followed(&beta).await, Some(()));
}

#[tokio::test]
async fn a_configured_peer_can_be_suspended_and_revoked_too() {
    let (ours, theirs) = (Identity::of_new_node(), Identity::of_new_node());
    let alpha = node(&ours, |config| theirs.configure_as_peer(config, "beta"));
    let call = async || {
        let token = theirs.token_for(alpha.origin());
        let client = alpha.stranger().with("x-hive-federation-jwt", &token);
        client
            .post_rpc(ECHO, "SendMessage", say("hello"))
            .await
            .status
    };
    assert_eq!(call().await, 200);
    for (step, status) in [
        ("suspend", 401),
        ("resume", 200),
        ("revoke", 401),
        ("resume", 200),
    ] {
        done(alpha.origin(), &[step, "beta"]).await;
        assert_eq!(call().await, status, "{step}");
    }
    done(alpha.origin(), &["revoke", "beta"]).await;
    let alpha = alpha.stop().await.start();
    let token = theirs.token_for(alpha.origin());
    let client = alpha.stranger().with("x-hive-federation-jwt", &token);
    let answer = client.post_rpc(ECHO, "SendMessage", say("hello")).await;
    assert_eq!(answer.status, 401, "it stays revoked");
}
