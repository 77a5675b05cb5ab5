//! A real Redis for the contract of the ports, and what only Redis can get wrong.

use std::ops::Deref;
use std::sync::Weak;
use std::sync::atomic::{AtomicUsize, Ordering};

use archipel_kit::clock::SystemClock;
use archipel_kit::settings::{Environment, Secret, load};
use parking_lot::Mutex;

use super::*;
use crate::config::NodeSettings;

#[path = "../../../../tests/src/services.rs"]
#[expect(dead_code, unreachable_pub, reason = "other tests use the rest")]
mod services;

use services::RedisServer;

/// An empty store in a Redis that the tests share which run at the same time; the last of them ends it.
pub(in crate::store) struct FreshStore {
    store: RedisStore,
    _server: Arc<RedisServer>,
}

impl Deref for FreshStore {
    type Target = RedisStore;

    fn deref(&self) -> &RedisStore {
        &self.store
    }
}

pub(in crate::store) fn fresh_store() -> FreshStore {
    static SHARED: Mutex<Weak<RedisServer>> = Mutex::new(Weak::new());
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let mut shared = SHARED.lock();
    let server = shared.upgrade().unwrap_or_else(|| {
        let server = Arc::new(RedisServer::start().unwrap());
        *shared = Arc::downgrade(&server);
        server
    });
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    FreshStore {
        store: store_at(&server.url(), &format!("test-{number}")),
        _server: server,
    }
}

fn store_at(url: &str, prefix: &str) -> RedisStore {
    let settings = load::<NodeSettings>(None, &Environment::default()).unwrap();
    let settings = RedisSettings {
        url: Some(Secret::new(url)),
        prefix: prefix.to_owned(),
        ..settings.redis
    };
    let address = Address::from_settings(&settings).unwrap().unwrap();
    RedisStore::open(address, &settings, Arc::new(SystemClock::new())).unwrap()
}
