//! The service `org.opensnitch.Audit`.

use std::process::ExitCode;

use clap::Parser;
use opensnitch_audit::config::EXIT_UNUSABLE;
use opensnitch_audit::options::Service;
use opensnitch_audit::{logging, service};
use tokio::signal::unix::{SignalKind, signal};

fn main() -> ExitCode {
    let options = Service::parse();
    logging::init(options.verbose);
    end_with_the_part_that_panics();
    match run(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            match error {
                service::Error::Config(_) => ExitCode::from(EXIT_UNUSABLE),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

/// A part that panics takes the service with it, and systemd starts it again: nobody is answered by what is left of it.
fn end_with_the_part_that_panics() {
    std::panic::set_hook(Box::new(|panic| {
        tracing::error!("a part of the service panicked, and the service ends: {panic}");
        std::process::abort();
    }));
}

/// Threads that wait for name services, the kernel and `/proc`; who finds none free waits in line.
const MAX_BLOCKING_THREADS: usize = 64;

fn run(options: Service) -> Result<(), service::Error> {
    // Two threads for the bus, and some for what they must not wait for: name services, above all. The stream has its own.
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).max_blocking_threads(MAX_BLOCKING_THREADS).enable_all().build();
    let runtime = runtime.map_err(service::Error::System)?;
    let result = runtime.block_on(async {
        let listen = |kind| signal(kind).map_err(service::Error::System);
        let mut terminate = listen(SignalKind::terminate())?;
        let mut interrupt = listen(SignalKind::interrupt())?;
        let shutdown = async move {
            tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        };
        service::run(options.config, listen(SignalKind::hangup())?, shutdown).await
    });
    // A thread that hangs in a name service does not keep the service from stopping.
    runtime.shutdown_background();
    result
}
