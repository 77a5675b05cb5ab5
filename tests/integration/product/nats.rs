//! How a node gets into a NATS that asks who it is: by a certificate, by an nkey and by a credentials file, each with somebody
//! who is not let in.

use std::fs;

use archipel_tests::authority::Authority;
use archipel_tests::mesh::{TestNode, until};
use archipel_tests::services::NatsServer;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nkeys::KeyPair;
use serde_json::{Value, json};
use tempfile::TempDir;

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

/// A statement of NATS: what `issuer` says of `subject`.
fn statement(issuer: &KeyPair, subject: &KeyPair, kind: &str, mut says: Value) -> String {
    says["type"] = kind.into();
    says["version"] = 2.into();
    let claims = json!({
        "jti": "statement", "iat": 1_700_000_000, "name": kind,
        "iss": issuer.public_key(), "sub": subject.public_key(), "nats": says,
    });
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let header = encode(&json!({"typ": "JWT", "alg": "ed25519-nkey"}));
    let signed = format!("{header}.{}", encode(&claims));
    let signature = issuer.sign(signed.as_bytes()).unwrap();
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// What an account is allowed; that of the system keeps no streams.
fn account(keeps_streams: bool) -> Value {
    let mut limits = json!({
        "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1, "leaf": -1,
    });
    if keeps_streams {
        for what in ["mem_storage", "disk_storage", "streams", "consumer"] {
            limits[what] = (-1).into();
        }
    }
    json!({"limits": limits})
}

/// A credentials file as the tools of NATS write it.
fn credentials(statement: &str, user: &KeyPair) -> String {
    let seed = user.seed().unwrap();
    format!(
        "-----BEGIN NATS USER JWT-----\n{statement}\n------END NATS USER JWT------\n\n\
         -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
    )
}

#[tokio::test]
async fn by_a_credentials_file() {
    let (operator, system, known) = (
        KeyPair::new_operator(),
        KeyPair::new_account(),
        KeyPair::new_account(),
    );
    let preload = [(&system, false), (&known, true)].map(|(key, keeps_streams)| {
        let statement = statement(&operator, key, "account", account(keeps_streams));
        format!("{}: {statement}", key.public_key())
    });
    let trusted = format!(
        "operator: {}\nsystem_account: {}\nresolver: MEMORY\nresolver_preload: {{\n{}\n}}",
        statement(&operator, &operator, "operator", json!({})),
        system.public_key(),
        preload.join("\n"),
    );
    let nats = NatsServer::start_with(None, &trusted).unwrap();
    let (user, other, stranger) = (
        KeyPair::new_user(),
        KeyPair::new_user(),
        KeyPair::new_account(),
    );
    let limits = json!({"pub": {}, "sub": {}, "subs": -1, "data": -1, "payload": -1});
    let said_by = |account: &KeyPair| statement(account, &user, "user", limits.clone());
    let folder = TempDir::new().unwrap();
    let with = |name: &str, text: String| {
        let file = folder.path().join(name);
        fs::write(&file, text).unwrap();
        format!("url = \"{}\"\ncredentials_file = {file:?}", nats.url())
    };
    let guest = with("guest.creds", credentials(&said_by(&known), &user));
    let strangers = [
        // Another's key under a good statement, and the statement of an account that nobody knows.
        with("other.creds", credentials(&said_by(&known), &other)),
        with("stranger.creds", credentials(&said_by(&stranger), &user)),
        format!("url = \"{}\"", nats.url()),
    ];
    lets_in(&guest, &strangers).await;
}
