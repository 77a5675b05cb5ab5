//! The gateway as a program of this package, so that tests can start it as a process of its own: cargo builds the
//! programs of a package for its tests, but not those of others. The same as `gateway/src/main.rs`.

use std::process::ExitCode;

fn main() -> ExitCode {
    archipel_gateway::cli::run()
}
