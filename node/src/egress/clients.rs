//! Who connects: one client for each worker thread, kind of destination and TLS, because a pool that workers share costs
//! nine times the tail latency.

use std::collections::{HashMap, HashSet};
use std::thread::{self, ThreadId};

use archipel_kit::client::{AddressPolicy, ClientError, ClientOptions, HttpClient, Lookup};
use archipel_kit::tls::{ClientFiles, ClientTls, Identity};
use parking_lot::RwLock;

use super::{Destination, EgressSettings, TlsFiles};

/// Most clients with a TLS of their own. Beyond it all are made anew: peers came and went.
const MOST: usize = 4096;

#[derive(Debug)]
pub(super) struct Clients {
    trusted: ClientOptions,
    outside: ClientOptions,
    /// Bounded by the number of threads, which is fixed once the node runs.
    plain: RwLock<HashMap<(ThreadId, Destination), HttpClient>>,
    /// Bounded by [`MOST`]; `look` clears those whose files have changed.
    special: RwLock<HashMap<(ThreadId, Way), Special>>,
}

/// Which client a request takes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Way {
    pub(super) destination: Destination,
    pub(super) tls: Option<TlsFiles>,
}

#[derive(Debug)]
struct Special {
    client: HttpClient,
    expires: Option<i64>,
    fingerprint: [u8; 32],
}

impl Clients {
    pub(super) fn new(settings: &EgressSettings, outside: AddressPolicy, lookup: Lookup) -> Self {
        let options = |addresses| ClientOptions {
            lookup: lookup.clone(),
            connect: settings.connect,
            keep_idle: settings.keep_idle,
            ..ClientOptions::new(addresses)
        };
        Self {
            trusted: options(AddressPolicy::Any),
            outside: options(outside),
            plain: RwLock::default(),
            special: RwLock::default(),
        }
    }

    pub(super) fn of(&self, way: Way) -> Result<HttpClient, ClientError> {
        let worker = thread::current().id();
        if way.tls.is_some() {
            return self.special(worker, way);
        }
        let key = (worker, way.destination);
        if let Some(client) = self.plain.read().get(&key) {
            return Ok(client.clone());
        }
        let client = HttpClient::new(self.options(way.destination).clone());
        self.plain.write().insert(key, client.clone());
        Ok(client)
    }

    fn special(&self, worker: ThreadId, way: Way) -> Result<HttpClient, ClientError> {
        let key = (worker, way);
        if let Some(special) = self.special.read().get(&key) {
            return Ok(special.client.clone());
        }
        let (_, way) = &key;
        let special = self.make(way)?;
        let client = special.client.clone();
        let mut all = self.special.write();
        if all.len() >= MOST {
            all.clear();
        }
        all.insert(key, special);
        Ok(client)
    }

    /// Some small files are read here, on the worker, once until they change.
    fn make(&self, way: &Way) -> Result<Special, ClientError> {
        let files = way.tls.clone().unwrap_or_default();
        let files = files_of(&files);
        // Before they are read: what changes meanwhile is found by the next look.
        let fingerprint = files.fingerprint();
        let tls =
            ClientTls::load(&files).map_err(|error| ClientError::Connect(error.to_string()))?;
        let options = ClientOptions {
            tls: Some(tls.config),
            ..self.options(way.destination).clone()
        };
        Ok(Special {
            client: HttpClient::new(options),
            expires: tls.expires,
            fingerprint,
        })
    }

    const fn options(&self, destination: Destination) -> &ClientOptions {
        match destination {
            Destination::Trusted => &self.trusted,
            Destination::Outside => &self.outside,
        }
    }

    pub(super) fn look(&self) {
        let made: HashSet<TlsFiles> = self
            .special
            .read()
            .keys()
            .filter_map(|(_, way)| way.tls.clone())
            .collect();
        let held: HashMap<TlsFiles, [u8; 32]> = made
            .into_iter()
            .map(|files| {
                let fingerprint = files_of(&files).fingerprint();
                (files, fingerprint)
            })
            .collect();
        // Requests under way keep their client until they are done.
        self.special.write().retain(|(_, way), special| {
            let held = way.tls.as_ref().and_then(|files| held.get(files));
            held.is_none_or(|held| *held == special.fingerprint)
        });
    }

    pub(super) fn expires(&self) -> Option<i64> {
        let special = self.special.read();
        special.values().filter_map(|made| made.expires).min()
    }
}

pub(super) fn files_of(files: &TlsFiles) -> ClientFiles<'_> {
    ClientFiles {
        ca: files.ca.as_deref(),
        identity: files.identity.as_ref().map(|(certificate, key)| Identity {
            certificate,
            key,
            passphrase: None,
        }),
    }
}
