//! Which client stands behind a connection.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;

/// The address of the client of a request.
///
/// It is the socket's peer, unless that is a trusted proxy: then it is the last hop of `X-Forwarded-For` that is not
/// itself a trusted proxy, because whatever stands before that hop was written by somebody we do not trust. A hop that
/// is no address ends the search at the hop after it. IPv4 addresses in IPv6 clothes come back as IPv4.
///
/// `forwarded_for` are the header's lines in the order received (RFC 9110, section 5.3: together they are one list).
pub fn client_address<'h>(
    peer: IpAddr,
    forwarded_for: impl DoubleEndedIterator<Item = &'h str>,
    trusted: &[IpNet],
) -> IpAddr {
    let mut client = peer.to_canonical();
    if trusted.is_empty() {
        return client;
    }
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(&address));
    for hop in forwarded_for.rev().flat_map(|line| line.rsplit(',')) {
        if !is_trusted(client) {
            return client;
        }
        match parse_hop(hop.trim()) {
            Some(address) => client = address,
            None => return client,
        }
    }
    client
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
            let client = client_address(peer.parse().unwrap(), lines.iter().copied(), &trusted);
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
