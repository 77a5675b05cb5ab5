//! The audit, and the desk where records are left for it.

use std::sync::Arc;

use actix::{Actor, Addr};
use archipel_kit::clock::Clock;

use super::stores::Stores;
use crate::audit::{Audit, AuditDesk, Tray};

/// What was started.
pub(super) struct Started {
    pub(super) actor: Addr<Audit>,
    /// What requests need.
    pub(super) desk: AuditDesk,
}

pub(super) fn start(stores: &Stores, clock: &Arc<dyn Clock>) -> Started {
    let tray = Tray::default();
    let audit = Audit::new(Arc::clone(&stores.audit), Arc::clone(clock), tray.clone());
    let actor = audit.start();
    Started {
        desk: AuditDesk::new(tray, actor.clone().recipient(), Arc::clone(clock)),
        actor,
    }
}
