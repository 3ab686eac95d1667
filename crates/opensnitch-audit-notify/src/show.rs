//! Shows notices on the desktop, and hears which button was pressed.
//!
//! Guarantee: when the session bus or the notification server goes, what waits is shown when it is back; what comes meanwhile
//! is taken and summed up.

use std::collections::HashMap;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use tokio::time::{sleep, sleep_until, timeout};
use uzers::get_user_by_uid;
use zbus::Variant;
use zbus::fdo::RequestNameFlags;

use crate::applications::Applications;
use crate::herald::{Content, Herald, Notice, Wish};
use crate::subject::SubjectsFile;
use crate::text::{Capabilities, Style, Text};
use crate::watch::Watched;
use crate::words::Words;
use crate::{say, terminal};

/// The name on the session bus that only one of us can have: whichever way a second one was started, it ends.
pub(crate) const NAME: &str = "org.opensnitch.Audit.Notify";

/// Before the session bus is tried again, doubled with each failure.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// And at the most.
const LAST_PAUSE: Duration = Duration::from_secs(30);
/// How long a notification server may take for an answer; it may have to be started first.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often the file of muted programs is looked at, while connections are seen.
const LOOK: Duration = Duration::from_secs(1);

/// A server of notifications: <https://specifications.freedesktop.org/notification-spec/>.
#[zbus::proxy(
    interface = "org.freedesktop.Notifications",
    default_service = "org.freedesktop.Notifications",
    default_path = "/org/freedesktop/Notifications"
)]
trait Notifications {
    fn get_capabilities(&self) -> zbus::Result<Vec<String>>;

    #[expect(clippy::too_many_arguments, reason = "the specification has them")]
    fn notify(
        &self,
        sender: &str,
        replaces: u32,
        icon: &str,
        title: &str,
        body: &str,
        buttons: &[&str],
        hints: HashMap<&str, Variant<'_>>,
        milliseconds: i32,
    ) -> zbus::Result<u32>;

    #[zbus(signal)]
    fn action_invoked(&self, id: u32, button: String) -> zbus::Result<()>;

    #[zbus(signal)]
    fn notification_closed(&self, id: u32, reason: u32) -> zbus::Result<()>;
}

/// Everything that is needed to show something.
pub(crate) struct Show {
    pub(crate) herald: Herald,
    pub(crate) muted: SubjectsFile,
    /// When that file was looked at last.
    pub(crate) looked: Instant,
    /// Of this login session; nothing where it has no folder of its own.
    pub(crate) told: Option<SubjectsFile>,
    pub(crate) words: Words,
    pub(crate) applications: Applications,
    pub(crate) seen: Watched,
}

impl Show {
    /// Shows what there is to show, until another process of this program has the name.
    pub(crate) async fn run(&mut self) -> ExitCode {
        let mut pause = Duration::ZERO;
        loop {
            match self.session(pause).await {
                Ok(()) => pause = FIRST_PAUSE,
                Err(zbus::Error::NameTaken) => {
                    say("another one runs in this session already, so this one ends");
                    return ExitCode::SUCCESS;
                }
                Err(error) => {
                    pause = (pause * 2).clamp(FIRST_PAUSE, LAST_PAUSE);
                    say(&format!("the session bus cannot be reached: {error}; another try in {pause:?}"));
                }
            }
        }
    }

    /// From a connection to the session bus, made after a pause, to its end.
    async fn session(&mut self, pause: Duration) -> zbus::Result<()> {
        let connect = async {
            sleep(pause).await;
            zbus::Connection::session().await
        };
        tokio::pin!(connect);
        let bus = loop {
            tokio::select! {
                bus = &mut connect => break bus?,
                // What is seen meanwhile is taken.
                () = self.hear() => {}
            }
        };
        bus.request_name_with_flags(NAME, RequestNameFlags::DO_NOT_QUEUE).await?;
        let end = self.serve(&bus).await;
        self.herald.all_closed();
        say(&format!("the session bus went away{}", end.map_or_else(|error| format!(": {error}"), |()| String::new())));
        Ok(())
    }

    /// Takes what comes next from the service.
    async fn hear(&mut self) {
        tokio::select! {
            Some(connection) = self.seen.connections.recv() => {
                self.look_at_muted();
                self.herald.connected(connection);
            }
            Ok(()) = self.seen.health.changed() => {
                let health = *self.seen.health.borrow_and_update();
                self.herald.health(health.link, health.lost, Instant::now());
            }
        }
    }

    /// Until the bus goes.
    async fn serve(&mut self, bus: &zbus::Connection) -> zbus::Result<()> {
        let server = NotificationsProxy::new(bus).await?;
        // One stream, since a button that is pressed closes its notification: in this order.
        let mut signals = server.inner().receive_all_signals().await?;
        let mut owners = server.inner().receive_owner_changed().await?;
        let mut can = None;
        loop {
            while let Some(notice) = self.herald.next(Instant::now()) {
                self.tell(&server, &mut can, notice).await;
            }
            let due = self.herald.due();
            tokio::select! {
                () = self.hear() => {}
                () = sleep_until(due.unwrap_or_else(Instant::now).into()), if due.is_some() => {}
                signal = signals.next() => {
                    let Some(signal) = signal else { return Ok(()) };
                    if let Some(pressed) = ActionInvoked::from_message(signal.clone()) {
                        let args = pressed.args()?;
                        if let Some(wish) = self.herald.pressed(args.id, &args.button) {
                            self.fulfil(&server, &mut can, wish).await;
                        }
                    } else if let Some(closed) = NotificationClosed::from_message(signal) {
                        self.herald.closed(closed.args()?.id);
                    }
                }
                owner = owners.next() => {
                    let Some(_) = owner else { return Ok(()) };
                    // Another server knows nothing of what the one before it showed.
                    self.herald.all_closed();
                    can = None;
                }
            }
        }
    }

    /// Shows a notice.
    async fn tell(&mut self, server: &NotificationsProxy<'_>, can: &mut Option<Capabilities>, notice: Notice) {
        let shown = async {
            let can = match *can {
                Some(can) => can,
                None => *can.insert(Capabilities::of(&server.get_capabilities().await?)),
            };
            self.notify(server, can, &notice).await
        };
        match timeout(PATIENCE, shown).await {
            Ok(Ok(id)) => {
                if self.herald.shown(&notice, id, Instant::now()) {
                    self.remember();
                }
            }
            Ok(Err(error)) => self.not_shown(&notice, &error.to_string()),
            Err(_) => self.not_shown(&notice, "the notification server does not answer"),
        }
    }

    async fn notify(&self, server: &NotificationsProxy<'_>, can: Capabilities, notice: &Notice) -> zbus::Result<u32> {
        let style = Style {
            words: &self.words,
            can,
            has_top: terminal::is_there(),
            application: &|id| self.applications.find(id),
            user: &|uid| Some(get_user_by_uid(uid)?.name().to_string_lossy().into_owned()),
        };
        let Text { title, body, icon, buttons, stays } = style.write(&notice.content);
        let buttons: Vec<&str> = buttons.iter().flat_map(|(name, text)| [*name, text]).collect();
        let hints = HashMap::from([("category", "network".into()), ("suppress-sound", true.into())]);
        let milliseconds = if stays { 0 } else { -1 };
        let sender = self.words.say("sender");
        server.notify(&sender, notice.replaces, &icon, &title, &body, &buttons, hints, milliseconds).await
    }

    fn not_shown(&mut self, notice: &Notice, why: &str) {
        say(&format!("a notification cannot be shown: {why}"));
        self.herald.not_shown(notice, Instant::now());
    }

    /// Does what somebody wants who pressed a button.
    async fn fulfil(&mut self, server: &NotificationsProxy<'_>, can: &mut Option<Capabilities>, wish: Wish) {
        match wish {
            Wish::Top => terminal::open(),
            Wish::Details(programs) => {
                let notice = Notice { content: Content::Details(programs), replaces: 0 };
                self.tell(server, can, notice).await;
            }
            Wish::Mute(subject) => match self.muted.insert(&subject) {
                Ok(()) => self.read_muted(),
                Err(error) => {
                    say(&error.to_string());
                    let notice = Notice { content: Content::Problem(error.to_string()), replaces: 0 };
                    self.tell(server, can, notice).await;
                }
            },
        }
    }

    /// Reads the file of muted programs where somebody changed it.
    fn look_at_muted(&mut self) {
        if self.looked.elapsed() < LOOK {
            return;
        }
        self.looked = Instant::now();
        if self.muted.has_changed() {
            self.read_muted();
        }
    }

    fn read_muted(&mut self) {
        match self.muted.read() {
            Ok(muted) => self.herald.set_muted(muted),
            Err(error) => say(&error.to_string()),
        }
    }

    /// Writes down what was told, for a process of this program that comes after this one.
    fn remember(&mut self) {
        let told = self.herald.told();
        if let Some(file) = &mut self.told
            && let Err(error) = file.keep(told)
        {
            say(&format!("{error}. Programs are told again when this program is started again"));
            self.told = None;
        }
    }
}
