//! `keygen`.

use std::process::ExitCode;

use archipel_protocol::federation::keys;
use rand::Rng;
use serde_json::json;

use super::print;

#[derive(Debug, clap::Args)]
pub(super) struct Keygen {
    /// Write the key as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn keygen(options: &Keygen) -> anyhow::Result<ExitCode> {
    let mut seed = [0_u8; 32];
    rand::rng().fill_bytes(&mut seed);
    let public = keys::to_hex(&keys::public_key_of_seed(&seed)?);
    let seed = keys::to_hex(&seed);
    let text = if options.json {
        format!("{}\n", json!({"seed": seed, "publicKey": public}))
    } else {
        format!(
            "# Keep this secret: it goes into this node's own configuration.\n[federation]\nenabled = true\n\
             algorithm = \"Ed25519\"\ned25519_seed = \"{seed}\"\n\n\
             # Give this to peers: it goes into their [[peers]] entry for this node.\n\
             # ed25519_public_key = \"{public}\"\n"
        )
    };
    print::out(&text)?;
    Ok(ExitCode::SUCCESS)
}
