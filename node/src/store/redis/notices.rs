//! What Redis tells without being asked: that a task's log has grown, that peers changed, and messages from
//! other replicas.
//!
//! One connection of its own, which is kept up for as long as the node runs. It may break at any time, and what is
//! published meanwhile is lost; so whenever it stands again, everybody who follows something is told to look.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use ::redis::aio::{MultiplexedConnection, SendError};
use ::redis::{Msg, PushInfo, PushKind, RedisResult};
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::keys::Keys;
use super::link::Link;
use crate::replicas::{Following, ReplicaId};

/// Messages that may wait to be read; more are dropped, and their senders find out by not being answered.
const INBOX: usize = 1024;
/// How often the connection is tried while nothing is said.
const PROBE: Duration = Duration::from_secs(1);
/// How long to wait before connecting again.
const PAUSE: Duration = Duration::from_millis(100);

/// See the module.
#[derive(Debug)]
pub(super) struct Notices {
    shared: Arc<Shared>,
    inbox: Mutex<Option<mpsc::Receiver<Bytes>>>,
}

#[derive(Debug)]
struct Shared {
    keys: Keys,
    own_inbox: String,
    peers_channel: String,
    /// Counts what was told of peers.
    peers: watch::Sender<u64>,
    /// Who follows which task. Bounded by the tasks that are watched here; the driver takes out what nobody follows.
    followed: Mutex<HashMap<Uuid, watch::Sender<u64>>>,
    /// Tasks that somebody began or ceased to follow, for the driver to look at.
    changed: Mutex<HashSet<Uuid>>,
    has_changed: Notify,
    /// Bounded by `INBOX`.
    messages: mpsc::Sender<Bytes>,
    broken: Notify,
    /// Nobody can ask for anything any more.
    ended: CancellationToken,
}

impl Notices {
    /// Begins to listen, on the runtime of the link.
    pub(super) fn start(link: Arc<Link>, keys: Keys, own_id: ReplicaId) -> Self {
        let (messages, inbox) = mpsc::channel(INBOX);
        let shared = Arc::new(Shared {
            own_inbox: keys.inbox(own_id),
            peers_channel: keys.peers_channel(),
            peers: watch::Sender::new(0),
            keys,
            followed: Mutex::default(),
            changed: Mutex::default(),
            has_changed: Notify::new(),
            messages,
            broken: Notify::new(),
            ended: CancellationToken::new(),
        });
        let runtime = link.runtime().clone();
        runtime.spawn(drive(link, Arc::clone(&shared)));
        Self {
            shared,
            inbox: Mutex::new(Some(inbox)),
        }
    }

    pub(super) fn follow(&self, task: Uuid) -> Following {
        let mut followed = self.shared.followed.lock();
        let news = match followed.get(&task) {
            Some(news) => news.subscribe(),
            None => {
                let (news, receiver) = watch::channel(0);
                followed.insert(task, news);
                receiver
            }
        };
        drop(followed);
        self.shared.look_at(task);
        let shared = Arc::clone(&self.shared);
        Following::new(news, move || shared.look_at(task))
    }

    pub(super) fn inbox(&self) -> Option<mpsc::Receiver<Bytes>> {
        self.inbox.lock().take()
    }

    /// Tells when rows about peers may have changed.
    pub(super) fn of_peers(&self) -> watch::Receiver<u64> {
        self.shared.peers.subscribe()
    }
}

impl Drop for Notices {
    fn drop(&mut self) {
        self.shared.ended.cancel();
    }
}

impl Shared {
    fn look_at(&self, task: Uuid) {
        self.changed.lock().insert(task);
        self.has_changed.notify_one();
    }

    /// Called by the connection itself, so nothing queues up that nobody reads.
    fn hear(&self, push: PushInfo) {
        if push.kind == PushKind::Disconnection {
            return self.broken.notify_one();
        }
        let Some(message) = Msg::from_push_info(push) else {
            return;
        };
        let channel = message.get_channel_name();
        if channel == self.own_inbox {
            let payload = Bytes::copy_from_slice(message.get_payload_bytes());
            if self.messages.try_send(payload).is_err() {
                tracing::warn!("a message from another replica was dropped: too many wait");
            }
        } else if channel == self.peers_channel {
            self.peers.send_modify(|count| *count += 1);
        } else if let Some(task) = Keys::task_of_channel(channel)
            && let Some(news) = self.followed.lock().get(&task)
        {
            news.send_modify(|count| *count += 1);
        }
    }

    fn tell_everybody(&self) {
        self.peers.send_modify(|count| *count += 1);
        for news in self.followed.lock().values() {
            news.send_modify(|count| *count += 1);
        }
    }

    fn followed_now(&self) -> Vec<Uuid> {
        self.followed.lock().keys().copied().collect()
    }

    fn tell(&self, tasks: &[Uuid]) {
        let followed = self.followed.lock();
        for news in tasks.iter().filter_map(|task| followed.get(task)) {
            news.send_modify(|count| *count += 1);
        }
    }

    fn names(&self, tasks: &[Uuid]) -> Vec<String> {
        tasks.iter().map(|task| self.keys.channel(*task)).collect()
    }

    /// Of the tasks that somebody came to or left: those to listen to from now on, and those no longer.
    fn settle(&self, changed: HashSet<Uuid>, channels: &HashSet<Uuid>) -> (Vec<Uuid>, Vec<Uuid>) {
        let mut followed = self.followed.lock();
        let (mut come, mut left) = (Vec::new(), Vec::new());
        for task in changed {
            if followed
                .get(&task)
                .is_some_and(|news| news.receiver_count() == 0)
            {
                followed.remove(&task);
            }
            match (followed.contains_key(&task), channels.contains(&task)) {
                (true, false) => come.push(task),
                (false, true) => left.push(task),
                _ => {}
            }
        }
        (come, left)
    }
}

/// Keeps a connection up until nobody can ask for anything any more.
async fn drive(link: Arc<Link>, shared: Arc<Shared>) {
    while !shared.ended.is_cancelled() {
        let heard = Arc::clone(&shared);
        let listening = link
            .listen(move |push| {
                heard.hear(push);
                Ok::<(), SendError>(())
            })
            .await;
        if let Ok(connection) = listening {
            let listening = listen(connection, &shared);
            if let Some(Err(error)) = shared.ended.run_until_cancelled(listening).await {
                tracing::warn!(%error, "redis no longer tells what happens; connecting again");
            }
        }
        shared.ended.run_until_cancelled(sleep(PAUSE)).await;
    }
}

async fn listen(mut connection: MultiplexedConnection, shared: &Shared) -> RedisResult<()> {
    let mut channels: HashSet<Uuid> = HashSet::new();
    connection.subscribe(&shared.own_inbox).await?;
    connection.subscribe(&shared.peers_channel).await?;
    let first = shared.followed_now();
    if !first.is_empty() {
        connection.subscribe(&shared.names(&first)).await?;
        channels.extend(first);
    }
    // What happened while nobody listened is in the logs.
    shared.tell_everybody();
    let mut probe = interval(PROBE);
    probe.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = shared.broken.notified() => {
                return Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset).into());
            }
            () = shared.has_changed.notified() => {
                let changed = std::mem::take(&mut *shared.changed.lock());
                let (come, left) = shared.settle(changed, &channels);
                if !come.is_empty() {
                    connection.subscribe(&shared.names(&come)).await?;
                    // Whatever was kept between a follower's last look and now.
                    shared.tell(&come);
                }
                if !left.is_empty() {
                    connection.unsubscribe(&shared.names(&left)).await?;
                }
                channels.extend(come);
                for task in left {
                    channels.remove(&task);
                }
            }
            _ = probe.tick() => {
                ::redis::cmd("PING").query_async::<()>(&mut connection).await?;
            }
        }
    }
}
