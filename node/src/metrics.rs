//! What a node counts. The documentation of a field is the help text that operators see. Read `bridge` last: its names are those
//! of the bridge that it replaces.

use archipel_kit::metrics;
use archipel_kit::telemetry::metrics::{Counter, Gauge};
use archipel_protocol::a2a::TaskState;
use archipel_protocol::method::Method;

use crate::federation::manifest::ManifestIssue;
use crate::federation::peers::PeerSource;

pub use bridge::{BridgeMethod, BridgeMetrics, BridgePath};

mod bridge;

metrics! {
    /// How a task ended.
    pub enum TaskEnd = "state" {
        Completed = "completed",
        Failed = "failed",
        Canceled = "canceled",
        Rejected = "rejected",
    }
}

metrics! {
    /// What is counted of tasks.
    pub struct TaskMetrics {
        /// Tasks opened.
        pub opened: Counter<()> = "archipel_tasks_opened_total";
        /// Tasks ended, by their last state.
        pub ended: Counter<TaskEnd> = "archipel_tasks_ended_total";
        /// Watchers cut off because they did not keep up.
        pub watchers_cut: Counter<()> = "archipel_watchers_cut_total";
        /// Bytes of JSON that the tasks in memory hold.
        pub live_bytes: Gauge<()> = "archipel_tasks_live_bytes";
        /// Tasks that are in memory because something happens to them or somebody watches them.
        pub live: Gauge<()> = "archipel_tasks_live";
    }
}

metrics! {
    /// What is counted of the replicas of a node.
    pub struct ReplicaMetrics {
        /// Whether Redis answered the last sign of life.
        pub redis_up: Gauge<()> = "archipel_redis_up";
        /// Tasks of dead replicas that this one looked after.
        pub adopted: Counter<()> = "archipel_tasks_adopted_total";
    }
}

impl TaskMetrics {
    /// A task ended in `state`; other states are no end.
    pub fn count_end(&self, state: TaskState) {
        let end = match state {
            TaskState::Completed => TaskEnd::Completed,
            TaskState::Failed => TaskEnd::Failed,
            TaskState::Canceled => TaskEnd::Canceled,
            TaskState::Rejected => TaskEnd::Rejected,
            _ => return,
        };
        self.ended.count(end);
    }
}

metrics! {
    /// What became of a call that is counted against a limit.
    pub enum Limited = "outcome" {
        Admitted = "admitted",
        Denied = "denied",
        DeniedAgain = "denied_again",
        Blocked = "blocked",
        Undecided = "undecided",
        Failing = "failing",
    }
}

metrics! {
    /// What is counted of limits.
    pub struct LimiterMetrics {
        /// Calls of peers and public callers by what the limits said: denied_again was not counted anew, undecided means that the store of the limits does not answer, failing that an address presented too many bad credentials.
        pub calls: Counter<Limited> = "archipel_limited_calls_total";
    }
}

metrics! {
    /// Why an agent was not called.
    pub enum NotCalled = "reason" {
        Paused = "paused",
        Busy = "busy",
        Tripped = "tripped",
    }
}

metrics! {
    /// How a turn of an agent elsewhere ended, as far as it speaks of the agent.
    pub enum TurnEnd = "outcome" {
        Answered = "answered",
        Failed = "failed",
        Ended = "ended",
    }
}

metrics! {
    /// How an agent elsewhere was found when it was looked after.
    pub enum Looked = "outcome" {
        There = "there",
        Away = "away",
    }
}

metrics! {
    /// What is counted of agents elsewhere.
    pub struct AgentMetrics {
        /// Turns of agents elsewhere that were let in and have not ended.
        pub turns: Gauge<()> = "archipel_agent_turns_open";
        /// Turns of agents elsewhere, by what they say of the agent: answered, failed (the agent's fault), ended (by somebody else).
        pub ended: Counter<TurnEnd> = "archipel_agent_turns_total";
        /// Calls that were refused because the agent is paused, has all the turns it may have, or keeps failing.
        pub refused: Counter<NotCalled> = "archipel_agent_refusals_total";
        /// Times that an agent was left alone because it kept failing.
        pub tripped: Counter<()> = "archipel_agent_breaker_trips_total";
        /// Looks after agents elsewhere, by what was found.
        pub checks: Counter<Looked> = "archipel_agent_checks_total";
    }
}

metrics! {
    /// What became of an attempt to tell a webhook.
    pub enum PushOutcome = "outcome" {
        Accepted = "accepted",
        Failed = "failed",
        GivenUp = "given_up",
    }
}

metrics! {
    /// What is counted of webhooks.
    pub struct PushMetrics {
        /// Attempts to tell a webhook, by outcome; given_up counts webhooks that nobody tries to tell any more.
        pub deliveries: Counter<PushOutcome> = "archipel_push_deliveries_total";
        /// Webhooks that are being told of something, or wait to be.
        pub lanes: Gauge<()> = "archipel_push_waiting";
    }
}

metrics! {
    /// Which operation was asked for. Caller-chosen names never become labels.
    pub enum RpcMethod = "method" {
        SendMessage = "SendMessage",
        SendStreamingMessage = "SendStreamingMessage",
        GetTask = "GetTask",
        ListTasks = "ListTasks",
        CancelTask = "CancelTask",
        SubscribeToTask = "SubscribeToTask",
        CreateTaskPushNotificationConfig = "CreateTaskPushNotificationConfig",
        GetTaskPushNotificationConfig = "GetTaskPushNotificationConfig",
        ListTaskPushNotificationConfigs = "ListTaskPushNotificationConfigs",
        DeleteTaskPushNotificationConfig = "DeleteTaskPushNotificationConfig",
        GetExtendedAgentCard = "GetExtendedAgentCard",
        Other = "other",
    }
}

impl From<Method> for RpcMethod {
    fn from(method: Method) -> Self {
        match method {
            Method::SendMessage => Self::SendMessage,
            Method::SendStreamingMessage => Self::SendStreamingMessage,
            Method::GetTask => Self::GetTask,
            Method::ListTasks => Self::ListTasks,
            Method::CancelTask => Self::CancelTask,
            Method::SubscribeToTask => Self::SubscribeToTask,
            Method::CreateTaskPushNotificationConfig => Self::CreateTaskPushNotificationConfig,
            Method::GetTaskPushNotificationConfig => Self::GetTaskPushNotificationConfig,
            Method::ListTaskPushNotificationConfigs => Self::ListTaskPushNotificationConfigs,
            Method::DeleteTaskPushNotificationConfig => Self::DeleteTaskPushNotificationConfig,
            Method::GetExtendedAgentCard => Self::GetExtendedAgentCard,
        }
    }
}

metrics! {
    /// How a request was answered.
    pub enum Answered = "outcome" {
        Result = "result",
        Error = "error",
        Refused = "refused",
    }
}

metrics! {
    /// What is counted at the edge.
    pub struct EdgeMetrics {
        /// Calls to agents of this node, by operation and outcome: result, error (a JSON-RPC error), refused (before the operation).
        pub calls: Counter<(RpcMethod, Answered)> = "archipel_calls_total";
        /// Calls to agents of peers, by outcome.
        pub peer_calls: Counter<Answered> = "archipel_peer_calls_total";
        /// Connections on which no TLS was agreed, or whose client showed no good certificate.
        pub handshakes_failed: Counter<()> = "archipel_handshakes_failed_total";
        /// Streams that are open.
        pub streams: Gauge<()> = "archipel_streams_open";
    }
}

metrics! {
    /// Who told of a peer.
    pub enum ToldBy = "source" {
        Configured = "configured",
        Variables = "variables",
        Folder = "folder",
        Paired = "paired",
        Manifest = "manifest",
    }
}

impl From<PeerSource> for ToldBy {
    fn from(source: PeerSource) -> Self {
        match source {
            PeerSource::Configured => Self::Configured,
            PeerSource::Variables => Self::Variables,
            PeerSource::Folder => Self::Folder,
            PeerSource::Paired => Self::Paired,
            PeerSource::Manifest => Self::Manifest,
        }
    }
}

metrics! {
    /// What became of changed files of peers.
    pub enum FilesLooked = "outcome" {
        Taken = "taken",
        Refused = "refused",
    }
}

metrics! {
    /// What is wrong with the manifest of peers.
    pub enum ManifestTrouble = "issue" {
        Size = "size",
        Protocol = "protocol",
        Fetch = "fetch",
        Verify = "verify",
        Unknown = "unknown",
    }
}

impl From<ManifestIssue> for ManifestTrouble {
    fn from(issue: ManifestIssue) -> Self {
        match issue {
            ManifestIssue::Size => Self::Size,
            ManifestIssue::Protocol => Self::Protocol,
            ManifestIssue::Fetch => Self::Fetch,
            ManifestIssue::Verify => Self::Verify,
            ManifestIssue::Unknown => Self::Unknown,
        }
    }
}

metrics! {
    /// What is counted of the roster.
    pub struct RosterMetrics {
        /// Peers in force, by who told of them.
        pub peers: Gauge<ToldBy> = "archipel_peers";
        /// Peers whose review_by has come.
        pub overdue: Gauge<()> = "archipel_peers_review_overdue";
        /// Changes of [[peers]] and the peers' folder, by what became of them: taken, or refused for their problems.
        pub files: Counter<FilesLooked> = "archipel_peer_files_total";
        /// How long ago the manifest of peers was last fetched and found good, in seconds; 0 where there is none.
        pub manifest_age: Gauge<()> = "archipel_manifest_age_seconds";
        /// 1 for what was wrong with the manifest of peers the last time it was fetched.
        pub manifest_trouble: Gauge<ManifestTrouble> = "archipel_manifest_trouble";
    }
}

metrics! {
    /// Why a call to a peer was not made.
    pub enum NotSent = "reason" {
        Busy = "busy",
        Tripped = "tripped",
    }
}

metrics! {
    /// Why a call to a peer was made again.
    pub enum Repeated = "reason" {
        NotSent = "not_sent",
        MintAgain = "mint_again",
        Read = "read",
    }
}

metrics! {
    /// What is counted of calls to peers.
    pub struct OutboundMetrics {
        /// Calls to peers that were refused here, because as many run as may, or because the peer keeps failing.
        pub refused: Counter<NotSent> = "archipel_peer_refusals_total";
        /// Calls to peers that were made again: nothing of the first was sent, the peer asked for another token, or it only reads.
        pub repeated: Counter<Repeated> = "archipel_peer_repeats_total";
        /// Times that a peer was left alone because it kept failing.
        pub tripped: Counter<()> = "archipel_peer_breaker_trips_total";
    }
}

metrics! {
    /// Which way envelopes go.
    pub enum WanQueueSide = "side" {
        In = "in",
        Out = "out",
    }
}

metrics! {
    /// What became of an envelope that was to be kept.
    pub enum Came = "outcome" {
        First = "first",
        Repeated = "repeated",
        Full = "full",
        Failed = "failed",
    }
}

metrics! {
    /// What became of what is done with an envelope.
    pub enum WanEffect = "outcome" {
        Done = "done",
        Later = "later",
        Dead = "dead",
    }
}

metrics! {
    /// What became of a letter from the line.
    pub enum LineLetter = "outcome" {
        Taken = "taken",
        Elsewhere = "elsewhere",
        Poisoned = "poisoned",
        Later = "later",
    }
}

metrics! {
    /// What is counted of envelopes between sites.
    pub struct WanMetrics {
        /// Envelopes that came (in) or were to be sent (out): first, repeated, full (as many wait as may), failed (the store does not answer).
        pub came: Counter<(WanQueueSide, Came)> = "archipel_wan_envelopes_total";
        /// Attempts at the effect of an envelope (in) or at handing it to the line (out): done, later, dead (nobody tries again by itself).
        pub effects: Counter<(WanQueueSide, WanEffect)> = "archipel_wan_effects_total";
        /// Letters from the line: taken, elsewhere (for another site), poisoned (no envelope), later (not kept now).
        pub letters: Counter<LineLetter> = "archipel_wan_letters_total";
        /// Envelopes that wait for their effect (in) or to be sent (out).
        pub waiting: Gauge<WanQueueSide> = "archipel_wan_waiting";
        /// For how long the first of them has waited, in seconds.
        pub oldest: Gauge<WanQueueSide> = "archipel_wan_oldest_seconds";
        /// Envelopes that nobody tries any more until somebody says so.
        pub dead: Gauge<WanQueueSide> = "archipel_wan_dead";
    }
}
