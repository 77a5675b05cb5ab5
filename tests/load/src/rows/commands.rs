//! How each server is started.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use anyhow::Context;

use super::{Limit, TOKEN};
use crate::process::Server;
use crate::programs::Programs;

/// `program serve --config FILE`, with this configuration in the file.
pub(crate) fn serve(
    program: &Path,
    folder: &Path,
    name: &str,
    config: &str,
) -> anyhow::Result<Command> {
    let file = folder.join(format!("{name}.toml"));
    fs::write(&file, config)?;
    let mut command = Command::new(program);
    command.arg("serve").arg("--config").arg(file);
    Ok(command)
}

pub(super) fn node(
    programs: &Programs,
    address: SocketAddr,
    store: &str,
    folder: &Path,
) -> anyhow::Result<Command> {
    let data = utf8(folder.join("data"))?;
    let config = format!(
        "listen = \"{address}\"\ndata_dir = '{data}'\nstore = \"{store}\"\ninternal_token = \"{TOKEN}\"\n\n\
         [retention]\nkeep_count = 10000000\n\n\
         [[agents]]\nid = \"echo\"\nkind = \"echo\"\n\n[[agents]]\nid = \"text\"\nkind = \"text\"\n"
    );
    serve(&programs.node, folder, "node", &config)
}

pub(crate) fn gateway(
    programs: &Programs,
    address: SocketAddr,
    behind: SocketAddr,
    limit: Limit<'_>,
    folder: &Path,
) -> anyhow::Result<Command> {
    let (per_minute, redis) = match limit {
        Limit::Local => (10_000_000, None),
        Limit::Shared(url) => (10_000_000, Some(url)),
        Limit::Reached(url) => (1, Some(url)),
    };
    let redis = redis.map(|url| format!("rate_limit_redis_url = \"{url}\"\n"));
    let redis = redis.unwrap_or_default();
    let config = format!(
        "listen = \"{address}\"\nupstream = \"http://{behind}\"\nrate_limit_per_minute = {per_minute}\n{redis}"
    );
    serve(&programs.gateway, folder, "gateway", &config)
}

/// Without persistence, as a store of limits needs none.
pub(super) async fn redis_server(address: SocketAddr, folder: &Path) -> anyhow::Result<Server> {
    let mut command = Command::new("redis-server");
    let port = address.port().to_string();
    command.args(["--bind", "127.0.0.1", "--save", "", "--port", &port]);
    command.current_dir(folder);
    Server::start("redis", command, address, folder).await
}

/// As many workers as the gateway has, kept connections on both sides, no access log, the client's address passed on, a
/// limit by address.
pub(super) fn nginx(
    programs: &Programs,
    address: SocketAddr,
    behind: SocketAddr,
    folder: &Path,
) -> anyhow::Result<Command> {
    let workers = thread::available_parallelism()?;
    let config = format!(
        "daemon off; worker_processes {workers}; pid nginx.pid; error_log stderr error;\n\
         events {{ worker_connections 8192; multi_accept on; }}\n\
         http {{\n\
           access_log off; keepalive_requests 100000000; tcp_nodelay on;\n\
           client_body_temp_path body; proxy_temp_path proxy;\n\
           fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;\n\
           limit_req_zone $binary_remote_addr zone=clients:10m rate=160000r/s;\n\
           upstream behind {{ server {behind}; keepalive 128; keepalive_requests 100000000; }}\n\
           server {{\n\
             listen {address} backlog=4096;\n\
             location / {{\n\
               limit_req zone=clients burst=100000 nodelay;\n\
               proxy_pass http://behind; proxy_http_version 1.1;\n\
               proxy_set_header Connection \"\"; proxy_set_header X-Forwarded-For $remote_addr;\n\
             }}\n\
           }}\n\
         }}\n"
    );
    let file = folder.join("nginx.conf");
    fs::write(&file, config)?;
    let mut command = Command::new(
        programs
            .nginx
            .as_deref()
            .context("nginx is not installed")?,
    );
    command.arg("-p").arg(folder).arg("-c").arg(file);
    Ok(command)
}

pub(super) fn at(program: &Path, address: SocketAddr) -> Command {
    let mut command = Command::new(program);
    command.arg(address.to_string());
    command
}

fn utf8(path: PathBuf) -> anyhow::Result<String> {
    path.into_os_string()
        .into_string()
        .ok()
        .context("the name of the temporary folder is no UTF-8")
}
