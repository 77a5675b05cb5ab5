//! What the runner may be asked.

use std::path::PathBuf;

use clap::Parser;

/// A whole mesh on one machine: nodes alpha and beta and a gateway, paired, tried step by step, left running.
#[derive(Debug, Parser)]
#[command(name = "devstack", version)]
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
