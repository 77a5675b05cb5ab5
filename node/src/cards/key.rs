//! The key that signs our cards: the configured one, else that of federation, by which peers know us already, else one that
//! is made once and kept in the data directory.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use archipel_protocol::a2a::card::CardSigner;
use archipel_protocol::federation::{KeyError, keys};
use archipel_protocol::ids::Origin;
use rand::Rng;

use crate::config::{NodeSettings, StoreKind};

/// Where the public key is published, below our origin.
pub const JWKS_PATH: &str = "/.well-known/jwks.json";

/// The file in the data directory.
const KEY_FILE: &str = "card.key";

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum CardKeyError {
    /// The file can be neither read nor made.
    #[error("the key for cards cannot be kept in {0}")]
    File(PathBuf, #[source] io::Error),
    /// The file holds something else.
    #[error("{0} does not hold a key: 64 hexadecimal digits (remove the file to have one made)")]
    Content(PathBuf),
    /// The cryptographic library refuses it.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// The signer of this node's cards.
///
/// # Errors
/// Why there is no key.
pub fn signer(settings: &NodeSettings, origin: &Origin) -> Result<CardSigner, CardKeyError> {
    let configured = settings.a2a.card_seed.as_ref();
    let seed = match configured.or(settings.federation.ed25519_seed.as_ref()) {
        Some(seed) => keys::from_hex(seed.expose())?,
        None if settings.store == StoreKind::Memory => random_seed(),
        None => kept_seed(&settings.data_dir)?,
    };
    let jku = format!("{origin}{JWKS_PATH}");
    Ok(CardSigner::new(&seed, Some(&jku))?)
}

/// The seed in the data directory, made if it is not there.
fn kept_seed(directory: &Path) -> Result<[u8; 32], CardKeyError> {
    let path = directory.join(KEY_FILE);
    let text = match read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            make(directory, &path).and_then(|()| read(&path))
        }
        read => read,
    };
    let text = text.map_err(|error| CardKeyError::File(path.clone(), error))?;
    keys::from_hex(text.trim()).map_err(|_| CardKeyError::Content(path))
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    // A key has 65 bytes; whatever else lies there is not read to its end.
    File::open(path)?.take(256).read_to_string(&mut text)?;
    Ok(text)
}

/// Linking a file that is complete, instead of writing it in place: a node that dies leaves no half of a key, and of two that
/// start at once both have the key of the first.
fn make(directory: &Path, path: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    let draft = directory.join(format!("{KEY_FILE}.{}", std::process::id()));
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&draft)?;
    writeln!(file, "{}", keys::to_hex(&random_seed()))?;
    file.sync_all()?;
    let linked = fs::hard_link(&draft, path);
    fs::remove_file(&draft)?;
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => File::open(directory)?.sync_all(),
    }
}

fn random_seed() -> [u8; 32] {
    let mut seed = [0; 32];
    rand::rng().fill_bytes(&mut seed);
    seed
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use archipel_kit::settings::{Environment, Secret, load};

    use super::*;

    const ORIGIN: &str = "https://node.example.org";

    fn kid(settings: &NodeSettings) -> String {
        let origin = Origin::parse(ORIGIN).unwrap();
        signer(settings, &origin).unwrap().kid().to_owned()
    }

    fn settings(directory: &Path) -> NodeSettings {
        let mut settings: NodeSettings = load(None, &Environment::default()).unwrap();
        settings.data_dir = directory.to_owned();
        settings
    }

    #[test]
    fn a_key_is_made_once_and_kept_for_its_owner_only() {
        let directory = tempfile::tempdir().unwrap();
        let below = directory.path().join("data");
        let first = kid(&settings(&below));
        assert_eq!(kid(&settings(&below)), first);
        let mode = fs::metadata(below.join(KEY_FILE))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(&below).unwrap().count(), 1, "no draft is left");
    }

    #[test]
    fn what_is_no_key_is_not_replaced() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(KEY_FILE), "half a k").unwrap();
        let origin = Origin::parse(ORIGIN).unwrap();
        let refused = signer(&settings(directory.path()), &origin);
        assert!(matches!(refused, Err(CardKeyError::Content(_))));
    }

    #[test]
    fn configured_keys_come_first_and_memory_keeps_none() {
        let directory = tempfile::tempdir().unwrap();
        let mut settings = settings(directory.path());
        settings.store = StoreKind::Memory;
        assert_ne!(kid(&settings), kid(&settings));
        settings.federation.ed25519_seed = Some(Secret::new("11".repeat(32)));
        let of_federation = kid(&settings);
        assert_eq!(of_federation, kid(&settings));
        settings.a2a.card_seed = Some(Secret::new("22".repeat(32)));
        assert_ne!(kid(&settings), of_federation);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}
