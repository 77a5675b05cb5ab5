//! The adapter with a real Redis.

use super::super::tests::{fresh_store, private_store};
use crate::bus::BusError;
use crate::bus::contract_tests::{channels, check_order, message, publish, until_heard};

#[tokio::test]
async fn what_is_published_comes_back_in_order() {
    let (store, channels) = (fresh_store(), channels());
    check_order(store.bus(&channels), channels).await;
}

#[tokio::test]
async fn processes_hear_each_other() {
    let (one, other, channels) = (fresh_store(), fresh_store(), channels());
    let (adapter, _received) = one.bus(&channels);
    let (_adapter, mut received) = other.bus(&channels);
    until_heard(&adapter, &mut received, &message(channels[0], 1)).await;
}

#[tokio::test]
async fn redis_goes_and_comes_back() {
    let (mut server, store) = private_store();
    let channels = channels();
    let (adapter, mut received) = store.bus(&channels);
    until_heard(&adapter, &mut received, &message(channels[0], 1)).await;
    server.kill().unwrap();
    let told = publish(&adapter, message(channels[0], 2)).await;
    assert_eq!(told, Err(BusError::Unavailable));
    server.restart().unwrap();
    until_heard(&adapter, &mut received, &message(channels[0], 3)).await;
}
