//! The bus of this node.

use std::sync::Arc;

use actix::prelude::*;
use archipel_kit::clock::Clock;
use archipel_protocol::envelope::BusSecret;
use archipel_protocol::ids::Origin;
use archipel_protocol::names::Dialect;
use sha2::{Digest, Sha256};

use super::stores::Stores;
use super::watch;
use crate::bus::{BusActor, BusRules, Subscribe, in_process, nats};
use crate::config::{Broker, BusSettings};
use crate::events::BusFeed;
use crate::supervise::Health;

/// Starts the bus over what the settings name. Secrets are long enough, and the broker is there if it is named: the
/// configuration was checked.
pub(super) fn start(
    settings: &BusSettings,
    (dialect, origin): (Dialect, &Origin),
    stores: &Stores,
    clock: &Arc<dyn Clock>,
) -> Addr<BusActor> {
    let secrets = [&settings.secret, &settings.previous_secret];
    let rules = BusRules {
        secrets: secrets
            .into_iter()
            .flatten()
            .filter_map(|secret| BusSecret::new(secret.expose()).ok())
            .collect(),
        dialect,
        freshness: settings.freshness,
    };
    let over_redis = || stores.bus(&rules.channels());
    let over_nats = || {
        let subject = settings.nats_subject.clone();
        let subject = subject.unwrap_or_else(|| own_subject(origin));
        stores
            .nats
            .as_ref()
            .map(|nats| nats::connect(nats, &subject))
    };
    let over_broker = match settings.broker {
        Broker::InProcess => None,
        Broker::Auto => over_redis().or_else(over_nats),
        Broker::Redis => over_redis(),
        Broker::Nats => over_nats(),
    };
    let ends = over_broker.unwrap_or_else(in_process::connect);
    BusActor::new(rules, ends, Arc::clone(clock)).start()
}

/// A subject that no other site has.
fn own_subject(origin: &Origin) -> String {
    let digest = hex::encode(Sha256::digest(origin.as_str()));
    format!("archipel.bus.{}", digest.get(..16).unwrap_or(&digest))
}

/// Starts what outsiders watch it by, and has both looked after.
pub(super) fn feed(bus: &Addr<BusActor>, health: &Health) -> Addr<BusFeed> {
    let feed = BusFeed::default().start();
    watch(health, "bus", bus);
    watch(health, "bus feed", &feed);
    // The first message of an actor that has just started always has room.
    if bus.try_send(Subscribe(feed.clone().recipient())).is_err() {
        tracing::error!("nobody is told what happens on the bus");
    }
    feed
}
