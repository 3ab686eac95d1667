//! What systemd is about to do with us.

use std::time::Duration;

use tokio::time::timeout;
use tracing::{debug, warn};
use zbus::Connection;
use zbus::{OwnedObjectPath, OwnedVariant};

const NAME: &str = "org.freedesktop.systemd1";

/// Whether systemd stops us to start us again: the job of our unit says so. Where nobody can be asked, in that time, it does
/// not.
pub(super) async fn restarts_us(connection: &Connection, limit: Duration) -> bool {
    match timeout(limit, job_type(connection)).await {
        Ok(Ok(job)) => job.as_deref() == Some("restart"),
        Ok(Err(error)) => {
            debug!(%error, "systemd does not say whether it starts us again");
            false
        }
        Err(_) => {
            warn!("systemd does not say in time whether it starts us again: what happens until then is not seen");
            false
        }
    }
}

/// The job of our unit (`JobType`, org.freedesktop.systemd1(5)).
async fn job_type(connection: &Connection) -> zbus::Result<Option<String>> {
    let manager = "org.freedesktop.systemd1.Manager";
    // 0 is whoever asks.
    let unit =
        connection.call_method(Some(NAME), "/org/freedesktop/systemd1", Some(manager), "GetUnitByPID", &0_u32).await?;
    let unit: OwnedObjectPath = unit.body().deserialize()?;
    let job = get(connection, unit.as_str(), "org.freedesktop.systemd1.Unit", "Job").await?;
    let (id, job): (u32, OwnedObjectPath) = job.try_into()?;
    if id == 0 {
        return Ok(None);
    }
    let job_type = get(connection, job.as_str(), "org.freedesktop.systemd1.Job", "JobType").await?;
    Ok(Some(job_type.try_into()?))
}

async fn get(connection: &Connection, path: &str, interface: &str, property: &str) -> zbus::Result<OwnedVariant> {
    let properties = "org.freedesktop.DBus.Properties";
    let reply = connection.call_method(Some(NAME), path, Some(properties), "Get", &(interface, property)).await?;
    reply.body().deserialize()
}
