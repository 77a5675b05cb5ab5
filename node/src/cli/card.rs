//! `card`: an agent's card as it is served, who signed it, and signing one.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use archipel_kit::client::{RequestBody, Timeouts};
use archipel_kit::settings::{self, Environment};
use archipel_protocol::a2a::VERSION;
use archipel_protocol::a2a::card::TrustedKeys;
use archipel_protocol::a2a::card::signature::verify;
use archipel_protocol::federation::keys;
use archipel_protocol::ids::Origin;
use clap::Subcommand;
use http::header::{ACCEPT, AUTHORIZATION};
use http::{Request, StatusCode, Uri};
use serde_json::{Value, json};

use super::call::address;
use super::node::NodeArguments;
use super::{ConfigFile, load, print};
use crate::cards::key;
use crate::egress::{Destination, Egress, EgressSettings};

/// The largest card, and how long it may take to come.
const MAX_CARD: usize = 1024 * 1024;
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug, clap::Args)]
pub(super) struct Card {
    #[command(subcommand)]
    action: CardAction,
}

#[derive(Debug, Subcommand)]
enum CardAction {
    /// Shows the card of an agent.
    Show(Show),
    /// Checks that a card is signed by a key that you trust.
    Verify(Verify),
    /// Signs a card with the key of the node that the configuration describes, and prints it.
    Sign(Sign),
}

/// Where a card is.
#[derive(Debug, clap::Args)]
struct Place {
    /// Agent: its URL, or its name on the node (`text`, `beta/text` for an agent of peer beta); or a file with a card; `-`
    /// reads one from standard input.
    #[arg(value_name = "AGENT-URL-OR-FILE")]
    card: String,
    #[command(flatten)]
    node: NodeArguments,
    /// Version of A2A whose card is asked for.
    #[arg(long, value_name = "VERSION", default_value = VERSION)]
    a2a_version: String,
}

#[derive(Debug, clap::Args)]
struct Show {
    #[command(flatten)]
    place: Place,
    /// Write the card exactly as it came.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
#[group(id = "trusted", required = true, multiple = true, args = ["keys", "ed25519"])]
struct Verify {
    #[command(flatten)]
    place: Place,
    /// File with the JWK Set that you trust.
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,
    /// Ed25519 key that you trust, as 64 hexadecimal digits.
    #[arg(long, value_name = "HEX")]
    ed25519: Option<String>,
    /// Write the outcome as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct Sign {
    /// File with the card; `-` reads it from standard input.
    #[arg(value_name = "FILE")]
    card: String,
}

pub(super) async fn card(card: Card, file: &ConfigFile) -> anyhow::Result<ExitCode> {
    match card.action {
        CardAction::Show(show) => self::show(&show, file).await,
        CardAction::Verify(asked) => self::verified(&asked, file).await,
        CardAction::Sign(asked) => sign(&asked, file),
    }
}

async fn show(show: &Show, file: &ConfigFile) -> anyhow::Result<ExitCode> {
    let card = read(&show.place, file).await?;
    let text = if show.json {
        card
    } else {
        let card: Value = serde_json::from_str(&card).context("the card is not JSON")?;
        serde_json::to_string_pretty(&card)?
    };
    print::out(&format!("{}\n", text.trim_end()))?;
    Ok(ExitCode::SUCCESS)
}

async fn verified(asked: &Verify, file: &ConfigFile) -> anyhow::Result<ExitCode> {
    let mut trusted = TrustedKeys::default();
    if let Some(path) = &asked.keys {
        let text = fs::read_to_string(path);
        let text = text.with_context(|| format!("cannot read {}", path.display()))?;
        trusted = TrustedKeys::from_jwks(&text)?;
    }
    if let Some(key) = &asked.ed25519 {
        trusted.add_ed25519(&keys::from_hex(key)?)?;
    }
    let outcome = verify(&read(&asked.place, file).await?, &trusted);
    let text = match &outcome {
        Ok(verified) if asked.json => json!({"verified": true, "kid": verified.kid}).to_string(),
        Err(problem) if asked.json => {
            json!({"verified": false, "problem": problem.to_string()}).to_string()
        }
        Ok(verified) => format!("signed by {}", verified.kid),
        Err(problem) => problem.to_string(),
    };
    print::out(&format!("{text}\n"))?;
    Ok(if outcome.is_ok() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn sign(asked: &Sign, file: &ConfigFile) -> anyhow::Result<ExitCode> {
    let settings = load(file).map_err(|problems| anyhow::anyhow!("{problems}"))?;
    let origin = match &settings.public_origin {
        Some(origin) => Origin::parse(origin.as_str())?,
        None => Origin::parse(&format!("http://{}", settings.listen))?,
    };
    let signer = key::signer(&settings, &origin)?;
    let signed = signer.sign(&from_file(&asked.card)?)?;
    print::out(&format!("{signed}\n"))?;
    Ok(ExitCode::SUCCESS)
}

async fn read(place: &Place, file: &ConfigFile) -> anyhow::Result<String> {
    if place.card == "-" || PathBuf::from(&place.card).is_file() {
        return from_file(&place.card);
    }
    let node = place.node.find(file)?;
    let agent = address(&place.card, &node.origin)?.to_string();
    let uri: Uri = match agent.ends_with(".json") {
        true => agent.parse()?,
        false => format!(
            "{}/.well-known/agent-card.json",
            agent.trim_end_matches('/')
        )
        .parse()?,
    };
    let mut request = Request::get(&uri)
        .header(ACCEPT, "application/json")
        .header("a2a-version", &place.a2a_version)
        .body(RequestBody::empty())?;
    if let Some(authorization) = node.authorization(&uri) {
        request.headers_mut().insert(AUTHORIZATION, authorization);
    }
    let limits = Timeouts {
        first_byte: Some(PATIENCE),
        idle: None,
        total: Some(PATIENCE),
    };
    let settings: EgressSettings = settings::load(None, &Environment::default())
        .map_err(|problems| anyhow::anyhow!("{problems}"))?;
    let egress = Egress::new(&settings);
    let answer = egress.send(Destination::Trusted, request, limits).await;
    let answer = answer.with_context(|| format!("cannot read {uri}"))?;
    let status = answer.status;
    let body = answer.read_all(MAX_CARD).await?;
    let text = String::from_utf8_lossy(&body).into_owned();
    if status != StatusCode::OK {
        let start: String = text.chars().take(500).collect();
        bail!("{uri} answered {status}: {start}");
    }
    Ok(text)
}

fn from_file(name: &str) -> anyhow::Result<String> {
    if name == "-" {
        return std::io::read_to_string(std::io::stdin()).context("cannot read standard input");
    }
    fs::read_to_string(name).with_context(|| format!("cannot read {name}"))
}
