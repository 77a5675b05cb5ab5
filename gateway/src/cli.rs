//! The command line: parse, load, serve, drain.

use std::{
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use anyhow::Context as _;
use archipel_kit::{
    clock::SystemClock,
    settings::{self, Environment},
    shutdown::Shutdown,
    telemetry::Telemetry,
};
use clap::{Parser, Subcommand};

use crate::{ConfigSource, Gateway, GatewaySettings};

/// Wrong usage (as clap has it) or configuration.
const EXIT_CONFIG: u8 = 2;

/// The public edge of an Archipel mesh: limits and a streaming proxy in front of a node.
#[derive(Parser)]
#[command(name = "archipel-gateway", version)]
struct Command {
    #[command(subcommand)]
    action: Option<Action>,
    /// Settings in TOML; the environment overrides them. Without a file the environment alone counts.
    #[arg(long, short, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Action {
    /// Serve until SIGTERM or Ctrl-C (the default).
    Serve,
    /// Report every problem of the configuration, and nothing else.
    CheckConfig,
    /// Print the configuration with all its keys, their meaning and their defaults.
    ExampleConfig,
}

/// Runs the command of this process: exit code 0 done, 1 not done, 2 wrong usage or configuration.
pub fn run() -> ExitCode {
    let command = Command::parse();
    let file = command.config.as_deref();
    let outcome = match command.action {
        None | Some(Action::Serve) => with_settings(file, |settings| serve(settings, file)),
        Some(Action::CheckConfig) => with_settings(file, |_| say("configuration is good\n")),
        Some(Action::ExampleConfig) => {
            say(&settings::example::<GatewaySettings>()).map(|()| ExitCode::SUCCESS)
        }
    };
    outcome.unwrap_or_else(|error| {
        complain(&format!("{error:#}"));
        ExitCode::FAILURE
    })
}

/// Does what needs a configuration, or tells everything that is wrong with it.
fn with_settings(
    file: Option<&Path>,
    then: impl FnOnce(GatewaySettings) -> anyhow::Result<()>,
) -> anyhow::Result<ExitCode> {
    match GatewaySettings::load(file, &Environment::of_process()) {
        Ok(settings) => then(settings).map(|()| ExitCode::SUCCESS),
        Err(problems) => {
            complain(&format!("the configuration has problems:\n{problems}"));
            Ok(ExitCode::from(EXIT_CONFIG))
        }
    }
}

fn complain(text: &str) {
    // When standard error is gone too, the exit code says what is left to say.
    let _ = writeln!(io::stderr(), "archipel-gateway: {text}");
}

fn serve(settings: GatewaySettings, file: Option<&Path>) -> anyhow::Result<()> {
    let telemetry = Arc::new(Telemetry::start(&settings.telemetry, "archipel-gateway")?);
    let source = ConfigSource {
        file: file.map(Path::to_owned),
        environment: Environment::of_process(),
    };
    let serving = serve_until_signal(settings, source, Arc::clone(&telemetry));
    let served = actix_web::rt::System::new().block_on(serving);
    telemetry.shutdown();
    served
}

async fn serve_until_signal(
    settings: GatewaySettings,
    source: ConfigSource,
    telemetry: Arc<Telemetry>,
) -> anyhow::Result<()> {
    let mut shutdown = Shutdown::listen().context("signals cannot be awaited")?;
    let gateway = Gateway::bind(settings, source, telemetry, Arc::new(SystemClock::new()))?;
    tracing::info!(address = %gateway.addr(), "gateway listens");
    if let Some(admin) = gateway.admin_addr() {
        tracing::info!(address = %admin, "operator's listener");
    }
    let stop = gateway.stop_handle();
    actix_rt::spawn(async move {
        let signal = shutdown.requested().await;
        tracing::info!(signal, "gateway drains");
        stop.stop().await;
    });
    gateway.run().await.context("the server broke")?;
    tracing::info!("gateway ended");
    Ok(())
}

fn say(text: &str) -> anyhow::Result<()> {
    io::stdout()
        .write_all(text.as_bytes())
        .context("standard output is closed")
}
