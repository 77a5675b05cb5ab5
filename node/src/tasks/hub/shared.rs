//! The hub where several replicas are one node: it takes a task before an actor works on it, and answers from the store
//! what needs no actor.

use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use archipel_protocol::a2a::TaskState;
use uuid::Uuid;

use super::{Live, TaskHub};
use crate::replicas::{Holder, ReplicaId, Taken, Taker};
use crate::store::{Fence, StoreError, StoredTask};
use crate::tasks::actor::ReplicaPorts;
use crate::tasks::command::{Asked, TaskCaller, TaskCommand, TaskError};
use crate::tasks::feed::Settled;
use crate::tasks::follower::TaskFollower;
use crate::tasks::machine::{Record, TurnRefusal};

/// How long a store that does not answer is left alone.
const RETRY: Duration = Duration::from_secs(1);
/// How often in a row a task may change hands while it is being taken.
const HANDS: usize = 3;

impl TaskHub {
    /// Answers what needs no actor of this replica; the rest comes back.
    pub(super) fn pass_on_shared(
        &mut self,
        id: Uuid,
        asked: Asked,
        replicas: &ReplicaPorts,
        ctx: &mut Context<Self>,
    ) -> Option<Asked> {
        if !replicas.port.is_sure() {
            asked
                .command
                .refuse(TaskError::NotKept(StoreError::Unavailable));
            return None;
        }
        match asked.command {
            TaskCommand::Watch { .. } => {
                self.watch_shared(id, asked, replicas, ctx);
                None
            }
            TaskCommand::Read { .. } if !self.live.contains_key(&id) => {
                self.read_shared(id, asked);
                None
            }
            _ => Some(asked),
        }
    }

    /// Loads a task for the first of those who wait for it, and takes it if that may change it.
    pub(super) fn take(&self, id: Uuid, replicas: &ReplicaPorts, ctx: &mut Context<Self>) {
        let waiting = self.loading.get(&id);
        let first = waiting.and_then(|waiting| waiting.asked.first());
        let owner = first.map(|asked| asked.caller.clone());
        let is_turn = first.is_some_and(|asked| matches!(asked.command, TaskCommand::Turn(_)));
        let replicas = replicas.clone();
        let taken = async move { take(&replicas, id, owner, is_turn).await }.into_actor(self);
        ctx.spawn(taken.map(move |outcome, hub, ctx| match outcome {
            Ok(Some(taken)) => hub.taken(id, &taken, ctx),
            Ok(None) => hub.refuse_held_back(id, &TaskError::NotFound),
            Err(error) => {
                tracing::warn!(task.id = %id, %error, "a task could not be loaded");
                let for_us = hub
                    .loading
                    .get(&id)
                    .is_some_and(|waiting| waiting.asked.is_empty());
                hub.refuse_held_back(id, &TaskError::NotKept(error));
                if for_us {
                    // Nobody would ask again for a task that was left.
                    hub.load_later(id, ctx);
                }
            }
        }));
    }

    pub(super) fn load_later(&self, id: Uuid, ctx: &mut Context<Self>) {
        ctx.run_later(RETRY, move |hub, ctx| {
            if !hub.live.contains_key(&id) {
                hub.load(id, ctx);
            }
        });
    }

    /// Lets go of a task that nobody works on here, as soon as the store takes note.
    pub(super) fn release(&self, id: Uuid, fence: Fence, ctx: &mut Context<Self>) {
        let Some(replicas) = self.ports.replicas.clone() else {
            return;
        };
        let released = async move { replicas.port.release(id, fence).await }.into_actor(self);
        ctx.spawn(released.map(move |released, _, ctx: &mut Context<Self>| {
            if released.is_err() {
                ctx.run_later(RETRY, move |hub, ctx| hub.release(id, fence, ctx));
            }
        }));
    }

    fn taken(&mut self, id: Uuid, taken: &Taken, ctx: &mut Context<Self>) {
        match taken.holder {
            Holder::Us(fence) => self.loaded(id, &taken.task, Some(fence), ctx),
            Holder::Other(replica) => self.held_elsewhere(id, &taken.task, replica),
            Holder::Nobody => self.not_to_be_taken(id, &taken.task, ctx),
        }
    }

    fn held_elsewhere(&mut self, id: Uuid, stored: &StoredTask, holder: ReplicaId) {
        let waiting = self.loading.remove(&id).unwrap_or_default().asked;
        for asked in waiting {
            match asked.command {
                command if !asked.caller.is_owner(stored) => command.refuse(TaskError::NotFound),
                TaskCommand::Cancel { reply } => {
                    if let Some(replicas) = self.ports.replicas.clone() {
                        actix_rt::spawn(async move {
                            reply.send(replicas.calls.cancel(holder, id, asked.caller).await);
                        });
                    }
                }
                TaskCommand::Report { task, reply } => {
                    if let Some(replicas) = self.ports.replicas.clone() {
                        actix_rt::spawn(async move {
                            let calls = &replicas.calls;
                            reply.send(calls.report(holder, id, asked.caller, &task).await);
                        });
                    }
                }
                command => command.refuse(TurnRefusal::Busy.into()),
            }
        }
    }

    /// The task has ended, or belongs to somebody else than the first who asked.
    fn not_to_be_taken(&mut self, id: Uuid, stored: &StoredTask, ctx: &mut Context<Self>) {
        let ended = settled(stored) == Settled::Ended;
        let waiting = self.loading.remove(&id).unwrap_or_default().asked;
        for asked in waiting {
            match asked.command {
                command if !asked.caller.is_owner(stored) => command.refuse(TaskError::NotFound),
                TaskCommand::Cancel { reply } if ended => reply.send(Err(TaskError::NotCancelable)),
                command if ended => command.refuse(TurnRefusal::Ended.into()),
                command => self.pass_on(id, Asked { command, ..asked }, ctx),
            }
        }
    }

    fn read_shared(&self, id: Uuid, asked: Asked) {
        let TaskCommand::Read { history, reply } = asked.command else {
            return;
        };
        let store = Arc::clone(&self.ports.store);
        actix_rt::spawn(async move {
            let loaded = store.load(id).await.map_err(TaskError::NotKept);
            reply.send(loaded.and_then(|stored| {
                let stored = stored.filter(|stored| asked.caller.is_owner(stored));
                let stored = stored.ok_or(TaskError::NotFound)?;
                let record = Record::restore(&stored).map_err(|error| {
                    tracing::error!(task.id = %id, %error, "a kept task cannot be read");
                    TaskError::Busy
                })?;
                Ok(record.view(history))
            }));
        });
    }

    fn watch_shared(
        &mut self,
        id: Uuid,
        asked: Asked,
        replicas: &ReplicaPorts,
        ctx: &mut Context<Self>,
    ) {
        let connected = |follower: &Live| follower.actor.connected();
        if !self.followers.get(&id).is_some_and(connected) {
            if self.followers.len() >= self.bound {
                return asked.command.refuse(TaskError::Busy);
            }
            let port = self.port(id, ctx);
            let following = replicas.port.follow(id);
            let follower = TaskFollower::new(id, self.ports.clone(), port, following);
            let follower = Live {
                actor: follower.launch(),
                number: self.started,
                sent: 0,
            };
            self.followers.insert(id, follower);
        }
        if let Some(follower) = self.followers.get_mut(&id) {
            follower.pass_on(asked);
        }
    }
}

/// Takes a task from whoever is dead; for a message also from a replica whose turn only waits for the client.
async fn take(
    replicas: &ReplicaPorts,
    id: Uuid,
    owner: Option<TaskCaller>,
    is_turn: bool,
) -> Result<Option<Taken>, StoreError> {
    let owner = owner.map(|caller| (caller.owner, caller.agent));
    let mut dead = None;
    for _ in 0..HANDS {
        let taker = Taker {
            owner: owner.clone(),
            dead,
        };
        let Some(taken) = replicas.port.take(id, taker).await? else {
            return Ok(None);
        };
        let Holder::Other(other) = taken.holder else {
            return Ok(Some(taken));
        };
        let waits = is_turn && settled(&taken.task) == Settled::Interrupted;
        if !waits && replicas.port.lives(other).await? {
            return Ok(Some(taken));
        }
        dead = Some(other);
    }
    Err(StoreError::Unavailable)
}

fn settled(stored: &StoredTask) -> Settled {
    TaskState::from_number(stored.state).map_or(Settled::No, Settled::of)
}
