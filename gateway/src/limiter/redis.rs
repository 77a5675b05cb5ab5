//! The limit that gateways share: one atomic script per call, on Redis's own clock.

use std::{net::IpAddr, time::Duration};

use archipel_kit::{
    admission::{Decision, Rule},
    settings::Secret,
};
use redis::{
    RedisError, Script,
    aio::{ConnectionManager, ConnectionManagerConfig},
};

/// What a call may wait for Redis. The client's own defaults wait 9 s while Redis is away.
const PATIENCE: Duration = Duration::from_millis(250);

/// GCRA, as in `archipel_kit::admission`: one key, which expires with its state; a denied call writes nothing.
/// Gives whether the call is allowed, how many more could pass, and the microseconds until one may and until all may.
const SCRIPT: &str = r"
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local emission = tonumber(ARGV[1])
local burst = tonumber(ARGV[2])
local full_at = tonumber(redis.call('GET', KEYS[1]) or now)
if full_at < now then full_at = now end
local ahead = full_at + emission - now
if ahead > burst then
  return {0, 0, ahead - burst, full_at - now}
end
redis.call('SET', KEYS[1], string.format('%.0f', full_at + emission), 'PX', math.ceil(ahead / 1000) + 1)
return {1, math.floor((burst - ahead) / emission), 0, ahead}
";

/// One worker's connection to the shared limit.
pub(crate) struct SharedLimit {
    connection: ConnectionManager,
    script: Script,
    prefix: String,
    rule: Rule,
}

impl SharedLimit {
    /// Connects at the first call, and again by itself. Must be made on the worker that uses it.
    pub(crate) fn connect(url: &Secret, prefix: &str, rule: Rule) -> Result<Self, RedisError> {
        let client = redis::Client::open(url.expose())?;
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(PATIENCE))
            .set_response_timeout(Some(PATIENCE))
            .set_number_of_retries(0);
        let connection = ConnectionManager::new_lazy_with_config(client, config)?;
        Ok(Self {
            connection,
            script: Script::new(SCRIPT),
            prefix: prefix.to_owned(),
            rule,
        })
    }

    /// Counts one call, or refuses it, in one trip.
    pub(crate) async fn decide(&self, key: IpAddr) -> Result<Decision, RedisError> {
        let mut connection = self.connection.clone();
        let (allowed, remaining, retry_after_us, reset_us): (bool, u64, u64, u64) = self
            .script
            .key(format!("{}{key}", self.prefix))
            .arg(self.rule.emission_us)
            .arg(self.rule.burst_us)
            .invoke_async(&mut connection)
            .await?;
        Ok(Decision {
            allowed,
            remaining,
            retry_after_us,
            reset_us,
        })
    }
}
