//! Addresses, files, and what is said when a mesh cannot be started.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use clap::Parser;
use tempfile::TempDir;

use super::Mesh;
use crate::arguments::{Arguments, Command};
use crate::binaries::Binaries;

fn arguments() -> Arguments {
    let free = [
        "devstack",
        "--alpha-port",
        "0",
        "--beta-port",
        "0",
        "--gateway-port",
        "0",
    ];
    Command::parse_from(free).arguments
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn pairing_writes_private_files_that_agree() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("alpha.toml"), "of an earlier run").unwrap();
    let mut mesh = Mesh::new(Some(folder.path())).unwrap();
    let (_, site) = mesh.pair(&arguments()).unwrap();
    for name in ["alpha.toml", "beta.toml", "gateway.toml", "client.headers"] {
        assert_eq!(mode(&folder.path().join(name)), 0o600, "{name}");
    }
    assert_eq!(mode(&folder.path().join("alpha")), 0o700);
    let alpha = fs::read_to_string(folder.path().join("alpha.toml")).unwrap();
    assert!(
        alpha.contains(&format!(
            "ed25519_public_key = \"{}\"",
            site.beta.public_key_hex
        )),
        "{alpha}"
    );
    assert!(
        alpha.contains(&format!("origin = \"{}\"", site.beta.origin)),
        "{alpha}"
    );
    assert!(
        !alpha.contains(&hex::encode(site.beta.seed))
            && alpha.contains(&hex::encode(site.alpha.seed))
    );
    let ports = [
        site.alpha.listen.port(),
        site.beta.listen.port(),
        site.gateway_listen.port(),
    ];
    assert!(
        ports
            .iter()
            .all(|port| *port != 0 && ports.iter().filter(|other| *other == port).count() == 1)
    );
}

#[test]
fn a_busy_port_is_named_with_its_option() {
    let busy = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = busy.local_addr().unwrap().port().to_string();
    for option in ["--alpha-port", "--beta-port", "--gateway-port"] {
        let mut command = vec![
            "devstack",
            "--alpha-port",
            "0",
            "--beta-port",
            "0",
            "--gateway-port",
            "0",
        ];
        let at = command.iter().position(|word| *word == option).unwrap();
        command.splice(at..at + 2, [option, port.as_str()]);
        let error = Mesh::new(None)
            .unwrap()
            .pair(&Command::parse_from(command).arguments)
            .err()
            .unwrap()
            .to_string();
        assert!(
            error.starts_with(&format!("port {port} of ")) && error.contains(option),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_process_that_dies_at_its_start_is_explained() {
    let mut mesh = Mesh::new(None).unwrap();
    let (_, site) = mesh.pair(&arguments()).unwrap();
    // A shell takes `serve` for a script, finds none, says so and ends.
    let binaries = Binaries {
        node: "/bin/sh".into(),
        gateway: "/bin/sh".into(),
    };
    let error = mesh
        .start_beta(&binaries, &site)
        .await
        .err()
        .unwrap()
        .to_string();
    assert!(
        error.starts_with("beta ended (exit status: ") && error.contains("serve"),
        "{error}"
    );
    assert!(mesh.all_running().await.is_err());
    mesh.stop().await;
}

#[test]
fn a_temporary_folder_goes_with_the_mesh() {
    let mesh = Mesh::new(None).unwrap();
    let folder = mesh.folder.clone();
    assert!(folder.is_dir());
    drop(mesh);
    assert!(!folder.exists());
}
