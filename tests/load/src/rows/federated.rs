//! A node that is called by a peer: its keys, its Redis, and the tokens that it is shown.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use anyhow::Context;
use archipel_kit::clock::{Clock, SystemClock};
use archipel_protocol::federation::{Minter, keys};
use archipel_protocol::ids::Origin;
use uuid::Uuid;

use super::commands::{redis_server, serve};
use super::{Row, Servers, TOKEN, Target};
use crate::process::{Server, free_address};
use crate::programs::Programs;

const PEER: &str = "https://peer.example";
/// Far from the largest header that is read, and twenty times a token.
const HUGE: usize = 12_000;

/// What a request says of who sends it.
#[derive(Debug, Clone)]
pub(crate) enum Credential {
    None,
    Bearer(&'static str),
    /// A fresh federation token each time.
    Peer(Signer),
    /// The same text in a token's place each time.
    Bad(String),
}

/// Mints tokens for one node.
#[derive(Debug, Clone)]
pub(crate) struct Signer {
    minter: Minter,
    audience: String,
    clock: SystemClock,
}

impl Signer {
    pub(crate) fn token(&self) -> anyhow::Result<String> {
        let now = i64::try_from(self.clock.now_ms() / 1000)?;
        Ok(self
            .minter
            .mint(Some(&self.audience), 60, Uuid::new_v4(), now)?)
    }
}

/// Starts a node with a peer. What it keeps, claims of tokens among it, is in a Redis of its own.
pub(super) async fn start(
    row: Row,
    programs: &Programs,
    address: SocketAddr,
    folder: &Path,
) -> anyhow::Result<(Command, Target, Vec<Server>)> {
    let redis = free_address()?;
    let helpers = vec![redis_server(redis, folder).await?];
    let seed: [u8; 32] = rand::random();
    let key = keys::to_hex(&keys::public_key_of_seed(&seed)?);
    let origin = format!("http://{address}");
    let data = folder.join("data");
    fs::create_dir_all(&data)?;
    let own_seed = keys::to_hex(&rand::random());
    let config = format!(
        r#"
        listen = "{address}"
        public_origin = "{origin}"
        data_dir = {data:?}
        internal_token = "{TOKEN}"
        redis.url = "redis://{redis}"
        limits.failures = 0
        [federation]
        enabled = true
        algorithm = "Ed25519"
        ed25519_seed = "{own_seed}"
        [[agents]]
        id = "echo"
        kind = "echo"
        [[peers]]
        name = "peer"
        origin = "{PEER}"
        ed25519_public_key = "{key}"
        limit.calls = 1000000
        limit.per = "1s"
        "#
    );
    let command = serve(&programs.node, folder, "node", &config)?;
    let signer = Signer {
        minter: Minter::ed25519(&seed, &Origin::parse(PEER)?)?,
        audience: origin,
        clock: SystemClock::new(),
    };
    let target = Target {
        address,
        path: "/agents/echo",
        credential: credential(row, signer)?,
        asks: row.asks(),
    };
    Ok((command, target, helpers))
}

fn credential(row: Row, signer: Signer) -> anyhow::Result<Credential> {
    Ok(match row {
        Row::FederatedBearer => Credential::Bearer(TOKEN),
        Row::TinyTokens => Credential::Bad("x".to_owned()),
        Row::HugeTokens => Credential::Bad("x".repeat(HUGE)),
        Row::ForgedTokens => {
            // Everything about it is good but its signature, which has to be checked to be known.
            let token = signer.token()?;
            let (signed, _) = token.rsplit_once('.').context("a token has three parts")?;
            Credential::Bad(format!("{signed}.{}", "A".repeat(86)))
        }
        _ => Credential::Peer(signer),
    })
}

/// A node is ready for a peer when its memory of claims is older than the peer's tokens, which count in seconds.
pub(crate) async fn until_taken(servers: &Servers) -> anyhow::Result<()> {
    if matches!(servers.target.credential, Credential::Peer(_)) {
        tokio::time::sleep(std::time::Duration::from_millis(2100)).await;
    }
    Ok(())
}
