//! The configuration files, as an operator would write them.

use std::path::Path;

use anyhow::Context;
use serde_json::Value;

use crate::mesh::site::{Node, Site};

/// `archipel.toml` of a node.
pub(crate) fn node(site: &Site, node: &Node, peer: &Node, data: &Path) -> anyhow::Result<String> {
    let data = data
        .to_str()
        .context("the data folder's name is no UTF-8")?;
    Ok(format!(
        r#"listen = "{listen}"
public_origin = "{origin}"
data_dir = {data}
internal_token = "{token}"
gateway_secret = "{gateway}"

[federation]
enabled = true
algorithm = "Ed25519"
ed25519_seed = "{seed}"

[bus]
secret = "{bus}"

[[agents]]
id = "text"
kind = "text"

[[peers]]
name = "{peer}"
origin = "{peer_origin}"
ed25519_public_key = "{peer_key}"
"#,
        listen = node.listen,
        origin = node.origin.as_str(),
        data = quoted(data),
        token = node.internal_token,
        gateway = site.gateway_secret,
        seed = hex::encode(node.seed),
        bus = node.bus_secret,
        peer = peer.name,
        peer_origin = peer.origin.as_str(),
        peer_key = peer.public_key_hex,
    ))
}

/// The gateway's file: it stands in front of alpha.
pub(crate) fn gateway(site: &Site) -> String {
    format!(
        "listen = \"{}\"\nupstream = \"{}\"\nupstream_auth_secret = \"{}\"\n",
        site.gateway_listen,
        site.alpha.origin.as_str(),
        site.gateway_secret
    )
}

/// What a client of alpha sends with every call; `curl --header @FILE` reads it.
pub(crate) fn client_headers(site: &Site) -> String {
    format!(
        "Authorization: Bearer {}\nContent-Type: application/json\nA2A-Version: 1.0\n",
        site.alpha.internal_token
    )
}

/// A text of JSON is a text of TOML too, once DEL is escaped.
fn quoted(text: &str) -> String {
    Value::from(text).to_string().replace('\u{7f}', "\\u007f")
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn a_folder_may_have_any_name() {
        assert_eq!(quoted("/a \"b\"\\ü\n"), r#""/a \"b\"\\ü\n""#);
    }
}
