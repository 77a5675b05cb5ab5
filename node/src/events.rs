//! What people and programs outside are told of the bus: the events of late, then each as it comes.
//!
//! Owns [`BusFeed`]: a bounded past and who watches; a restart loses both, like the bus. Answers [`BusEvent`] (from the bus)
//! and [`Watch`]. A watcher that does not keep up is cut off and told so; it may come back and name the last event it saw.

use std::collections::VecDeque;
use std::sync::Arc;

use actix::{Actor, Context, Handler, Message, MessageResult};
use archipel_protocol::envelope::{Event, Opened, SystemPayload};
use bytes::Bytes;
use serde_json::Value;
use tokio::sync::mpsc;

use crate::bus::BusEvent;

/// Events that are kept for those who come back.
const PAST: usize = 1024;
/// Events that may wait for one watcher.
const WAITING: usize = 256;
/// Messages that may wait for the actor.
const MAILBOX: usize = 4096;

/// Which events a watcher wants.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Kinds, as `agent.paused` or `agent.*`; none means all.
    pub kinds: Vec<String>,
    /// An agent; events that concern none are left out.
    pub agent: Option<String>,
}

/// An event as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    pub id: Arc<str>,
    /// `{eventId, correlationId?, signed}` and the members of the event, `type` included.
    pub body: Bytes,
}

/// From now on, and of late what came after the event of that id. An id that is not known any more begins with the oldest
/// event that is.
#[derive(Debug, Message)]
#[rtype(result = "Watching")]
pub struct Watch {
    pub filter: Filter,
    pub after: Option<String>,
}

/// What a watcher gets.
#[derive(Debug)]
pub struct Watching {
    /// What is there already.
    pub past: Vec<Shown>,
    /// Whether there may have been more between the last event that was seen and these.
    pub incomplete: bool,
    /// Ends when the watcher did not keep up, or the node stops.
    pub news: mpsc::Receiver<Shown>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct BusFeed {
    past: VecDeque<Known>,
    watchers: Vec<Watcher>,
}

#[derive(Debug)]
struct Known {
    kind: &'static str,
    agent: Option<String>,
    shown: Shown,
}

#[derive(Debug)]
struct Watcher {
    filter: Filter,
    news: mpsc::Sender<Shown>,
}

impl Actor for BusFeed {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.set_mailbox_capacity(MAILBOX);
    }
}

impl Handler<BusEvent> for BusFeed {
    type Result = ();

    fn handle(&mut self, BusEvent(opened): BusEvent, _: &mut Self::Context) {
        let known = Known::of(&opened);
        // Those that left go with the next event, whether it was for them or not.
        self.watchers
            .retain(|watcher| match watcher.filter.takes(&known) {
                true => watcher.news.try_send(known.shown.clone()).is_ok(),
                false => !watcher.news.is_closed(),
            });
        if self.past.len() == PAST {
            self.past.pop_front();
        }
        self.past.push_back(known);
    }
}

impl Handler<Watch> for BusFeed {
    type Result = MessageResult<Watch>;

    fn handle(&mut self, Watch { filter, after }: Watch, _: &mut Self::Context) -> Self::Result {
        let seen = after.as_deref().map(|after| {
            let mut known = self.past.iter();
            known.position(|known| *known.shown.id == *after)
        });
        // Without an id a watcher begins now.
        let skipped = match seen {
            None => self.past.len(),
            Some(None) => 0,
            Some(Some(place)) => place + 1,
        };
        let past = self.past.iter().skip(skipped);
        let past = past
            .filter(|known| filter.takes(known))
            .map(|known| known.shown.clone())
            .collect();
        let (news, receiver) = mpsc::channel(WAITING);
        self.watchers.push(Watcher { filter, news });
        MessageResult(Watching {
            past,
            incomplete: seen == Some(None),
            news: receiver,
        })
    }
}

impl Filter {
    fn takes(&self, known: &Known) -> bool {
        let is_kind = |wanted: &String| match wanted.strip_suffix('*') {
            Some(beginning) => known.kind.starts_with(beginning),
            None => known.kind == wanted,
        };
        (self.kinds.is_empty() || self.kinds.iter().any(is_kind))
            && (self.agent.is_none() || self.agent == known.agent)
    }
}

impl Known {
    fn of(opened: &Opened) -> Self {
        let mut body = serde_json::Map::new();
        body.insert("eventId".to_owned(), opened.event_id().into());
        if let Some(id) = &opened.meta.correlation_id {
            body.insert("correlationId".to_owned(), id.as_str().into());
        }
        body.insert("signed".to_owned(), opened.signed.into());
        body.insert("type".to_owned(), opened.event.kind().into());
        body.extend(opened.event.to_members());
        Self {
            kind: opened.event.kind(),
            agent: agent_of(&opened.event).map(str::to_owned),
            shown: Shown {
                id: opened.event_id().into(),
                body: Bytes::from(Value::Object(body).to_string()),
            },
        }
    }
}

fn agent_of(event: &Event) -> Option<&str> {
    match event {
        Event::Status(status) => Some(status.agent_id.as_str()),
        Event::System(event) => match &event.payload {
            SystemPayload::Agent { agent_id, .. }
            | SystemPayload::AgentImported { agent_id, .. } => Some(agent_id.as_str()),
            _ => None,
        },
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use archipel_protocol::envelope::{AgentLifecycle, MeshMeta, SystemEvent, Timestamp};
    use archipel_protocol::ids::Text;
    use uuid::Uuid;

    use super::*;

    fn event(number: u128, change: AgentLifecycle, agent: &str) -> BusEvent {
        BusEvent(Arc::new(Opened {
            event: Event::System(SystemEvent {
                payload: SystemPayload::Agent {
                    change,
                    agent_id: Text::parse(agent).unwrap(),
                    name: Text::parse(agent).unwrap(),
                },
                timestamp: Timestamp::from_unix_ms(1_700_000_000_000).unwrap(),
            }),
            meta: MeshMeta {
                event_id: Uuid::from_u128(number).into(),
                correlation_id: None,
            },
            signed: true,
        }))
    }

    fn ids(shown: &[Shown]) -> Vec<u128> {
        let id = |shown: &Shown| Uuid::parse_str(&shown.id).unwrap().as_u128();
        shown.iter().map(id).collect()
    }

    fn everything(after: Option<u128>) -> Watch {
        Watch {
            filter: Filter::default(),
            after: after.map(|id| Uuid::from_u128(id).to_string()),
        }
    }

    #[actix::test]
    async fn whoever_comes_back_gets_what_came_meanwhile() {
        for (after, expected, incomplete) in [
            (None, vec![], false),
            (Some(1), vec![2, 3], false),
            (Some(3), vec![], false),
            (Some(9), vec![1, 2, 3], true),
        ] {
            let feed = BusFeed::default().start();
            let tell = async |number| {
                let event = event(number, AgentLifecycle::Paused, "echo");
                feed.send(event).await.unwrap();
            };
            for number in 1..=3 {
                tell(number).await;
            }
            let mut watching = feed.send(everything(after)).await.unwrap();
            assert_eq!(
                (ids(&watching.past), watching.incomplete),
                (expected, incomplete)
            );
            tell(4).await;
            assert_eq!(ids(&[watching.news.recv().await.unwrap()]), [4]);
        }
    }

    #[actix::test]
    async fn a_watcher_gets_what_it_asked_for() {
        let feed = BusFeed::default().start();
        let check = async |kinds: &[&str], agent: Option<&str>, expected: &[u128]| {
            let filter = Filter {
                kinds: kinds.iter().map(|&kind| kind.to_owned()).collect(),
                agent: agent.map(str::to_owned),
            };
            let watch = Watch {
                filter,
                after: None,
            };
            let mut watching = feed.send(watch).await.unwrap();
            feed.send(event(1, AgentLifecycle::Paused, "echo"))
                .await
                .unwrap();
            feed.send(event(2, AgentLifecycle::Deleted, "text"))
                .await
                .unwrap();
            let mut came = Vec::new();
            while let Ok(shown) = watching.news.try_recv() {
                came.push(shown);
            }
            assert_eq!(ids(&came), expected, "{kinds:?} {agent:?}");
        };
        check(&[], None, &[1, 2]).await;
        check(&["agent.*"], None, &[1, 2]).await;
        check(&["agent.paused"], None, &[1]).await;
        check(&["model.*", "agent.deleted"], None, &[2]).await;
        check(&[], Some("text"), &[2]).await;
        check(&["agent.paused"], Some("text"), &[]).await;
    }

    #[actix::test]
    async fn one_that_does_not_keep_up_is_cut_off_and_the_past_is_bounded() {
        let feed = BusFeed::default().start();
        let mut watching = feed.send(everything(None)).await.unwrap();
        for number in 1..=PAST as u128 + 5 {
            feed.send(event(number, AgentLifecycle::Paused, "echo"))
                .await
                .unwrap();
        }
        let mut came = 0;
        while watching.news.recv().await.is_some() {
            came += 1;
        }
        assert_eq!(came, WAITING);
        let again = feed.send(everything(Some(1))).await.unwrap();
        assert_eq!((again.past.len(), again.incomplete), (PAST, true));
    }
}
