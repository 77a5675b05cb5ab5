//! The node as a program of this package, so that tests can start it as a process of its own: cargo builds the programs
//! of a package for its tests, but not those of others. The same as `node/src/main.rs`.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let command = archipel_node::cli::Command::parse();
    actix_rt::System::new().block_on(archipel_node::cli::run(command))
}
