//! What is said to the notifier of webhooks, once it is kept.

use super::TaskActor;

impl TaskActor {
    /// Says that events are kept, or a webhook that came with the last message.
    pub(super) fn tell_webhooks(&mut self) {
        let push = &self.ports.push;
        let came = self.commits.webhook.take().is_some();
        let unknown = std::mem::take(&mut self.webhooks_unknown);
        if came {
            push.registered(self.id);
        } else if unknown {
            push.kept_of_unknown(self.id);
        } else {
            push.kept(self.id);
        }
    }
}
