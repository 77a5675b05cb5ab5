//! The command line of `archipel`. Read `serve` (a node), `node` (which one a command speaks to), `call` (one call to an
//! agent), `agents` (which there are), `peers` (whom it trusts), `audit` (what it wrote down), `bus`, `wan`
//! (what goes between sites), `card`, `keys`.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use archipel_kit::settings::{self, Environment};
use clap::{Parser, Subcommand};

use crate::config::{ConfigSource, NodeSettings};

mod agents;
mod audit;
mod bus;
mod call;
mod card;
mod keys;
mod node;
mod peers;
mod print;
mod serve;
mod wan;

/// A node of an Archipel mesh: serves A2A agents, and lets those of trusted peers be called as if they were local.
#[derive(Debug, Parser)]
#[command(name = "archipel", version, propagate_version = true)]
pub struct Command {
    #[command(subcommand)]
    action: Action,
    /// Configuration file. Without it, `archipel.toml` in this folder if there is one. The environment overrides it.
    #[arg(long, short, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Runs a node until SIGTERM or Ctrl-C.
    Serve(Outcome),
    /// Checks a configuration and tells every problem at once; starts nothing.
    CheckConfig(Outcome),
    /// Prints a configuration with every key, its meaning and its default.
    ExampleConfig,
    /// Makes a fresh Ed25519 key for federation.
    Keygen(keys::Keygen),
    /// Sends a message to an agent and shows what comes back.
    Call(call::Call),
    /// Shows an agent's card, checks who signed one, signs one.
    Card(card::Card),
    /// Shows, adds, changes, pauses and removes the agents of a node that runs.
    Agents(agents::Agents),
    /// Invites, accepts, shows, suspends and revokes peers of a node that runs, and changes its key.
    Peers(peers::Peers),
    /// Shows who did what with which right, and checks that nobody has changed that since.
    Audit(audit::Audit),
    /// Shows what happens at a site.
    Bus(bus::Bus),
    /// Sends envelopes to other sites, and shows those that nobody sees to any more.
    Wan(wan::Wan),
}

/// How the outcome is told.
#[derive(Debug, clap::Args)]
struct Outcome {
    /// Write the outcome as JSON.
    #[arg(long)]
    json: bool,
}

/// Which configuration, and how what is wrong with it is told.
#[derive(Debug)]
struct ConfigFile {
    path: Option<PathBuf>,
    json: bool,
}

/// Runs a command to its exit code: 0 done, 1 not done, 2 wrong usage or configuration.
pub async fn run(command: Command) -> ExitCode {
    let quiet = Outcome { json: false };
    let outcome = match command.action {
        Action::Serve(outcome) => serve::serve(&config_file(command.config, &outcome)).await,
        Action::CheckConfig(outcome) => serve::check_config(&config_file(command.config, &outcome)),
        Action::ExampleConfig => {
            print::out(&settings::example::<NodeSettings>()).map(|()| ExitCode::SUCCESS)
        }
        Action::Keygen(keygen) => keys::keygen(&keygen),
        Action::Call(call) => call::call(call, &config_file(command.config, &quiet)).await,
        Action::Card(card) => card::card(card, &config_file(command.config, &quiet)).await,
        Action::Agents(agents) => {
            agents::agents(agents, &config_file(command.config, &quiet)).await
        }
        Action::Peers(peers) => peers::peers(peers, &config_file(command.config, &quiet)).await,
        Action::Audit(audit) => audit::audit(audit, &config_file(command.config, &quiet)).await,
        Action::Bus(bus) => bus::bus(bus, &config_file(command.config, &quiet)).await,
        Action::Wan(wan) => wan::wan(wan, &config_file(command.config, &quiet)).await,
    };
    outcome.unwrap_or_else(|error| {
        // When standard error is gone too, the exit code says what is left to say.
        let _ = writeln!(io::stderr(), "archipel: {error:#}");
        ExitCode::FAILURE
    })
}

/// The file that is meant: the one named, else the usual one if it is there.
fn config_file(named: Option<PathBuf>, outcome: &Outcome) -> ConfigFile {
    let usual = || Some(PathBuf::from("archipel.toml")).filter(|path| path.is_file());
    ConfigFile {
        path: named.or_else(usual),
        json: outcome.json,
    }
}

impl ConfigFile {
    /// The file and the variables of this process.
    fn source(&self) -> ConfigSource {
        ConfigSource {
            file: self.path.clone(),
            environment: Environment::of_process(),
        }
    }
}

fn load(file: &ConfigFile) -> Result<NodeSettings, settings::Problems> {
    file.source().load()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    #[test]
    fn every_command_can_be_parsed() {
        <Command as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn the_configuration_may_be_named_before_and_after_the_command() {
        let check = |arguments: &[&str]| {
            let all = [&["archipel"], arguments].concat();
            let command = Command::try_parse_from(all).unwrap();
            assert_eq!(
                command.config,
                Some(PathBuf::from("a.toml")),
                "{arguments:?}"
            );
        };
        check(&["--config", "a.toml", "serve"]);
        check(&["serve", "--config", "a.toml"]);
        check(&["-c", "a.toml", "check-config", "--json"]);
        check(&["check-config", "--json", "-c", "a.toml"]);
    }
}
