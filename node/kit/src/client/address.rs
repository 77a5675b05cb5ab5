//! Which addresses are public, and which of them a client may connect to.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

/// Takes the host as it was written and one address of it.
pub type AddressRule = dyn Fn(&str, IpAddr) -> bool + Send + Sync;

/// Decides for each address that a host name resolved to, and for each address that was written out.
#[derive(Clone)]
pub enum AddressPolicy {
    /// All: for what the operator wrote into the configuration.
    Any,
    /// Public ones: for what arrived from outside.
    PublicOnly,
    /// A rule of the caller's over the host as it was written and one address of it.
    Rule(Arc<AddressRule>),
}

impl AddressPolicy {
    /// Whether `host` may be reached at `address`. IPv4 addresses in IPv6 clothes are judged as IPv4.
    pub fn allows(&self, host: &str, address: IpAddr) -> bool {
        match self {
            Self::Any => true,
            Self::PublicOnly => is_public(address),
            Self::Rule(rule) => rule(host, address.to_canonical()),
        }
    }
}

impl fmt::Debug for AddressPolicy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Any => "Any",
            Self::PublicOnly => "PublicOnly",
            Self::Rule(_) => "Rule",
        })
    }
}

/// Whether an address is globally reachable unicast (IANA special-purpose registries, RFC 6890).
pub fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let blocked = match address.octets() {
        [0 | 10 | 127, ..] => true,
        [100, second, ..] => (64..128).contains(&second),
        [169, 254, ..] | [192, 168, ..] => true,
        [172, second, ..] => (16..32).contains(&second),
        [192, 0, 0 | 2, _] | [192, 88, 99, _] => true,
        [198, 18 | 19, ..] | [198, 51, 100, _] | [203, 0, 113, _] => true,
        [first, ..] => first >= 224,
    };
    !blocked
}

/// Only 2000::/3 is global unicast; within it, documentation, 6to4 and the protocol assignments (Teredo, ORCHID) are
/// taken out, because the last three can carry a private IPv4 address or lead nowhere.
fn is_public_v6(address: Ipv6Addr) -> bool {
    match address.segments() {
        [0x2001, second, ..] => second >= 0x0200 && second != 0x0db8,
        [0x2002, ..] => false,
        [0x3fff, second, ..] => second >= 0x1000,
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    #[test]
    fn only_global_unicast_is_public() {
        let check = |addresses: &str, public: bool| {
            for text in addresses.split_whitespace() {
                assert_eq!(is_public(text.parse().unwrap()), public, "{text}");
            }
        };
        check(
            "8.8.8.8 11.0.0.1 172.15.255.255 192.167.1.1 169.253.1.1 223.255.255.255",
            true,
        );
        check(
            "0.0.0.0 10.0.0.1 127.0.0.1 100.64.0.1 100.127.255.255 169.254.169.254",
            false,
        );
        check(
            "172.16.0.1 172.31.9.9 192.168.0.1 192.0.0.1 192.0.2.1 192.88.99.1",
            false,
        );
        check(
            "198.18.0.1 198.51.100.7 203.0.113.1 224.0.0.1 240.0.0.1 255.255.255.255",
            false,
        );
        check(
            "2606:4700::1111 2a00:1450::1 2001:4860:4860::8888 ::ffff:8.8.8.8",
            true,
        );
        check(
            ":: ::1 fc00::1 fe80::1 fe90::1 fec0::1 ff02::1 2001:db8::1 100::1 2001::1",
            false,
        );
        check(
            "::ffff:10.0.0.1 ::ffff:169.254.169.254 ::127.0.0.1 ::ffff:0:127.0.0.1",
            false,
        );
        check("64:ff9b::7f00:1 2002:7f00:1:: 3fff:0::1", false);
    }

    #[test]
    fn a_policy_sees_unmapped_addresses() {
        let rule = AddressPolicy::Rule(Arc::new(|host, address| {
            host == "known" && address.is_ipv4()
        }));
        let mapped: IpAddr = "::ffff:10.0.0.1".parse().unwrap();
        assert!(rule.allows("known", mapped));
        assert!(!rule.allows("other", mapped));
        assert!(AddressPolicy::Any.allows("other", mapped));
        assert!(!AddressPolicy::PublicOnly.allows("known", mapped));
    }
}
