//! How often a client may call: one limit for all gateways that share a Redis, else one per gateway.
//!
//! Read `redis` for the shared one; the arithmetic of both is `archipel_kit::admission`. A denied call is never
//! counted, and a client that was denied is denied here until its time has come, without asking Redis again: an
//! attacker costs a hash lookup.

mod redis;

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use archipel_kit::{
    admission::{Decision, KeyTimes, LocalLimiter, Rule, limiter_key},
    clock::Clock,
};

use crate::{
    config::{GatewaySettings, WithoutRedis},
    metrics::{GatewayMetrics, Limited},
    refusal::Refusal,
};

pub(crate) use redis::SharedLimit;

/// While Redis is away it is tried this often, by one request, so that the others do not wait for its time limit.
const TRY_AGAIN: Duration = Duration::from_millis(500);

/// The limit of one gateway process; all its workers share it.
#[derive(Debug)]
pub(crate) struct Limiter {
    rule: Rule,
    without_redis: WithoutRedis,
    local: LocalLimiter<IpAddr>,
    /// Until when Redis would refuse a client it has just refused.
    denied: KeyTimes<IpAddr>,
    /// When Redis may be asked again, on the monotonic clock; 0 while it answers.
    away_until_us: AtomicU64,
    clock: Arc<dyn Clock>,
    metrics: GatewayMetrics,
}

impl Limiter {
    /// The limiter that the settings ask for, if they ask for one.
    pub(crate) fn new(
        settings: &GatewaySettings,
        clock: Arc<dyn Clock>,
        metrics: GatewayMetrics,
    ) -> Option<Self> {
        let calls = settings.rate_limit_per_minute;
        if calls == 0 {
            return None;
        }
        let burst = if settings.rate_limit_burst == 0 {
            calls
        } else {
            settings.rate_limit_burst
        };
        let rule = Rule::per_minute(calls, burst);
        Some(Self {
            rule,
            without_redis: settings.rate_limit_without_redis,
            local: LocalLimiter::new(rule, settings.rate_limit_clients),
            denied: KeyTimes::new(settings.rate_limit_clients),
            away_until_us: AtomicU64::new(0),
            clock,
            metrics,
        })
    }

    /// The rule, for the shared limit of each worker.
    pub(crate) const fn rule(&self) -> Rule {
        self.rule
    }

    /// Counts one call of a client, or refuses it.
    pub(crate) async fn admit(
        &self,
        client: IpAddr,
        shared: Option<&SharedLimit>,
    ) -> Result<(), Refusal> {
        let key = limiter_key(client);
        let now_us = self.now_us();
        let Some(shared) = shared else {
            return self.admit_locally(&key, now_us, None);
        };
        if let Some(until_us) = self.denied.get(&key, now_us) {
            self.metrics.limit.count(Limited::DeniedAgain);
            let wait = until_us - now_us;
            return Err(self.refuse(Decision {
                retry_after_us: wait,
                reset_us: wait,
                ..Decision::default()
            }));
        }
        if !self.may_ask(now_us) {
            return self.admit_without_redis(&key, now_us);
        }
        match shared.decide(key).await {
            Ok(decision) => {
                self.redis_answered();
                if !decision.allowed {
                    self.denied
                        .set(&key, now_us + decision.retry_after_us, now_us);
                }
                self.settle(decision, None)
            }
            Err(error) => {
                self.redis_failed(now_us, &error);
                self.admit_without_redis(&key, now_us)
            }
        }
    }

    fn admit_without_redis(&self, key: &IpAddr, now_us: u64) -> Result<(), Refusal> {
        match self.without_redis {
            WithoutRedis::Local => self.admit_locally(key, now_us, Some(Limited::WithoutRedis)),
            WithoutRedis::Deny => {
                self.metrics.limit.count(Limited::Undecided);
                Err(Refusal::LimiterUnavailable)
            }
        }
    }

    fn admit_locally(
        &self,
        key: &IpAddr,
        now_us: u64,
        counted_as: Option<Limited>,
    ) -> Result<(), Refusal> {
        self.settle(self.local.decide(key, now_us), counted_as)
    }

    fn settle(&self, decision: Decision, allowed_as: Option<Limited>) -> Result<(), Refusal> {
        if decision.allowed {
            self.metrics
                .limit
                .count(allowed_as.unwrap_or(Limited::Allowed));
            return Ok(());
        }
        self.metrics.limit.count(Limited::Denied);
        Err(self.refuse(decision))
    }

    const fn refuse(&self, decision: Decision) -> Refusal {
        Refusal::RateLimited {
            limit: self.rule.limit(),
            decision,
        }
    }

    /// Whether Redis answers, or it is this request's turn to try it again.
    fn may_ask(&self, now_us: u64) -> bool {
        let until_us = self.away_until_us.load(Ordering::Relaxed);
        if until_us == 0 {
            return true;
        }
        let next = now_us + TRY_AGAIN.as_micros() as u64;
        now_us >= until_us
            && self
                .away_until_us
                .compare_exchange(until_us, next, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }

    fn redis_answered(&self) {
        // A plain read first: the usual answer must not write to a line that all workers read.
        if self.away_until_us.load(Ordering::Relaxed) != 0
            && self.away_until_us.swap(0, Ordering::Relaxed) != 0
        {
            tracing::info!("rate limit is shared again: redis answers");
        }
        self.metrics.redis_up.set(1, ());
    }

    fn redis_failed(&self, now_us: u64, error: &::redis::RedisError) {
        let until_us = now_us + TRY_AGAIN.as_micros() as u64;
        if self.away_until_us.swap(until_us, Ordering::Relaxed) == 0 {
            let policy = self.without_redis.word();
            tracing::warn!(error.kind = ?error.kind(), policy, "rate limit is not shared: redis does not answer");
        }
        self.metrics.redis_up.set(0, ());
    }

    fn now_us(&self) -> u64 {
        // Counted from one second on, so that no state is ever 0, which means "new".
        1_000_000 + u64::try_from(self.clock.monotonic().as_micros()).unwrap_or(u64::MAX / 2)
    }
}
