//! Peers that stand in files: `[[peers]]` of the configuration and one file each in the peers' folder. Both are read again
//! while the node runs.
//!
//! Either everything that was read is put in force or nothing is: half of what an operator wrote could be the half that
//! lets somebody in.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use archipel_kit::reload::Look;
use archipel_kit::settings::{Environment, Problems, load};

use crate::config::ConfigSource;
use crate::federation::Federation;
use crate::federation::peers::{
    Peer, PeerRules, PeerSource, configured_peers, peer_of, refuse_double,
};
use crate::federation::settings::PeerSettings;

/// Most files that are read.
const MAX_FILES: usize = 8192;

/// The files of a node, and what stood in them when they were last taken.
pub struct PeerFiles {
    federation: Arc<Federation>,
    source: ConfigSource,
    folder: PathBuf,
    taken: Found,
}

/// What stands in the files.
#[derive(Debug, Clone, Default, PartialEq)]
struct Found {
    /// `[[peers]]`.
    configured: Vec<PeerSettings>,
    /// The name of each file of the folder, and the peer in it, in the order of the names.
    folder: Vec<(String, PeerSettings)>,
}

impl PeerFiles {
    /// The files of a node that starts; the folder is read and put in force.
    ///
    /// # Errors
    /// Everything that is wrong with the folder.
    pub fn start(
        federation: Arc<Federation>,
        source: ConfigSource,
        folder: PathBuf,
        configured: Vec<PeerSettings>,
    ) -> Result<Self, Problems> {
        let found = Found {
            configured,
            folder: read_folder(&folder)?,
        };
        take(&federation, &found)?;
        Ok(Self {
            federation,
            source,
            folder,
            taken: found,
        })
    }

    /// How many peers there are in the folder.
    pub fn in_folder(&self) -> usize {
        self.taken.folder.len()
    }

    /// Reads the files again, and puts them in force if they differ.
    pub async fn look(&mut self) -> Look {
        let (source, folder) = (self.source.clone(), self.folder.clone());
        // Files are read on a thread that may wait for them.
        let read = actix_rt::task::spawn_blocking(move || {
            Ok(Found {
                configured: source.load()?.peers,
                folder: read_folder(&folder)?,
            })
        });
        let found: Result<Found, Problems> = match read.await {
            Ok(found) => found,
            Err(_) => return Look::Refused("the files could not be read".to_owned()),
        };
        let problems = match found {
            Ok(found) if found == self.taken => return Look::Same,
            Ok(found) => match take(&self.federation, &found) {
                Ok(()) => {
                    let (configured, folder) = (found.configured.len(), found.folder.len());
                    tracing::info!(configured, folder, "peers were taken from the files");
                    self.taken = found;
                    return Look::Taken;
                }
                Err(problems) => problems,
            },
            Err(problems) => problems,
        };
        Look::Refused(problems.to_string())
    }
}

/// Puts what was read in force, as a whole.
fn take(federation: &Federation, found: &Found) -> Result<(), Problems> {
    let mut problems = Problems::default();
    let roster = federation.roster();
    let listed = roster.peers().iter();
    let listed = listed.filter(|peer| peer.source == PeerSource::Variables);
    let listed: Vec<Peer> = listed.map(|peer| Peer::clone(peer)).collect();
    let (configured, folder) = checked(federation.peer_rules(), &listed, found, &mut problems);
    if !problems.is_empty() {
        return Err(problems);
    }
    let change = federation.replace(|parts| {
        parts.configured = configured;
        parts.folder = folder;
    });
    change.map_err(|error| {
        problems.add("peers", format!("a key cannot be used: {error}"));
        problems
    })
}

/// The peers that were read, in their two parts. `listed` are those of the variables, which stand between them.
fn checked(
    rules: &PeerRules,
    listed: &[Peer],
    found: &Found,
    problems: &mut Problems,
) -> (Vec<Peer>, Vec<Peer>) {
    let configured = configured_peers(rules, &found.configured, problems);
    for peer in &configured {
        if listed.iter().any(|known| known.origin == peer.origin) {
            let what = format!("`{}` is the origin of an earlier peer", peer.origin);
            problems.add("federation.peer_origins", what);
        }
    }
    let mut before: Vec<Peer> = configured.iter().chain(listed).cloned().collect();
    let known = before.len();
    for (file, settings) in &found.folder {
        let at = format!("{file}: ");
        if let Some(peer) = peer_of(&at, settings, PeerSource::Folder, rules, problems) {
            refuse_double(&at, &peer, &before, problems);
            before.push(peer);
        }
    }
    (configured, before.split_off(known))
}

/// Each `*.toml` of a folder, in the order of the names. A folder that is not there has none.
///
/// # Errors
/// Everything that is wrong with them.
fn read_folder(folder: &Path) -> Result<Vec<(String, PeerSettings)>, Problems> {
    let mut problems = Problems::default();
    let names = names(folder).unwrap_or_else(|error| {
        let at = folder.display().to_string();
        problems.add(&at, format!("cannot be read: {error}"));
        BTreeSet::new()
    });
    let mut peers = Vec::with_capacity(names.len());
    for name in names {
        let path = folder.join(&name);
        match load::<PeerSettings>(Some(&path), &Environment::default()) {
            Ok(peer) => peers.push((name, peer)),
            Err(wrong) => {
                for problem in wrong.iter() {
                    problems.add(&format!("{name}: {}", problem.at), problem.what.clone());
                }
            }
        }
    }
    if problems.is_empty() {
        Ok(peers)
    } else {
        Err(problems)
    }
}

fn names(folder: &Path) -> io::Result<BTreeSet<String>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
        Err(error) => return Err(error),
    };
    let mut names = BTreeSet::new();
    for entry in entries {
        let name = entry?.file_name();
        let name = name.to_string_lossy();
        // What editors leave behind begins with a dot.
        if name.ends_with(".toml") && !name.starts_with('.') {
            names.insert(name.into_owned());
        }
        if names.len() > MAX_FILES {
            return Err(io::Error::other("it holds too many files"));
        }
    }
    Ok(names)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests;
