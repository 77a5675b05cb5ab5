//! Pairing: how peers come and go while the node runs, and how our own key changes.
//!
//! Owns [`Pairing`]: it carries out what the operator decides about peers, answers nodes that were invited, follows the keys
//! of peers that paired, and hears what other replicas decided. What is decided is kept before it counts; then the
//! [`Federation`] is told, and with it every worker at once. Answers [`Ask`] and [`FollowKeys`]. Commands run side by side:
//! each is decided over the revision of the store that it looked at, or looks again.
//!
//! Read `book` (what is kept), `grant` and `ring` (what its parts mean), `plan` (what a command comes to: pure), `desk` (how
//! a decision is kept and put in force), `meeting` (how two nodes pair), `follow` (keys of peers), `view` (what is shown).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use actix::{
    Actor, ActorFutureExt, AsyncContext, Context, Handler, Message, Recipient, ResponseFuture,
    WrapFuture,
};
use archipel_kit::clock::Clock;
use archipel_protocol::federation::invitation::{Grant, InvitationError};
use archipel_protocol::ids::Origin;
use futures_util::FutureExt;
use futures_util::future::{LocalBoxFuture, Shared};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::watch;

use crate::audit::AuditDesk;
use crate::egress::Egress;
use crate::federation::Federation;
use crate::pairing::desk::Desk;
use crate::replay::ClaimId;
use crate::store::StoreError;
use crate::store::peers::{PeerRows, PeerStore};

mod book;
mod desk;
mod follow;
mod grant;
mod meeting;
mod plan;
mod ring;
mod view;

pub use meeting::PAIR_PATH;

/// Commands that may wait: operators are few, and guests are limited at the edge.
const MAILBOX: usize = 64;
/// How often the revision of a shared store is looked at; what it announces itself comes sooner.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long what was learned about the keys of a peer is not asked again.
const FOLLOW_AGAIN: Duration = Duration::from_secs(60);

/// Asks for something about peers. Answered with JSON to show; nothing where nothing is left.
#[derive(Debug, Message)]
#[rtype(result = "Result<Value, PairingError>")]
pub struct Ask(pub Command);

/// What is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// All peers, and ourselves.
    List,
    /// One peer.
    Show(String),
    /// An invitation.
    Invite(InviteOrder),
    /// Our invitations that nobody has taken.
    Invitations,
    /// The invitation of this id is not taken any more.
    Withdraw(String),
    /// The other side of an invitation.
    Accept(AcceptOrder),
    /// A peer may neither call nor be called for a while.
    Suspend(String),
    /// It may again.
    Resume(String),
    /// It is no peer any more.
    Revoke(String),
    /// A new key of our own.
    RotateKey(RotateOrder),
    /// Somebody who was invited answers. The only command that does not come from the operator.
    Join(JoinOrder),
}

/// How an invitation is to be.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct InviteOrder {
    /// How whoever accepts will be called here.
    pub name: Option<String>,
    /// What they may do here.
    pub grant: Grant,
    /// How long the invitation lives, in seconds; a day where nothing is said.
    pub expires_in: Option<i64>,
    /// Whether whoever accepts waits until the operator resumes them.
    pub hold: bool,
    /// Whether they may be in a private network.
    pub allow_private: bool,
    /// When they are to be looked at again: `2027-01-31`.
    pub review_by: Option<String>,
}

/// How an invitation is accepted.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AcceptOrder {
    /// The line that was handed over.
    pub invitation: String,
    /// Whether the operator has seen whose it is; without it, it is shown and nothing is done.
    #[serde(default)]
    pub confirm: bool,
    /// How the inviter will be called here.
    pub name: Option<String>,
    /// What they may do here.
    #[serde(default)]
    pub grant: Grant,
    /// Whether they may be in a private network.
    #[serde(default)]
    pub allow_private: bool,
    /// When they are to be looked at again: `2027-01-31`.
    pub review_by: Option<String>,
}

/// How our own key is changed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RotateOrder {
    /// How long the old key still counts, in seconds; a week where nothing is said.
    pub overlap: Option<i64>,
}

/// What somebody who was invited sends.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JoinOrder {
    /// The line that was handed over.
    pub invitation: String,
    /// The answer to it, signed by whoever was invited.
    pub acceptance: String,
}

/// A token of a peer names a key that we do not know.
#[derive(Debug, Message)]
#[rtype(result = "bool")]
pub struct FollowKeys(pub Origin);

/// Why nothing was done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PairingError {
    /// There is no such peer, or no such invitation.
    #[error("no such peer or invitation")]
    NotFound,
    /// What was asked for cannot be.
    #[error("{0}")]
    Invalid(String),
    /// The invitation, or the answer to it, is not good.
    #[error(transparent)]
    Invitation(#[from] InvitationError),
    /// Somebody has no right to this.
    #[error("{0}")]
    Refused(&'static str),
    /// It contradicts what is there.
    #[error("{0}")]
    Conflict(String),
    /// The other node did not do its part.
    #[error("{0}")]
    Elsewhere(String),
    /// What was decided could not be kept.
    #[error("the decision cannot be kept now: try again")]
    NotKept(#[from] StoreError),
    /// Whether an invitation was taken before cannot be told.
    #[error("whether the invitation was taken before cannot be told now: try again")]
    Undecided,
}

/// What pairing works with.
pub struct PairingPorts {
    /// Is told who may call and be called, and with which keys.
    pub federation: Arc<Federation>,
    /// Keeps what was decided.
    pub store: Arc<dyn PeerStore>,
    /// Takes each invitation once.
    pub claims: Recipient<ClaimId>,
    /// Is told when a peer changes its key.
    pub audit: AuditDesk,
    /// The way to other nodes.
    pub egress: Arc<Egress>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The seed of the configuration, where federation works with keys.
    pub seed: Option<[u8; 32]>,
}

/// What became of looking for the keys of one peer, and when that began.
struct Followed {
    at_ms: u64,
    /// Whoever asks meanwhile waits for the same answer.
    found: Shared<LocalBoxFuture<'static, bool>>,
}

/// See the module.
pub struct Pairing {
    desk: Arc<Desk>,
    /// Bounded by the peers that paired.
    followed: BTreeMap<Origin, Followed>,
}

impl Pairing {
    /// Puts what was kept in force.
    pub fn new(ports: PairingPorts, rows: &PeerRows) -> Self {
        let desk = Desk::new(ports);
        desk.put_in_force(rows);
        Self {
            desk: Arc::new(desk),
            followed: BTreeMap::new(),
        }
    }

    fn look(&mut self, ctx: &mut Context<Self>) {
        let desk = Arc::clone(&self.desk);
        ctx.spawn(async move { desk.look().await }.into_actor(self));
    }

    fn listen(&mut self, mut news: watch::Receiver<u64>, ctx: &mut Context<Self>) {
        let heard = async move { news.changed().await.is_ok().then_some(news) };
        ctx.spawn(heard.into_actor(self).map(|news, pairing, ctx| {
            if let Some(news) = news {
                pairing.look(ctx);
                pairing.listen(news, ctx);
            }
        }));
    }
}

impl Actor for Pairing {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(MAILBOX);
        if let Some(news) = self.desk.ports.store.peer_news() {
            ctx.run_interval(LOOK_EVERY, Self::look);
            self.listen(news, ctx);
        }
    }
}

impl Handler<Ask> for Pairing {
    type Result = ResponseFuture<Result<Value, PairingError>>;

    fn handle(&mut self, Ask(command): Ask, _: &mut Self::Context) -> Self::Result {
        let desk = Arc::clone(&self.desk);
        Box::pin(async move { desk.carry_out(command).await })
    }
}

impl Handler<FollowKeys> for Pairing {
    type Result = ResponseFuture<bool>;

    fn handle(&mut self, FollowKeys(origin): FollowKeys, _: &mut Self::Context) -> Self::Result {
        let now_ms = self.desk.ports.clock.now_ms();
        let again = u64::try_from(FOLLOW_AGAIN.as_millis()).unwrap_or(u64::MAX);
        self.followed
            .retain(|_, followed| now_ms.saturating_sub(followed.at_ms) < again);
        let desk = Arc::clone(&self.desk);
        let followed = self.followed.entry(origin).or_insert_with_key(|origin| {
            let origin = origin.clone();
            let found = async move { desk.follow(&origin).await };
            Followed {
                at_ms: now_ms,
                found: found.boxed_local().shared(),
            }
        });
        Box::pin(followed.found.clone())
    }
}
