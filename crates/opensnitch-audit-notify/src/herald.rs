//! Decides what a person is told, and when.
//!
//! Guarantee: no bus, no clock, no file, no word of any language. Connections and times go in, notices come out. A popup
//! comes at most every [`PACE`]; what came meanwhile is summed up in the next. Everything is bounded, whatever programs do.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use crate::program::{Connection, Program};
use crate::subject::{Subject, Subjects};

/// Between two popups: a person reads one in this time.
pub(crate) const PACE: Duration = Duration::from_secs(5);
/// Until a notification on the screen is first brought up to date; twice as long each time after that, so that a busy
/// program's does not stay for ever.
const FIRST_UPDATE: Duration = Duration::from_secs(1);
/// How often that doubles: the longest pause is an hour.
const MAX_DOUBLINGS: u32 = 12;
/// How long events may be missing before it is told: a service that is upgraded is back by then.
const GRACE: Duration = Duration::from_secs(10);
/// Programs that are remembered, of at most 64 kB each and seldom more than one. Of the oldest nothing stays but that it was
/// told.
pub(crate) const MAX_PROGRAMS: usize = 512;
/// Notifications on the screen that are remembered. Desktops show and keep fewer; an older one is not brought up to date, and
/// its buttons do nothing.
const MAX_OPEN: usize = 64;

/// Whether events arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    Watching,
    /// The service is not there, or tells nothing.
    Gone,
    /// The service is there, and no events reach it.
    Silent,
}

/// Something to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Notice {
    pub(crate) content: Content,
    /// The notification in whose place it stands; 0 for a new one.
    pub(crate) replaces: u32,
}

/// What is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// A program connected.
    Program(Box<Program>),
    /// These did, too many for a popup each.
    Several(Vec<Program>),
    /// All that is known of these.
    Details(Vec<Program>),
    /// So many connections were too many to be told.
    Lost(u64),
    /// Whether events arrive, where that changed.
    Link(Link),
    /// Something of the applet's own went wrong: a sentence.
    Problem(String),
}

/// What a person asks for by a button.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    Details(Vec<Program>),
    Mute(Subject),
    Top,
}

/// The buttons, by their names on the bus.
pub(crate) mod button {
    /// A click on the notification itself: org.freedesktop.Notifications gives this name a meaning.
    pub(crate) const DEFAULT: &str = "default";
    pub(crate) const DETAILS: &str = "details";
    pub(crate) const MUTE: &str = "mute";
    pub(crate) const TOP: &str = "top";
}

/// Which notification one is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum About {
    Program(Subject),
    Programs(Vec<Subject>),
    Lost,
    Link,
}

/// A notification on the screen.
#[derive(Debug)]
struct Open {
    id: u32,
    about: About,
    shown: Instant,
    updates: u32,
    /// The count that it shows.
    count: u64,
}

impl Open {
    fn next_update(&self) -> Instant {
        self.shown + FIRST_UPDATE * 2_u32.pow(self.updates.min(MAX_DOUBLINGS))
    }
}

/// What was told, what is on the screen, and what waits.
#[derive(Debug)]
pub(crate) struct Herald {
    programs: HashMap<Subject, Program>,
    /// The same, the oldest first.
    order: VecDeque<Subject>,
    /// Those of them that were not told yet, the oldest first.
    waiting: Vec<Subject>,
    /// Those that were told in this session, by this process or one before it.
    told: Subjects,
    muted: Subjects,
    open: VecDeque<Open>,
    next_popup: Instant,
    lost: u64,
    /// Those of them that never came here.
    lost_on_the_way: u64,
    is_loss_told: bool,
    link: Link,
    /// Since when it is so.
    link_since: Instant,
    /// What the person believes.
    link_told: Link,
}

impl Herald {
    /// Knows what was told before. That events arrive is not certain yet.
    pub(crate) fn new(told: Subjects, muted: Subjects, now: Instant) -> Self {
        Self {
            programs: HashMap::new(),
            order: VecDeque::new(),
            waiting: Vec::new(),
            told,
            muted,
            open: VecDeque::new(),
            next_popup: now,
            lost: 0,
            lost_on_the_way: 0,
            is_loss_told: false,
            link: Link::Gone,
            link_since: now,
            link_told: Link::Watching,
        }
    }

    /// A connection was seen.
    pub(crate) fn connected(&mut self, connection: Connection) {
        let subject = &connection.subject;
        let app = connection.process.app.clone().map(Subject::Application);
        if self.muted.contains(subject) || app.is_some_and(|app| self.muted.contains(&app)) {
            return;
        }
        if let Some(known) = self.programs.get_mut(subject) {
            known.add(connection);
            return;
        }
        if self.order.len() >= MAX_PROGRAMS
            && let Some(oldest) = self.order.pop_front()
        {
            self.programs.remove(&oldest);
            // Not told, and never will be: at least counted.
            if let Some(at) = self.waiting.iter().position(|waiting| *waiting == oldest) {
                self.waiting.remove(at);
                self.lost(1);
            }
        }
        let subject = subject.clone();
        if !self.told.contains(&subject) {
            self.waiting.push(subject.clone());
        }
        self.order.push_back(subject.clone());
        self.programs.insert(subject, Program::new(connection));
    }

    /// So many connections will not be told.
    fn lost(&mut self, count: u64) {
        self.lost = self.lost.saturating_add(count);
    }

    /// How the service fares: whether events arrive, and how many connections it or the way from it lost in all.
    pub(crate) fn health(&mut self, link: Link, lost: u64, now: Instant) {
        self.lost(lost.saturating_sub(self.lost_on_the_way));
        self.lost_on_the_way = lost;
        self.link(link, now);
    }

    /// Events arrive, or not any more.
    fn link(&mut self, link: Link, now: Instant) {
        if self.link == link {
            return;
        }
        // One reason for silence after the other is one silence.
        if self.link == Link::Watching || link == Link::Watching {
            self.link_since = now;
        }
        self.link = link;
    }

    /// What is muted is another set now. What is not muted any more is new.
    pub(crate) fn set_muted(&mut self, muted: Subjects) {
        for freed in self.muted.iter().filter(|subject| !muted.contains(subject)) {
            self.told.remove(freed.name());
        }
        self.muted = muted;
        let muted = &self.muted;
        self.programs.retain(|subject, _| !muted.contains(subject));
        self.order.retain(|subject| !muted.contains(subject));
        self.waiting.retain(|subject| !muted.contains(subject));
    }

    /// Which programs were told, for a process that comes after this one.
    pub(crate) fn told(&self) -> &Subjects {
        &self.told
    }

    /// A button was pressed.
    pub(crate) fn pressed(&self, id: u32, button: &str) -> Option<Wish> {
        let open = self.open.iter().find(|open| open.id == id)?;
        let subjects = match &open.about {
            About::Program(subject) => std::slice::from_ref(subject),
            About::Programs(subjects) => subjects,
            About::Lost | About::Link => &[],
        };
        match (button, subjects) {
            (button::TOP, _) => Some(Wish::Top),
            (button::MUTE, [subject]) => Some(Wish::Mute(subject.clone())),
            (button::DETAILS | button::DEFAULT, [_, ..]) => {
                Some(Wish::Details(subjects.iter().filter_map(|subject| self.programs.get(subject)).cloned().collect()))
            }
            _ => None,
        }
    }

    /// A notification is gone from the screen: it is not brought up to date, which would show it again.
    pub(crate) fn closed(&mut self, id: u32) {
        self.open.retain(|open| open.id != id);
    }

    /// All of them are gone.
    pub(crate) fn all_closed(&mut self) {
        self.open.clear();
    }

    /// When there is something to tell; nothing where there is nothing.
    pub(crate) fn due(&self) -> Option<Instant> {
        let updates = self.open.iter().filter(|open| self.is_outdated(open)).map(Open::next_update);
        updates.chain(self.popup_due()).min()
    }

    /// What to tell now. It stays so until it is [shown](Self::shown).
    pub(crate) fn next(&self, now: Instant) -> Option<Notice> {
        let update = self.open.iter().find(|open| self.is_outdated(open) && open.next_update() <= now);
        if let Some(open) = update {
            let content = match &open.about {
                About::Program(subject) => Content::Program(Box::new(self.programs.get(subject)?.clone())),
                About::Lost => Content::Lost(self.lost),
                About::Link => Content::Link(self.link),
                About::Programs(_) => return None,
            };
            return Some(Notice { content, replaces: open.id });
        }
        if self.popup_due()? > now {
            return None;
        }
        let content = if self.link_due().is_some_and(|due| due <= now) {
            Content::Link(self.link)
        } else if self.is_loss_due() {
            Content::Lost(self.lost)
        } else {
            let mut programs: Vec<Program> =
                self.waiting.iter().filter_map(|subject| self.programs.get(subject)).cloned().collect();
            match programs.len() {
                0 | 1 => Content::Program(Box::new(programs.pop()?)),
                _ => Content::Several(programs),
            }
        };
        // One about the service is enough on the screen.
        let replaces = match content {
            Content::Link(_) => self.open.iter().find(|open| open.about == About::Link).map_or(0, |open| open.id),
            _ => 0,
        };
        Some(Notice { content, replaces })
    }

    /// The notification server shows it, under this id. Whether [`told`](Self::told) grew.
    pub(crate) fn shown(&mut self, notice: &Notice, id: u32, now: Instant) -> bool {
        let subjects = |programs: &[Program]| programs.iter().map(|program| program.subject.clone()).collect();
        let mut new = Vec::new();
        let (about, count) = match &notice.content {
            Content::Program(program) => {
                new.push(program.subject.clone());
                (About::Program(program.subject.clone()), program.connections)
            }
            Content::Several(programs) => {
                new = subjects(programs);
                (About::Programs(new.clone()), 0)
            }
            Content::Details(programs) => (About::Programs(subjects(programs)), 0),
            Content::Lost(count) => {
                self.is_loss_told = true;
                (About::Lost, *count)
            }
            Content::Link(link) => {
                self.link_told = *link;
                (About::Link, 0)
            }
            Content::Problem(_) => return false,
        };
        // A server may give an update another id: what it replaces is gone then.
        let updates = self.open.iter().find(|open| open.id == notice.replaces).map_or(0, |open| open.updates + 1);
        self.open.retain(|open| open.id != notice.replaces && open.id != id);
        if self.open.len() >= MAX_OPEN {
            self.open.pop_front();
        }
        self.open.push_back(Open { id, about, shown: now, updates, count });
        if notice.replaces == 0 && !matches!(notice.content, Content::Details(_)) {
            self.next_popup = now + PACE;
        }
        self.waiting.retain(|waiting| !new.contains(waiting));
        // Where there is no room, it is told once more by a process after this one.
        new.retain(|subject| !self.told.contains(subject) && self.told.insert(subject));
        !new.is_empty()
    }

    /// It could not be shown: another try after a pause.
    pub(crate) fn not_shown(&mut self, notice: &Notice, now: Instant) {
        self.next_popup = now + PACE;
        self.closed(notice.replaces);
    }

    /// Whether it shows less than is known.
    fn is_outdated(&self, open: &Open) -> bool {
        match &open.about {
            About::Program(subject) => {
                self.programs.get(subject).is_some_and(|program| program.connections > open.count)
            }
            About::Lost => self.lost > open.count,
            // That events are missing again is told after a time.
            About::Link => self.link_told != self.link && self.link == Link::Watching,
            About::Programs(_) => false,
        }
    }

    fn popup_due(&self) -> Option<Instant> {
        let now = (!self.waiting.is_empty() || self.is_loss_due()).then_some(self.next_popup);
        let link = self.link_due().map(|due| due.max(self.next_popup));
        now.into_iter().chain(link).min()
    }

    fn is_loss_due(&self) -> bool {
        self.lost > 0 && !self.is_loss_told
    }

    /// When it is to be told that events are missing, or are there again.
    fn link_due(&self) -> Option<Instant> {
        let is_open = self.open.iter().any(|open| open.about == About::Link);
        match (self.link, self.link_told) {
            // In its own place, where that is still on the screen.
            (Link::Watching, Link::Gone | Link::Silent) => (!is_open).then_some(self.link_since),
            (Link::Gone | Link::Silent, Link::Watching) => Some(self.link_since + GRACE),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::program::tests::{connection, event};

    /// A herald, its clock, and a screen that shows everything.
    struct Desk {
        herald: Herald,
        now: Instant,
        last_id: u32,
        popups: Vec<Instant>,
    }

    impl Desk {
        fn new() -> Self {
            let now = Instant::now();
            let mut herald = Herald::new(Subjects::default(), Subjects::default(), now);
            herald.link(Link::Watching, now);
            Self { herald, now, last_id: 0, popups: Vec::new() }
        }

        fn connects(&mut self, program: &str) {
            self.herald.connected(connection(program, "192.0.2.1"));
        }

        /// All that is told until that time, with the ids.
        fn after(&mut self, seconds: u64) -> Vec<(Content, u32)> {
            let end = self.now + Duration::from_secs(seconds);
            let mut told = Vec::new();
            while let Some(due) = self.herald.due().filter(|due| *due <= end) {
                self.now = self.now.max(due);
                let notice = self.herald.next(self.now).expect("something that is due");
                let id = if notice.replaces == 0 {
                    self.popups.push(self.now);
                    self.last_id += 1;
                    self.last_id
                } else {
                    notice.replaces
                };
                self.herald.shown(&notice, id, self.now);
                told.push((notice.content, id));
            }
            assert_eq!(self.herald.next(self.now), None);
            self.now = end;
            told
        }

        /// The programs that are told for the first time.
        fn introduces(&mut self, seconds: u64) -> Vec<String> {
            let known = self.last_id;
            let name = |program: &Program| program.subject.name().to_owned();
            let names = |(content, id)| match content {
                Content::Program(program) if id > known => vec![name(&program)],
                Content::Several(programs) => programs.iter().map(name).collect(),
                _ => Vec::new(),
            };
            self.after(seconds).into_iter().flat_map(names).collect()
        }

        /// All that is told, in short.
        fn tells(&mut self, seconds: u64) -> Vec<String> {
            self.after(seconds).into_iter().map(|(content, id)| format!("{id} {}", short(&content))).collect()
        }
    }

    fn short(content: &Content) -> String {
        let name = |program: &Program| format!("{}×{}", program.subject.name(), program.connections);
        match content {
            Content::Program(program) => name(program),
            Content::Several(programs) => programs.iter().map(name).collect::<Vec<_>>().join(" "),
            Content::Details(_) => "details".to_owned(),
            Content::Lost(count) => format!("lost {count}"),
            Content::Link(link) => format!("{link:?}"),
            Content::Problem(text) => text.clone(),
        }
    }

    #[test]
    fn a_program_is_told_once_and_then_counted_in_its_place() {
        let mut desk = Desk::new();
        desk.connects("curl");
        assert_eq!(desk.tells(0), ["1 curl×1"]);
        desk.connects("curl");
        desk.connects("curl");
        assert!(desk.tells(0).is_empty());
        assert_eq!(desk.tells(1), ["1 curl×3"]);
        // A busy one is brought up to date less and less often.
        let mut updates = 0;
        for _ in 0..100 {
            desk.connects("curl");
            updates += desk.tells(1).len();
        }
        assert!((4..9).contains(&updates), "{updates}");
        desk.herald.closed(1);
        desk.connects("curl");
        assert!(desk.tells(1000).is_empty(), "what is closed is not shown again");
    }

    #[test]
    fn there_is_one_popup_in_five_seconds_and_the_rest_is_summed_up() {
        let mut desk = Desk::new();
        for program in ["a", "b", "c", "b"] {
            desk.connects(program);
            assert_eq!(desk.tells(0).len(), usize::from(program == "a"));
        }
        assert!(desk.tells(4).is_empty());
        assert_eq!(desk.tells(1), ["2 b×2 c×1"]);
        desk.connects("d");
        assert_eq!(desk.tells(5), ["3 d×1"]);
    }

    #[test]
    fn what_is_muted_is_silent_until_it_is_undone() {
        let mut desk = Desk::new();
        let mut muted = Subjects::default();
        muted.insert(&Subject::Program("curl".to_owned()));
        muted.insert(&Subject::Application("org.mozilla.firefox".to_owned()));
        desk.connects("curl");
        desk.tells(0);
        desk.connects("wget");
        desk.herald.set_muted(muted.clone());
        desk.connects("curl");
        let mut firefox = event("/usr/lib/firefox/firefox", "192.0.2.1");
        firefox.app = Some("org.mozilla.firefox".to_owned());
        desk.herald.connected(Connection::of(&firefox, |_| None).unwrap());
        assert_eq!(desk.tells(100), ["2 wget×1"]);
        muted.remove("curl");
        desk.herald.set_muted(muted);
        desk.connects("curl");
        assert_eq!(desk.tells(100), ["3 curl×1"]);
    }

    #[test]
    fn what_another_process_told_is_not_told_again() {
        let mut desk = Desk::new();
        desk.connects("curl");
        desk.tells(0);
        let now = desk.now;
        desk.herald = Herald::new(desk.herald.told().clone(), Subjects::default(), now);
        desk.herald.link(Link::Watching, now);
        desk.connects("curl");
        desk.connects("wget");
        assert_eq!(desk.tells(100), ["2 wget×1"]);
    }

    #[test]
    fn losses_are_told_once_and_counted_in_their_place() {
        let mut desk = Desk::new();
        desk.herald.health(Link::Watching, 5, desk.now);
        assert_eq!(desk.tells(0), ["1 lost 5"]);
        desk.herald.health(Link::Watching, 7, desk.now);
        assert_eq!(desk.tells(1), ["1 lost 7"]);
        desk.herald.closed(1);
        desk.herald.health(Link::Watching, 9, desk.now);
        assert!(desk.tells(1000).is_empty());
    }

    #[test]
    fn a_service_that_is_gone_is_told_once_and_so_is_its_return() {
        let mut desk = Desk::new();
        for link in [Link::Gone, Link::Watching] {
            desk.herald.link(link, desk.now);
            assert!(desk.tells(9).is_empty(), "it was soon back");
        }
        desk.herald.link(Link::Gone, desk.now);
        assert!(desk.tells(9).is_empty());
        desk.herald.link(Link::Silent, desk.now);
        assert_eq!(desk.tells(1), ["1 Silent"]);
        desk.herald.link(Link::Gone, desk.now);
        assert!(desk.tells(1000).is_empty());
        desk.herald.link(Link::Watching, desk.now);
        assert_eq!(desk.tells(5), ["1 Watching"]);
        desk.herald.link(Link::Gone, desk.now);
        assert_eq!(desk.tells(10), ["1 Gone"]);
        // Where it was closed meanwhile, the return is a popup of its own.
        desk.herald.closed(1);
        desk.herald.link(Link::Watching, desk.now);
        assert_eq!(desk.tells(10), ["2 Watching"]);
    }

    #[test]
    fn buttons_are_about_what_the_notification_is_about() {
        let mut desk = Desk::new();
        for program in ["a", "b", "c"] {
            desk.connects(program);
            desk.tells(0);
        }
        desk.tells(5);
        let names = |wish| match wish {
            Some(Wish::Details(programs)) => programs.iter().map(|program| program.subject.name().to_owned()).collect(),
            other => vec![format!("{other:?}")],
        };
        assert_eq!(names(desk.herald.pressed(1, "details")), ["a"]);
        assert_eq!(names(desk.herald.pressed(2, "default")), ["b", "c"]);
        assert_eq!(desk.herald.pressed(1, "mute"), Some(Wish::Mute(Subject::Program("a".to_owned()))));
        assert_eq!(desk.herald.pressed(2, "mute"), None, "which of them?");
        assert_eq!(desk.herald.pressed(2, "top"), Some(Wish::Top));
        assert_eq!(desk.herald.pressed(1, "format the disk"), None);
        assert_eq!(desk.herald.pressed(77, "details"), None);
        desk.herald.all_closed();
        assert_eq!(desk.herald.pressed(1, "details"), None);
    }

    #[test]
    fn what_could_not_be_shown_is_tried_again() {
        let mut desk = Desk::new();
        desk.connects("curl");
        let notice = desk.herald.next(desk.now).unwrap();
        desk.herald.not_shown(&notice, desk.now);
        assert_eq!(desk.herald.next(desk.now), None);
        desk.connects("wget");
        assert_eq!(desk.tells(5), ["1 curl×1 wget×1"]);
    }

    #[test]
    fn ten_thousand_programs_take_the_room_of_five_hundred_and_the_others_are_counted() {
        let mut desk = Desk::new();
        for number in 0..10_000 {
            desk.connects(&number.to_string());
        }
        assert_eq!(desk.herald.programs.len(), MAX_PROGRAMS);
        assert_eq!(desk.herald.order.len(), MAX_PROGRAMS);
        let told = desk.after(10);
        assert!(matches!(&told[0].0, Content::Lost(9488)), "{:?}", told[0]);
        assert!(matches!(&told[1].0, Content::Several(programs) if programs.len() == MAX_PROGRAMS));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Whatever happens in whatever order: popups keep their distance, no program is told twice, none is forgotten,
        /// and what is known of the screen is bounded.
        #[test]
        fn popups_keep_their_distance_whatever_happens(steps in prop::collection::vec((0..8_u32, 0..40_u32, 0..4_u64), 1..200)) {
            let mut desk = Desk::new();
            let mut told: Vec<String> = Vec::new();
            let mut connected = std::collections::BTreeSet::new();
            for (what, which, seconds) in steps {
                match what {
                    0..=3 => {
                        connected.insert(which.to_string());
                        desk.connects(&which.to_string());
                    }
                    4 => desk.herald.closed(which),
                    5 => desk.herald.lost(1),
                    6 => desk.herald.link(if which % 2 == 0 { Link::Gone } else { Link::Watching }, desk.now),
                    _ => desk.herald.all_closed(),
                }
                told.extend(desk.introduces(seconds));
                prop_assert!(desk.herald.open.len() <= MAX_OPEN);
            }
            told.extend(desk.introduces(1000));
            told.sort();
            prop_assert!(told.iter().eq(connected.iter()), "{told:?} of {connected:?}");
            for pair in desk.popups.windows(2) {
                prop_assert!(pair[1] - pair[0] >= PACE);
            }
        }
    }
}
