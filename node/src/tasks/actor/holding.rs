//! The hold of an actor on its task, where several replicas are one node.
//!
//! It begins before the actor does anything that others could see, and ends with the change that leaves nobody at work. An
//! actor whose hold has ended answers nothing any more, since others may have changed the task: what it is asked goes back
//! to its hub. Only a task that has ended is the same everywhere.

use super::TaskActor;
use crate::store::Hold;
use crate::tasks::command::{AskTask, Asked, TaskError};
use crate::tasks::feed::Settled;
use crate::tasks::hub::Leaving;

impl TaskActor {
    /// The right under which the next change is made.
    pub(super) fn hold_of_change(&mut self) -> Option<Box<Hold>> {
        let goes_on = match self.record.settled() {
            Settled::No => true,
            // An agent that waits for authorization goes on by itself.
            Settled::Interrupted => self.turn.is_some(),
            Settled::Ended => false,
        };
        let hold = self.hold.as_mut()?;
        hold.ending = !goes_on;
        Some(Box::new(Hold {
            before: hold.before,
            fence: hold.fence,
            goes_on,
        }))
    }

    pub(super) fn change_is_kept(&mut self) {
        if let Some(hold) = &mut self.hold {
            hold.ended = hold.ending;
        }
    }

    pub(super) fn is_released(&self) -> bool {
        self.hold.as_ref().is_some_and(|hold| hold.ended) && self.record.settled() != Settled::Ended
    }

    /// Gives a command back that came after the hold.
    pub(super) fn pass_back(&self, asked: Asked) {
        // Before the hub knows, it would only send the command here again.
        if !self.hold.as_ref().is_some_and(|hold| hold.told) {
            return asked.command.refuse(TaskError::Busy);
        }
        let ask = AskTask { id: self.id, asked };
        if let Err(error) = self.hub.ask.try_send(ask) {
            error.into_inner().asked.command.refuse(TaskError::Busy);
        }
    }

    pub(super) fn leaving(&self) -> Leaving {
        match &self.hold {
            _ if self.commits.lost => Leaving::Lost,
            None => Leaving::Idle,
            Some(hold) if hold.ended => Leaving::Released,
            Some(hold) => Leaving::Holding(hold.fence),
        }
    }
}
