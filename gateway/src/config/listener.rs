//! Settings of the listener's TLS.

use std::{path::PathBuf, time::Duration};

use archipel_kit::{
    settings,
    settings::{Problems, Secret},
    tls::{ClientCertificates, TlsVersion, check_pair},
};

use crate::tls;

settings! {
    /// TLS of the listener. Certificate and key together turn it on; files that change are read anew.
    pub struct TlsSettings, check = TlsSettings::check {
        /// The gateway's certificate with its chain (PEM).
        pub certificate: Option<PathBuf>, env ["GATEWAY_TLS_CERT_PATH"], example "/etc/archipel/gateway.pem";
        /// Its key (PEM). Others than its owner and group must not be able to read the file.
        pub key: Option<PathBuf>, env ["GATEWAY_TLS_KEY_PATH"], example "/etc/archipel/gateway.key";
        /// Opens the key when it is encrypted (PKCS #8).
        pub key_passphrase: Option<Secret>, env ["GATEWAY_TLS_KEY_PASSPHRASE"];
        /// The oldest version that is spoken.
        pub min_version: TlsVersion = "1.2", env ["GATEWAY_TLS_MIN_VERSION"];
        /// Certificates (PEM) of the authorities that clients' certificates must come from. Unset: clients show none.
        pub client_ca: Option<PathBuf>, env ["GATEWAY_MTLS_CA_PATH"], example "/etc/archipel/clients-ca.pem";
        /// Whether a client must show one. What it shows reaches the node in `X-Forwarded-Client-Cert`.
        pub client_certificates: ClientCertificates = "required", env ["GATEWAY_MTLS_CLIENT_CERTIFICATES"];
        /// How long browsers are told to come back over TLS only (`Strict-Transport-Security`). 0s: they are not told.
        pub hsts: Duration = "0s", in "0s"..="730d", env ["GATEWAY_HSTS_SECONDS"];
    }
}

impl TlsSettings {
    fn check(&self, problems: &mut Problems) {
        check_pair(self.certificate.as_ref(), self.key.as_ref(), problems);
        if self.client_ca.is_some() && self.certificate.is_none() && self.key.is_none() {
            problems.add("client_ca", "needs `certificate` and `key`");
        }
        if let Err(error) = tls::listener(self) {
            problems.add("certificate", error.to_string());
        }
    }

    /// Whether the listener speaks TLS.
    pub fn is_on(&self) -> bool {
        self.certificate.is_some()
    }
}
