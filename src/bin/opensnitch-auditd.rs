//! The service `org.opensnitch.Audit`.

use std::process::ExitCode;

use clap::Parser;
use opensnitch_audit::options::Service;
use opensnitch_audit::{logging, service};
use tokio::signal::unix::{SignalKind, signal};

fn main() -> ExitCode {
    let options = Service::parse();
    logging::init(options.verbose);
    match run(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: Service) -> Result<(), Box<dyn std::error::Error>> {
    // One thread for the bus and one for what it must not wait for; the stream has its own.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let result = runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let shutdown = async move {
            tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        };
        Ok(service::run(options.config, signal(SignalKind::hangup())?, shutdown).await?)
    });
    // A thread that hangs in a name service does not keep the service from stopping.
    runtime.shutdown_background();
    result
}
