//! The mesh of `compose.yaml`: what its containers need before they start, and how it is reached from outside.
//!
//! Read `book` (the secrets, kept from one start to the next), then `files` (who gets which file).

mod book;
mod files;

use std::net::{Ipv4Addr, SocketAddr};

use archipel_protocol::federation::keys;
use archipel_protocol::ids::Origin;

use crate::arguments::{Prepare, Verify};
use crate::compose::book::{Book, SiteBook};
use crate::mesh::{Node, Site};

/// Where every container listens.
const NODE_LISTEN: SocketAddr = at_every_address(7400);
const GATEWAY_LISTEN: SocketAddr = at_every_address(7480);

/// Writes everything that the containers need.
pub(crate) fn prepare(arguments: &Prepare) -> anyhow::Result<()> {
    let book = Book::of(&arguments.folder)?;
    files::write(&book, &arguments.folder, arguments.user)?;
    files::give(&arguments.give, arguments.user)
}

/// The mesh as it was prepared, found where the arguments say.
pub(crate) fn site(arguments: &Verify) -> anyhow::Result<Site> {
    let book = Book::read(&arguments.secrets)?;
    Ok(Site {
        alpha: node("alpha", &book.alpha, &arguments.alpha)?,
        beta: node("beta", &book.beta, &arguments.beta)?,
        gateway_listen: GATEWAY_LISTEN,
        gateway: arguments.gateway.clone(),
        gateway_secret: book.gateway_secret.clone(),
        client_headers: arguments.secrets.join(files::CLIENT_HEADERS),
    })
}

/// A site as its peers know it: its replicas share a name.
fn node(name: &'static str, book: &SiteBook, found_at: &Origin) -> anyhow::Result<Node> {
    let seed = book.seed()?;
    Ok(Node {
        name,
        listen: NODE_LISTEN,
        origin: Origin::parse(&format!("http://{name}:{}", NODE_LISTEN.port()))?,
        found_at: found_at.clone(),
        public_key_hex: keys::to_hex(&keys::public_key_of_seed(&seed)?),
        seed,
        internal_token: book.internal_token.clone(),
        bus_secret: book.bus_secret.clone(),
    })
}

const fn at_every_address(port: u16) -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED), port)
}

#[cfg(test)]
mod tests;
