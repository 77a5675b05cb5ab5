//! What the runner may be asked.

use std::path::PathBuf;

use archipel_protocol::ids::Origin;
use clap::{Args, Parser, Subcommand};

/// A whole mesh on one machine: nodes alpha and beta and a gateway, paired, tried step by step, left running.
#[derive(Debug, Parser)]
#[command(name = "devstack", version, args_conflicts_with_subcommands = true)]
pub(crate) struct Command {
    #[command(subcommand)]
    pub(crate) task: Option<Task>,

    #[command(flatten)]
    pub(crate) arguments: Arguments,
}

/// What else there is to do, for the mesh of `compose.yaml`.
#[derive(Debug, Subcommand)]
pub(crate) enum Task {
    /// Tries everything on a mesh that runs already, writes a JSON report to standard output, exits with 0 or 1
    Verify(Verify),
    /// Writes the configuration and the secrets of the mesh that `compose.yaml` starts, which does this by itself
    Prepare(Prepare),
}

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Try everything once, write a JSON report to standard output, stop everything and exit with 0 or 1
    #[arg(long)]
    pub(crate) once: bool,

    /// A text file (UTF-8, at most 256 KiB) for the agent to work on, instead of the built-in text
    #[arg(long, value_name = "PATH")]
    pub(crate) file: Option<PathBuf>,

    /// Keep configuration and state in this folder, instead of one that is deleted at the end
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,

    /// Port of node alpha; 0 takes a free one
    #[arg(long, value_name = "PORT", default_value_t = 7400)]
    pub(crate) alpha_port: u16,

    /// Port of node beta; 0 takes a free one
    #[arg(long, value_name = "PORT", default_value_t = 7500)]
    pub(crate) beta_port: u16,

    /// Port of the gateway; 0 takes a free one
    #[arg(long, value_name = "PORT", default_value_t = 7480)]
    pub(crate) gateway_port: u16,

    /// Use the binaries beside this one as they are
    #[arg(long)]
    pub(crate) no_build: bool,

    /// Use the binaries in this folder as they are
    #[arg(long, value_name = "DIR")]
    pub(crate) bin_dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// The gateway: scheme, host and port
    #[arg(value_name = "URL", default_value = "http://127.0.0.1:7480", value_parser = origin)]
    pub(crate) gateway: Origin,

    /// Where site alpha is found from here
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:7400", value_parser = origin)]
    pub(crate) alpha: Origin,

    /// Where site beta is found from here
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:7500", value_parser = origin)]
    pub(crate) beta: Origin,

    /// The folder that the mesh was prepared in
    #[arg(long, value_name = "DIR", default_value = "devstack/secrets")]
    pub(crate) secrets: PathBuf,

    /// A text file (UTF-8, at most 256 KiB) for the agent to work on, instead of the built-in text
    #[arg(long, value_name = "PATH")]
    pub(crate) file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Prepare {
    /// The folder to write to; what it holds already stays in force
    #[arg(value_name = "DIR")]
    pub(crate) folder: PathBuf,

    /// The user (a number) that the containers run as, who gets what is for them
    #[arg(long, value_name = "UID", requires = "folder")]
    pub(crate) user: Option<u32>,

    /// Folders that are to be this user's, too
    #[arg(long, value_name = "DIR", num_args = 1.., requires = "user")]
    pub(crate) give: Vec<PathBuf>,
}

fn origin(text: &str) -> Result<Origin, String> {
    Origin::parse(text).map_err(|error| error.to_string())
}
