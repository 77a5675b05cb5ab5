//! Settings of how often clients may call.

use archipel_kit::{
    settings,
    settings::{Problems, Secret},
};

settings! {
    /// Clients that are known by a key have the limit of their tier in the place of that of their address.
    pub struct TierSettings, check = TierSettings::check {
        /// What the tier is called in logs.
        pub name: String, in 1..=64, example "pro";
        /// Requests per minute of each key. 0: no limit.
        pub per_minute: u32, in 0..=10000000, example 600;
        /// How many of them may come at once. 0: all.
        pub burst: u32 = 0, in 0..=10000000;
        /// Its keys, as clients send them: in `X-Hive-Public-A2A-Key`, `X-Pilox-Public-A2A-Key` or
        /// `Authorization: Bearer`. Whether a key gives any right is the node's to say.
        pub keys: Vec<Secret> = [], in 0..=10000;
        /// The same as SHA-256 in hexadecimal digits, so that the keys themselves need not lie here.
        pub key_hashes: Vec<String> = [], in 0..=100000;
    }
}

impl TierSettings {
    fn check(&self, problems: &mut Problems) {
        for (index, hash) in self.key_hashes.iter().enumerate() {
            if hash.len() != 64 || hex::decode(hash).is_err() {
                problems.add(
                    &format!("key_hashes[{index}]"),
                    "must be 64 hexadecimal digits",
                );
            }
        }
    }
}

settings! {
    /// What happens to requests while Redis cannot be asked.
    pub enum WithoutRedis {
        /// Each gateway counts for itself.
        Local = "local",
        /// They are refused with 503.
        Deny = "deny",
    }
}

settings! {
    /// Which answers tell clients what is left of their limit.
    pub enum LimitHeaders {
        /// Those that refuse.
        Refusals = "refusals",
        /// All.
        All = "all",
    }
}
