//! `serve` and `check-config`.

use std::process::ExitCode;

use archipel_kit::descriptors::raise_limit;
use archipel_kit::settings::Problems;
use archipel_kit::shutdown::Shutdown;
use serde_json::json;

use super::{ConfigFile, load, print};
use crate::app::App;
use crate::config::NodeSettings;

/// Wrong usage or configuration.
const EXIT_CONFIG: u8 = 2;

pub(super) async fn serve(file: &ConfigFile) -> anyhow::Result<ExitCode> {
    let settings = match load(file) {
        Ok(settings) => settings,
        Err(problems) => return tell(file, &problems),
    };
    // Before anything is opened, so that a signal that comes early is not lost.
    let mut shutdown = Shutdown::listen()?;
    // Before sockets are opened; there is a log only when the node is built.
    let descriptors = raise_limit();
    let app = App::build(settings.clone(), file.source()).await?;
    match descriptors {
        Ok(limit) => tracing::info!(limit, "descriptors that may be open"),
        Err(error) => tracing::warn!(%error, "the limit of descriptors stays as it is"),
    }
    tracing::info!(
        address = %app.address(),
        origin = %app.origin(),
        agents = settings.agents.len(),
        peers = settings.peers.len(),
        "node is up"
    );
    warn_closed(&settings);
    let handle = app.handle();
    let running = actix_rt::spawn(app.run());
    tokio::pin!(running);
    tokio::select! {
        ended = &mut running => ended??,
        signal = shutdown.requested() => {
            tracing::info!(signal, "node is stopping; a second signal stops it at once");
            tokio::select! {
                ended = async { handle.stop().await; (&mut running).await } => ended??,
                _ = shutdown.requested() => return Ok(ExitCode::FAILURE),
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn check_config(file: &ConfigFile) -> anyhow::Result<ExitCode> {
    match load(file) {
        Err(problems) => tell(file, &problems),
        Ok(settings) => match settings.check_files(file.source()) {
            Err(problems) => tell(file, &problems),
            Ok(in_folder) => {
                praise(file, &settings, in_folder)?;
                Ok(ExitCode::SUCCESS)
            }
        },
    }
}

/// The configuration can be used; what is hardly meant so is told beside that.
fn praise(file: &ConfigFile, settings: &NodeSettings, in_folder: usize) -> anyhow::Result<()> {
    let warnings = settings.warnings();
    if file.json {
        let outcome = match warnings.as_slice() {
            [] => json!({"ok": true, "problems": []}),
            warnings => json!({"ok": true, "problems": [], "warnings": warnings}),
        };
        return print::out(&format!("{outcome}\n"));
    }
    for warning in warnings {
        print::error(&format!("warning: {warning}\n"))?;
    }
    let checked = match &file.path {
        Some(path) => path.display().to_string(),
        None => "the environment (no file)".to_owned(),
    };
    let (agents, peers) = (settings.agents.len(), settings.peers.len() + in_folder);
    print::out(&format!(
        "{checked} is fine: {agents} agents, {peers} peers\n"
    ))
}

fn tell(file: &ConfigFile, problems: &Problems) -> anyhow::Result<ExitCode> {
    if file.json {
        let list: Vec<_> = problems
            .iter()
            .map(|problem| json!({"at": problem.at, "what": problem.what}))
            .collect();
        print::out(&format!("{}\n", json!({"ok": false, "problems": list})))?;
    } else {
        print::error(&format!("the configuration has problems:\n{problems}\n"))?;
    }
    Ok(ExitCode::from(EXIT_CONFIG))
}

/// What a newcomer would otherwise find out by being refused.
fn warn_closed(settings: &NodeSettings) {
    if settings.internal_token.is_none() && !settings.federation.enabled {
        tracing::warn!("nobody can call this node: set internal_token, or enable federation");
    }
    if settings.agents.is_empty() {
        tracing::warn!("this node has no agents: add [[agents]] to its configuration");
    }
    if settings.bus.secret.is_none() {
        tracing::warn!("bus messages are neither signed nor checked: set bus.secret");
    }
}
