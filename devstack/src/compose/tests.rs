//! What is prepared is kept, is private, and is what a visitor needs.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::fs;
use std::os::unix::fs::PermissionsExt;

use clap::Parser;
use tempfile::TempDir;

use super::{prepare, site};
use crate::arguments::{Command, Task};

fn arguments(words: &[&str]) -> Task {
    let words = ["devstack"].iter().chain(words);
    Command::try_parse_from(words).unwrap().task.unwrap()
}

fn prepare_in(folder: &str) {
    let Task::Prepare(arguments) = arguments(&["prepare", folder]) else {
        unreachable!("it was asked to prepare")
    };
    prepare(&arguments).unwrap();
}

#[test]
fn what_was_prepared_stays_in_force() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().to_str().unwrap();
    prepare_in(path);
    let token = || fs::read_to_string(folder.path().join("alpha/internal_token")).unwrap();
    let first = token();
    prepare_in(path);
    assert_eq!(token(), first);
    let beta = fs::read_to_string(folder.path().join("beta/archipel.toml")).unwrap();
    let gateway = fs::metadata(folder.path().join("gateway/redis_url")).unwrap();
    assert_eq!(gateway.permissions().mode() & 0o777, 0o600);
    let verify = ["verify", "http://127.0.0.1:9", "--secrets", path];
    let Task::Verify(verify) = arguments(&verify) else {
        unreachable!("it was asked to verify")
    };
    let site = site(&verify).unwrap();
    assert_eq!(site.alpha.internal_token, first);
    assert_eq!(site.gateway.as_str(), "http://127.0.0.1:9");
    assert_eq!(site.beta.origin.as_str(), "http://beta:7400");
    assert_eq!(site.beta.url("/x"), "http://127.0.0.1:7500/x");
    assert!(
        beta.contains(&site.alpha.public_key_hex)
            && !beta.contains(&hex::encode(site.alpha.seed))
            && !beta.contains(&site.beta.internal_token)
    );
}

#[test]
fn a_mesh_that_was_not_prepared_is_told_so() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().to_str().unwrap();
    let Task::Verify(verify) = arguments(&["verify", "--secrets", path]) else {
        unreachable!("it was asked to verify")
    };
    let error = format!("{:#}", site(&verify).err().unwrap());
    assert!(error.contains("docker compose"), "{error}");
}
