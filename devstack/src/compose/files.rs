//! Who gets which file: every container has a folder of its own, with nothing in it that it does not need.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, chown};
use std::path::{Path, PathBuf};

use anyhow::Context;
use archipel_protocol::federation::keys;

use crate::compose::book::{BOOK, Book, SiteBook};
use crate::compose::{GATEWAY_LISTEN, NODE_LISTEN};

/// What a client of alpha sends with every call.
pub(super) const CLIENT_HEADERS: &str = "client.headers";

/// Where a container finds its folder.
const SEEN_AT: &str = "/run/mesh";

/// Where the nodes publish envelopes: the default of `nats.line.subject`.
const WAN_SUBJECT: &str = "hive.mesh.wan";

/// A file below the folder of a container.
type File = (&'static str, String);

/// Writes every container's folder, for the user that they run as.
pub(super) fn write(book: &Book, folder: &Path, user: Option<u32>) -> anyhow::Result<()> {
    let alpha = ("alpha", &book.alpha);
    let beta = ("beta", &book.beta);
    for ((name, site), peer) in [(alpha, beta), (beta, alpha)] {
        let files = node(book, (name, site), peer)?;
        container(&folder.join(name), &files, user)?;
        let redis = [("redis.conf", redis(site))];
        container(&folder.join(format!("{name}-redis")), &redis, user)?;
        let nats = [("nats.conf", nats(book, (name, site)))];
        container(&folder.join(format!("{name}-nats")), &nats, user)?;
    }
    container(&folder.join("gateway"), &gateway(book), user)?;
    // These two are for the person whose folder it is.
    put(&folder.join(CLIENT_HEADERS), &client_headers(book))?;
    let owner = fs::metadata(folder)?;
    for name in [BOOK, CLIENT_HEADERS] {
        let path = folder.join(name);
        if user.is_some() {
            chown(&path, Some(owner.uid()), Some(owner.gid()))
                .with_context(|| format!("{} cannot be handed over", path.display()))?;
        }
    }
    Ok(())
}

/// Gives folders, and nothing in them, to the user that the containers run as.
pub(super) fn give(folders: &[PathBuf], user: Option<u32>) -> anyhow::Result<()> {
    for folder in folders {
        chown(folder, user, user)
            .with_context(|| format!("{} cannot be handed over", folder.display()))?;
    }
    Ok(())
}

fn node(
    book: &Book,
    (name, site): (&str, &SiteBook),
    (peer, of_peer): (&str, &SiteBook),
) -> anyhow::Result<Vec<File>> {
    let port = NODE_LISTEN.port();
    let peer_key = keys::to_hex(&keys::public_key_of_seed(&of_peer.seed()?)?);
    let configuration = format!(
        r#"listen = "{NODE_LISTEN}"
public_origin = "http://{name}:{port}"
data_dir = "/var/lib/archipel"
internal_token_file = "{SEEN_AT}/internal_token"
gateway_secret_file = "{SEEN_AT}/gateway_secret"

[redis]
url = "redis://{name}-redis:6379"
password_file = "{SEEN_AT}/redis_password"

[nats]
url = "nats://{name}-nats:4222"
user = "archipel"
password_file = "{SEEN_AT}/nats_password"
line.from_domains = ["{peer}"]

[federation]
enabled = true
algorithm = "Ed25519"
ed25519_seed_file = "{SEEN_AT}/seed"

[bus]
secret_file = "{SEEN_AT}/bus_secret"

[[agents]]
id = "text"
kind = "text"

[[peers]]
name = "{peer}"
origin = "http://{peer}:{port}"
ed25519_public_key = "{peer_key}"
"#,
    );
    Ok(vec![
        ("archipel.toml", configuration),
        ("internal_token", site.internal_token.clone()),
        ("gateway_secret", book.gateway_secret.clone()),
        ("seed", site.seed.clone()),
        ("bus_secret", site.bus_secret.clone()),
        ("redis_password", site.redis_password.clone()),
        ("nats_password", site.nats_password.clone()),
    ])
}

/// It stands in front of both replicas of alpha, and shares its limits through alpha's Redis.
fn gateway(book: &Book) -> Vec<File> {
    let port = NODE_LISTEN.port();
    let upstreams = ["alpha-1", "alpha-2"]
        .map(|name| format!("\n[[upstreams]]\nname = \"{name}\"\nurl = \"http://{name}:{port}\"\n"))
        .concat();
    let configuration = format!(
        "listen = \"{GATEWAY_LISTEN}\"\n\
         upstream_auth_secret_file = \"{SEEN_AT}/upstream_secret\"\n\
         rate_limit_redis_url_file = \"{SEEN_AT}/redis_url\"\n{upstreams}"
    );
    let redis = format!("redis://:{}@alpha-redis:6379", book.alpha.redis_password);
    vec![
        ("gateway.toml", configuration),
        ("upstream_secret", book.gateway_secret.clone()),
        ("redis_url", redis),
    ]
}

/// Everything that was acknowledged is on disk: the nodes keep their tasks here.
fn redis(site: &SiteBook) -> String {
    format!(
        "port 6379\nbind 0.0.0.0\ndir /data\nappendonly yes\nappendfsync always\nrequirepass {}\n",
        site.redis_password
    )
}

/// Beta's broker is a leaf of alpha's: it calls, so that only alpha needs a port that can be reached. Each keeps what its
/// own site publishes, so that subject does not cross the link; the streams fetch from each other what they need.
fn nats(book: &Book, (name, site): (&str, &SiteBook)) -> String {
    let leaf_password = &book.leaf_password;
    let leaf = if name == "alpha" {
        format!("port: 7422\n  authorization {{ user: leaf, password: \"{leaf_password}\" }}")
    } else {
        format!(
            r#"remotes [ {{ url: "nats-leaf://leaf:{leaf_password}@alpha-nats:7422"
    deny_imports: ["{WAN_SUBJECT}", "archipel.>"], deny_exports: ["{WAN_SUBJECT}", "archipel.>"] }} ]"#
        )
    };
    format!(
        r#"server_name: {name}
port: 4222
http: 8222
jetstream {{ store_dir: /data, domain: {name} }}
authorization {{ user: archipel, password: "{}" }}
leafnodes {{
  {leaf}
}}
"#,
        site.nats_password
    )
}

fn client_headers(book: &Book) -> String {
    format!(
        "Authorization: Bearer {}\nContent-Type: application/json\nA2A-Version: 1.0\n",
        book.alpha.internal_token
    )
}

/// The folder of one container.
fn container(folder: &Path, files: &[File], user: Option<u32>) -> anyhow::Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.with_context(|| format!("{} cannot be made", folder.display()))?;
    let mut ours = vec![folder.to_path_buf()];
    for (name, text) in files {
        let path = folder.join(name);
        put(&path, text)?;
        ours.push(path);
    }
    if user.is_some() {
        give(&ours, user)?;
    }
    Ok(())
}

/// A file that only its owner may read, in the place of an earlier one.
fn put(path: &Path, text: &str) -> anyhow::Result<()> {
    let _ = fs::remove_file(path);
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()));
    written.with_context(|| format!("{} cannot be written", path.display()))
}
