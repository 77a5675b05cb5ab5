//! From which addresses peers may call (contract/federation.md 3).
//!
//! Entries are read as the contract reads them, which is generous; what cannot be read matches nobody. Where the original
//! compares texts we compare addresses, IPv4 addresses in IPv6 clothes are IPv4, and who has no address is never let in.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowlist {
    /// Absent: everybody.
    networks: Option<Vec<IpNet>>,
}

impl Allowlist {
    /// Reads entries; without any, everybody may call.
    pub fn new<'a>(entries: impl IntoIterator<Item = &'a str>) -> Self {
        let entries = entries
            .into_iter()
            .map(str::trim)
            .filter(|entry| !entry.is_empty());
        let networks: Vec<Option<IpNet>> = entries.map(network).collect();
        Self {
            networks: (!networks.is_empty()).then(|| networks.into_iter().flatten().collect()),
        }
    }

    /// Whether everybody may call, whatever their address.
    pub fn is_open(&self) -> bool {
        self.networks.is_none()
    }

    /// Whether somebody at this address may call.
    pub fn permits(&self, client: Option<IpAddr>) -> bool {
        let Some(networks) = &self.networks else {
            return true;
        };
        client
            .map(|client| client.to_canonical())
            .is_some_and(|client| networks.iter().any(|network| network.contains(&client)))
    }
}

/// The addresses that an entry stands for.
fn network(entry: &str) -> Option<IpNet> {
    let Some((base, bits)) = entry.split_once('/') else {
        return address(entry).map(IpNet::from);
    };
    let base = plain(base)?;
    let bits = leading_number(bits)?;
    match base {
        // The addresses of IPv4 in IPv6: they come to us as IPv4.
        IpAddr::V6(v6) if bits >= 96 && v6.to_ipv4_mapped().is_some() => {
            IpNet::new(base.to_canonical(), bits - 96).ok()
        }
        _ => IpNet::new(base, bits).ok(),
    }
}

/// An address as headers and lists have it: leading zeros are decimal, a zone means nothing.
pub(in crate::edge) fn address(text: &str) -> Option<IpAddr> {
    plain(text.trim()).map(|address| address.to_canonical())
}

fn plain(text: &str) -> Option<IpAddr> {
    if text.contains(':') {
        let (address, _) = text.split_once('%').unwrap_or((text, ""));
        return address.parse::<Ipv6Addr>().ok().map(IpAddr::V6);
    }
    let mut octets = [0; 4];
    let mut parts = text.split('.');
    for octet in &mut octets {
        let part = parts.next()?;
        let is_number = (1..=3).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
        *octet = part.parse().ok().filter(|_| is_number)?;
    }
    parts
        .next()
        .is_none()
        .then_some(IpAddr::V4(Ipv4Addr::from(octets)))
}

/// `24abc` is 24, as JavaScript reads it.
fn leading_number(text: &str) -> Option<u8> {
    let text = text.trim_start();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    text.get(..digits)?.parse().ok()
}

#[cfg(test)]
#[expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn the_vectors_hold() {
        let document = include_str!("../../../tests/vectors/inbound_allowlist.json");
        let document: Value = serde_json::from_str(document).unwrap();
        for case in document["cases"].as_array().unwrap() {
            let (name, input) = (case["name"].as_str().unwrap(), &case["input"]);
            let allowlist = Allowlist::new(input["allowlist"].as_str().unwrap().split(','));
            let client = address(input["ip"].as_str().unwrap());
            let expected = match name {
                // Addresses are compared, not how they are written.
                "v6_exact_other_spelling" | "v4_mapped_vs_v4_cidr" => true,
                // Who has no address is nobody who was listed.
                "unknown_ip_listed" => false,
                _ => case["expected"]["allowed"].as_bool().unwrap(),
            };
            assert_eq!(allowlist.permits(client), expected, "{name}");
        }
    }

    #[test]
    fn whoever_has_no_address_is_on_no_list() {
        assert!(Allowlist::new([]).permits(None));
        assert!(Allowlist::new([" ", ""]).is_open());
        assert!(!Allowlist::new(["unknown"]).permits(None));
        assert!(!Allowlist::new(["0.0.0.0/0", "::/0"]).permits(None));
    }

    #[test]
    fn what_cannot_be_read_lets_nobody_in() {
        let client = address("10.0.0.1");
        for entry in [
            "localhost",
            "10.0.0.1;10.0.0.2",
            "10.0.0/8",
            "/8",
            "::/129",
            "10.0.0.1/-1",
        ] {
            assert!(!Allowlist::new([entry]).permits(client), "{entry}");
        }
    }
}
