//! The program itself: its commands, and that SIGTERM ends it well.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    os::unix::fs::PermissionsExt as _,
    process::{Child, Command, Output, Stdio},
};

fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_archipel-gateway"));
    command.args(arguments).env_clear().stdin(Stdio::null());
    command
}

/// Its exit code and what it said on standard output and error.
fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = program(arguments).output().unwrap();
    (
        status.code(),
        String::from_utf8(stdout).unwrap(),
        String::from_utf8(stderr).unwrap(),
    )
}

/// Ends the program when a test fails before it could.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
    }
}

#[test]
fn it_serves_until_sigterm() {
    let child = program(&["serve"])
        .env("GATEWAY_LISTEN", "127.0.0.1:0")
        .env("ARCHIPEL_LOG_FORMAT", "json")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut running = Running(child);
    let mut log = BufReader::new(running.0.stderr.take().unwrap()).lines();
    let line = log
        .find(|line| line.as_ref().unwrap().contains("gateway listens"))
        .unwrap()
        .unwrap();
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();

    let mut stream = TcpStream::connect(line.get("address").unwrap().as_str().unwrap()).unwrap();
    stream
        .write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");

    let kill = Command::new("kill")
        .args(["-TERM", &running.0.id().to_string()])
        .status()
        .unwrap();
    assert!(kill.success());
    let rest: String = log.map(Result::unwrap).collect();
    assert!(running.0.wait().unwrap().success(), "{rest}");
    assert!(
        rest.contains("gateway drains") && rest.contains("gateway ended"),
        "{rest}"
    );
}

#[test]
fn check_config_reports_every_problem() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("gateway.toml");
    let path = path.to_str().unwrap();
    fs::write(path, "listn = \"127.0.0.1:0\"\nmax_body = \"1B\"").unwrap();
    let (code, out, problems) = run(&["check-config", "--config", path]);
    assert_eq!((code, out.as_str()), (Some(2), ""));
    assert!(
        problems.contains("listn: unknown key, did you mean `listen`?"),
        "{problems}"
    );
    assert!(
        problems.contains("max_body: must be between \"1KiB\" and \"8MiB\", found \"1B\""),
        "{problems}"
    );

    assert_eq!(run(&["serve", "--config", path]), (code, out, problems));

    let (code, example, _) = run(&["example-config"]);
    assert_eq!(code, Some(0));
    fs::write(path, example).unwrap();
    let good = (Some(0), "configuration is good\n".to_owned(), String::new());
    assert_eq!(run(&["check-config", "--config", path]), good);
    assert_eq!(run(&["--config", path, "check-config"]), good);
}

#[test]
fn the_examples_are_good_configurations() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().to_str().unwrap();
    // What the examples name: one certificate serves for all of them.
    let signed = rcgen::generate_simple_self_signed(vec!["mesh.example.org".to_owned()]).unwrap();
    for name in ["gateway", "gateway-client", "clients-ca", "nodes-ca"] {
        fs::write(format!("{place}/{name}.pem"), signed.cert.pem()).unwrap();
        let key = format!("{place}/{name}.key");
        fs::write(&key, signed.signing_key.serialize_pem()).unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    }
    fs::write(
        format!("{place}/gateway-secret"),
        "0123456789abcdef".repeat(2),
    )
    .unwrap();
    let examples = concat!(env!("CARGO_MANIFEST_DIR"), "/examples");
    let mut checked = 0;
    for entry in fs::read_dir(examples).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|end| end != "toml") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let copy = format!("{place}/gateway.toml");
        fs::write(&copy, text.replace("/etc/archipel", place)).unwrap();
        let (code, said, problems) = run(&["check-config", "--config", &copy]);
        assert_eq!((code, problems.as_str()), (Some(0), ""), "{path:?}: {said}");
        checked += 1;
    }
    assert!(checked >= 4);
}

#[test]
fn routes_tell_what_is_served() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("gateway.toml");
    let path = path.to_str().unwrap();
    let text = "[[routes]]\npath = \"/agents/old\"\nclosed = true\nrpc_methods = [\"GetTask\"]\nper_minute = 5";
    fs::write(path, text).unwrap();
    let (code, told, _) = run(&["routes", "--config", path]);
    assert_eq!(code, Some(0));
    let last = told.lines().last().unwrap();
    let words: Vec<&str> = last.split_whitespace().collect();
    assert_eq!(
        words.join(" "),
        "/agents/old/.. as above closed, JSON-RPC GetTask, 5/min each"
    );
    assert!(told.contains("/v1/a2a/jsonrpc"), "{told}");
}

#[test]
fn limits_are_asked_for_where_they_are() {
    let (code, _, problem) = run(&["limits", "show", "192.0.2.1"]);
    assert_eq!(code, Some(1));
    assert!(
        problem.contains("set `rate_limit_redis_url`, or `admin_listen`"),
        "{problem}"
    );
}

#[test]
fn a_taken_port_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = program(&["serve"])
        .env("GATEWAY_LISTEN", &address)
        .output()
        .unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        error.contains(&format!("cannot listen on {address}")),
        "{error}"
    );
}

#[test]
fn help_and_version_are_there() {
    let (code, help, _) = run(&["--help"]);
    assert_eq!(code, Some(0));
    assert!(
        help.contains("check-config") && help.contains("--config"),
        "{help}"
    );
    assert!(run(&["--version"]).1.starts_with("archipel-gateway "));
}
