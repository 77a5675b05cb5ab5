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
    descriptors::raise_limit,
    settings::{self, Environment},
    shutdown::Shutdown,
    telemetry::Telemetry,
};
use clap::{Parser, Subcommand};

use crate::{ConfigSource, Gateway, GatewaySettings, limiter};

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
    /// Show which paths are served, and what holds there.
    Routes,
    /// Ask about limits.
    #[command(subcommand)]
    Limits(Limits),
    /// Print the configuration with all its keys, their meaning and their defaults.
    ExampleConfig,
}

#[derive(Subcommand)]
enum Limits {
    /// Show where a client stands: from the Redis that gateways share, else from the gateway that runs here.
    Show {
        /// An address, or the key that a client sends.
        key: String,
    },
}

/// Runs the command of this process: exit code 0 done, 1 not done, 2 wrong usage or configuration.
pub fn run() -> ExitCode {
    let command = Command::parse();
    let file = command.config.as_deref();
    let outcome = match command.action {
        None | Some(Action::Serve) => with_settings(file, |settings| serve(settings, file)),
        Some(Action::CheckConfig) => with_settings(file, |_| say("configuration is good\n")),
        Some(Action::Routes) => with_settings(file, |settings| say(&routes(&settings))),
        Some(Action::Limits(Limits::Show { key })) => {
            with_settings(file, |settings| show_limit(&settings, &key))
        }
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
    match raise_limit() {
        Ok(limit) => tracing::info!(limit, "descriptors that may be open"),
        Err(error) => tracing::warn!(%error, "the limit of descriptors stays as it is"),
    }
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

/// One line for each path, the narrowest last.
fn routes(settings: &GatewaySettings) -> String {
    let own = "the gateway";
    let node = "the node";
    let everywhere = [
        ("/v1/a2a/jsonrpc", "POST", node),
        ("/agents/..", "GET HEAD POST DELETE", node),
        ("/peers/..", "GET HEAD POST DELETE", node),
        ("/.well-known/..", "GET HEAD", node),
        ("/v1/health", "GET HEAD", own),
        ("/v1/metrics", "GET HEAD", own),
        ("/livez", "GET HEAD", own),
        ("/readyz", "GET HEAD", own),
    ];
    let mut text = String::new();
    if settings.closed {
        text.push_str("closed: only the gateway's own paths are served\n");
    }
    for (path, methods, by) in everywhere {
        text.push_str(&format!("{path:<24} {methods:<22} {by}\n"));
    }
    for route in &settings.routes {
        let mut notes = Vec::new();
        if route.closed {
            notes.push("closed".to_owned());
        }
        if !route.rpc_methods.is_empty() {
            notes.push(format!("JSON-RPC {}", route.rpc_methods.join(" ")));
        }
        if route.per_minute > 0 {
            notes.push(format!("{}/min each", route.per_minute));
        }
        if route.total_per_minute > 0 {
            notes.push(format!("{}/min together", route.total_per_minute));
        }
        let path = format!("{}/..", route.path.trim_end_matches('/'));
        let methods = route.methods.join(" ");
        let methods = if methods.is_empty() {
            "as above"
        } else {
            &methods
        };
        text.push_str(&format!("{path:<24} {methods:<22} {}\n", notes.join(", ")));
    }
    text
}

fn show_limit(settings: &GatewaySettings, key: &str) -> anyhow::Result<()> {
    let asked = actix_web::rt::System::new().block_on(limiter::show(settings, key));
    let mut text = asked?;
    text.push('\n');
    say(&text)
}

fn say(text: &str) -> anyhow::Result<()> {
    io::stdout()
        .write_all(text.as_bytes())
        .context("standard output is closed")
}
