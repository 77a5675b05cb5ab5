//! What every adapter does.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::StreamExt;
use tokio::time::timeout;

use super::*;

/// The two ends of an adapter.
pub(crate) type Ends = (Arc<dyn BusAdapter>, Received);

/// Channels that no other test listens to.
pub(crate) fn channels() -> [&'static str; 2] {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    ["a", "b"].map(|name| &*format!("test:{name}:{number}").leak())
}

pub(crate) fn message(channel: &str, number: usize) -> BusMessage {
    BusMessage {
        channel: channel.to_owned().into(),
        wire: Bytes::from(format!("{{\"n\":{number}}}")),
    }
}

/// Publishes a message now; what was told of it.
pub(crate) fn publish(
    adapter: &Arc<dyn BusAdapter>,
    message: BusMessage,
) -> impl Future<Output = Result<(), BusError>> {
    let (told, answer) = oneshot::channel();
    adapter.publish(message, Box::new(|sent| told.send(sent).unwrap()));
    async { answer.await.unwrap() }
}

/// Publishes until something is heard: a subscription stands a moment after its adapter, and is lost with its broker.
pub(crate) async fn until_heard(
    adapter: &Arc<dyn BusAdapter>,
    received: &mut Received,
    first: &BusMessage,
) {
    loop {
        // Refused while the broker is away.
        let _ = publish(adapter, first.clone()).await;
        if let Ok(came) = timeout(Duration::from_millis(20), received.next()).await {
            assert_eq!(came.as_ref(), Some(first));
            return;
        }
    }
}

/// What is published on any of the channels comes back, in order.
pub(crate) async fn check_order((adapter, mut received): Ends, [one, other]: [&'static str; 2]) {
    let first = message(one, 0);
    until_heard(&adapter, &mut received, &first).await;
    let messages: Vec<BusMessage> = (1..=500)
        .map(|number| message(if number % 2 == 0 { one } else { other }, number))
        .collect();
    let sent: Vec<_> = messages
        .iter()
        .map(|message| publish(&adapter, message.clone()))
        .collect();
    for told in sent {
        assert_eq!(told.await, Ok(()));
    }
    let mut came = Vec::new();
    while came.len() < messages.len() {
        let next = timeout(Duration::from_secs(10), received.next()).await;
        came.extend(next.unwrap().filter(|next| *next != first));
    }
    assert_eq!(came, messages);
}

#[tokio::test]
async fn in_the_process() {
    check_order(in_process::connect(), channels()).await;
}
