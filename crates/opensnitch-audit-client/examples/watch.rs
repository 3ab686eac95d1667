//! Prints connections as they are made: your own, or those of all as root or as a member of the group opensnitch-audit.

use futures_util::StreamExt;
use opensnitch_audit_client::{AuditProxy, Query, Seen};

fn main() -> zbus::Result<()> {
    zbus::block_on(async {
        let audit = AuditProxy::new(&zbus::Connection::system().await?).await?;
        let mut subscription = audit.follow(&Query::new().event_type("connect")).await?;
        while let Some(seen) = subscription.next().await {
            match seen? {
                // With {:?}, since a program chooses its name: escaped, it cannot move the cursor.
                Seen::Event(event) => {
                    eprintln!("{:?} → {:?}, port {:?}", event.program(), event.dst_host, event.dst_port);
                }
                Seen::Lost(count) => eprintln!("{count} more were too many to be told"),
            }
        }
        Ok(())
    })
}
