//! TLS on both sides, from the settings: what the listener shows and asks for, and what nodes are shown and must show.

use std::path::PathBuf;

use archipel_kit::{
    settings::Secret,
    tls::{BadTls, ClientFiles, ClientTls, Identity, ListenerFiles, ListenerTls},
};
use rustls::ClientConfig;

use crate::config::{TlsSettings, UpstreamTlsSettings};

/// What the listener speaks TLS with; `None` when the settings ask for none.
pub(crate) fn listener(settings: &TlsSettings) -> Result<Option<ListenerTls>, BadTls> {
    let passphrase = settings.key_passphrase.as_ref();
    let Some(identity) = identity(&settings.certificate, &settings.key, passphrase) else {
        return Ok(None);
    };
    let files = ListenerFiles {
        identity,
        min_version: settings.min_version,
        clients: settings
            .client_ca
            .as_deref()
            .map(|ca| (ca, settings.client_certificates)),
    };
    ListenerTls::load(&files).map(Some)
}

/// How nodes are spoken to over TLS.
pub(crate) fn client_config(settings: &UpstreamTlsSettings) -> Result<ClientConfig, BadTls> {
    Ok(ClientTls::load(&files(settings))?.config)
}

/// What the files that the settings for nodes name hold now, as one number: changes show in it.
pub(crate) fn fingerprint_of(settings: &UpstreamTlsSettings) -> [u8; 32] {
    files(settings).fingerprint()
}

fn files(settings: &UpstreamTlsSettings) -> ClientFiles<'_> {
    let passphrase = settings.key_passphrase.as_ref();
    ClientFiles {
        ca: settings.ca.as_deref(),
        identity: identity(&settings.certificate, &settings.key, passphrase),
    }
}

fn identity<'a>(
    certificate: &'a Option<PathBuf>,
    key: &'a Option<PathBuf>,
    passphrase: Option<&'a Secret>,
) -> Option<Identity<'a>> {
    Some(Identity {
        certificate: certificate.as_deref()?,
        key: key.as_deref()?,
        passphrase,
    })
}
