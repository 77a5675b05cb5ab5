//! What files and certificates are taken, and what is read from them.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use rcgen::{CertificateParams, DnType, KeyPair, SanType};
use tempfile::TempDir;

use super::{
    ClientCertificate, ClientCertificates, ClientFiles, ClientTls, Identity, ListenerFiles,
    ListenerTls, TlsVersion,
};

/// A self-signed certificate, with its key, in files.
struct Files {
    directory: TempDir,
}

impl Files {
    fn new() -> Self {
        let files = Self {
            directory: tempfile::tempdir().unwrap(),
        };
        files.renew();
        files
    }

    /// Another certificate with another key, in the same files.
    fn renew(&self) {
        let key = KeyPair::generate().unwrap();
        let signed = params(&[]).self_signed(&key).unwrap();
        fs::write(self.certificate(), signed.pem()).unwrap();
        fs::write(self.key(), key.serialize_pem()).unwrap();
        self.allow(0o640);
    }

    fn certificate(&self) -> PathBuf {
        self.directory.path().join("certificate.pem")
    }

    fn key(&self) -> PathBuf {
        self.directory.path().join("key.pem")
    }

    fn allow(&self, mode: u32) {
        fs::set_permissions(self.key(), fs::Permissions::from_mode(mode)).unwrap();
    }

    fn load(&self) -> Result<ListenerTls, String> {
        load(&self.certificate(), &self.key())
    }
}

fn load(certificate: &Path, key: &Path) -> Result<ListenerTls, String> {
    let files = ListenerFiles {
        identity: Identity {
            certificate,
            key,
            passphrase: None,
        },
        min_version: TlsVersion::Tls13,
        clients: Some((certificate, ClientCertificates::Optional)),
    };
    ListenerTls::load(&files).map_err(|error| error.to_string())
}

fn params(uris: &[&str]) -> CertificateParams {
    let mut params = CertificateParams::new(vec!["node.example".to_owned()]).unwrap();
    params
        .distinguished_name
        .push(DnType::CommonName, "a \"node\"");
    for &uri in uris {
        let uri = SanType::URI(uri.try_into().unwrap());
        params.subject_alt_names.push(uri);
    }
    params
}

#[test]
fn what_is_made_from_files_differs_when_they_do() {
    let files = Files::new();
    let before = files.load().unwrap();
    assert_eq!(before.expires, params(&[]).not_after.unix_timestamp());
    assert!(files.load().unwrap() == before);
    files.renew();
    assert!(files.load().unwrap() != before);
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let files = Files::new();
    let (certificate, key) = (files.certificate(), files.key());
    let check = |outcome: Result<ListenerTls, String>, expected: &str| {
        let told = outcome.unwrap_err();
        assert!(told.contains(expected), "{told}");
    };
    check(
        load(Path::new("/nowhere"), &key),
        "/nowhere cannot be read: No such file",
    );
    check(load(&key, &key), "key.pem holds no usable certificate");
    check(
        load(&certificate, &certificate),
        "may be read by everybody (mode 0644)",
    );
    files.allow(0o604);
    check(files.load(), "may be read by everybody (mode 0604)");
    files.allow(0o600);
    fs::write(&key, KeyPair::generate().unwrap().serialize_pem()).unwrap();
    check(files.load(), "certificate and key cannot be used");
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\n-----END ENCRYPTED PRIVATE KEY-----\n";
    fs::write(&key, encrypted).unwrap();
    check(files.load(), "key.pem is encrypted: set `key_passphrase`");
}

#[test]
fn a_change_of_a_clients_files_shows_in_their_fingerprint() {
    let files = Files::new();
    let (certificate, key) = (files.certificate(), files.key());
    let named = ClientFiles {
        ca: Some(&certificate),
        identity: Some(Identity {
            certificate: &certificate,
            key: &key,
            passphrase: None,
        }),
    };
    let before = (named.fingerprint(), ClientTls::load(&named).unwrap());
    assert_eq!(
        before.1.expires,
        Some(params(&[]).not_after.unix_timestamp())
    );
    assert_eq!(named.fingerprint(), before.0);
    assert!(ClientTls::load(&named).unwrap() == before.1);
    files.renew();
    assert_ne!(named.fingerprint(), before.0);
    assert!(ClientTls::load(&named).unwrap() != before.1);
}

#[test]
fn a_certificate_says_who_its_holder_is() {
    let read = |uris: &[&str], key: &KeyPair| {
        let signed = params(uris).self_signed(key).unwrap();
        ClientCertificate::read(signed.der()).unwrap()
    };
    let (one, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let certificate = read(&["spiffe://mesh/alpha"], &one);
    assert_eq!(certificate.spiffe(), Some("spiffe://mesh/alpha"));
    assert_eq!(certificate.dns_names, ["node.example"]);
    let told = certificate.forwarded().unwrap();
    let told = told.to_str().unwrap();
    assert!(told.starts_with("Hash="), "{told}");
    assert!(
        told.ends_with(r#";Subject="CN=a \"node\"";URI="spiffe://mesh/alpha";DNS="node.example""#),
        "{told}"
    );
    // A renewed certificate keeps its key or not.
    let renewed = read(&[], &one);
    assert_ne!(renewed.sha256, certificate.sha256);
    assert_eq!(renewed.key_sha256, certificate.key_sha256);
    assert_ne!(read(&[], &other).key_sha256, certificate.key_sha256);
    // Whoever has several names of this kind has none.
    let several = read(&["spiffe://mesh/alpha", "spiffe://mesh/beta"], &one);
    assert_eq!(several.spiffe(), None);
    assert_eq!(read(&["https://mesh/alpha"], &one).spiffe(), None);
    assert_eq!(ClientCertificate::read(&b"no certificate"[..].into()), None);
}
