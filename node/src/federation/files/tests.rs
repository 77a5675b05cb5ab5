//! What becomes of changed files.

use archipel_kit::settings::from_json;
use archipel_protocol::federation::keys;
use archipel_protocol::ids::Origin;
use archipel_protocol::names::Dialect;
use tempfile::TempDir;

use super::*;
use crate::config::CardCheck;
use crate::federation::settings::FederationSettings;

/// A node whose files are in a folder of its own.
struct Files {
    directory: TempDir,
    federation: Arc<Federation>,
    files: PeerFiles,
}

impl Files {
    fn start() -> Self {
        let directory = TempDir::with_prefix("archipel-peers-").unwrap();
        let file = directory.path().join("archipel.toml");
        fs::create_dir(directory.path().join("peers.d")).unwrap();
        fs::write(&file, "").unwrap();
        let settings: FederationSettings = from_json("{}").unwrap();
        let own = Origin::parse("https://own.example").unwrap();
        let dialect = Dialect::Hive;
        let federation =
            Federation::from_settings(&own, dialect, &settings, &[], CardCheck::Off).unwrap();
        let federation = Arc::new(federation);
        let source = ConfigSource {
            file: Some(file),
            environment: Environment::default(),
        };
        let folder = source.resolve(Path::new("peers.d"));
        let files = PeerFiles::start(Arc::clone(&federation), source, folder, Vec::new()).unwrap();
        Self {
            directory,
            federation,
            files,
        }
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.directory.path().join(name), text).unwrap();
    }

    fn remove(&self, name: &str) {
        fs::remove_file(self.directory.path().join(name)).unwrap();
    }

    /// What is found now, and which peers there are after that.
    async fn check(&mut self, look: Look, peers: &[&str]) {
        assert_eq!(self.files.look().await, look);
        let roster = self.federation.roster();
        let names: Vec<&str> = roster.peers().iter().map(|peer| &*peer.name).collect();
        assert_eq!(names, peers);
    }
}

fn entry(name: &str) -> String {
    let key = keys::to_hex(&keys::public_key_of_seed(&[7; 32]).unwrap());
    format!(
        "name = \"{name}\"\norigin = \"https://{name}.example\"\ned25519_public_key = \"{key}\"\n"
    )
}

#[actix_rt::test]
async fn files_come_change_and_go() {
    let mut node = Files::start();
    node.check(Look::Same, &[]).await;
    node.write("peers.d/b.toml", &entry("beta"));
    node.write("peers.d/notes.txt", "no peer");
    node.check(Look::Taken, &["beta"]).await;
    node.check(Look::Same, &["beta"]).await;
    node.write("archipel.toml", &format!("[[peers]]\n{}", entry("gamma")));
    node.write("peers.d/a.toml", &entry("alpha"));
    node.check(Look::Taken, &["gamma", "alpha", "beta"]).await;
    node.remove("peers.d/b.toml");
    node.check(Look::Taken, &["gamma", "alpha"]).await;
    fs::remove_dir_all(node.directory.path().join("peers.d")).unwrap();
    node.check(Look::Taken, &["gamma"]).await;
}

#[actix_rt::test]
async fn what_has_problems_changes_nothing() {
    let mut node = Files::start();
    node.write("peers.d/a.toml", &entry("alpha"));
    node.check(Look::Taken, &["alpha"]).await;
    node.write("peers.d/b.toml", &entry("beta"));
    node.write("peers.d/c.toml", "name = \"gamma\"\ncolour = \"red\"\n");
    let problems = "c.toml: colour: unknown key\nc.toml: origin: is missing: expected text";
    node.check(Look::Refused(problems.to_owned()), &["alpha"])
        .await;
    node.write("peers.d/c.toml", &entry("alpha"));
    let problems = "c.toml: name: `alpha` is the name of an earlier peer\n\
                    c.toml: origin: `https://alpha.example` is the origin of an earlier peer";
    node.check(Look::Refused(problems.to_owned()), &["alpha"])
        .await;
    node.write("archipel.toml", "no toml");
    assert!(matches!(node.files.look().await, Look::Refused(_)));
    node.remove("peers.d/c.toml");
    node.write("archipel.toml", "");
    node.check(Look::Taken, &["alpha", "beta"]).await;
}
