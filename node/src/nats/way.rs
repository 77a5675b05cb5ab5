//! How the settings become addresses and proofs of who we are; everything that is wrong with them is told at once.

use archipel_kit::settings::{Problems, Secret};
use archipel_kit::tls::{ClientFiles, ClientTls, Identity};
use async_nats::{ConnectOptions, ServerAddr};
use percent_encoding::percent_decode_str;

use crate::config::NatsSettings;

/// Where to go, and how to get in.
pub struct WayIn {
    pub(super) servers: Vec<ServerAddr>,
    pub(super) options: ConnectOptions,
    /// Whether nothing is said without TLS.
    pub(super) tls: bool,
}

/// What a URL says of whoever comes.
#[derive(Default)]
struct Named {
    user: Option<String>,
    password: Option<String>,
}

impl WayIn {
    /// Reads the settings; `None` where no NATS is configured or something is wrong with it.
    pub fn read(settings: &NatsSettings, problems: &mut Problems) -> Option<Self> {
        let url = settings.url.as_ref()?;
        let (servers, named) = servers(url.expose(), problems)?;
        let options = prove(settings, named, problems)?;
        let needs_tls = settings.tls
            || settings.ca_file.is_some()
            || settings.certificate_file.is_some()
            || servers.iter().any(ServerAddr::tls_required);
        let options = if needs_tls {
            // For all of them: a server that we are told of on the way must not be less safe.
            options
                .require_tls(true)
                .tls_client_config(tls(settings, problems)?.config)
        } else {
            options
        };
        Some(Self {
            servers,
            options,
            tls: needs_tls,
        })
    }
}

/// Whether it is a subject without wildcards, of characters that every tool takes.
pub fn is_plain_subject(subject: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    subject
        .split('.')
        .all(|word| !word.is_empty() && word.bytes().all(is_plain))
}

/// The addresses without the names and passwords in them, which the client would write into its log.
fn servers(text: &str, problems: &mut Problems) -> Option<(Vec<ServerAddr>, Named)> {
    let mut named = Named::default();
    let mut servers = Vec::new();
    for part in text.split(',').map(str::trim) {
        let server = part.parse::<ServerAddr>().ok().filter(|server| {
            matches!(server.scheme(), "nats" | "tls") && !server.host().is_empty()
        });
        let Some(mut url) = server.map(ServerAddr::into_inner) else {
            // Not the text: there may be a password in it.
            problems.add(
                "nats.url",
                "must be nats://HOST:PORT or tls://HOST:PORT, or several of them with commas",
            );
            return None;
        };
        if !url.username().is_empty() {
            named = Named {
                user: Some(plain(url.username())),
                password: url.password().map(plain),
            };
        }
        // Neither fails for a URL with a host.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        servers.extend(ServerAddr::from_url(url));
    }
    Some((servers, named))
}

fn plain(encoded: &str) -> String {
    percent_decode_str(encoded).decode_utf8_lossy().into_owned()
}

/// One way to say who we are, or none.
fn prove(settings: &NatsSettings, named: Named, problems: &mut Problems) -> Option<ConnectOptions> {
    let text = |secret: &Option<Secret>| secret.as_ref().map(|secret| secret.expose().to_owned());
    let user = settings.user.clone().or(named.user);
    let password = text(&settings.password).or(named.password);
    let token = text(&settings.token);
    let credentials = text(&settings.credentials);
    let seed = text(&settings.nkey_seed);
    let ways = [&user, &token, &credentials, &seed];
    if ways.into_iter().flatten().count() > 1 {
        problems.add(
            "nats",
            "has several ways to say who we are: one of user, token, credentials, nkey_seed",
        );
        return None;
    }
    let options = ConnectOptions::new();
    match (user, password, token, credentials, seed) {
        (Some(user), Some(password), ..) => Some(options.user_and_password(user, password)),
        // As the servers' own tools have it: a name alone in the URL is a token.
        (Some(token), None, ..) if settings.user.is_none() => Some(options.token(token)),
        (Some(_), None, ..) | (None, Some(_), ..) => {
            problems.add("nats.user", "needs nats.password, and the other way round");
            None
        }
        (.., Some(token), _, _) => Some(options.token(token)),
        // What was read from a file ends with its last word; the client asks for the end of that line.
        (.., Some(credentials), _) => options
            .credentials(&format!("{credentials}\n"))
            .map_err(|_| problems.add("nats.credentials", "is no credentials file"))
            .ok(),
        (.., Some(seed)) if is_seed(&seed) => Some(options.nkey(seed)),
        (.., Some(_)) => {
            problems.add("nats.nkey_seed", "is no seed of a user (SU..)");
            None
        }
        _ => Some(options),
    }
}

/// Base32 without padding, of a user's seed. Whether its checksum is right, the first connection tells.
fn is_seed(text: &str) -> bool {
    text.starts_with("SU")
        && text
            .bytes()
            .all(|byte| byte.is_ascii_uppercase() || matches!(byte, b'2'..=b'7'))
}

fn tls(settings: &NatsSettings, problems: &mut Problems) -> Option<ClientTls> {
    let identity = match (&settings.certificate_file, &settings.key_file) {
        (Some(certificate), Some(key)) => Some(Identity {
            certificate,
            key,
            passphrase: None,
        }),
        (None, None) => None,
        _ => {
            problems.add(
                "nats.certificate_file",
                "needs nats.key_file, and the other way round",
            );
            return None;
        }
    };
    let files = ClientFiles {
        ca: settings.ca_file.as_deref(),
        identity,
    };
    ClientTls::load(&files)
        .map_err(|error| problems.add("nats", error.to_string()))
        .ok()
}
