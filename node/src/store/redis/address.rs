//! Where Redis is, as an operator writes it: one server, a master that sentinels know, or a cluster.
//!
//! `redis://[user[:password]@]host[:port][/database]`, the same with `redis+sentinel://..host,host/master[/database]` and
//! `redis+cluster://..host,host`; `rediss` in place of `redis` means TLS on every connection.

use std::fmt;

use percent_encoding::percent_decode_str;

use crate::config::RedisSettings;

const PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;

/// Where Redis is, and who we are to it.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    pub(super) topology: Topology,
    pub(super) tls: bool,
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
    pub(super) database: u16,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Topology {
    Server(Host),
    Sentinel {
        sentinels: Vec<Host>,
        master: String,
    },
    Cluster(Vec<Host>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Host {
    pub(super) name: String,
    pub(super) port: u16,
}

/// Why a text is no address. Never holds the text, which may hold a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    #[error(
        "must begin with redis://, rediss://, redis+sentinel:// or redis+cluster:// (rediss+.. for TLS)"
    )]
    Scheme,
    #[error("names no host")]
    NoHost,
    #[error("has a host or a port that is none")]
    Host,
    #[error(
        "needs the name of the master behind the sentinels, as in redis+sentinel://host:26379/mymaster"
    )]
    NoMaster,
    #[error("has a database that is no number, or a path where none is meant")]
    Path,
    #[error("has user information that is not percent-encoded UTF-8")]
    User,
}

impl Address {
    /// The address that the settings name, if they name one; `user` and `password` of the settings win over those of the
    /// URL.
    ///
    /// # Errors
    /// When the URL is none of Redis.
    pub fn from_settings(settings: &RedisSettings) -> Result<Option<Self>, AddressError> {
        let Some(url) = &settings.url else {
            return Ok(None);
        };
        let mut address = Self::parse(url.expose())?;
        if let Some(user) = &settings.user {
            address.user = Some(user.clone());
        }
        if let Some(password) = &settings.password {
            address.password = Some(password.expose().to_owned());
        }
        Ok(Some(address))
    }

    fn parse(text: &str) -> Result<Self, AddressError> {
        let (scheme, rest) = text.split_once("://").ok_or(AddressError::Scheme)?;
        let (base, kind) = scheme.split_once('+').unwrap_or((scheme, ""));
        let tls = match base {
            "redis" => false,
            "rediss" => true,
            _ => return Err(AddressError::Scheme),
        };
        let (user_info, rest) = match rest.rsplit_once('@') {
            Some((user_info, rest)) => (Some(user_info), rest),
            None => (None, rest),
        };
        let (hosts, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (topology, database) = match kind {
            "" => (Topology::Server(one_host(hosts)?), path),
            "sentinel" => {
                let (master, database) = path.split_once('/').unwrap_or((path, ""));
                let sentinels = all_hosts(hosts, SENTINEL_PORT)?;
                let master = decoded(master)?;
                if master.is_empty() {
                    return Err(AddressError::NoMaster);
                }
                (Topology::Sentinel { sentinels, master }, database)
            }
            // A cluster has one database.
            "cluster" if path.is_empty() => (Topology::Cluster(all_hosts(hosts, PORT)?), path),
            "cluster" => return Err(AddressError::Path),
            _ => return Err(AddressError::Scheme),
        };
        let (user, password) = user_info.map_or(Ok((None, None)), user_and_password)?;
        Ok(Self {
            topology,
            tls,
            user,
            password,
            database: match database {
                "" => 0,
                number => number.parse().map_err(|_| AddressError::Path)?,
            },
        })
    }
}

fn one_host(text: &str) -> Result<Host, AddressError> {
    match <[Host; 1]>::try_from(all_hosts(text, PORT)?) {
        Ok([host]) => Ok(host),
        Err(_) => Err(AddressError::Host),
    }
}

fn all_hosts(text: &str, port: u16) -> Result<Vec<Host>, AddressError> {
    if text.is_empty() {
        return Err(AddressError::NoHost);
    }
    text.split(',').map(|text| host(text, port)).collect()
}

fn host(text: &str, default_port: u16) -> Result<Host, AddressError> {
    // An IPv6 address stands in brackets, or its colons would be taken for the port's.
    let (name, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (name, port) = rest.split_once(']').ok_or(AddressError::Host)?;
            (name, port.strip_prefix(':'))
        }
        None => match text.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (text, None),
        },
    };
    let word = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:".contains(&byte);
    if name.is_empty() || !name.bytes().all(word) {
        return Err(AddressError::Host);
    }
    Ok(Host {
        name: name.to_owned(),
        port: match port {
            None => default_port,
            Some(port) => port.parse().map_err(|_| AddressError::Host)?,
        },
    })
}

/// `user:password`, `:password` or `user`; an empty one is none.
fn user_and_password(text: &str) -> Result<(Option<String>, Option<String>), AddressError> {
    let (user, password) = text.split_once(':').unwrap_or((text, ""));
    let some = |text: String| (!text.is_empty()).then_some(text);
    Ok((some(decoded(user)?), some(decoded(password)?)))
}

fn decoded(text: &str) -> Result<String, AddressError> {
    percent_decode_str(text)
        .decode_utf8()
        .map(Into::into)
        .map_err(|_| AddressError::User)
}

/// Without the password.
impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Address")
            .field("topology", &self.topology)
            .field("tls", &self.tls)
            .field("user", &self.user)
            .field("database", &self.database)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    fn at(name: &str, port: u16) -> Host {
        Host {
            name: name.to_owned(),
            port,
        }
    }

    fn address(topology: Topology, tls: bool, user: &[Option<&str>; 2], database: u16) -> Address {
        let [user, password] = user.map(|text| text.map(str::to_owned));
        Address {
            topology,
            tls,
            user,
            password,
            database,
        }
    }

    #[test]
    fn an_address_is_read_as_it_is_meant() {
        let nobody = [None, None];
        let check = |text: &str, expected: Address| {
            assert_eq!(Address::parse(text).unwrap(), expected, "{text}");
        };
        check(
            "redis://localhost",
            address(Topology::Server(at("localhost", PORT)), false, &nobody, 0),
        );
        check(
            "rediss://ada:p%40ss%2Fword@[::1]:7000/3",
            address(
                Topology::Server(at("::1", 7000)),
                true,
                &[Some("ada"), Some("p@ss/word")],
                3,
            ),
        );
        check(
            "redis://:secret@h",
            address(
                Topology::Server(at("h", PORT)),
                false,
                &[None, Some("secret")],
                0,
            ),
        );
        check(
            "rediss+sentinel://u:p@a,b:7/main/2",
            address(
                Topology::Sentinel {
                    sentinels: vec![at("a", SENTINEL_PORT), at("b", 7)],
                    master: "main".to_owned(),
                },
                true,
                &[Some("u"), Some("p")],
                2,
            ),
        );
        check(
            "redis+cluster://a:1,b:2,c",
            address(
                Topology::Cluster(vec![at("a", 1), at("b", 2), at("c", PORT)]),
                false,
                &nobody,
                0,
            ),
        );
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for (text, expected) in [
            ("localhost:6379", AddressError::Scheme),
            ("http://localhost", AddressError::Scheme),
            ("redis+magic://localhost", AddressError::Scheme),
            ("redis://", AddressError::NoHost),
            ("redis://a,b", AddressError::Host),
            ("redis://a b", AddressError::Host),
            ("redis://a:port", AddressError::Host),
            ("redis://[::1", AddressError::Host),
            ("redis://a/first", AddressError::Path),
            ("redis://%ff@a", AddressError::User),
            ("redis+sentinel://a", AddressError::NoMaster),
            ("redis+sentinel://a/m/x", AddressError::Path),
            ("redis+cluster://a/1", AddressError::Path),
        ] {
            assert_eq!(Address::parse(text), Err(expected), "{text}");
        }
    }

    #[test]
    fn a_password_is_never_shown() {
        let address = Address::parse("redis://ada:hunter2@localhost").unwrap();
        assert!(!format!("{address:?}").contains("hunter2"));
    }
}
