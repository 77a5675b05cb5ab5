//! Where a configuration came from, so that it can be read again.

use std::path::{Path, PathBuf};

use archipel_kit::settings::{Environment, Problems, load};

use super::NodeSettings;

/// The file and the variables of a configuration.
#[derive(Debug, Clone, Default)]
pub struct ConfigSource {
    /// None where the variables say everything.
    pub file: Option<PathBuf>,
    pub environment: Environment,
}

impl ConfigSource {
    /// Reads it as it is now.
    ///
    /// # Errors
    /// All problems at once.
    pub fn load(&self) -> Result<NodeSettings, Problems> {
        load(self.file.as_deref(), &self.environment)
    }

    /// A path that the configuration names: a relative one begins where the file is.
    pub fn resolve(&self, path: &Path) -> PathBuf {
        let beside = self.file.as_deref().and_then(Path::parent);
        beside.unwrap_or(Path::new("")).join(path)
    }
}
