//! The adapter with real NATS servers.

use super::*;
use crate::bus::contract_tests::{channels, check_order, message, publish, until_heard};
use crate::nats::tests::{NatsServer, connect_to, shared_server};

/// A subject that no other test listens to.
fn prefix(of: &str) -> String {
    format!("test.bus.{of}")
}

#[tokio::test]
async fn what_is_published_comes_back_in_order() {
    let server = shared_server();
    let nats = connect_to(&server.url()).await;
    check_order(connect(&nats, &prefix("order")), channels()).await;
}

#[tokio::test]
async fn processes_hear_each_other() {
    let server = shared_server();
    let (one, other) = (
        connect_to(&server.url()).await,
        connect_to(&server.url()).await,
    );
    let (adapter, _received) = connect(&one, &prefix("both"));
    let (_adapter, mut received) = connect(&other, &prefix("both"));
    until_heard(&adapter, &mut received, &message(channels()[0], 1)).await;
}

#[tokio::test]
async fn sites_with_other_subjects_do_not() {
    let server = shared_server();
    let nats = connect_to(&server.url()).await;
    let (adapter, mut own) = connect(&nats, &prefix("own"));
    let (other, mut others) = connect(&nats, &prefix("other"));
    let [channel, _] = channels();
    until_heard(&adapter, &mut own, &message(channel, 1)).await;
    until_heard(&other, &mut others, &message(channel, 2)).await;
}

#[tokio::test]
async fn nats_goes_and_comes_back() {
    let mut server = NatsServer::start().unwrap();
    let nats = connect_to(&server.url()).await;
    let channels = channels();
    let (adapter, mut received) = connect(&nats, &prefix("away"));
    until_heard(&adapter, &mut received, &message(channels[0], 1)).await;
    server.kill().unwrap();
    let told = publish(&adapter, message(channels[0], 2)).await;
    assert_eq!(told, Err(BusError::Unavailable));
    server.restart().unwrap();
    until_heard(&adapter, &mut received, &message(channels[0], 3)).await;
}

#[tokio::test]
async fn what_is_too_large_for_the_server_is_refused_alone() {
    let server = NatsServer::start_with(None, "max_payload: 1024").unwrap();
    let nats = connect_to(&server.url()).await;
    let [channel, _] = channels();
    let (adapter, mut received) = connect(&nats, &prefix("large"));
    until_heard(&adapter, &mut received, &message(channel, 1)).await;
    let large = BusMessage {
        channel: channel.into(),
        wire: Bytes::from(vec![b'x'; 2048]),
    };
    let told = [large, message(channel, 2)].map(|message| publish(&adapter, message));
    let told = futures_util::future::join_all(told).await;
    assert_eq!(told, [Err(BusError::Unavailable), Ok(())]);
}
