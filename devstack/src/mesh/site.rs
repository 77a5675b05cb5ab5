//! Who has which address and which secrets.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use archipel_protocol::federation::keys;
use archipel_protocol::ids::Origin;

use crate::arguments::Arguments;

/// One node.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) name: &'static str,
    pub(crate) listen: SocketAddr,
    /// What it is called: tokens for it are meant for this, and peers call it by this.
    pub(crate) origin: Origin,
    /// Where it is found from here.
    pub(crate) found_at: Origin,
    pub(crate) seed: [u8; 32],
    pub(crate) public_key_hex: String,
    /// What a client of this node proves itself with.
    pub(crate) internal_token: String,
    /// Seals the bus of this node.
    pub(crate) bus_secret: String,
}

/// All that the processes and the demonstration must agree on. Made anew for every run.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) alpha: Node,
    pub(crate) beta: Node,
    pub(crate) gateway_listen: SocketAddr,
    pub(crate) gateway: Origin,
    /// By which alpha knows its gateway.
    pub(crate) gateway_secret: String,
    /// Headers for `curl`, kept in a file so that no secret stands on the screen.
    pub(crate) client_headers: PathBuf,
}

impl Site {
    pub(crate) fn new(arguments: &Arguments, folder: &Path) -> anyhow::Result<Self> {
        // All three are held at once, so that no two of them are given the same free port.
        let alpha = listener("node alpha", arguments.alpha_port, "--alpha-port")?;
        let beta = listener("node beta", arguments.beta_port, "--beta-port")?;
        let gateway = listener("the gateway", arguments.gateway_port, "--gateway-port")?;
        let gateway_listen = gateway.local_addr()?;
        Ok(Self {
            alpha: Node::new("alpha", alpha.local_addr()?)?,
            beta: Node::new("beta", beta.local_addr()?)?,
            gateway_listen,
            gateway: origin(gateway_listen)?,
            gateway_secret: secret(),
            client_headers: folder.join("client.headers"),
        })
    }
}

impl Node {
    fn new(name: &'static str, listen: SocketAddr) -> anyhow::Result<Self> {
        let seed: [u8; 32] = rand::random();
        let public_key_hex = keys::to_hex(&keys::public_key_of_seed(&seed)?);
        Ok(Self {
            name,
            listen,
            origin: origin(listen)?,
            found_at: origin(listen)?,
            seed,
            public_key_hex,
            internal_token: secret(),
            bus_secret: secret(),
        })
    }

    /// The URL of a path of this node, from here.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.found_at.as_str())
    }
}

fn origin(listen: SocketAddr) -> anyhow::Result<Origin> {
    Ok(Origin::parse(&format!("http://{listen}"))?)
}

/// A fresh secret of 256 bits, in hexadecimal digits.
pub(crate) fn secret() -> String {
    hex::encode(rand::random::<[u8; 32]>())
}

/// Finds out whether a port can be had, by having it for a moment.
fn listener(who: &str, port: u16, option: &str) -> anyhow::Result<TcpListener> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    match TcpListener::bind(address) {
        Ok(listener) => Ok(listener),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
            bail!(
                "port {port} of {who} is busy: stop what listens there, or choose another with {option} (0 takes a free one)"
            )
        }
        Err(error) => Err(error).with_context(|| {
            format!("port {port} of {who} cannot be had; choose another with {option}")
        }),
    }
}
