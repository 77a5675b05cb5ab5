//! The PROXY header, versions 1 and 2 (haproxy's `proxy-protocol.txt`): a balancer that passes bytes on tells for whom.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    time::timeout,
};

use super::ClientRules;
use crate::settings;

settings! {
    /// Whether connections begin with a PROXY header, which tells whom a balancer forwards for.
    pub enum ProxyHeader {
        /// They do not.
        Off = "off",
        /// They do, version 1 or 2; those without one are closed.
        Required = "required",
    }
}

/// How a header of version 2 begins.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// A line of version 1, its end included.
const LONGEST_LINE: usize = 107;

/// What version 2 may have beyond the addresses (TLVs); it is read and passed over.
const LONGEST_BLOCK: u16 = 2048;

impl ProxyHeader {
    /// Who a connection is from: `peer`, or whom its header tells where it has to have one.
    ///
    /// # Errors
    /// `PermissionDenied` when the peer may not speak for others, `TimedOut`, and those of [`read_proxy_header`].
    pub async fn client(
        self,
        stream: &mut (impl AsyncRead + Unpin),
        peer: SocketAddr,
        rules: &ClientRules,
        limit: Duration,
    ) -> io::Result<SocketAddr> {
        if self == Self::Off {
            return Ok(peer);
        }
        if !rules.trusts(peer.ip()) {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let told = timeout(limit, read_proxy_header(stream)).await;
        let told = told.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
        Ok(told.unwrap_or(peer))
    }
}

/// Reads the header that a connection begins with, and not a byte more. `None`: the balancer speaks for itself, as with
/// its health checks, or does not know.
///
/// # Errors
/// What reading met; `InvalidData` when what came is no such header.
pub async fn read_proxy_header(
    stream: &mut (impl AsyncRead + Unpin),
) -> io::Result<Option<SocketAddr>> {
    let mut start = [0; SIGNATURE.len()];
    stream.read_exact(&mut start).await?;
    if start == *SIGNATURE {
        return read_block(stream).await;
    }
    if !start.starts_with(b"PROXY ") {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut line = start.to_vec();
    while !line.ends_with(b"\r\n") {
        if line.len() >= LONGEST_LINE {
            return Err(io::ErrorKind::InvalidData.into());
        }
        // Byte by byte, for what follows the line is not ours; it happens once per connection.
        line.push(stream.read_u8().await?);
    }
    parse_line(&line).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Version 2: version and command, family and transport, length, addresses.
async fn read_block(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<SocketAddr>> {
    let mut head = [0; 4];
    stream.read_exact(&mut head).await?;
    let [command, family, high, low] = head;
    let length = u16::from_be_bytes([high, low]);
    if length > LONGEST_BLOCK {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut block = vec![0; usize::from(length)];
    stream.read_exact(&mut block).await?;
    let told = match (command, family) {
        (0x20, _) => Some(None),
        (0x21, 0x11) => v4(&block).map(Some),
        (0x21, 0x21) => v6(&block).map(Some),
        // Datagrams, Unix sockets, and what later versions bring: the connection stands for itself.
        (0x21, _) => Some(None),
        _ => None,
    };
    told.ok_or_else(|| io::ErrorKind::InvalidData.into())
}

fn v4(block: &[u8]) -> Option<SocketAddr> {
    let address: [u8; 4] = block.get(..4)?.try_into().ok()?;
    let port: [u8; 2] = block.get(8..10)?.try_into().ok()?;
    Some((Ipv4Addr::from(address), u16::from_be_bytes(port)).into())
}

fn v6(block: &[u8]) -> Option<SocketAddr> {
    let address: [u8; 16] = block.get(..16)?.try_into().ok()?;
    let port: [u8; 2] = block.get(32..34)?.try_into().ok()?;
    let address = IpAddr::V6(Ipv6Addr::from(address)).to_canonical();
    Some((address, u16::from_be_bytes(port)).into())
}

/// Version 1: `PROXY TCP4 192.0.2.1 198.51.100.1 4711 443`.
fn parse_line(line: &[u8]) -> Option<Option<SocketAddr>> {
    let line = std::str::from_utf8(line.strip_suffix(b"\r\n")?).ok()?;
    let mut words = line.split(' ');
    if words.next() != Some("PROXY") {
        return None;
    }
    let family = words.next()?;
    if family == "UNKNOWN" {
        return Some(None);
    }
    let (source, target) = (words.next()?, words.next()?);
    let (port, target_port) = (words.next()?, words.next()?);
    let source: IpAddr = source.parse().ok()?;
    let target: IpAddr = target.parse().ok()?;
    let (port, _): (u16, u16) = (port.parse().ok()?, target_port.parse().ok()?);
    let fits = match family {
        "TCP4" => source.is_ipv4() && target.is_ipv4(),
        "TCP6" => source.is_ipv6() && target.is_ipv6(),
        _ => false,
    };
    (fits && words.next().is_none()).then(|| Some((source.to_canonical(), port).into()))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> (io::Result<Option<SocketAddr>>, usize) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let mut rest = bytes;
        let told = runtime.block_on(read_proxy_header(&mut rest));
        (told, rest.len())
    }

    fn block(command: u8, family: u8, addresses: &[u8]) -> Vec<u8> {
        let mut bytes = SIGNATURE.to_vec();
        bytes.extend([command, family]);
        bytes.extend((addresses.len() as u16).to_be_bytes());
        bytes.extend(addresses);
        bytes
    }

    #[test]
    fn both_versions_tell_the_client_and_leave_the_rest_unread() {
        let check = |header: &[u8], told: Option<&str>| {
            let bytes = [header, b"GET / HTTP/1.1\r\n"].concat();
            let (read, rest) = read(&bytes);
            let read = read.unwrap().map(|address| address.to_string());
            assert_eq!((read.as_deref(), rest), (told, 16), "{header:?}");
        };
        check(
            b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n",
            Some("192.0.2.7:4711"),
        );
        check(
            b"PROXY TCP6 2001:db8::7 2001:db8::1 4711 443\r\n",
            Some("[2001:db8::7]:4711"),
        );
        check(b"PROXY UNKNOWN\r\n", None);
        check(b"PROXY UNKNOWN some more of it\r\n", None);
        let v4 = [192, 0, 2, 7, 198, 51, 100, 1, 0x12, 0x67, 1, 0xbb];
        check(&block(0x21, 0x11, &v4), Some("192.0.2.7:4711"));
        check(
            &block(0x21, 0x11, &[&v4[..], &[4, 0, 1, 9]].concat()),
            Some("192.0.2.7:4711"),
        );
        let mut v6 = [0; 36];
        v6[..4].copy_from_slice(&[0x20, 1, 0xd, 0xb8]);
        v6[15] = 7;
        v6[32..34].copy_from_slice(&4711_u16.to_be_bytes());
        check(&block(0x21, 0x21, &v6), Some("[2001:db8::7]:4711"));
        check(&block(0x20, 0x00, b""), None);
        check(&block(0x21, 0x31, &[0; 216]), None);
    }

    #[test]
    fn what_is_no_header_is_refused() {
        for bytes in [
            &b""[..],
            b"GET / HTTP/1.1\r\n\r\n",
            b"PROXY TCP4 192.0.2.7 198.51.100.1 4711\r\n",
            b"PROXY TCP4 2001:db8::7 198.51.100.1 4711 443\r\n",
            b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 443 more\r\n",
            b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 70000\r\n",
            b"PROXY UDP4 192.0.2.7 198.51.100.1 4711 443\r\n",
            &[b"PROXY ", &[b'x'; 200][..]].concat(),
            &block(0x31, 0x11, &[0; 12]),
            &block(0x21, 0x11, &[0; 4]),
            &block(0x21, 0x21, &[0; 12]),
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff",
        ] {
            assert!(read(bytes).0.is_err(), "{bytes:?}");
        }
    }
}
