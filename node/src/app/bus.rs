//! The bus of this node.

use std::sync::Arc;

use actix::prelude::*;
use archipel_kit::clock::Clock;
use archipel_protocol::envelope::BusSecret;
use archipel_protocol::names::Dialect;

use super::stores::Stores;
use super::watch;
use crate::bus::{BusActor, BusRules, Subscribe, in_process};
use crate::config::{Broker, BusSettings};
use crate::events::BusFeed;
use crate::supervise::Health;

/// Starts the bus over what the settings name. Secrets are long enough, and Redis is there if it is named: the
/// configuration was checked.
pub(super) fn start(
    settings: &BusSettings,
    dialect: Dialect,
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
    let over_redis = match settings.broker {
        Broker::InProcess => None,
        Broker::Auto | Broker::Redis => stores.bus(&rules.channels()),
    };
    let ends = over_redis.unwrap_or_else(in_process::connect);
    BusActor::new(rules, ends, Arc::clone(clock)).start()
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
