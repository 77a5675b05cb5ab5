//! How a node gets into a NATS that asks who it is: by a certificate and by an nkey, each with somebody who is not let in.

use archipel_tests::authority::Authority;
use archipel_tests::mesh::{TestNode, until};
use archipel_tests::services::NatsServer;
use nkeys::KeyPair;
use serde_json::{Value, json};

async fn away(node: &TestNode) -> Value {
    node.client().get("/readyz").await.json()["away"].clone()
}

/// Whoever has this configuration gets in, and those who have one of the others do not, although they have tried longer.
async fn lets_in(guest: &str, others: &[String]) {
    let start = |nats: &str| TestNode::start(|config| config.add(&format!("[nats]\n{nats}")));
    let strangers: Vec<TestNode> = others.iter().map(|other| start(other)).collect();
    let guest = start(guest);
    until("the guest to be let in", async || {
        (away(&guest).await == json!([])).then_some(())
    })
    .await;
    for (stranger, nats) in strangers.iter().zip(others) {
        assert_eq!(away(stranger).await, json!(["nats"]), "{nats}");
    }
}

#[tokio::test]
async fn by_a_certificate() {
    let (authority, other) = (Authority::new("nats"), Authority::new("other"));
    let (ca, server) = (authority.path("ca.pem"), authority.sign("server"));
    let nats = NatsServer::start_with(
        None,
        &format!(
            "tls {{\n cert_file: {:?}\n key_file: {:?}\n ca_file: {ca:?}\n verify: true\n}}",
            server.0, server.1
        ),
    );
    let nats = nats.unwrap();
    let url = nats.url().replace("nats://", "tls://");
    let shown = |authority: &Authority| {
        let (certificate, key) = authority.sign("node");
        format!("certificate_file = {certificate:?}\nkey_file = {key:?}\n")
    };
    let believing = |authority: &Authority| {
        let ca = authority.path("ca.pem");
        format!("url = \"{url}\"\nca_file = {ca:?}\n")
    };
    let guest = believing(&authority) + &shown(&authority);
    let strangers = [
        believing(&authority),
        believing(&authority) + &shown(&other),
        believing(&other) + &shown(&authority),
    ];
    lets_in(&guest, &strangers).await;
}

#[tokio::test]
async fn by_an_nkey() {
    let (user, other) = (KeyPair::new_user(), KeyPair::new_user());
    let users = format!(
        "authorization {{ users: [ {{ nkey: {} }} ] }}",
        user.public_key()
    );
    let nats = NatsServer::start_with(None, &users).unwrap();
    let with = |seed: &KeyPair| {
        let seed = seed.seed().unwrap();
        format!("url = \"{}\"\nnkey_seed = \"{seed}\"", nats.url())
    };
    lets_in(
        &with(&user),
        &[with(&other), format!("url = \"{}\"", nats.url())],
    )
    .await;
}
