//! A whole mesh on one machine: two nodes and a gateway as real processes, paired, tried step by step, and left running.
//!
//! Read in the order of a run: `arguments` (what may be asked), `binaries` (what is started), `mesh` (how it is paired,
//! configured, started and stopped; `child` is one process of it), `demonstration` (what is shown), `report` and `screen`
//! (how it is told). `compose` is the mesh that containers make, which is prepared and tried here and started elsewhere. `http` and `sse` are the client that the demonstration calls with, `input` the text it sends.

mod arguments;
mod binaries;
mod child;
mod compose;
mod demonstration;
mod http;
mod input;
mod mesh;
mod report;
mod screen;
mod sse;

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use crate::arguments::{Arguments, Command, Task, Verify};
use crate::mesh::Mesh;
use crate::report::Recorder;
use crate::screen::Screen;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let command = Command::parse();
    let done = match &command.task {
        None => run(&command.arguments).await,
        Some(Task::Verify(arguments)) => verify(arguments).await,
        Some(Task::Prepare(arguments)) => compose::prepare(arguments).map(|()| true),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "devstack: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether everything that was tried held.
async fn run(arguments: &Arguments) -> anyhow::Result<bool> {
    let screen = Screen::new(arguments.once);
    let recorder = Recorder::new(&screen);
    let mut mesh = Mesh::new(arguments.data.as_deref())?;
    let completed = tokio::select! {
        completed = try_everything(arguments, &recorder, &mut mesh) => completed.is_some(),
        stopped = stop_asked() => { stopped?; screen.line("stopped before the end"); false }
    };
    let ok = completed && recorder.all_ok();
    if ok && !arguments.once {
        tokio::select! {
            stopped = stop_asked() => stopped?,
            death = mesh.death() => { mesh.stop().await; anyhow::bail!(death) }
        }
        screen.line("\nstopping");
    }
    mesh.stop().await;
    if arguments.once {
        return report(&recorder, ok);
    }
    Ok(ok)
}

/// Whether everything holds on a mesh that others have started.
async fn verify(arguments: &Verify) -> anyhow::Result<bool> {
    let screen = Screen::new(true);
    let recorder = Recorder::new(&screen);
    let site = compose::site(arguments)?;
    let input = async { input::read(arguments.file.as_deref()) };
    if let Some(text) = recorder.step("input", input).await {
        demonstration::run(&recorder, &site, &text).await;
        demonstration::run_over_brokers(&recorder, &site).await;
    }
    report(&recorder, recorder.all_ok())
}

fn report(recorder: &Recorder<'_>, ok: bool) -> anyhow::Result<bool> {
    let report = serde_json::to_string(&recorder.report(ok))?;
    writeln!(std::io::stdout(), "{report}").context("the report could not be written")?;
    Ok(ok)
}

/// None when a step failed without which the rest cannot be tried.
async fn try_everything(
    arguments: &Arguments,
    recorder: &Recorder<'_>,
    mesh: &mut Mesh,
) -> Option<()> {
    let text = recorder
        .step("input", async { input::read(arguments.file.as_deref()) })
        .await?;
    let binaries = recorder.step("build", binaries::provide(arguments)).await?;
    let site = recorder
        .step("pair", async { mesh.pair(arguments) })
        .await?;
    recorder
        .step("start beta", mesh.start_beta(&binaries, &site))
        .await?;
    recorder
        .step("start alpha", mesh.start_alpha(&binaries, &site))
        .await?;
    recorder
        .step("start gateway", mesh.start_gateway(&binaries, &site))
        .await?;
    demonstration::run(recorder, &site, &text).await;
    recorder.step("processes", mesh.all_running()).await?;
    if recorder.all_ok() && !arguments.once {
        recorder
            .screen()
            .line(&demonstration::invitation(&site, &binaries));
    }
    Some(())
}

/// Returns when somebody asks the runner to end: Ctrl-C, `kill`, or the terminal going away.
async fn stop_asked() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted?,
        _ = terminate.recv() => {}
        _ = hang_up.recv() => {}
    }
    Ok(())
}
