//! TLS of the node's listener, and taking up its files when they change.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use archipel_kit::settings;
use archipel_kit::settings::{Problems, Secret};
use archipel_kit::tls::{
    BadTls, ClientCertificates, Identity, ListenerFiles, ListenerTls, TlsVersion, check_pair,
};

settings! {
    /// TLS of the listener. Certificate and key together turn it on; files that change are read anew, without a restart.
    pub struct TlsSettings, check = TlsSettings::check {
        /// The node's certificate with its chain (PEM).
        pub certificate: Option<PathBuf>, env ["ARCHIPEL_TLS_CERTIFICATE"], example "/etc/archipel/node.pem";
        /// Its key (PEM). Others than its owner and group must not be able to read the file.
        pub key: Option<PathBuf>, env ["ARCHIPEL_TLS_KEY"], example "/etc/archipel/node.key";
        /// Opens the key when it is encrypted (PKCS #8).
        pub key_passphrase: Option<Secret>, env ["ARCHIPEL_TLS_KEY_PASSPHRASE"];
        /// The oldest version that is spoken.
        pub min_version: TlsVersion = "1.2", env ["ARCHIPEL_TLS_MIN_VERSION"];
        /// Certificates (PEM) of the authorities that clients' certificates must come from. Unset: clients show none.
        pub client_ca: Option<PathBuf>, env ["ARCHIPEL_TLS_CLIENT_CA"], example "/etc/archipel/clients-ca.pem";
        /// Whether a client must show one, whatever it asks for. A peer that has a pin must show one in any case.
        pub client_certificates: ClientCertificates = "required", env ["ARCHIPEL_TLS_CLIENT_CERTIFICATES"];
        /// How often the files are looked at; SIGHUP does it at once. 0s: only then.
        pub reload_every: Duration = "10s", in "0s"..="1h", env ["ARCHIPEL_TLS_RELOAD_EVERY"];
    }
}

impl TlsSettings {
    fn check(&self, problems: &mut Problems) {
        check_pair(self.certificate.as_ref(), self.key.as_ref(), problems);
        if self.client_ca.is_some() && self.certificate.is_none() && self.key.is_none() {
            problems.add("client_ca", "needs `certificate` and `key`");
        }
        if let Err(error) = self.read() {
            problems.add("certificate", error.to_string());
        }
    }

    /// Whether the listener speaks TLS.
    pub fn is_on(&self) -> bool {
        self.certificate.is_some()
    }

    fn read(&self) -> Result<Option<ListenerTls>, BadTls> {
        let (Some(certificate), Some(key)) = (&self.certificate, &self.key) else {
            return Ok(None);
        };
        let files = ListenerFiles {
            identity: Identity {
                certificate,
                key,
                passphrase: self.key_passphrase.as_ref(),
            },
            min_version: self.min_version,
            clients: self
                .client_ca
                .as_deref()
                .map(|ca| (ca, self.client_certificates)),
        };
        ListenerTls::load(&files).map(Some)
    }
}

/// What the listener speaks TLS with; connections take what is in force when they begin.
#[derive(Debug)]
pub struct NodeTls {
    settings: TlsSettings,
    current: ArcSwap<ListenerTls>,
}

impl NodeTls {
    /// Reads the files; `None` when the settings ask for no TLS.
    ///
    /// # Errors
    /// Which file cannot be used.
    pub fn load(settings: &TlsSettings) -> Result<Option<Self>, BadTls> {
        Ok(settings.read()?.map(|read| Self {
            settings: settings.clone(),
            current: ArcSwap::from_pointee(read),
        }))
    }

    /// What is in force.
    pub fn current(&self) -> Arc<ListenerTls> {
        self.current.load_full()
    }

    /// Reads the files again, and puts what they hold in force if it differs; tells whether it does. Waits for the disk.
    ///
    /// # Errors
    /// Which file cannot be used; what was in force stays.
    pub fn look(&self) -> Result<bool, BadTls> {
        match self.settings.read()? {
            Some(read) if read != **self.current.load() => {
                self.current.store(Arc::new(read));
                Ok(true)
            }
            _ => Ok(false),
        }
    }
}
