//! Which client stands behind a connection.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;

use crate::settings;

/// Whom to believe about the client of a connection that comes from a proxy, and which header says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientRules {
    /// Who may speak for clients.
    pub trust: Trust,
    /// Where they say it.
    pub header: ClientHeader,
}

/// Who may speak for clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// Proxies in these networks. The client is the last hop that is in none of them, because whatever stands before that
    /// hop was written by somebody we do not trust.
    Networks(Vec<IpNet>),
    /// So many proxies, wherever they are; each has added one hop, so the client is that many hops from the end. For
    /// proxies without fixed addresses, when nobody can go around them.
    Hops(usize),
}

settings! {
    /// Which header tells the hops.
    pub enum ClientHeader {
        /// `X-Forwarded-For: client, proxy`.
        XForwardedFor = "x-forwarded-for",
        /// `Forwarded: for=client, for=proxy` (RFC 7239).
        Forwarded = "forwarded",
        /// `X-Real-IP: client`: the nearest proxy alone says it, so it counts as one hop.
        XRealIp = "x-real-ip",
    }
}

impl ClientHeader {
    /// The hop that one element of the list speaks of.
    fn hop(self, element: &str) -> Option<IpAddr> {
        match self {
            Self::XForwardedFor | Self::XRealIp => parse_hop(element.trim()),
            Self::Forwarded => forwarded_for(element).and_then(parse_hop),
        }
    }
}

impl ClientRules {
    /// The rules that settings of the usual form ask for: so many hops, else these networks.
    pub fn new(hops: usize, networks: &[IpNet], header: ClientHeader) -> Self {
        let trust = if hops > 0 {
            Trust::Hops(hops)
        } else {
            Trust::Networks(networks.to_vec())
        };
        Self { trust, header }
    }

    /// Whether the header has any say.
    pub fn reads_header(&self) -> bool {
        match &self.trust {
            Trust::Networks(networks) => !networks.is_empty(),
            Trust::Hops(hops) => *hops > 0,
        }
    }

    /// Whether an address is that of a proxy which may stand for many clients.
    pub fn trusts(&self, address: IpAddr) -> bool {
        match &self.trust {
            Trust::Networks(networks) => {
                let address = address.to_canonical();
                networks.iter().any(|network| network.contains(&address))
            }
            Trust::Hops(hops) => *hops > 0,
        }
    }

    /// The address of the client of a request that came over a connection from `peer`.
    ///
    /// `lines` are the header's in the order received (RFC 9110, section 5.3: together they are one list). A hop that is no
    /// address ends the search at the hop after it. IPv4 addresses in IPv6 clothes come back as IPv4.
    pub fn client<'h>(
        &self,
        peer: IpAddr,
        lines: impl DoubleEndedIterator<Item = &'h str>,
    ) -> IpAddr {
        let mut client = peer.to_canonical();
        let elements = lines.rev().flat_map(|line| line.rsplit(','));
        for (passed, element) in elements.enumerate() {
            let is_trusted = match &self.trust {
                Trust::Networks(networks) => {
                    networks.iter().any(|network| network.contains(&client))
                }
                Trust::Hops(hops) => passed < *hops,
            };
            if !is_trusted {
                return client;
            }
            let Some(address) = self.header.hop(element) else {
                return client;
            };
            client = address;
            if self.header == ClientHeader::XRealIp {
                return client;
            }
        }
        client
    }
}

/// The `for` of one element of `Forwarded`: `for="[2001:db8::17]:4711";proto=https`.
fn forwarded_for(element: &str) -> Option<&str> {
    let mut pairs = element.split(';').filter_map(|pair| pair.split_once('='));
    let (_, node) = pairs.find(|(name, _)| name.trim().eq_ignore_ascii_case("for"))?;
    let node = node.trim();
    let quoted = node
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'));
    Some(quoted.unwrap_or(node))
}

/// What a limit counts by: an IPv4 address, or the /64 of an IPv6 address, since one client owns all of it.
pub fn limiter_key(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
    }
}

/// A hop as proxies write it: an address, perhaps with a port, an IPv6 one perhaps in brackets.
fn parse_hop(hop: &str) -> Option<IpAddr> {
    let address = hop.parse::<IpAddr>().ok().or_else(|| {
        let bare = hop
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'));
        bare.and_then(|bare| bare.parse().ok())
    });
    let address = address.or_else(|| {
        hop.parse::<std::net::SocketAddr>()
            .ok()
            .map(|socket| socket.ip())
    });
    address.map(|address| address.to_canonical())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    #[test]
    fn the_last_hop_that_nobody_vouches_for_is_the_client() {
        let check = |peer: &str, lines: &[&str], trusted: &[&str], expected: &str| {
            let trusted: Vec<IpNet> = trusted
                .iter()
                .map(|network| network.parse().unwrap())
                .collect();
            let client = ClientRules::new(0, &trusted, ClientHeader::XForwardedFor)
                .client(peer.parse().unwrap(), lines.iter().copied());
            assert_eq!(client.to_string(), expected, "{peer} {lines:?} {trusted:?}");
        };
        let inside = &["10.0.0.0/8", "fd00::/8"];
        check("203.0.113.9", &["1.1.1.1"], &[], "203.0.113.9");
        check("203.0.113.9", &["1.1.1.1"], inside, "203.0.113.9");
        check("10.0.0.1", &[], inside, "10.0.0.1");
        check("10.0.0.1", &["1.1.1.1"], inside, "1.1.1.1");
        check("10.0.0.1", &["6.6.6.6, 1.1.1.1"], inside, "1.1.1.1");
        check(
            "10.0.0.1",
            &["6.6.6.6, 1.1.1.1, 10.2.3.4"],
            inside,
            "1.1.1.1",
        );
        check(
            "10.0.0.1",
            &["6.6.6.6", "1.1.1.1", "10.2.3.4,10.9.9.9"],
            inside,
            "1.1.1.1",
        );
        check("10.0.0.1", &["10.7.7.7, 10.2.3.4"], inside, "10.7.7.7");
        check(
            "10.0.0.1",
            &["1.1.1.1, unknown, 10.2.3.4"],
            inside,
            "10.2.3.4",
        );
        check("10.0.0.1", &["1.1.1.1, "], inside, "10.0.0.1");
        check("::ffff:10.0.0.1", &["::ffff:1.1.1.1"], inside, "1.1.1.1");
        check("fd00::1", &["[2a00::5]:443"], inside, "2a00::5");
        check("10.0.0.1", &["1.1.1.1:5050"], inside, "1.1.1.1");
        check("10.0.0.1", &["[2a00::5]"], inside, "2a00::5");
    }

    #[test]
    fn each_header_and_each_kind_of_trust_finds_the_client() {
        let check = |header: ClientHeader, trust: &Trust, lines: &[&str], expected: &str| {
            let rules = ClientRules {
                trust: trust.clone(),
                header,
            };
            let client = rules.client("10.0.0.1".parse().unwrap(), lines.iter().copied());
            assert_eq!(client.to_string(), expected, "{rules:?} {lines:?}");
        };
        let networks = Trust::Networks(vec!["10.0.0.0/8".parse().unwrap()]);
        let elsewhere = Trust::Networks(vec!["172.16.0.0/12".parse().unwrap()]);
        let (list, forwarded, real) = (
            ClientHeader::XForwardedFor,
            ClientHeader::Forwarded,
            ClientHeader::XRealIp,
        );
        for header in [list, forwarded, real] {
            for trust in [
                Trust::Networks(Vec::new()),
                Trust::Hops(0),
                elsewhere.clone(),
            ] {
                check(header, &trust, &["6.6.6.6", "for=6.6.6.6"], "10.0.0.1");
            }
        }
        check(list, &Trust::Hops(1), &["6.6.6.6, 1.1.1.1"], "1.1.1.1");
        check(
            list,
            &Trust::Hops(2),
            &["6.6.6.6, 1.1.1.1, 2.2.2.2"],
            "1.1.1.1",
        );
        check(list, &Trust::Hops(2), &["1.1.1.1"], "1.1.1.1");
        check(
            list,
            &Trust::Hops(2),
            &["6.6.6.6, junk, 2.2.2.2"],
            "2.2.2.2",
        );
        check(list, &Trust::Hops(1), &[], "10.0.0.1");
        let hops = &["For=6.6.6.6, for=\"[2001:db8::17]:4711\";proto=https;by=x, for=10.2.3.4"];
        check(forwarded, &networks, hops, "2001:db8::17");
        check(forwarded, &Trust::Hops(1), hops, "10.2.3.4");
        check(
            forwarded,
            &networks,
            &["for=192.0.2.43:47011"],
            "192.0.2.43",
        );
        for unknown in ["for=unknown", "for=_hidden", "by=1.1.1.1", "nonsense", ""] {
            check(forwarded, &networks, &[unknown], "10.0.0.1");
        }
        check(real, &networks, &["1.1.1.1"], "1.1.1.1");
        check(real, &networks, &["10.2.3.4", "6.6.6.6"], "6.6.6.6");
        check(real, &networks, &["6.6.6.6, 10.2.3.4"], "10.2.3.4");
        check(real, &networks, &["evil"], "10.0.0.1");
    }

    #[test]
    fn an_ipv6_client_is_its_network() {
        let check = |address: &str, key: &str| {
            assert_eq!(limiter_key(address.parse().unwrap()).to_string(), key);
        };
        check("192.0.2.7", "192.0.2.7");
        check("::ffff:192.0.2.7", "192.0.2.7");
        check("2a00:1:2:3:4:5:6:7", "2a00:1:2:3::");
        check("2a00:1:2:3::", "2a00:1:2:3::");
    }
}
