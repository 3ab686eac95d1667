//! Prints connections as they are made. Run it as root or as a member of the group opensnitch-audit.

use futures_util::StreamExt;
use opensnitch_audit_client::AuditProxy;

fn main() -> zbus::Result<()> {
    zbus::block_on(async {
        let audit = AuditProxy::new(&zbus::Connection::system().await?).await?;
        let mut seen = audit.receive_event_seen_with_args(&[(0, "connect")]).await?;
        while let Some(signal) = seen.next().await {
            let event = signal.args()?.event;
            // With {:?}, since a program chooses its name: escaped, it cannot move the cursor.
            eprintln!("{:?} → {:?}, port {:?}", event.program(), event.dst_host, event.dst_port);
        }
        Ok(())
    })
}
